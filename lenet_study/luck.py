"""How far luck goes with few seeds: who would win a comparison, drawn from the records."""

import numpy as np
import pandas as pd

from lenet_keras.recipe import InputError


def winners(
    runs: pd.DataFrame, seeds: int, paired: bool = True, draws: int = 4000
) -> "pd.Series[float]":
    """How often each variant has the highest mean where all are compared with few seeds.

    The seeds of a comparison are drawn from the recorded ones with replacement, as in a bootstrap
    (Efron 1979): the same for all variants where they are paired, else for each its own. The
    recorded ones stand for all there could be, so where they are few the shares are rough.

    Args:
        runs: run table of one study.
        seeds: of one comparison, from 1.
        paired: as the technique file says.
        draws: comparisons; the same call draws the same.

    Returns:
        The share of comparisons that each variant wins, the best by all recorded runs first.

    Raises:
        InputError: no seed has a final run of every variant, or `seeds` is below 1.
    """
    final = runs[(runs["purpose"] == "final") & runs["test_accuracy"].notna()]
    scores = final.pivot(index="seed", columns="variant", values="test_accuracy").dropna()
    if scores.empty or seeds < 1:
        raise InputError(
            f"winners: found {len(scores)} seeds that all variants have, and seeds={seeds}; both "
            "from 1."
        )
    scores = scores[scores.mean().sort_values(ascending=False, kind="stable").index]
    recorded, variants = scores.shape
    generator = np.random.default_rng(0)
    drawn = generator.integers(recorded, size=(draws, seeds, 1 if paired else variants))
    means = np.take_along_axis(scores.to_numpy()[None], drawn, axis=1).mean(axis=1)
    won = np.bincount(means.argmax(axis=1), minlength=variants)
    return pd.Series(won / draws, index=scores.columns.astype(str), name="wins")
