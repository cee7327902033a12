"""What a difference is held against: who was chosen by what, a recipe against itself, the images.

Three questions that an interval over the seeds leaves open. Tables are those of `stats`.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from lenet_study import stats

Ends = tuple[float, float]  # low and high of an interval
Right = Mapping[str, Mapping[int, NDArray[np.bool_]]]  # (images,) by variant and seed

CHOOSING = 5  # seeds, the first ones, that choose a study's best variant


def quoted_seeds(runs: pd.DataFrame) -> tuple[list[int], bool]:
    """The seeds that a best variant is quoted on, and whether they chose nothing.

    The first `CHOOSING` seeds choose; the best of many is partly the luckiest on them (the winner's
    curse). The others are quoted, where two or more are there for an interval; else all are.

    Args:
        runs: run table of one study.
    """
    seeds = sorted({int(seed) for seed in runs.loc[runs["purpose"] == "final", "seed"]})
    others = seeds[CHOOSING:]
    return (others, True) if len(others) > 1 else (seeds, False)


def winner(runs: pd.DataFrame, baseline: str, paired: bool = True) -> pd.DataFrame:
    """The variant that the choosing seeds like best on validation images, and its baseline.

    Both have the numbers of `stats.compare` over the quoted seeds, see `quoted_seeds`. p stays
    corrected for all variants of the study, which one chosen by other seeds would not need.

    Args:
        runs: run table of one study.
        baseline: the variant that differences are measured against; it is not chosen.
        paired: as for `stats.compare`.

    Returns:
        The baseline's row and the winner's (none without another that validated), the columns of
        `stats.compare`; `val_accuracy`, mean over the choosing seeds; `fresh`, whether the quoted
        seeds chose nothing.

    Raises:
        InputError: see `stats.compare`.
    """
    final = runs[runs["purpose"] == "final"]
    seeds, fresh = quoted_seeds(runs)
    table = stats.compare(final[final["seed"].isin(seeds)], baseline, paired=paired)
    choosing = final[final["seed"].isin(sorted(final["seed"].unique())[:CHOOSING])]
    liked = choosing.groupby(choosing["variant"].astype(str))["val_accuracy"].mean()
    table = table.assign(val_accuracy=table["variant"].map(liked), fresh=fresh)
    others = table.loc[table["variant"] != baseline, "val_accuracy"].dropna()
    best = others.idxmax() if len(others) else None
    return table[(table["variant"] == baseline) | (table.index == best)]


def against_itself(runs: pd.DataFrame, metric: str = "test_accuracy") -> pd.DataFrame:
    """Recipes that were trained twice: the second training minus the first, paired by seed.

    What differs is rounding, as in a stack of other networks, and what it grows to. Its first
    weights are the same, so it is paired even where the variants of a study are not.

    Args:
        runs: run table of one study, with the second trainings, of purpose "again".
        metric: a numeric column of `runs`.

    Returns:
        One row a recipe trained twice: `variant` (the first one's name), `n` (seeds), `difference`,
        `difference_low`, `difference_high` and `p`, as of `stats.paired_difference`; `largest`, of
        a single seed. No rows where nothing was trained twice.
    """
    final, second = (
        runs[runs["purpose"] == purpose].set_index(["key", "seed"])
        for purpose in ("final", "again")
    )
    rows = []
    for _, again in second.groupby(level="key", sort=False):
        first = final.loc[again.index]
        apart = again[metric].astype(float) - first[metric].astype(float)
        n, *numbers = stats.paired_difference(again[metric], first[metric])
        largest = float(apart.abs().max())
        rows.append([str(first["variant"].iloc[0]), n, *numbers, largest])
    columns = ["variant", "n", "difference", "difference_low", "difference_high", "p", "largest"]
    return pd.DataFrame(rows, columns=columns)


def image_variance(right: ArrayLike, reference: ArrayLike | None = None) -> float:
    """What the choice of test images adds to the squared error of a mean over seeds and images.

    Seeds and images are crossed, both drawn at random: y = mean + seed + image + rest. With the
    mean squares MS of the analysis of variance, over n seeds and m images, the squared error of
    the mean is (MS_seeds + MS_images - MS_rest) / (n m). Its first part is that of an interval over
    the seeds; this is the others, at least 0. Against a reference with seeds of its own, images are
    those of the difference, and each side has its rest.
    Source: Cornfield & Tukey (1956), "Average values of mean squares in factorials", Annals of
    Mathematical Statistics 27.

    Args:
        right: shape (seeds, images), at least 2 of each: which images a run had right, or, paired,
            those of a variant minus the baseline's.
        reference: as `right`, where seeds are not paired.
    """
    sides = [np.asarray(y, dtype=np.float64) for y in (right, reference) if y is not None]
    means = [y.mean(axis=0) for y in sides]
    added = float(np.var(means[0] - sum(means[1:]), ddof=1)) / means[0].size
    for y, of_images in zip(sides, means, strict=True):
        rest = ((y - y.mean(axis=1, keepdims=True) - of_images + y.mean()) ** 2).sum()
        added -= float(rest / np.prod(np.subtract(y.shape, 1)) / y.size)
    return max(0.0, added)


def seeds_and_images(low: float, high: float, df: float, added: float, images: int) -> Ends:
    """An interval over the seeds, widened by what the choice of test images adds.

    The squared errors add up, on Satterthwaite's degrees of freedom (1946, Biometrics Bulletin 2).

    Args:
        low, high: of a 95 % t-interval over the seeds.
        df: its degrees of freedom.
        added: from `image_variance`, of the same mean or difference; by the seeds that are recorded
            image by image, which need not be all.
        images: that it comes from.
    """
    seeds = ((high - low) / 2 / scipy_stats.t.ppf(0.975, df)) ** 2
    if (total := seeds + added) == 0:
        return low, high
    together = total**2 / (seeds**2 / df + added**2 / (images - 1))
    half = float(scipy_stats.t.ppf(0.975, together) * total**0.5)
    return (low + high) / 2 - half, (low + high) / 2 + half


def with_images(comparison: pd.DataFrame, right: Right, baseline: str) -> dict[str, Ends]:
    """The interval of each difference for seeds and images together, as far as it is known.

    Args:
        comparison: from `stats.compare` or `stats.summary`, of test accuracy; unpaired where its
            `pairs` are 0.
        right: which test images a run had right, by variant and seed, from the runs that say it.
        baseline: the variant that differences are measured against.

    Returns:
        Low and high by variant, of those that share two or more such seeds with the baseline; or,
        unpaired, that have them.
    """
    ends = {}
    for row in comparison[comparison["variant"] != baseline].to_dict("records"):
        sides = [right.get(str(name), {}) for name in (row["variant"], baseline)]
        shared = sides[0].keys() & sides[1].keys()
        seeds = [sorted(shared if row["pairs"] else side) for side in sides]
        if min(map(len, seeds)) < 2:
            continue
        of_both = [
            np.array([side[seed] for seed in its], float)
            for side, its in zip(sides, seeds, strict=True)
        ]
        added = image_variance(*([of_both[0] - of_both[1]] if row["pairs"] else of_both))
        low, high, df = (row[name] for name in ("difference_low", "difference_high", "df"))
        images = of_both[0].shape[1]
        ends[str(row["variant"])] = seeds_and_images(low, high, df, added, images)
    return ends
