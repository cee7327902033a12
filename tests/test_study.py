"""Studies: what is asked for is trained once, whatever happens in between."""

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from examples import (
    altered,
    calls,
    interrupted,
    make_provenance,
    make_run,
    posix_only,
    run_quickly,
    set_pause,
    train_quickly,
    tuned,
    until,
    write_yaml,
)
from here import as_nobody

from lenet_keras.recipe import InputError, Recipe
from lenet_keras.run import Run
from lenet_study import records
from lenet_study.reproduce import compare, draw, reproduce
from lenet_study.runner import run_study
from lenet_study.study import Study

CONFIGS = sorted(
    path
    for path in (Path(__file__).parent.parent / "configs").glob("*.yaml")
    if "variants" in yaml.safe_load(path.read_text())
)
CONTENT: dict[str, Any] = {
    "title": "Optimisation",
    "question": "Which optimizer?",
    "dataset": "digits",
    "base": {"activation": "relu"},
    "baseline": "sgd",
    "variants": {
        "sgd": None,
        "momentum": {"momentum": 0.9},
        "adam": {"optimizer": "adam", "learning_rates": [0.001, 0.01]},
    },
    "tuning": {"learning_rates": [0.1, 0.01], "epochs": 2, "seeds": [1000, 1001]},
    "seeds": 2,
    "epochs": 3,
}
RUNS = 3 * 2 * 2 + 3 * 2  # variants × learning rates × tuning seeds + variants × seeds
TIMES = ["seconds", "wall_seconds"]


def study_file(folder: Path, **changes: Any) -> Path:
    return write_yaml(folder / "optimization.yaml", CONTENT | changes)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.from_yaml(study_file(tmp_path))


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# The technique files


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_technique_file_gives_every_variant_the_same_budget(path: Path) -> None:
    study = Study.from_yaml(path)
    for variant in study.variants:
        if not study.in_summary and len(study.grid(variant)) == 1:
            continue  # a rate that was found elsewhere; no technique of the summary has one
        steps = np.diff(np.log10(study.grid(variant)))
        assert len(steps) == 4
        assert steps == pytest.approx(0.5, abs=0.03)  # 1, 3, 10, 30, 100


LADDER: dict[str, Any] = {
    "ladder": True,
    "variants": {
        "sgd": {"year": 1951},
        "momentum": {"momentum": 0.9, "year": 1964},
        "adam": {"momentum": 0.0, "optimizer": "adam", "learning_rates": [0.001, 0.01]},
        "longer": {"epochs": 9},
        "found": {"activation": "silu", "learning_rates": [0.004]},
    },
}


def test_a_rung_of_a_ladder_changes_the_one_below(tmp_path: Path) -> None:
    ladder = Study.from_yaml(study_file(tmp_path, **LADDER))
    assert ladder.recipe("momentum", 0.1).momentum == 0.9
    longer = ladder.recipe("longer", 0.01)
    assert (longer.optimizer, longer.momentum, longer.epochs) == ("adam", 0.0, 9)
    assert ladder.grid("longer") == (0.001, 0.01)
    assert ladder.recipe("found", 0.004).epochs == 9
    assert ladder.resized(epochs=1).recipe("longer", 0.01).epochs == 3
    assert ladder.variants["momentum"].year == 1964
    runs = run_quickly(ladder, tmp_path)
    tuned = runs[runs["purpose"] == "tuning"]
    assert set(tuned["variant"]) == {"sgd", "momentum", "adam"}  # longer is adam but for epochs
    assert len(runs) == 3 * 2 * 2 + 5 * 2
    found = runs[runs["variant"] == "found"]
    assert found["learning_rate"].tolist() == [0.004, 0.004]
    assert found["epochs"].tolist() == [9, 9]


ALL_IMAGES = {"train_on": "train_and_validation"}


def tuning(**changes: Any) -> dict[str, Any]:
    return {"tuning": CONTENT["tuning"] | changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {"sgd": {"epochs": 5}}}, "variants.sgd: 'epochs' does not belong here"),
        ({"variants": {"sgd": {"seeds": 5}}}, "variants.sgd: 'seeds' does not belong here"),
        (
            {"variants": {"sgd": {}, "sgd-again": {"momentum": 0.9}}},
            "variants.sgd-again: '-again' ends the names",
        ),
        (
            {**LADDER, "variants": {"sgd": {"learning_rates": [0.1, 0.2, 0.3]}}},
            "3 rates, where tuning has 2",
        ),
        ({"baseline": "sdg"}, "baseline: no variant 'sdg'. Did you mean 'sgd'?"),
        ({"variants": {}}, "variants: found {}; dictionary should have at least 1 item"),
        ({"variants": {"sgd": {}, "again": {}}}, "variants: 'sgd' and 'again' are the same recipe"),
        ({"variants": {"sgd": [1]}}, "variants.sgd: found [1]"),
        ({"variants": {"a/b": {}}, "baseline": "a/b"}, "variants.a/b: found 'a/b'"),
        (
            {"variants": {"sgd": {"momentun": 1}}},
            "momentun: no such field. Did you mean 'momentum'",
        ),
        ({"variants": {"sgd": {"learning_rate": 1}}}, "'learning_rate' does not belong here"),
        ({"base": {"epochs": 3}}, "base: 'epochs' does not belong here"),
        ({"base": {"activation": "rleu"}}, "activation: found 'rleu'"),
        ({"seeds": 1}, "seeds: found 1; allowed: greater than or equal to 2"),
        ({"seeds": True}, "seeds: found True; allowed: a valid integer"),
        ({"seeds": 1001}, "tuning.seeds: 1000 is also a seed of the final runs (0 to 1000)"),
        ({"epochs": 0}, "epochs: found 0"),
        ({"epoch": 3}, "epoch: no such entry. Did you mean 'epochs'?"),
        ({"name": "x"}, "name: a study is called after its file"),
        ({"dataset": "my digits"}, "dataset: found 'my digits'"),
        ({"tuning": {"learning_rates": []}}, "tuning.learning_rates: found []"),
        ({"tuning": {"learning_rates": [0.1]}}, "tuning.epochs: is missing"),
        (
            {"tuning": {"learning_rate": [0.1]}},
            "tuning.learning_rate: no such entry. Did you mean 'learning_rates'",
        ),
        (tuning(learning_rates=0.1), "tuning.learning_rates: found 0.1; allowed: a list"),
        (tuning(learning_rates=[0.1, 0.1]), "a learning rate is given twice"),
        (tuning(learning_rates=[0.1, -0.1]), "learning_rates.1: found -0.1"),
        (tuning(learning_rates=[0.1, True]), "learning_rates.1: found True; allowed: a number"),
        (
            tuning(learning_rates=[0.1, 0.2, 0.3]),
            "variants.adam.learning_rates: 2 rates, where tuning",
        ),
        (
            {"in_summary": False, "base": ALL_IMAGES},
            "train_on 'train_and_validation' leaves no images to choose by; give a single",
        ),
        (
            {**tuning(learning_rates=[0.1]), "variants": {"sgd": ALL_IMAGES}},
            "variants.sgd: train_on 'train_and_validation' leaves no images to choose by",
        ),
        (tuning(seeds=[]), "tuning.seeds: found []"),
        (tuning(seeds=[5, 5]), "tuning.seeds: a seed is given twice"),
        (tuning(seeds=[1]), "tuning.seeds: 1 is also a seed of the final runs (0 to 1)"),
    ],
)
def test_a_bad_study_file_is_explained(tmp_path: Path, changes: dict, message: str) -> None:
    path = study_file(tmp_path, **changes)
    with pytest.raises(InputError) as refused:
        Study.from_yaml(path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_variant_given_twice_is_refused(tmp_path: Path) -> None:
    path = study_file(tmp_path)
    path.write_text(path.read_text() + "variants:\n  sgd: {}\n")
    with pytest.raises(InputError, match="'variants' is given twice"):
        Study.from_yaml(path)


def test_a_study_called_tuning_is_refused(tmp_path: Path) -> None:
    path = study_file(tmp_path).rename(tmp_path / "tuning.yaml")
    with pytest.raises(InputError, match="cannot be called 'tuning'"):
        Study.from_yaml(path)


def test_an_unknown_variant_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean 'adam'"):
        run_quickly(study, tmp_path, variants=["sgd", "adan"])
    assert not calls(tmp_path)


# What is trained


def test_a_study_tunes_without_the_test_set_and_then_trains_pairs(
    study: Study, tmp_path: Path
) -> None:
    table = run_quickly(study, tmp_path)
    assert [seed for seed, score_test, _ in calls(tmp_path) if not score_test] == [1000] * 2 + [
        1001
    ] * 2
    assert [seed for seed, score_test, _ in calls(tmp_path) if score_test] == [0, 0, 1, 1]

    tuning, final = table[table["purpose"] == "tuning"], table[table["purpose"] == "final"]
    assert (len(tuning), len(final)) == (12, 6)
    assert set(tuning["epochs"]) == {2}
    assert set(final["epochs"]) == {3}
    assert tuning["test_accuracy"].isna().all()
    assert final["test_accuracy"].notna().all()
    assert final["variant"].tolist() == ["sgd", "sgd", "momentum", "momentum", "adam", "adam"]
    assert list(table["variant"].cat.categories) == ["sgd", "momentum", "adam"]

    mean = tuning.groupby(["variant", "learning_rate"], observed=True)["val_accuracy"].mean()
    for variant, rows in final.groupby("variant", observed=True):
        assert set(rows["learning_rate"]) == {mean[variant].idxmax()}


def test_nothing_is_trained_twice(study: Study, tmp_path: Path) -> None:
    table = run_quickly(study, tmp_path)
    before, trained = files(tmp_path / "results"), calls(tmp_path)
    pd.testing.assert_frame_equal(run_quickly(study, tmp_path), table)
    assert (files(tmp_path / "results"), calls(tmp_path)) == (before, trained)


def test_more_seeds_train_only_those(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    before = len(calls(tmp_path))
    table = run_quickly(study, tmp_path, seeds=4)
    assert [seed for seed, _, _ in calls(tmp_path)[before:]] == [2, 2, 3, 3]
    assert len(table) == RUNS + 6


def test_one_more_variant_trains_only_that(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    before = len(calls(tmp_path))
    # In the middle of what trains side by side, so that the plan's groups are no longer the old.
    variants = {"sgd": {}, "l2": {"l2": 0.001}, **CONTENT["variants"]}
    table = run_quickly(Study.from_yaml(study_file(tmp_path, variants=variants)), tmp_path)
    new = set(table.loc[table["variant"] == "l2", "key"])
    assert {key for _, _, keys in calls(tmp_path)[before:] for key in keys} == new
    assert len(table) == RUNS + 6


def test_a_rehearsal_never_mixes_with_the_study(study: Study, tmp_path: Path) -> None:
    table = run_quickly(study, tmp_path)
    rehearsal = run_quickly(study, tmp_path, epochs=1)
    assert set(rehearsal["epochs"]) == {1}  # of tuning too
    other = run_quickly(study, tmp_path, dataset="mnist")
    assert set(other["dataset"]) == {"mnist"}
    results = tmp_path / "results"
    pd.testing.assert_frame_equal(study.table(results), table)
    pd.testing.assert_frame_equal(study.table(results, epochs=1), rehearsal)
    assert len(records.table(results)) == 3 * RUNS
    epochs = study.epoch_table(results, epochs=1)
    assert len(epochs) == RUNS
    assert len(study.epoch_table(results)) == 12 * 2 + 6 * 3


def test_runs_of_a_variant_that_has_changed_are_left_out(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    variants = {**CONTENT["variants"], "momentum": {"momentum": 0.5}}
    table = run_quickly(Study.from_yaml(study_file(tmp_path, variants=variants)), tmp_path)
    assert set(table.loc[table["variant"] == "momentum", "momentum"]) == {0.5}
    assert len(table) == RUNS


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({0.1: 0.5, 0.01: 0.4}, 0.1),
        ({0.1: 0.5, 0.01: 0.5}, 0.01),  # of equals the smaller
        ({0.1: None, 0.01: 0.2}, 0.01),  # diverged, whatever its accuracy
        ({0.1: None, 0.01: None}, 0.01),
    ],
)
def test_the_best_learning_rate_is_chosen(
    study: Study, tmp_path: Path, found: dict[float, float | None], chosen: float
) -> None:
    trainer = altered(lambda run: tuned(run, found[run.recipe.learning_rate]))
    run_quickly(study, tmp_path, variants=["sgd"], trainer=trainer)
    assert study.learning_rates(tmp_path / "results") == {"sgd": chosen}


# Stacks


def test_an_interrupted_stack_is_trained_as_it_was(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    results = tmp_path / "results"
    whole = {path: (results / path).read_bytes() for path in files(results)}
    stack_size = 4  # two learning rates each of sgd and momentum
    key = study.recipe("momentum", 0.01, epochs=2).key
    lost = results / f"optimization/tuning/momentum-{key}/seed-1000.json"
    lost.unlink()
    run_quickly(study, tmp_path)
    seed, _, keys = calls(tmp_path)[-1]
    assert (seed, len(keys)) == (1000, stack_size)
    assert {path: (results / path).read_bytes() for path in files(results)} == whole


# Interruptions


def test_half_a_file_of_a_kill_is_cleared_away(study: Study, tmp_path: Path) -> None:
    leftover = tmp_path / "results/optimization/.seed-0.json.0123.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("{")  # as a kill between two system calls leaves it
    run_quickly(study, tmp_path)
    records = [path for path in files(tmp_path / "results") if "tmp" not in path]
    assert files(tmp_path / "results") == records
    leftover.write_text("{")
    run_quickly(study, tmp_path)  # nothing to train any more
    assert files(tmp_path / "results") == records


def test_ctrl_c_keeps_what_is_done(study: Study, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_quickly(study, tmp_path, trainer=interrupted(tmp_path, after=3))
    assert len(study.table(tmp_path / "results")) == 4 + 2 + 4  # stacks that were done
    assert len(run_quickly(study, tmp_path)) == RUNS
    assert len(calls(tmp_path)) == 8  # as without the interruption


def test_two_studies_at_once(study: Study, tmp_path: Path) -> None:
    set_pause(tmp_path, 0.2)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=run_quickly, args=(study, tmp_path))
    process.start()
    until(lambda: calls(tmp_path) or not process.is_alive())
    with pytest.raises(InputError, match="another study is writing here"):
        run_quickly(study, tmp_path)
    process.join()
    assert process.exitcode == 0
    assert len(run_quickly(study, tmp_path)) == RUNS
    assert len(calls(tmp_path)) == 8


def test_a_read_only_folder_is_named_before_anything_is_trained(
    study: Study, tmp_path: Path
) -> None:
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="Nothing was trained"):
        run_quickly(study, tmp_path)
    assert not calls(tmp_path)


@posix_only
def test_a_finished_study_is_read_from_a_read_only_folder(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results")
        (tmp_path / "results").rename(results)
        (results / "optimization" / ".seed-0.json.0123.tmp").write_text("")
        with as_nobody(Path(folder), *Path(folder).rglob("*")):
            assert len(run_study(study, results, progress=False)) == RUNS
            with pytest.raises(InputError, match="Permission denied"):
                run_study(study, results, seeds=3, progress=False)


def test_an_edited_record_stops_the_study(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    path = next((tmp_path / "results").rglob("seed-0.json"))
    path.write_text(path.read_text().replace("completed", "diverged"))
    before, trained = files(tmp_path / "results"), calls(tmp_path)
    with pytest.raises(InputError, match=rf"{path.parent.name}.seed-0\.json: was changed"):
        run_quickly(study, tmp_path)
    assert (files(tmp_path / "results"), calls(tmp_path)) == (before, trained)


def test_the_progress_line(study: Study, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_quickly(study, tmp_path, variants=["adam"])
    capfd.readouterr()
    run_quickly(study, tmp_path, progress=True)
    line = capfd.readouterr().err
    assert "optimization: 6 runs done, 4 running, 8 left" in line  # adam's were recorded before
    assert "optimization: 18 runs done, 0 running, 0 left" in line
    assert "100 %" in line


# Reproduction


def with_losses_higher(share: float) -> Callable[..., list[Run]]:
    def change(run: Run) -> dict[str, Any]:
        losses = tuple(loss * (1 + share) for loss in run.history.val_loss if loss)
        return {"history": run.history.model_copy(update={"val_loss": losses})}

    return altered(change)


@pytest.fixture
def same_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads here as `make_provenance` says."""
    monkeypatch.setenv("LENET_THREADS", "2")


def test_a_dear_training_is_drawn_in_proportion_to_its_cost() -> None:
    alone, slow, *stack = (Path(name) for name in "abcd")
    runs = {
        path: make_run(provenance=make_provenance(wall_seconds=seconds))
        for path, seconds in ((alone, 30.0), (slow, 270.0))
    }
    drawn = [draw(runs, 1, seed)[0] for seed in range(400)]
    assert 0.86 < drawn.count((alone,)) / 400 < 0.94
    assert draw(runs, 3, 0) == [(alone,), (slow,)]

    recipes = (Recipe(), Recipe(activation="relu"))  # one training of 60 seconds
    provenance = make_provenance(wall_seconds=30.0, stack=recipes)
    of_stack = [make_run(recipe, provenance=provenance) for recipe in recipes]
    runs |= dict(zip(stack, of_stack, strict=True))
    del runs[slow]
    drawn = [draw(runs, 1, seed)[0] for seed in range(400)]
    assert 0.6 < drawn.count((alone,)) / 400 < 0.73
    assert draw(runs, 3, 0) == [(alone,), tuple(stack)]


def test_a_recipe_of_two_studies_is_recorded_once(study: Study, tmp_path: Path) -> None:
    table = run_quickly(study, tmp_path)
    before = files(tmp_path / "results")
    fields = {"name": "schedule", "baseline": "plain"}
    variants = {{"sgd": "plain"}.get(n, n): v for n, v in study.variants.items()}
    other = study.model_copy(update=fields | {"variants": variants})
    trained = (tmp_path / "trained").read_text()
    again = run_quickly(other, tmp_path)
    assert (tmp_path / "trained").read_text() == trained
    assert files(tmp_path / "results") == before
    assert set(again["study"]) == {"schedule"}
    assert "plain" in set(again["variant"])
    same = ["key", "seed", "test_accuracy"]
    pd.testing.assert_frame_equal(again[same], table[same])
    assert len(records.runs_of(again, tmp_path / "results")) == len(table)
    assert len(other.epoch_table(tmp_path / "results")) == len(
        study.epoch_table(tmp_path / "results")
    )


@pytest.mark.usefixtures("same_threads")
def test_what_is_reproduced_holds(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    before = files(tmp_path / "results")
    arguments = {"data_dir": tmp_path, "progress": False, "trainer": train_quickly}
    found = reproduce(tmp_path / "results", sample=100, **arguments)
    assert len(found) == RUNS
    assert all(comparison.held and comparison.same_machine for comparison in found)
    assert files(tmp_path / "results") == before
    some = {c.path for c in reproduce(tmp_path / "results", seed=1, **arguments)}
    assert 3 <= len(some) < RUNS
    assert some != {c.path for c in reproduce(tmp_path / "results", seed=2, **arguments)}


@pytest.mark.usefixtures("same_threads")
def test_all_that_a_training_gives_is_compared(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    log, results = tmp_path / "trained", tmp_path / "results"
    before = len(log.read_text().splitlines())
    how: dict[str, Any] = {"data_dir": tmp_path, "progress": False, "trainer": train_quickly}
    reproduce(results, sample=100, **how)
    assert len(log.read_text().splitlines()) == 2 * before  # no stack was trained twice
    for seed in range(10):
        found = reproduce(results, sample=1, seed=seed, **how)
        *_, of, scored, keys = log.read_text().splitlines()[-1].split(maxsplit=4)
        runs = [records.read(comparison.path) for comparison in found]
        assert {(str(run.seed), str(run.test is not None)) for run in runs} == {(of, scored)}
        assert sorted(run.recipe.key for run in runs) == sorted(keys.split())


def test_a_run_is_reproduced_with_its_number_of_threads(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_quickly(study, tmp_path)
    (tmp_path / "trained").unlink()
    monkeypatch.setenv("LENET_THREADS", "5")
    found = reproduce(
        tmp_path / "results", sample=1, data_dir=tmp_path, progress=False, trainer=train_quickly
    )
    assert all(comparison.held for comparison in found)
    pid, threads, *_ = (tmp_path / "trained").read_text().split()
    assert int(pid) != os.getpid()
    assert threads == "threads=2"
    assert os.environ["LENET_THREADS"] == "5"


@pytest.mark.usefixtures("same_threads")
def test_a_changed_result_is_reported_with_both_numbers(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    how: dict[str, Any] = {"data_dir": tmp_path, "progress": False}
    found = reproduce(tmp_path / "results", trainer=with_losses_higher(1e-15), **how)
    assert not any(comparison.held for comparison in found)
    first = found[0]
    assert first.what == "val_loss, epoch 1"
    assert repr(first.recorded) in str(first)
    assert repr(first.retrained) in str(first)


def again(run: Run, worse: float = 0.0, said: Any = None, **history: Any) -> Run:
    """A second training of a run: with another history, a lower accuracy, on another machine."""
    scores = run.validation.model_copy(update={"accuracy": run.validation.accuracy - worse})
    changes = {"history": run.history.model_copy(update=history), "validation": scores}
    return run.model_copy(update=changes | {"provenance": make_provenance(**said or {})})


@pytest.mark.parametrize(
    ("share", "moved", "held", "rule"),
    [
        (1e-8, 0.2, True, "within 1e-6 after the first epoch"),
        (1e-3, 0.04, True, "as nearly as another seed"),
        (1e-3, 0.06, False, "as nearly as another seed"),
    ],
)
def test_another_machine_may_round_otherwise(
    share: float, moved: float, held: bool, rule: str
) -> None:
    run = make_run(test=None)
    losses = [run.history.val_loss[0] * (1 + share), *[9.0] * 19]
    elsewhere = again(run, moved, {"device": "another processor"}, val_loss=tuple(losses))
    comparison = compare(Path("seed-0.json"), run, elsewhere)
    assert (comparison.same_machine, comparison.held) == (False, held)
    assert rule in str(comparison)


def test_a_run_that_ended_early_elsewhere_is_compared_by_its_end() -> None:
    run = make_run(test=None)
    short = {name: getattr(run.history, name)[:1] for name in type(run.history).model_fields}
    elsewhere = again(run, 0.3, {"device": "another processor"}, **short)
    assert not compare(Path("seed-0.json"), run, elsewhere).held


def test_two_processors_of_one_name_are_two_kinds_of_machine() -> None:
    run = make_run(test=None)
    values = tuple(value * (1 + 1e-8) for value in run.history.val_loss if value)
    rounded = again(run, val_loss=values)
    assert not compare(Path("seed-0.json"), run, rounded).held
    for said in ({"instruction_set": "AVX512_CORE"}, {"onednn": None}, {"settings": {"X": "1"}}):
        other = again(run, said=said)
        assert compare(Path("seed-0.json"), other, rounded).held
        # An older record says nothing of all this; equal digits speak for themselves.
        assert "to the last digit" in str(compare(Path("seed-0.json"), other, run))


def test_other_data_are_no_reproduction() -> None:
    run = make_run()
    comparison = compare(Path("seed-0.json"), run, again(run, said={"dataset_fingerprint": "0"}))
    assert (comparison.held, comparison.what) == (False, "dataset_fingerprint")


def test_reproducing_nothing_is_refused(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path)
    with pytest.raises(InputError, match="no record of schedule"):
        reproduce(tmp_path / "results", study="schedule")
    with pytest.raises(InputError, match="sample: found 0"):
        reproduce(tmp_path / "results", sample=0)


# Real training

REAL = {
    "base": {"activation": "relu", "batch_size": 256},
    "variants": {"sgd": {}, "cosine": {"schedule": "cosine"}},
    "tuning": {"learning_rates": [0.03, 0.1], "epochs": 1, "seeds": [1000]},
    "epochs": 1,
}


@pytest.mark.slow
def test_twenty_kills_of_a_real_study_change_nothing(tmp_path: Path) -> None:
    optimizers = ("adagrad", "rmsprop", "adam", "adamw", "nadam", "lion")
    variants = {"sgd": {}, **{name: {"optimizer": name} for name in optimizers}}
    study = Study.from_yaml(study_file(tmp_path, **{**REAL, "variants": variants, "seeds": 6}))
    command = "import sys; from lenet_study.runner import run_study; "
    command += "from lenet_study.study import Study; "
    command += "run_study(Study.from_yaml(sys.argv[1]), sys.argv[2], progress=False)"
    arguments = [sys.executable, "-c", command, str(tmp_path / "optimization.yaml")]
    start = time.monotonic()
    subprocess.run([*arguments, str(tmp_path / "whole")], check=True)
    expected = study.table(tmp_path / "whole")
    assert len(expected) == 7 * 2 + 7 * 6
    two_runs = 2 * (time.monotonic() - start) / len(expected)

    def recorded() -> int:
        return len(list((tmp_path / "torn").rglob("seed-*.json")))

    dice = random.Random(0)
    for kill in range(20):
        process = subprocess.Popen([*arguments, str(tmp_path / "torn")])
        enough = recorded() + dice.randrange(2)  # one run goes on, the next starts from nothing
        until(lambda enough=enough: recorded() >= enough)
        time.sleep(dice.uniform(0, two_runs))
        assert process.poll() is None, f"done after {kill} kills: too short a test"
        process.kill()
        process.wait()
    assert 0 < len(study.table(tmp_path / "torn")) < len(expected)
    subprocess.run([*arguments, str(tmp_path / "torn")], check=True)

    table = study.table(tmp_path / "torn")
    pd.testing.assert_frame_equal(table.drop(columns=TIMES), expected.drop(columns=TIMES))
    assert files(tmp_path / "torn") == files(tmp_path / "whole")
    whole, torn = (study.epoch_table(tmp_path / name) for name in ("whole", "torn"))
    pd.testing.assert_frame_equal(torn.drop(columns="seconds"), whole.drop(columns="seconds"))
