"""A class shares a study: everybody's seeds are read together, and the interval shrinks."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from examples import MOMENTUM, make_run, run_quickly, train_quickly

from lenet_keras.recipe import InputError
from lenet_study import classroom, records
from lenet_study.runner import run_seeds
from lenet_study.study import Study

STUDY = Study.model_validate({"name": "momentum", **MOMENTUM})


def scored(folder: Path, variant: str, seed: int, accuracy: float, rate: float = 0.1) -> None:
    """Record a run with this test accuracy in one student's folder."""
    run = make_run(STUDY.recipe(variant, rate), seed)
    assert run.test is not None
    run = run.model_copy(update={"test": run.test.model_copy(update={"accuracy": accuracy})})
    records.write(run, folder / f"momentum/{variant}-{run.key}/seed-{seed}.json")


def test_the_interval_shrinks_as_the_folders_come_in(tmp_path: Path) -> None:
    gains = {"ana": (0.02, 0.05), "ben": (0.03, 0.04), "eve": (0.035, 0.03)}
    for place, (student, of_student) in enumerate(gains.items()):
        for seed, gain in enumerate(of_student, start=2 * place):
            scored(tmp_path / student, "plain", seed, 0.5)
            scored(tmp_path / student, "heavy", seed, 0.5 + gain)
    scored(tmp_path / "eve", "heavy", 9, 0.9, rate=0.03)  # tuned otherwise: another recipe
    shutil.copytree(tmp_path / "ana", tmp_path / "zoe")  # the same runs again count once
    (tmp_path / "notes.txt").touch()

    runs = classroom.read(STUDY, tmp_path)
    assert len(runs) == 12
    arrived = classroom.arrivals(runs, "plain")
    assert arrived["student"].tolist() == ["ana", "ben", "eve"]
    assert arrived["seeds"].tolist() == [2, 4, 6]
    assert arrived["difference"].iloc[-1] == pytest.approx(sum(map(sum, gains.values())) / 6)
    widths = (arrived["high"] - arrived["low"]).tolist()
    assert widths == sorted(widths, reverse=True)
    assert "points after 2 seeds" in classroom.told(arrived)
    (axes,) = classroom.shrinking(arrived, "plain")
    assert axes.lines[1].get_xdata().tolist() == [2, 4, 6]
    assert [study.name for study in classroom.trained_by(tmp_path, [STUDY])] == ["momentum"]
    assert classroom.trained_by(tmp_path / "none", [STUDY]) == []


def test_a_class_that_has_begun_has_no_interval_and_a_missing_one_is_named(tmp_path: Path) -> None:
    scored(tmp_path / "ana", "plain", 0, 0.5)
    scored(tmp_path / "ben", "heavy", 0, 0.5)
    arrived = classroom.arrivals(classroom.read(STUDY, tmp_path), "plain")
    assert "no interval so far" in classroom.told(arrived)
    with pytest.raises(InputError, match="Put the class's folders into it"):
        classroom.read(STUDY, tmp_path / "none")


def test_seeds_of_ones_own_train_at_the_rates_that_are_tuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = {"data_dir": tmp_path, "progress": False, "trainer": train_quickly}
    ana = tmp_path / "class" / "ana"
    with pytest.raises(InputError, match=r"no learning rate is tuned at this size for plain"):
        run_seeds(STUDY, range(7, 10), ana, tmp_path / "results", **how)
    assert not ana.exists()
    run_quickly(STUDY, tmp_path)
    before = sorted((tmp_path / "results").rglob("*"))
    runs = run_seeds(STUDY, range(7, 10), ana, tmp_path / "results", **how)
    assert sorted((tmp_path / "results").rglob("*")) == before
    assert runs.groupby("variant")["seed"].agg(list).to_dict() == {
        "plain": [7, 8, 9],
        "heavy": [7, 8, 9],
    }
    rates = STUDY.learning_rates(tmp_path / "results")
    assert {row.variant: row.learning_rate for row in runs.itertuples()} == rates
    assert len(list(ana.rglob("seed-*.json"))) == 6  # nothing was tuned
    assert len(classroom.read(STUDY, tmp_path / "class")) == 6
    again = run_seeds(STUDY, range(7, 10), ana, tmp_path / "results", **how | {"progress": True})
    pd.testing.assert_frame_equal(again, runs)
    assert capsys.readouterr().err == ""  # nothing is trained, so no line of progress is left open
    with pytest.raises(InputError, match="seed 1000 has chosen the learning rates"):
        run_seeds(STUDY, [1000], ana, tmp_path / "results", **how)
