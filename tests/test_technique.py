"""What a notebook opens: caption, table and what is saved come from one object."""

from pathlib import Path

import pytest
from examples import MOMENTUM, train_quickly, write_yaml
from matplotlib import pyplot as plt

from lenet_keras.recipe import InputError, Recipe
from lenet_study import runner, stats
from lenet_study.study import Study
from lenet_study.technique import Technique, bases, difference, open_technique

CONTENT = MOMENTUM | {
    "dataset": "cifar10",
    "variants": {"plain": {}, "momentum": {"momentum": 0.9}},
    "tuning": {"learning_rates": [0.01, 0.1], "epochs": 2, "seeds": [1000]},
    "seeds": 3,
    "epochs": 4,
}


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "configs").mkdir()
    write_yaml(tmp_path / "configs" / "momentum.yaml", CONTENT)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    return lambda **size: open_technique("momentum", **size)


def test_a_rehearsal_adds_nothing_to_the_records_of_the_studies(
    opened, tmp_path: Path, quickly: None
) -> None:
    opened().runs()
    kept = sorted((tmp_path / "results").rglob("*"))
    smaller, shorter = opened(seeds=2), opened(epochs=1)
    assert smaller.results_dir == "../results"  # all that it needs is there
    assert opened(epochs=1, results_dir="../elsewhere").results_dir == "../elsewhere"
    assert len(smaller.runs()) == 2 * (2 + 2)
    assert len(shorter.runs()) == 2 * (2 + 3)
    assert sorted((tmp_path / "results").rglob("*")) == kept
    assert len(list((tmp_path / "runs/rehearsal").rglob("seed-*.json"))) == 2 * (2 + 3)


@pytest.fixture
def quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is trained by `train_quickly`."""
    monkeypatch.setattr(
        runner, "train_group", lambda *arguments: train_quickly(*arguments[:3], tmp_path)
    )


def text(technique: Technique, **arguments: object) -> str:
    figure, axes = plt.subplots()
    technique.show(axes, **arguments)  # type: ignore[arg-type]
    return figure.get_supxlabel()


def test_a_figure_of_the_study_is_saved_and_that_of_a_rehearsal_is_not(
    opened, tmp_path: Path
) -> None:
    assert text(opened(), name="curves") == "CIFAR-10, 4 epochs, 3 seeds"
    assert text(opened(seeds=2), name="fewer") == (
        "CIFAR-10, 4 epochs, 2 seeds: a rehearsal, not the study"
    )
    assert text(opened(dataset="digits"), name="digits").endswith("a rehearsal, not the study")
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "curves.png",
        "curves.svg",
    ]


def test_a_file_of_ones_own_has_its_own_size_unless_the_notebook_asks_for_another(
    opened, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    own = CONTENT | {"dataset": "digits", "epochs": 1}  # tuned for longer
    write_yaml(tmp_path / "runs/mine.yaml", own)
    as_it_stands = {"dataset": "cifar10", "epochs": 4, "config": "runs/mine.yaml"}
    mine = opened(**as_it_stands)
    assert mine.own
    assert mine.recorded
    assert (mine.study.dataset, mine.study.epochs) == ("digits", 1)
    assert mine.figures_dir == "../runs/mine/figures"
    assert opened(**as_it_stands | {"epochs": 3}).study.epochs == 3
    with pytest.raises(InputError, match="optimization: there is no such file here"):
        opened(config="optimization")


def test_a_figure_says_which_runs_it_shows(opened) -> None:
    assert text(opened(), of="tuning") == "CIFAR-10, 2 epochs, 1 seed"
    assert text(opened(epochs=1), of="tuning").startswith("CIFAR-10, 1 epoch, 1 seed: a rehearsal")
    assert text(opened(), of="first seed") == "CIFAR-10, 4 epochs, 1 seed"
    assert text(opened(), of="no run") == "CIFAR-10"
    assert text(opened(), longest=9) == "CIFAR-10, 4 to 9 epochs, 3 seeds"


def test_what_is_missing_is_trained(opened, tmp_path: Path, quickly: None) -> None:
    technique = opened(seeds=2)
    assert len(technique.runs(["plain"])) == 2 + 2
    assert set(technique.history()["variant"]) == {"plain"}
    assert len(technique.runs()) == 2 * (2 + 2)
    assert list(technique.colours) == ["plain", "momentum"]


def test_the_card_says_what_is_compared_and_what_it_costs(
    opened, tmp_path: Path, quickly: None
) -> None:
    card = opened().card()
    assert "`plain`, which is the network of [00](00_baseline.ipynb) itself" in card
    assert "2 variants: `momentum` (0, 0.9)" in card
    assert "2 rates, 0.01 to 0.1: by validation accuracy after 2 epochs, with seed 1000" in card
    assert "10 runs take an unknown time" in card
    assert "rehearsal" not in card
    assert not (tmp_path / "results").exists(), "a card trained"
    assert opened(seeds=2).card().startswith("> **A rehearsal, not the study.**")
    assert "8 runs take a few seconds each" in opened(quick=True).card()

    technique = opened(seeds=3)
    technique.runs()
    # A made-up run's epochs take 0, 1, 2, 3 seconds: the median is 1.5.
    assert "1.5 seconds a model and epoch" in technique.card()
    assert "all 10 runs take about 50 seconds" in technique.card()  # 2 x (2 x 2 + 3 x 4) epochs
    for same in (technique, opened(seeds=2), opened(quick=True)):  # what an exercise asks for
        assert same.cost(variants=100) == "about 40 minutes"
        assert same.cost(variants=1000, epochs=2, tuned=False) == "about 2.5 hours"


def test_few_seeds_give_no_verdict(opened, tmp_path: Path, quickly: None) -> None:
    for seeds, verdict in ((3, "no verdict"), (5, "Not told apart")):
        technique = opened(seeds=seeds)
        runs = technique.runs()
        summary = stats.summary(runs, technique.history(), "plain", [0.5])
        told = technique.verdicts(summary, runs)
        assert verdict in told
        assert ("The same 5 seeds chose it" in told) == (seeds == 5)


def test_the_bases_are_differences_from_the_baseline() -> None:
    configs = Path(__file__).parent.parent / "configs"
    first, second = (Study.from_yaml(configs / f"{n}.yaml") for n in ("initialization", "schedule"))
    assert difference(first.recipe(first.baseline, 0.3)) == difference(Recipe()) == {}
    assert "| the network of [00](00_baseline.ipynb) itself |" in bases([first])
    assert "with `activation: relu`, `pooling: max`," in bases([second])


def test_quick_trains_three_variants_on_the_digits_and_says_so(
    opened, tmp_path: Path, quickly: None
) -> None:
    more = {f"nesterov-{m}": {"momentum": m, "nesterov": True} for m in (0.5, 0.7, 0.9)}
    content = CONTENT | {"variants": {**CONTENT["variants"], **more}, "twice": ["plain"]}
    content |= {"quick": ["nesterov-0.9", "nesterov-0.5"]}
    file = tmp_path / "configs" / "momentum.yaml"
    write_yaml(file, content)
    technique = opened(quick=True)
    runs = technique.runs()
    assert set(runs["variant"]) == {"plain", "nesterov-0.5", "nesterov-0.9"}
    assert len(runs) == 3 * (2 + 2)
    assert set(runs["dataset"]) == {"digits"}
    assert set(technique.history()["variant"]) == set(runs["variant"])
    assert technique.trained("plain", "nesterov-0.9")
    assert not technique.trained("plain", "momentum")
    assert technique.colours == opened().colours  # one colour a variant, here too
    assert "Of 5 variants it has 3." in technique.card()
    assert text(technique, name="quick").endswith("a rehearsal, not the study")
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "figures").exists()

    write_yaml(file, content | {"quick": ["nesterov"]})
    with pytest.raises(InputError, match="quick: no variant 'nesterov'"):
        opened(quick=True)
