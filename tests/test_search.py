"""A search draws, narrows and remembers, and never sees the test set."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import calls, train_quickly, write_yaml

from lenet_keras.data import load_data
from lenet_keras.model import lenet5
from lenet_keras.recipe import InputError, read_recipe
from lenet_study import runner
from lenet_study.search import Search
from lenet_study.study import Study

ROOT = Path(__file__).parent.parent
CONTENT: dict[str, Any] = {
    "title": "A search",
    "question": "Which recipe?",
    "dataset": "digits",
    "base": {"optimizer": "adamw", "batch_size": 64},
    "families": {
        "plain": {},
        "flipped": {"augmentation": ["flip"], "learning_rate": {"low": 0.02, "high": 0.03}},
    },
    "members": {
        "learning_rate": {"low": 0.001, "high": 0.01},
        "activation": ["relu", "silu"],
    },
    "stages": [
        {"recipes": 8, "epochs": 1, "seeds": [2000]},
        {"recipes": 3, "epochs": 2, "seeds": [2000, 2001]},
        {"recipes": 1, "epochs": 3, "seeds": [2002]},
    ],
}
TRIALS = 8 + 3 * 2 + 1


def search_in(folder: Path, **changes: Any) -> Search:
    return Search.from_yaml(write_yaml(folder / "search.yaml", CONTENT | changes))


def run_quickly(search: Search, folder: Path) -> Any:
    return search.run(folder / "results", data_dir=folder, progress=False, trainer=train_quickly)


def test_recipes_are_drawn_within_the_space_and_the_same_each_time(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    recipes = search.candidates()
    assert recipes == search_in(tmp_path).candidates()
    assert recipes != search_in(tmp_path, drawing_seed=1).candidates()
    assert len(set(recipes)) == 8
    assert all(0.001 <= recipe.learning_rate <= 0.01 for recipe in recipes[::2])
    assert all(0.02 <= recipe.learning_rate <= 0.03 for recipe in recipes[1::2])
    assert {recipe.activation for recipe in recipes} == {"relu", "silu"}
    assert [recipe.augmentation for recipe in recipes] == [(), ("flip",)] * 4


def test_the_best_of_a_stage_are_trained_for_longer(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    trials = run_quickly(search, tmp_path)
    assert trials["stage"].tolist() == [1] * 8 + [2] * 6 + [3]
    first = trials[trials["stage"] == 1].sort_values("val_accuracy", ascending=False)
    second = trials[trials["stage"] == 2]
    assert set(second["learning_rate"]) == set(first["learning_rate"].head(3))
    means = second.groupby("learning_rate")["val_accuracy"].mean()
    winner = search.winner(tmp_path / "results")
    assert winner.learning_rate == means.idxmax()
    assert winner.epochs == 3
    assert trials["spent"].iloc[-1] == 8 * 1 + 6 * 2 + 3
    assert (trials["family"] == "flipped").equals(trials["augmentation"] == "flip")
    assert trials.groupby("trial")["learning_rate"].nunique().tolist() == [1] * 8


def test_what_is_recorded_is_not_trained_again(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    run_quickly(search, tmp_path)
    trained = calls(tmp_path)
    assert sum(len(keys) for _, _, keys in trained) == TRIALS
    gone = sorted((tmp_path / "results").rglob("stage-2-*/seed-2001.json"))[0]
    run_quickly(search, tmp_path)
    assert calls(tmp_path) == trained
    gone.unlink()
    again = run_quickly(search, tmp_path)
    (new,) = calls(tmp_path)[len(trained) :]  # the lost run, with those it was trained beside
    assert new in trained
    assert gone.exists()
    assert len(again) == TRIALS
    assert not any(score_test for _, score_test, _ in calls(tmp_path))


def test_the_search_never_touches_the_test_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable = dataclasses.replace(load_data("digits"), test=None)
    monkeypatch.setattr(runner, "_dataset", lambda *_: unreadable)
    flipped = {"flipped": {"augmentation": ["flip"]}}  # whose final runs see mirror images too
    stages = [{"recipes": 2, "epochs": 1, "seeds": [2000]}]
    search = search_in(tmp_path, families=flipped, stages=stages)
    trials = search.run(tmp_path / "results", progress=False)
    assert len(trials) == 2
    assert trials["test_accuracy"].isna().all()


def test_a_final_run_would_touch_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable = dataclasses.replace(load_data("digits"), test=None)
    monkeypatch.setattr(runner, "_dataset", lambda *_: unreadable)
    recipe = search_in(tmp_path).candidates()[0]
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'images'"):
        runner.train_group([recipe], 0, True, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": {}}, "families: found {}; dictionary should have at least 1"),
        ({"members": {"learning_rate": {"low": 1, "high": 0.1}}}, "low 1.0 is not below high 0.1"),
        ({"stages": [CONTENT["stages"][2], CONTENT["stages"][0]]}, "stages: [1, 8] recipes"),
        ({"members": {"learning_rat": [0.1]}}, "Did you mean 'learning_rate'"),
        ({"seeds": 3}, "seeds: no such entry"),
        ({"name": "../elsewhere"}, "name: a search is called after its file"),
        (
            {"base": {"train_on": "train_and_validation"}},
            "families.plain: train_on 'train_and_validation' leaves no images to choose by",
        ),
        ({"members": {"activation": []}}, "should have at least 1 item"),
        ({"members": {"learning_rate": {"low": 1, "high": float("inf")}}}, "finite number"),
        ({"stages": [{"recipes": 8, "epochs": 1, "seeds": [1, 1]}]}, "a seed is given twice"),
        ({"members": {"activation": ["relu", "silu"]}, "families": {"one": {}}}, "seems to hold 2"),
    ],
)
def test_a_bad_search_file_is_explained(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        search_in(tmp_path, **changes)
    assert message in str(error.value)


def test_the_best_recipe_and_the_ladders_upper_rungs_are_what_was_found() -> None:
    best = read_recipe(ROOT / "configs" / "best.yaml")
    first, second = (
        Search.from_yaml(ROOT / "configs" / f"{name}.yaml").winner(ROOT / "results")
        for name in ("search", "search_teachers")
    )
    ladder = Study.from_yaml(ROOT / "configs" / "ladder.yaml")
    *_, longer, taught, chosen, top = (
        ladder.recipe(rung, ladder.grid(rung)[0]) for rung in ladder.variants
    )
    assert longer == first.replace(epochs=longer.epochs)
    assert taught == second.replace(epochs=taught.epochs)
    assert top == best == chosen.replace(train_on="train_and_validation")
    students = json.loads((ROOT / "screening" / "rates.json").read_text())["students"]
    accuracy: dict[tuple, list[float]] = {}
    for student in students:
        if student["round"] == 2:
            key = (student["ensemble"], student["share"], student["rate"], student["decay"])
            accuracy.setdefault(key, []).extend(student["validation_accuracy"])
    ensemble, share, rate, decay = max(accuracy, key=lambda key: np.mean(accuracy[key]))
    assert ensemble == f"{second.teachers} x {second.teacher_epochs}"
    screened = {"learning_rate": rate, "weight_decay": decay}
    for field, factor in screened.items():  # three digits of it
        assert getattr(best, field) == pytest.approx(getattr(second, field) * factor, rel=0.005)
    before = {field: getattr(second, field) for field in (*screened, "teacher_share")}
    assert best.teacher_share == share
    assert chosen.replace(**before) == taught
    undone = Study.from_yaml(ROOT / "configs" / "leave_one_out.yaml")
    kept = undone.recipe(undone.baseline, first.learning_rate)
    assert kept == first.replace(epochs=undone.epochs)
    assert lenet5(best).count_params() == 62_910
