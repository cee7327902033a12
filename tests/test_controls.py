"""Who was chosen by which seeds, a recipe against itself, and what the choice of images adds."""

import numpy as np
import pandas as pd
import pytest
from examples import run_table
from scipy import stats as scipy_stats

from lenet_study import controls, stats

STUDIES = 2000

# Six targets rated by four judges: Shrout & Fleiss (1979), "Intraclass correlations: uses in
# assessing rater reliability", Psychological Bulletin 86, table 2. Their table 3 gives the mean
# squares: targets 11.24, judges 32.49, rest 1.02.
RATINGS = [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7],
]


def test_the_images_part_of_a_published_analysis_of_variance() -> None:
    judges = np.transpose(RATINGS)  # as seeds; the targets as images
    assert controls.image_variance(judges) == pytest.approx((11.24 - 1.02) / 24, abs=0.005)
    of_judges = stats.mean_interval(judges.mean(axis=1))
    error = (of_judges.high - of_judges.low) / 2 / scipy_stats.t.ppf(0.975, 3)
    assert error**2 == pytest.approx(32.49 / 24, rel=1e-3)
    # Their sum, (32.49 + 11.24 - 1.02) / 24, on Satterthwaite's degrees of freedom.
    parts = np.array([32.49, 11.24 - 1.02]) / 24
    df = parts.sum() ** 2 / (parts**2 / [3, 5]).sum()
    low, high = controls.seeds_and_images(
        of_judges.low, of_judges.high, 3, controls.image_variance(judges), 6
    )
    assert (low + high) / 2 == pytest.approx(np.mean(RATINGS))
    assert (high - low) / 2 == pytest.approx(
        scipy_stats.t.ppf(0.975, df) * parts.sum() ** 0.5, rel=1e-3
    )


@pytest.mark.parametrize("paired", [True, False])
def test_intervals_for_seeds_and_images_hold_the_truth_in_93_to_97_percent(paired: bool) -> None:
    """Two variants, five seeds and 400 images a study. An image is right where the sum of what the
    variant can, the seed, the image, the image under this variant and chance is positive."""
    random = np.random.default_rng(0)
    seeds, images, spreads = 5, 400, np.array([0.06, 1.0, 0.4, 0.5])
    level, size = np.array([0.3, 0.2]), np.sqrt((spreads**2).sum())
    truth = -np.diff(scipy_stats.norm.cdf(level / size))[0]
    held = alone = 0
    for _ in range(STUDIES):
        seed = random.normal(0, spreads[0], (2, seeds, 1))
        image = random.normal(0, spreads[1], images) + random.normal(0, spreads[2], (2, 1, images))
        chance = random.normal(0, spreads[3], (2, seeds, images))
        first, second = right = (level[:, None, None] + seed + image + chance > 0) * 1.0
        if paired:
            _, _, *ends = stats.mean_interval((first - second).mean(axis=1))
            df, added = seeds - 1.0, controls.image_variance(first - second)
        else:
            means = right.mean(axis=2)
            _, _, *ends, _ = stats.unpaired_difference(*means)
            df, added = stats._welch(*means)[1], controls.image_variance(first, second)
        low, high = controls.seeds_and_images(*ends, df, added, images)
        held += low < truth < high
        alone += ends[0] < truth < ends[1]
    assert 0.93 < held / STUDIES < 0.97
    assert alone / STUDIES < 0.92  # what the seeds alone claim


@pytest.mark.parametrize("paired", [True, False])
def test_a_study_s_differences_get_their_images(paired: bool) -> None:
    random = np.random.default_rng(0)
    right = random.random((2, 3, 50)) < 0.6
    accuracy = {
        (name, seed): of.mean()
        for name, runs in zip("ab", right, strict=True)
        for seed, of in enumerate(runs)
    }
    runs = pd.DataFrame(
        [{"variant": v, "seed": s, "test_accuracy": x} for (v, s), x in accuracy.items()]
    )
    table = stats.compare(runs, "b", paired=paired)
    recorded = {name: dict(enumerate(of)) for name, of in zip("ab", right, strict=True)}
    first, second = right * 1.0
    added = controls.image_variance(*([first - second] if paired else [first, second]))
    row = table.iloc[0]
    ends = row["difference_low"], row["difference_high"], row["df"]
    expected = {"a": pytest.approx(controls.seeds_and_images(*ends, added, 50))}
    assert controls.with_images(table, recorded, "b") == expected


def test_images_are_left_out_where_no_record_tells_them() -> None:
    runs = pd.DataFrame(
        {"variant": list("aabb"), "seed": [0, 1] * 2, "test_accuracy": np.arange(4)}
    )
    table = stats.compare(runs, "b")
    right = np.eye(2, 50, dtype=bool)
    assert controls.with_images(table, {}, "b") == {}
    one = {"a": dict(enumerate(right)), "b": {0: right[0]}}
    assert controls.with_images(table, one, "b") == {}


def validated(accuracy: dict[str, list[float]]) -> pd.DataFrame:
    """Runs that are as good on the validation images as on the test images."""
    return run_table(accuracy).assign(val_accuracy=lambda runs: runs["test_accuracy"])


LUCKY = [0.7, 0.71, 0.72, 0.71, 0.7]  # on the first five seeds
EVEN = [0.6, 0.61, 0.6, 0.62, 0.61]


@pytest.mark.parametrize(("seeds", "gain"), [(5, 0.1), (6, 0.1), (10, 0.01)])
def test_a_winner_is_quoted_on_seeds_that_chose_nothing(seeds: int, gain: float) -> None:
    later = [x + 0.01 for x in EVEN]
    accuracy = {
        "plain": (EVEN + EVEN)[:seeds],
        "lucky": (LUCKY + later)[:seeds],
        "late": (EVEN + LUCKY)[:seeds],  # better on validation too, but on seeds that do not choose
    }
    runs = validated(accuracy)
    pair = controls.winner(runs, "plain").set_index("variant")
    assert set(pair.index) == {"plain", "lucky"}
    assert pair["fresh"].tolist() == [seeds == 10] * 2
    assert pair["n"].tolist() == [5 if seeds == 10 else seeds] * 2
    if seeds != 6:
        assert pair.loc["lucky", "difference"] == pytest.approx(gain, abs=0.001)
    assert pair.loc["lucky", "val_accuracy"] == pytest.approx(np.mean(LUCKY))


def test_where_no_variant_validated_nobody_wins() -> None:
    runs = validated({"plain": EVEN, "lucky": LUCKY}).assign(val_accuracy=np.nan)
    assert controls.winner(runs, "plain")["variant"].tolist() == ["plain"]


def test_choosing_and_quoting_on_the_same_seeds_flatters_and_on_others_does_not() -> None:
    """Eight variants equal to their baseline: the winner's true gain is 0."""
    random, names = np.random.default_rng(0), [f"v{i:02}" for i in range(9)]
    gains = []
    for _ in range(20):
        drawn = random.normal(0.6, 0.01, (9, 10))
        accuracy = dict(zip(names, drawn.tolist(), strict=True))
        runs = validated(accuracy)
        few = runs[runs["seed"] < 5]
        gains.append([controls.winner(r, "v00")["difference"].max() for r in (few, runs)])
    flattered, honest = np.mean(gains, axis=0)
    assert flattered > 0.005
    assert abs(honest) < 0.004


def test_a_recipe_against_itself_is_paired_by_key_and_seed() -> None:
    first = {"a": [0.6, 0.61, 0.62], "b": [0.5, 0.52, 0.51]}
    again = {"a": [0.602, 0.613, 0.621], "b": first["b"]}
    runs = validated(first)
    second = validated(again).assign(purpose="again", variant=lambda t: t["variant"] + "-again")
    other = validated(first).assign(purpose="tuning", seed=1000)
    table = controls.against_itself(pd.concat([second[::-1], runs, other])).set_index("variant")
    expected = stats.paired_difference(again["a"], first["a"])
    numbers = ["n", "difference", "difference_low", "difference_high", "p"]
    assert table.loc["a", numbers].tolist() == pytest.approx(list(expected))
    assert table.loc["a", "largest"] == pytest.approx(0.003)
    assert table.loc["b", [*numbers[1:4], "largest"]].tolist() == [0, 0, 0, 0]
    assert controls.against_itself(runs).empty
