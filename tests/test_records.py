"""Records: what was written comes back, and nothing else does."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from examples import make_run, posix_only
from here import as_nobody, no_file_above
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lenet_keras.recipe import InputError, Recipe
from lenet_keras.run import History, Provenance, Run, Scores
from lenet_study import records
from lenet_study.records import Location

floats = st.floats(allow_nan=False, allow_infinity=False)
recipes = st.builds(
    Recipe,
    learning_rate=st.floats(1e-9, 1e3),
    activation=st.sampled_from(["tanh", "silu"]),
    augmentation=st.sampled_from([(), ("flip",), ("shift", "mixup")]),
    epochs=st.integers(1, 500),
)
scores = st.builds(
    Scores, loss=st.none() | floats, accuracy=floats, calibration_error=st.none() | floats
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    length = draw(st.integers(0, 4))
    column = st.lists(floats, min_size=length, max_size=length).map(tuple)
    return History(**{name: draw(column) for name in History.model_fields})


runs = st.builds(
    Run,
    schema_version=st.just(records.SCHEMA_VERSION),
    recipe=recipes,
    seed=st.integers(0, 2**40),
    history=histories(),
    train=scores,
    validation=scores,
    test=st.none() | scores,
    kernel_quantiles=st.dictionaries(
        st.text(max_size=5), st.lists(st.none() | floats, max_size=3).map(tuple), max_size=3
    ),
    provenance=st.builds(
        Provenance,
        stack=st.lists(recipes, max_size=3).map(tuple),
        wall_seconds=floats,
        git_commit=st.none() | st.text(),
    ),
)


def place(results: Path, run: Run, variant: str = "sgd", study: str = "optimization") -> Path:
    purpose = "tuning" if run.test is None else "final"
    path = Location(study, purpose, variant, run.key, run.seed).path(results)
    records.write(run, path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(run=runs)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_run_survives(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.unlink(missing_ok=True)
    records.write(run, path)
    assert records.read(path) == run


@given(data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_is_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    if not path.exists():
        records.write(make_run(), path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    changed = tmp_path / "changed.json"
    changed.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(changed))):
        records.read(changed)


def test_a_record_is_small_and_readable(tmp_path: Path) -> None:
    path = place(tmp_path, make_run())
    text = path.read_text()
    assert len(text) < 8000
    assert json.loads(text)["recipe"]["learning_rate"] == 0.05
    assert '"loss": [' in text
    assert text.count("\n") < 130  # a line a list, not a line a number
    assert path.parts[-2:] == (f"sgd-{make_run().key}", "seed-0.json")


def test_a_stack_is_written_as_what_differs_from_the_run(tmp_path: Path) -> None:
    # Not from the defaults: those may change, and a record must not change its meaning with them.
    run = make_run()
    stack = json.loads(place(tmp_path, run).read_text())["provenance"]["stack"]
    assert stack[:2] == [{"learning_rate": 0.1}, {"learning_rate": 0.2}]


def test_line_ends_of_another_system_are_no_change(tmp_path: Path) -> None:
    path = place(tmp_path, make_run())
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert records.read(path) == make_run()


def test_a_record_is_never_changed(tmp_path: Path) -> None:
    path = place(tmp_path, make_run())
    before = path.read_bytes()
    other = make_run(status="diverged")
    with pytest.raises(records.RecordExistsError, match="never changed"):
        records.write(other, path)
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_without_hard_links_a_record_is_not_replaced_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("this file system knows no hard links")

    monkeypatch.setattr(os, "link", no_links)
    path = place(tmp_path, make_run())
    assert records.read(path) == make_run()
    with pytest.raises(records.RecordExistsError):
        records.write(make_run(status="diverged"), path)
    assert names(path.parent) == [path.name]


def test_numbers_that_are_not_finite_become_none(tmp_path: Path) -> None:
    run = make_run(kernel_quantiles={"C1": (float("nan"), 1.0, float("inf"))})
    path = place(tmp_path, run)
    assert "NaN" not in path.read_text()
    assert records.read(path).kernel_quantiles == {"C1": (None, 1.0, None)}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"schema_version": 1, "recipe"', "not JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b"[1]", "schema_version"),
        (b'{"schema_version": 7}', "written by schema 7; this version reads 1"),
        (b'{"schema_version": 1}', "changed after it was written"),
    ],
)
def test_what_is_no_record_is_refused_by_name(tmp_path: Path, found: bytes, message: str) -> None:
    path = tmp_path / "seed-0.json"
    path.write_bytes(found)
    with pytest.raises(InputError, match=message) as refused:
        records.read(path)
    assert str(path) in str(refused.value)


def test_an_edited_number_is_refused(tmp_path: Path) -> None:
    path = place(tmp_path, make_run())
    path.write_text(path.read_text().replace('"learning_rate": 0.05', '"learning_rate": 0.06'))
    with pytest.raises(InputError, match="changed after it was written"):
        records.table(tmp_path)


def rendered(content: dict) -> str:
    """A file with a digest that fits, as a program that forges records would write it."""
    body = records._json(content)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return body.removesuffix("\n}") + f',\n  "digest": "{digest}"\n}}\n'


def test_a_key_that_is_not_the_recipes_is_refused(tmp_path: Path) -> None:
    path = place(tmp_path, make_run())
    content = json.loads(path.read_text())
    del content["digest"]
    path.write_text(rendered(content))
    assert records.read(path) == make_run()
    path.write_text(rendered(content | {"key": "0123456789"}))
    with pytest.raises(InputError, match="its key is 0123456789"):
        records.read(path)
    path.write_text(rendered(content | {"best_epoch": "soon"}))
    with pytest.raises(InputError, match="does not fit schema 1: best_epoch"):
        records.read(path)


@pytest.mark.parametrize("moved", ["seed-1.json", "../sgd-0123456789/seed-0.json"])
def test_a_record_on_another_runs_path_is_refused(tmp_path: Path, moved: str) -> None:
    path = place(tmp_path, make_run())
    (path.parent.parent / "sgd-0123456789").mkdir()
    target = (path.parent / moved).resolve()
    path.rename(target)
    with pytest.raises(InputError, match="the path speaks of"):
        records.read(target)


def test_a_tuning_run_is_no_final_run(tmp_path: Path) -> None:
    tuning = place(tmp_path, make_run(test=None))
    assert tuning.parent.parent.name == "tuning"
    final = tmp_path / "optimization" / tuning.parent.name
    shutil.copytree(tuning.parent, final)
    with pytest.raises(InputError, match="holds the tuning run"):
        records.table(tmp_path, purpose="final")


def test_a_name_that_no_record_has_is_refused(tmp_path: Path) -> None:
    path = place(tmp_path, make_run())
    path.parent.rename(path.parent.with_name("sgd"))
    with pytest.raises(InputError, match="<variant>-<ten digits of the key>"):
        records.table(tmp_path)


@given(
    location=st.builds(
        Location,
        study=st.from_regex(r"[a-z]{1,8}", fullmatch=True).filter(lambda name: name != "tuning"),
        purpose=st.sampled_from(["final", "tuning"]),
        variant=st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,8}", fullmatch=True),
        key=st.from_regex(r"[0-9a-f]{10}", fullmatch=True),
        seed=st.integers(0, 10**6),
    )
)
def test_a_path_says_where_it_came_from(location: Location) -> None:
    assert Location.of(location.path(Path("results"))) == location


@posix_only
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "optimization", f"sgd-{make_run().key}")
        results.mkdir(parents=True)
        read_only = (results, results.parent, Path(folder))
        with as_nobody(*read_only), pytest.raises(InputError, match="Permission denied") as refused:
            records.write(make_run(), results / "seed-0.json")
        assert "seed-0.json" in str(refused.value)
        assert not names(results)


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        place(tmp_path / "results", make_run())
    with pytest.raises(InputError, match="no such folder"):
        records.table(tmp_path / "results")


@posix_only
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with no_file_above(1000), pytest.raises(InputError, match="Nothing was changed"):
        place(tmp_path, make_run())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_leftovers_are_no_records_and_can_be_removed(tmp_path: Path) -> None:
    path = place(tmp_path, make_run())
    leftover = path.with_name(f".{path.name}.0123.tmp")
    leftover.write_bytes(path.read_bytes()[:100])
    assert len(records.table(tmp_path)) == 1
    assert records.leftovers(tmp_path) == [leftover]
    records.remove_leftovers(tmp_path)
    assert names(path.parent) == [path.name]


def test_the_tables(tmp_path: Path) -> None:
    adam = Recipe(optimizer="adam", dataset="digits", epochs=3, augmentation=("flip", "shift"))
    diverged = Scores(loss=None, accuracy=0.1, calibration_error=None)
    first = make_run()
    place(tmp_path, first)
    place(tmp_path, make_run(adam, seed=2, train=diverged, status="diverged"), "adam")
    place(tmp_path, make_run(seed=1000, test=None))
    place(tmp_path, make_run(seed=1), study="schedule")

    table = records.table(tmp_path)
    assert set(Recipe.model_fields) < set(table.columns)
    assert table[["study", "variant", "purpose", "seed"]].values.tolist() == [
        ["optimization", "adam", "final", 2],
        ["optimization", "sgd", "final", 0],
        ["optimization", "sgd", "tuning", 1000],
        ["schedule", "sgd", "final", 1],
    ]
    assert table["augmentation"].tolist() == ["flip,shift", "none", "none", "none"]
    row = table.iloc[1]
    assert (row["test_loss"], row["val_accuracy"]) == (first.test.loss, first.validation.accuracy)
    assert (row["seconds"], row["epochs_run"], row["stack_size"]) == (9.5, 20, 8)
    assert np.isnan(table["train_loss"][0])
    assert np.isnan(table["test_accuracy"][2])
    assert table["train_loss"].dtype == float

    assert len(records.table(tmp_path, study="optimization", purpose="final")) == 2
    assert records.table(tmp_path, optimizer="adam", epochs=3)["variant"].tolist() == ["adam"]
    assert [run.seed for run in records.runs_of(table[::-1], tmp_path)] == [1, 1000, 0, 2]
    with pytest.raises(InputError, match="Did you mean 'optimizer'"):
        records.table(tmp_path, optimiser="adam")

    epochs = records.epoch_table_of(records.find(tmp_path))
    assert epochs["epoch"].tolist() == [1, 2, 3, *range(1, 21), *range(1, 21), *range(1, 21)]
    assert epochs.columns.tolist() == [
        *["study", "variant", "purpose", "seed", "key", "epoch"],
        *["loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"],
    ]


def test_no_table_calls_images_that_were_trained_on_validation(tmp_path: Path) -> None:
    run = make_run(make_run().recipe.replace(train_on="train_and_validation"))
    place(tmp_path, run)
    (row,) = records.table(tmp_path).to_dict("records")
    assert row["train_accuracy"] == run.train.accuracy
    assert row["test_accuracy"] == run.test.accuracy
    assert np.isnan([row["val_loss"], row["val_accuracy"], row["val_calibration_error"]]).all()
    epochs = records.epoch_table_of(records.find(tmp_path))
    assert epochs[["val_loss", "val_accuracy"]].isna().all(axis=None)
    assert epochs[["loss", "accuracy", "learning_rate"]].notna().all(axis=None)


def test_an_empty_table_has_all_columns(tmp_path: Path) -> None:
    assert records.table(tmp_path).columns.tolist() == (
        records.table_of([place(tmp_path, make_run())]).columns.tolist()
    )


def test_folders_are_merged_by_copying(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for seed in range(3):
        place(here, make_run(seed=seed))
        place(there, make_run(seed=seed + 2))  # seed 2 on both
    apart = [records.table(here), records.table(there)]
    shutil.copytree(here, there, dirs_exist_ok=True)
    together = records.table(there)
    expected = pd.concat(apart).drop_duplicates().sort_values("seed", ignore_index=True)
    pd.testing.assert_frame_equal(together, expected)


def test_a_run_is_found_under_another_study_s_name_but_not_as_a_repetition(tmp_path: Path) -> None:
    run = make_run()
    asked = Location("schedule", "final", "constant", run.key, run.seed)
    repeated = place(tmp_path, run, variant="sgd-again", study="activation")
    assert asked.found(tmp_path) is None
    again = Location("schedule", "again", "constant-again", run.key, run.seed)
    assert again.found(tmp_path) == repeated
    later = place(tmp_path, run, study="regularization")
    assert asked.found(tmp_path) == later
    assert asked.found(tmp_path) != place(tmp_path, run, study="optimization")
    assert asked.found(tmp_path) == tmp_path / "optimization" / f"sgd-{run.key}" / "seed-0.json"
    assert Location("x", "tuning", "sgd", run.key, run.seed).found(tmp_path) is None
    own = place(tmp_path, run, variant="constant", study="schedule")
    assert asked.found(tmp_path) == own
