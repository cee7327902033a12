"""The whole chain, from training to p-value, claims nothing where there is nothing to claim."""

import numpy as np
import pytest

from lenet_keras.recipe import Recipe
from lenet_study.executors import open_executor
from lenet_study.runner import train_group
from lenet_study.stats import paired_difference

STUDIES, SEEDS = 40, 5
RECIPE = Recipe(
    dataset="digits",
    kernel_initializer="glorot_uniform",
    momentum=0.9,
    learning_rate=0.05,
    batch_size=64,
    epochs=4,
)
WORSE = RECIPE.replace(learning_rate=0.0115)  # two points below, as the test itself makes sure


def accuracies(recipes: tuple[Recipe, ...], seeds: range) -> np.ndarray:
    """Test accuracy of each recipe and seed, (recipes, STUDIES, SEEDS)."""
    with open_executor("processes:2") as (pool, _):
        runs = [pool.submit(train_group, recipes, seed, True, None) for seed in seeds]
        tests = [[run.test.accuracy for run in future.result()] for future in runs]
    return np.array(tests).T.reshape(len(recipes), STUDIES, SEEDS)


@pytest.mark.slow
def test_no_difference_is_rarely_found_and_a_true_one_mostly() -> None:
    count = STUDIES * SEEDS
    first, worse = accuracies((RECIPE, WORSE), range(count))
    (second,) = accuracies((RECIPE,), range(count, 2 * count))

    false_alarms = sum(paired_difference(a, b).p < 0.05 for a, b in zip(second, first, strict=True))
    found = [paired_difference(a, b) for a, b in zip(worse, first, strict=True)]
    difference = first.mean() - worse.mean()
    print(f"{false_alarms} false alarms; {sum(d.p < 0.05 for d in found)} of {STUDIES} found")
    assert false_alarms <= 5
    assert 0.015 < difference < 0.025
    assert sum(d.p < 0.05 and d.difference < 0 for d in found) >= 30
