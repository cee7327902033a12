"""Designs: what they confound, which cells they have, and a whole one trained."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import altered, calls, run_quickly, tuned, write_yaml
from hypothesis import given
from hypothesis import strategies as st

from lenet_keras.recipe import InputError, Recipe
from lenet_keras.run import Run
from lenet_study.factorial import NONE, Design, name_of
from lenet_study.stats import LEARNED
from lenet_study.study import Study, beyond, smoothed

FILE = Path(__file__).parent.parent / "configs" / "factorial.yaml"


def factor(field: str, without: Any, with_it: Any) -> dict[str, Any]:
    return {"name": field, "levels": {"without": {field: without}, "with": {field: with_it}}}


CONTENT: dict[str, Any] = {
    "title": "Together",
    "question": "How much does each add?",
    "dataset": "digits",
    "baseline": NONE,
    "factors": {
        "A": factor("activation", "tanh", "relu"),
        "B": factor("pooling", "average", "max"),
        "C": factor("schedule", "constant", "cosine"),
    },
    "generators": {"C": "AB"},
    "also": [NONE],
    "twice": ["abc"],
    "tuning": {
        "learning_rates": [0.01, 0.03, 0.1],
        "epochs": 1,
        "seeds": [1000],
        "interior": True,
        "smoothed": True,
    },
    "seeds": 2,
    "epochs": 2,
}
RUNS = 5 * 3 + 5 * 2 + 2  # cells × rates + cells × seeds + the second time


def design_file(folder: Path, **changes: Any) -> Path:
    return write_yaml(folder / "together.yaml", CONTENT | changes)


def trainer(curve: dict[float, float | None]) -> Any:
    """`train_quickly` with tuning accuracies by learning rate; None, or none given: diverged."""
    return altered(lambda run: {} if run.test else tuned(run, curve.get(run.recipe.learning_rate)))


def run(study: Study, folder: Path, curve: dict[float, float | None]) -> Any:
    return run_quickly(study, folder, trainer=trainer(curve))


INSIDE: dict[float, float | None] = {0.01: 0.5, 0.03: 0.6, 0.1: 0.5}


# The design


def test_the_main_experiment_has_resolution_five() -> None:
    study = Study.from_yaml(FILE)
    assert study.design is not None
    signs = study.design.signs()
    assert signs.shape == (64, 8)
    effects = {letter: signs[letter].to_numpy() for letter in signs}
    effects |= {a + b: effects[a] * effects[b] for a, b in itertools.combinations(list(effects), 2)}
    assert len(effects) == 8 + 28
    matrix = np.column_stack([np.ones(64), *effects.values()])
    np.testing.assert_array_equal(matrix.T @ matrix, 64 * np.eye(37))
    assert study.design.resolution == 5
    assert "abcdefgh" in signs.index
    assert NONE not in signs.index  # a fraction of odd resolution has one of the two ends alone
    assert NONE in study.variants
    singles = {letter.lower() for letter in study.design.factors}
    assert singles <= set(study.variants)


def test_the_main_experiment_asks_for_what_it_says() -> None:
    study = Study.from_yaml(FILE)
    top, base = study.recipe("abcdefgh", 0.01), study.recipe(NONE, 0.01)
    assert top.changes() == {
        **{"activation": "relu", "pooling": "max", "kernel_initializer": "he_normal"},
        **{"optimizer": "adamw", "weight_decay": 0.05, "normalization": "batch"},
        **{"augmentation": ["flip", "shift"], "shift_pixels": 2, "schedule": "warmup_cosine"},
        **{"learning_rate": 0.01, "epochs": 20},
    }
    assert base.changes() == {
        "kernel_initializer": "lecun_normal",
        "momentum": 0.9,
        "learning_rate": 0.01,
        "epochs": 20,
    }
    assert study.recipe("e", 0.01).weight_decay == 0.01
    assert study.grid("d") == pytest.approx(tuple(rate / 10 for rate in study.grid("e")))
    for a, b in itertools.combinations(study.variants, 2):
        differing = set(a.replace(NONE, "")) ^ set(b.replace(NONE, ""))
        assert differing, (a, b)


@given(st.sets(st.sampled_from("ABCDEFGH")))
def test_a_cell_s_name_says_its_factors(letters: set[str]) -> None:
    design = Study.from_yaml(FILE).design
    assert design is not None
    name = name_of(letters)
    signs = design.signs([name]).loc[name]
    assert {letter for letter in signs.index if signs[letter] > 0} == letters


@given(st.data())
def test_every_fraction_is_balanced_and_knows_its_resolution(data: st.DataObject) -> None:
    letters = "ABCDEFG"[: data.draw(st.integers(3, 7))]
    basic = letters[: data.draw(st.integers(2, len(letters)))]
    words = st.sets(st.sampled_from(basic), min_size=2).map(lambda w: "".join(sorted(w)))
    generators = {letter: data.draw(words) for letter in letters if letter not in basic}
    factors = {letter: factor(f"field{letter}", 0, 1) for letter in letters}
    content = {"factors": {k: _known(v, k) for k, v in factors.items()}, "generators": generators}
    if len(set(generators.values())) < len(generators):
        with pytest.raises(ValueError, match="confound the main effects"):
            Design.model_validate(content)
        return
    design = Design.model_validate(content)
    signs = design.signs().to_numpy()
    assert len(signs) == 2 ** len(basic) == len(set(design.fraction()))
    assert not signs.sum(0).any()
    aliased = [
        size
        for size in range(1, len(letters) + 1)
        for chosen in itertools.combinations(range(len(letters)), size)
        if abs(signs[:, chosen].prod(1).sum()) == len(signs)
    ]
    assert min(aliased, default=float("inf")) == design.resolution


def _known(made: dict[str, Any], letter: str) -> dict[str, Any]:
    """A factor of a field of its own that every recipe has."""
    field = list(Recipe.model_fields)["ABCDEFG".index(letter)]
    return {**made, "levels": {level: {field: i} for i, level in enumerate(made["levels"])}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generators": {"C": "A"}}, "confound the main effects of A and C"),
        (
            {
                "factors": {**CONTENT["factors"], "D": factor("dropout", 0.0, 0.1)},
                "generators": {"C": "AB", "D": "AB"},
            },
            "confound the main effects of C and D",
        ),
        ({"generators": {"C": "AX"}}, "no factor 'X'. Allowed: A, B, C"),
        ({"generators": {"B": "AC", "C": "AB"}}, "generators.B: AC holds C, which is generated"),
        ({"generators": {"C": "ABA"}}, "ABA names a factor twice"),
        ({"generators": {"C": ""}}, "generators.C: found ''"),
        (
            {"factors": {"A": {"name": "one", "levels": {"tanh": {"activation": "tanh"}}}}},
            "factors.A: 1 levels (tanh); a factor has two",
        ),
        ({"factors": {"a": factor("activation", "tanh", "relu")}}, "factors.a: found 'a'"),
        ({"factors": {}}, "factors: found {}"),
        (
            {"factors": {"A": factor("activaton", "tanh", "relu")}},
            "factors.A.levels.without: activaton: no such field. Did you mean 'activation'?",
        ),
        (
            {"factors": {**CONTENT["factors"], "B": factor("activation", "elu", "gelu")}},
            "factors.B: sets 'activation', and so does factors.A",
        ),
        (
            {"factors": {**CONTENT["factors"], "B": factor("pooling", "average", "maximum")}},
            "pooling: found 'maximum'",
        ),
        (
            {"factors": {**CONTENT["factors"], "B": factor("pooling", "max", "max")}},
            "are the same recipe",
        ),
        ({"factors": {**CONTENT["factors"], "B": factor("epochs", 1, 2)}}, "'epochs' does not"),
        ({"overrides": {"AX": {"l2": 0.1}}}, "no factor 'X'"),
        ({"overrides": {"AB": {"l3": 0.1}}}, "overrides.AB: l3: no such field"),
        ({"also": ["ba"]}, "also: 'ba' is no cell"),
        ({"also": [NONE, "abc"]}, "also: 'abc' is in the fraction already"),
        ({"also": [NONE, "x"]}, "also: 'x': no factor 'X'"),
        ({"also": [NONE, NONE]}, "also: a cell is given twice"),
        ({"also": []}, "baseline: no variant 'none'"),
        ({"variants": {"x": {}}}, "variants: does not belong here: the factors give them"),
        ({"twice": ["ab"]}, "twice: no variant 'ab'"),
        ({"twice": ["a", "a"]}, "twice: a variant is given twice"),
        ({"generator": {}}, "generator: no such entry. Did you mean 'generators'"),
    ],
)
def test_a_bad_design_is_explained(tmp_path: Path, changes: dict, message: str) -> None:
    path = design_file(tmp_path, **changes)
    with pytest.raises(InputError) as refused:
        Study.from_yaml(path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


# Its runs


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.from_yaml(design_file(tmp_path))


def test_a_design_is_trained_like_any_study(study: Study, tmp_path: Path) -> None:
    assert list(study.variants) == [NONE, "c", "a", "b", "abc"]
    table = run(study, tmp_path, INSIDE)
    assert len(table) == RUNS == study.planned_runs()
    before = calls(tmp_path)
    assert len(run(study, tmp_path, INSIDE)) == RUNS
    assert calls(tmp_path) == before
    assert study.resized(seeds=3).planned_runs() == RUNS + 6


def test_a_recipe_trains_twice_apart_and_seed_by_seed(study: Study, tmp_path: Path) -> None:
    table = run(study, tmp_path, INSIDE)
    final = table[table["purpose"] != "tuning"].set_index(["variant", "seed"])
    assert final.loc[("abc", 1), "key"] == final.loc[("abc-again", 1), "key"]
    assert (final.loc["abc-again", "purpose"] == "again").all()
    assert final.loc[("abc", 1), "stack_size"] == 5
    assert final.loc[("abc-again", 1), "stack_size"] == 1
    assert [(seed, len(keys)) for seed, test, keys in calls(tmp_path) if test] == [
        (0, 5),
        (0, 1),
        (1, 5),
        (1, 1),
    ]
    (lost,) = (tmp_path / "results").rglob("abc-again-*/seed-0.json")
    lost.unlink()
    before = len(calls(tmp_path))
    run(study, tmp_path, INSIDE)
    assert [len(keys) for _, _, keys in calls(tmp_path)[before:]] == [1]


# Grids


@pytest.mark.parametrize(
    ("curve", "grid", "chosen", "says"),
    [
        ({0.01: 0.5, 0.03: 0.6, 0.1: 0.5}, (0.01, 0.03, 0.1), 0.03, None),
        ({0.01: 0.4, 0.03: 0.5, 0.1: 0.6, 0.3: 0.5}, (0.01, 0.03, 0.1, 0.3), 0.1, "0.1 is best"),
        (
            {0.001: 0.3, 0.003: 0.6, 0.01: 0.7, 0.03: 0.6, 0.1: None},
            (0.01, 0.03, 0.1),
            0.01,
            "0.003",
        ),
        (
            {0.01: 0.4, 0.03: 0.5, 0.1: 0.6, 0.3: None},
            (0.01, 0.03, 0.1, 0.3),
            0.1,
            "0.1 is best; at 0.3 nothing was learned",
        ),
        (
            {0.01: 0.4, 0.03: 0.5, 0.1: 0.6, 0.3: 0.1},
            (0.01, 0.03, 0.1, 0.3),
            0.1,
            "at 0.3 nothing was learned",
        ),
        (
            {0.01: 0.1, 0.03: 0.2, 0.1: 0.3, 0.3: 0.4, 1.0: 0.5, 3.0: 0.6, 10.0: 0.7},
            (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
            10.0,
            "10 is best, still at the edge",
        ),
    ],
)
def test_a_grid_grows_until_its_best_is_inside(
    study: Study, tmp_path: Path, curve: dict, grid: tuple, chosen: float, says: str | None
) -> None:
    table = run(study, tmp_path, curve)
    if says == "0.003":
        grid = (0.003, *grid)
    results = tmp_path / "results"
    assert study.grid("a", results) == grid
    assert study.learning_rates(results)["a"] == pytest.approx(chosen, rel=0.02)
    assert study.planned_runs(results_dir=results) == len(table)
    sentences = study.edges(results)
    assert not sentences if says is None else says in sentences[0]
    before = calls(tmp_path)
    run(study, tmp_path, curve)
    assert calls(tmp_path) == before


def test_a_grid_that_grows_goes_on_after_an_interruption(study: Study, tmp_path: Path) -> None:
    curve = {0.01: 0.3, 0.03: 0.4, 0.1: 0.5, 0.3: 0.6, 1.0: 0.5}
    train = trainer(curve)

    def interrupted(recipes: list[Recipe], *arguments: Any) -> list[Run]:
        if max(recipe.learning_rate for recipe in recipes) == 1.0:
            raise KeyboardInterrupt
        return train(recipes, *arguments)

    with pytest.raises(KeyboardInterrupt):
        run_quickly(study, tmp_path, trainer=interrupted)
    assert len(study.table(tmp_path / "results")) == 5 * 4
    assert len(run(study, tmp_path, curve)) == RUNS + 5 * 2


def test_a_listed_variant_that_learns_nothing_keeps_its_grid(tmp_path: Path) -> None:
    listed = {name: CONTENT[name] for name in ("title", "question", "dataset")}
    listed["tuning"] = CONTENT["tuning"] | {"smoothed": False}
    variants = {"zeros": {"kernel_initializer": "zeros"}, "normal": {}}
    listed |= {"variants": variants, "baseline": "zeros", "seeds": 2, "epochs": 2}
    study = Study.from_yaml(write_yaml(tmp_path / "listed.yaml", listed))
    table = run(study, tmp_path, dict.fromkeys(INSIDE, 0.1))
    assert len(table) == 2 * 3 + 2 * 2
    assert study.learning_rates(tmp_path / "results") == {"zeros": 0.01, "normal": 0.01}


@pytest.mark.parametrize("accuracy", [None, 0.1])
def test_a_cell_that_learns_at_no_rate_is_named_and_nothing_is_lost(
    study: Study, tmp_path: Path, accuracy: float | None
) -> None:
    def change(run: Run) -> dict[str, Any]:
        if run.recipe.activation == "relu" and run.recipe.pooling == "average":
            return tuned(run, accuracy)
        return {} if run.test else tuned(run, INSIDE.get(run.recipe.learning_rate))

    def again() -> None:
        run_quickly(study, tmp_path, trainer=altered(change))

    with pytest.raises(InputError, match=r"no learning rate trains a \(.*0\.01, 0\.03, 0\.1\)"):
        again()
    table = study.table(tmp_path / "results")
    assert set(table.loc[table["purpose"] != "tuning", "variant"]) == {
        NONE,
        "c",
        "b",
        "abc",
        "abc-again",
    }
    before = calls(tmp_path)
    with pytest.raises(InputError, match=re.escape("give what is named here another grid")):
        again()
    assert calls(tmp_path) == before


@given(st.integers(-5, 3), st.integers(3, 6), st.booleans())
def test_a_grid_of_half_decades_goes_on_in_half_decades(
    start: int, length: int, from_three: bool
) -> None:
    rates = [float(f"{digit}e{start + i}") for i in range(5) for digit in (1, 3)][from_three:]
    assert beyond(rates[:length]) == pytest.approx(rates[length])
    assert beyond(rates[1 : length + 1][::-1]) == pytest.approx(rates[0])


@given(
    st.lists(st.floats(LEARNED, 1), min_size=2, max_size=7), st.integers(-4, 0), st.floats(0, 0.1)
)
def test_the_smoothed_rate_lies_within_the_grid_and_among_the_best(
    accuracies: list[float], start: int, shift: float
) -> None:
    rates = [10.0 ** (start + i / 2) for i in range(len(accuracies))]
    curve = dict(zip(rates, accuracies, strict=True))
    chosen = smoothed(curve)
    near = [rate for rate, value in curve.items() if value > max(accuracies) - 0.1]
    assert 0.9 * min(near) <= chosen <= 1.1 * max(near)
    lower = {rate: value - shift for rate, value in curve.items()}
    assert smoothed(lower) == pytest.approx(chosen, rel=0.1)
    assert smoothed({**curve, rates[-1] * 3: -np.inf}) == chosen


def test_the_smoothed_rate_of_a_peak_and_of_a_plateau() -> None:
    assert smoothed({0.01: 0.5, 0.1: 0.7, 1.0: 0.5}) == 0.1
    assert smoothed({0.01: 0.5, 0.1: 0.7, 1.0: 0.7}) == 0.32
    assert smoothed({0.1: -np.inf, 0.01: -np.inf}) == 0.01


def test_studies_without_a_word_on_it_choose_as_before(tmp_path: Path) -> None:
    tuning = {"learning_rates": [0.01, 0.03, 0.1], "epochs": 1, "seeds": [1000]}
    plain = Study.from_yaml(design_file(tmp_path, tuning=tuning, twice=[]))
    run(plain, tmp_path, {0.01: 0.4, 0.03: 0.6, 0.1: 0.6})
    assert set(plain.learning_rates(tmp_path / "results").values()) == {0.03}
