"""What cells say: against worked examples of textbooks, and against 2,000 simulated studies."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from examples import run_table
from scipy import stats as scipy_stats

from lenet_keras.recipe import InputError, Recipe
from lenet_study import factorial, stats
from lenet_study.factorial import NONE, Design, name_of

STUDIES = 2000


def design(letters: str, generators: dict[str, str] | None = None, also: Any = ()) -> Design:
    """A design whose factors set some field or other."""
    fields = zip(letters, Recipe.model_fields, strict=False)
    factors = {
        letter: {"name": letter, "levels": {"without": {field: 0}, "with": {field: 1}}}
        for letter, field in fields
    }
    return Design.model_validate(
        {"factors": factors, "generators": generators or {}, "also": tuple(also)}
    )


def table(values: Any, cells: list[str]) -> pd.DataFrame:
    return pd.DataFrame(np.asarray(values, float), index=pd.Index(cells, name="variant"))


# Worked examples

# Montgomery 2013, Design and analysis of experiments, sections 6.2 and 7.2: a chemical process at
# two concentrations (A) and two amounts of catalyst (B), in three batches, which are blocks.
PROCESS = table([[28, 25, 27], [36, 32, 32], [18, 19, 23], [31, 30, 29]], [NONE, "a", "b", "ab"])


def test_effects_of_montgomery_s_process_in_three_blocks() -> None:
    effects = factorial.effects(design("AB"), PROCESS)
    assert effects["effect"].to_dict() == pytest.approx(
        {"A": 8.33, "B": -5.00, "AB": 1.67}, abs=0.005
    )
    assert set(effects["seeds_df"]) == {6}
    # Table 7.2 gives 0.0004, 0.0053 and 0.2060, from F = 50.32, 18.12 and 2.01; error mean square
    # 4.14 on 6 degrees of freedom, so the standard error of an effect is sqrt(4.14 / 3).
    assert effects["seeds_p"].to_dict() == pytest.approx(
        {"A": 0.0004, "B": 0.0053, "AB": 0.2060}, abs=0.0004
    )
    half = scipy_stats.t.ppf(0.975, 6) * np.sqrt(4.14 / 3)
    width = (effects["seeds_high"] - effects["seeds_low"]) / 2
    assert width.to_numpy() == pytest.approx([half] * 3, rel=1e-3)
    assert effects[["low", "high", "p", "p_holm"]].isna().all(axis=None)  # four cells, four numbers


def test_lack_of_fit_of_montgomery_s_process() -> None:
    # Without the interaction in the model, its F of Table 7.2 is that of the lack of fit.
    lack = factorial.lack_of_fit(design("AB"), PROCESS, order=1)
    assert (lack.df, lack.df_runs) == (1, 6)
    assert lack.f == pytest.approx(2.01, abs=0.005)
    assert lack.p == pytest.approx(0.2060, abs=0.0004)
    assert lack.runs == pytest.approx(np.sqrt(4.14), rel=1e-3)


# Box, Hunter & Hunter, Statistics for experimenters (1978, chapter 12; 2005, chapter 6): the
# reactor, all 32 runs in standard order, A changing fastest, and a half of them, E = ABCD.
REACTOR = [
    *(61, 53, 63, 61, 53, 56, 54, 61, 69, 61, 94, 93, 66, 60, 95, 98),
    *(56, 63, 70, 65, 59, 55, 67, 65, 44, 45, 78, 77, 49, 42, 81, 82),
]


def test_effects_of_the_reactor_of_box_hunter_and_hunter() -> None:
    full = design("ABCDE")
    reactor = table(np.array(REACTOR)[:, None] * [1.0, 1.0], full.fraction())
    effects = factorial.effects(full, reactor)["effect"]
    published = {
        **{"A": -1.375, "B": 19.5, "C": -0.625, "D": 10.75, "E": -6.25, "AB": 1.375},
        **{"AC": 0.75, "AE": 0.125, "BC": 0.875, "BD": 13.25, "BE": 2.0},
        **{"CD": 2.125, "CE": 0.875, "DE": -11.0},
    }
    assert {name: effects[name] for name in published} == pytest.approx(published)


def test_half_of_the_reactor_foretells_the_other_half() -> None:
    full = design("ABCDE")
    half = design("ABCDE", {"E": "ABCD"}, [NONE])
    also = [cell for cell in full.fraction() if cell not in half.fraction()]
    half = design("ABCDE", {"E": "ABCD"}, also)
    reactor = table(np.array(REACTOR)[:, None] * [1.0, 1.0], full.fraction())
    effects = factorial.effects(half, reactor)["effect"]
    published = {"B": 20.5, "D": 12.25, "E": -6.25, "BD": 10.75, "DE": -9.5}
    assert {name: effects[name] for name in published} == pytest.approx(published)
    # From the factors alone: average and effects are orthogonal, so sums by hand.
    table_of_cells = factorial.predicted(half, reactor, order=1)
    assert table_of_cells["left_out"].sum() == 16
    mains = effects[list("ABCDE")]
    centre = reactor.loc[half.fraction(), 0].mean()
    assert table_of_cells.loc[NONE, "predicted"] == pytest.approx(centre - mains.sum() / 2)
    assert table_of_cells.loc["ab", "measured"] == 61
    way = factorial.additivity(half, reactor, order=1)
    assert way.loc["sum", "estimate"] == pytest.approx(mains.sum())
    assert way.loc["measured", "estimate"] == 82 - 61


# Simulated studies of the main experiment's size


@pytest.fixture(scope="module")
def main() -> Design:
    return design("ABCDEFGH", {"G": "ABCD", "H": "ABEF"}, [NONE])


def simulate(main: Design, truth: "pd.Series[float]", cells: float) -> np.ndarray:
    """Accuracies of many studies, shape (STUDIES, cells, seeds): none first, then the fraction."""
    random = np.random.default_rng(20)
    columns = factorial.effect_columns(main, main.cells(), 2)
    shape = (STUDIES, len(columns), 5)
    by_seed = random.normal(0, 0.004, (STUDIES, 1, 5))
    by_cell = random.normal(0, cells, (*shape[:2], 1)) if cells else 0
    truth = truth.reindex(columns.columns, fill_value=0.0)
    return 0.6 + (columns @ truth).to_numpy()[:, None] + by_seed + by_cell + _scatter(random, shape)


def _scatter(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.normal(0, 0.008, shape)


def analysed(main: Design, studies: np.ndarray) -> dict[str, np.ndarray]:
    """What the functions say of many studies at once; the first few are given to them, too."""
    columns = factorial.effect_columns(main, main.fraction(), 2).to_numpy()
    fraction = studies[:, 1:]
    means = fraction.mean(2)
    count = len(columns)
    effect = means @ columns * 4 / count
    fitted = means.mean(1, keepdims=True) + effect @ columns.T
    df = count - 1 - columns.shape[1]
    scale = ((means - fitted) ** 2).sum(1) / df
    error = np.sqrt(4 * scale / count)
    p = 2 * scipy_stats.t.sf(np.abs(effect) / error[:, None], df)
    centred = fraction - fraction.mean(1, keepdims=True)
    within = centred - centred.mean(2, keepdims=True)
    pure, df_pure = (within**2).sum((1, 2)), (count - 1) * 4
    between = scale * df * 5
    df_runs = df + df_pure
    runs_error = np.sqrt(4 * (pure + between) / df_runs / (5 * count))
    f = scale * 5 / (pure / df_pure)
    bottom = studies[:, 0].mean(1)
    foretold = means.mean(1) + effect @ factorial.effect_columns(main, [NONE], 2).to_numpy()[0]
    leverage = (1 + columns.shape[1]) / count
    top = means[:, main.fraction().index(name_of(main.factors))]
    said = {
        "effect": effect,
        "half": scipy_stats.t.ppf(0.975, df) * error,
        "p_holm": np.array([stats.holm(row) for row in p]),
        "seeds_half": scipy_stats.t.ppf(0.975, df_runs) * runs_error,
        "lack_p": scipy_stats.f.sf(f, df, df_pure),
        "surprise": bottom - foretold,
        "surprise_half": scipy_stats.t.ppf(0.975, df) * np.sqrt(scale * (1 + leverage)),
        "missing": top - bottom - effect[:, :8].sum(1),
        "missing_half": scipy_stats.t.ppf(0.975, df) * np.sqrt(2 * scale),
    }
    for number in range(3):
        accuracy = table(studies[number], main.cells())
        effects = factorial.effects(main, accuracy)
        way = factorial.additivity(main, accuracy).loc["missing"]
        none = factorial.predicted(main, accuracy).loc[NONE]
        same = {
            "effect": effects["effect"],
            "half": (effects["high"] - effects["low"]) / 2,
            "p_holm": effects["p_holm"],
            "seeds_half": (effects["seeds_high"] - effects["seeds_low"]) / 2,
            "lack_p": factorial.lack_of_fit(main, accuracy).p,
            "surprise": none["measured"] - none["predicted"],
            "surprise_half": (none["high"] - none["low"]) / 2,
            "missing": way["estimate"],
            "missing_half": (way["high"] - way["low"]) / 2,
        }
        for name, value in same.items():
            np.testing.assert_allclose(value, said[name][number], rtol=1e-9, atol=1e-12)
    return said


def covered(said: dict[str, np.ndarray], error: np.ndarray, half: str) -> float:
    return float((np.abs(error) <= said[half].reshape(-1, *[1] * (error.ndim - 1))).mean())


TRUTH = {"A": 0.04, "B": 0.01, "E": 0.02, "F": 0.04, "G": 0.05, "H": 0.03, "EH": 0.02, "BF": -0.01}


@pytest.mark.parametrize("cells", [0.0, 0.006])
def test_intervals_hold_the_truth_and_false_positives_are_rare(main: Design, cells: float) -> None:
    truth = pd.Series(TRUTH)
    said = analysed(main, simulate(main, truth, cells))
    names = factorial.effect_columns(main, [NONE], 2).columns
    true = truth.reindex(names, fill_value=0.0).to_numpy()
    error = said["effect"] - true
    assert 0.93 <= covered(said, error, "half") <= 0.97
    assert 0.93 <= covered(said, error[:, :8], "half") <= 0.97
    assert 0.93 <= covered(said, said["surprise"], "surprise_half") <= 0.97
    assert 0.93 <= covered(said, said["missing"], "missing_half") <= 0.97
    false = (said["p_holm"][:, true == 0] < 0.05).any(axis=1).mean()
    assert false <= 0.055
    assert (said["p_holm"][:, true != 0] < 0.05).mean() > 0.95
    found = (said["lack_p"] < 0.05).mean()
    of_seeds = covered(said, error, "seeds_half")
    if cells:  # what the seeds alone would claim, had they the word
        assert found > 0.95
        assert of_seeds < 0.8
    else:
        assert found <= 0.055
        assert 0.93 <= of_seeds <= 0.97


def test_of_nothing_nothing_is_found(main: Design) -> None:
    said = analysed(main, simulate(main, pd.Series(dtype=float), 0.006))
    assert (said["p_holm"] < 0.05).any(axis=1).mean() <= 0.055


def test_the_error_by_the_images_is_an_upper_bound() -> None:
    random = np.random.default_rng(0)
    images, ease = 500, random.normal(0, 1, (STUDIES, 500))  # each study draws its own images
    right = [
        ease * shared + random.normal(0, 1, (STUDIES, images)) > 0.2
        for shared in (0.0, 0.0, 2.0, 2.0)
    ]
    spread = {}
    for name, (first, second) in {"apart": right[:2], "alike": right[2:]}.items():
        bound = factorial.image_error(first.mean(), second.mean(), images)
        spread[name] = np.std(first.mean(1) - second.mean(1)) / bound
    assert spread["apart"] == pytest.approx(1, abs=0.05)
    assert spread["alike"] < 0.7


def test_four_means_are_those_of_the_cells(main: Design) -> None:
    accuracy = table(simulate(main, pd.Series(TRUTH), 0.006)[0], main.cells())
    cells = accuracy.loc[main.fraction()].mean(axis=1)
    signs = main.signs()
    raw = cells.groupby([signs["E"] > 0, signs["H"] > 0]).mean()
    means = factorial.four_means(main, accuracy, "EH")
    for there in itertools.product((False, True), repeat=2):
        assert means.loc[there, "mean"] == pytest.approx(raw.loc[there])
    effects = factorial.effects(main, accuracy).loc["E"]
    # A mean of 16 cells has as wide an interval as a difference of two means of 32.
    widths = (means["high"] - means["low"]).to_numpy()
    assert widths == pytest.approx([effects["high"] - effects["low"]] * 4)


# Inputs


def test_accuracies_by_cell() -> None:
    runs = run_table({"a": [0.6, 0.61, 0.62], "b": [0.5, 0.51, 0.52]})
    runs = runs.astype({"variant": "category"})
    tuning = runs.assign(purpose="tuning", seed=1000)
    accuracy = factorial.by_cell(pd.concat([runs, tuning]))
    assert accuracy.loc["a"].tolist() == pytest.approx([0.6, 0.61, 0.62])
    with pytest.raises(InputError, match="every seed of every cell; lacking in: b"):
        factorial.by_cell(runs.drop(index=4))
    with pytest.raises(InputError, match="every seed of every cell; lacking in: a"):
        factorial.by_cell(runs.replace({"test_accuracy": {0.6: np.nan}}))


def test_effects_need_every_cell_of_the_fraction() -> None:
    with pytest.raises(InputError, match="not recorded: ab"):
        factorial.effects(design("AB"), PROCESS.drop(index="ab"))


def test_a_tiny_example_by_hand() -> None:
    # The notebook's: 50 without, 54 with A, 52 with B, 60 with both.
    accuracy = table([[50, 50], [54, 54], [52, 52], [60, 60]], [NONE, "a", "b", "ab"])
    effects = factorial.effects(design("AB"), accuracy)["effect"]
    assert effects.to_dict() == pytest.approx({"A": 6, "B": 4, "AB": 2})
    assert set(itertools.chain.from_iterable(effects.index)) == {"A", "B"}
