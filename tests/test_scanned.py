"""Keras on JAX: steps in one compiled loop are the steps one by one, patches are a convolution."""

import os
import subprocess
import sys

import pytest

from lenet_keras.recipe import InputError, Recipe
from lenet_study.grouping import group_for_stacking

PROGRAM = """
import dataclasses

import jax
import keras
import numpy as np

from lenet_keras.data import Split, load_data
from lenet_keras.recipe import Recipe
from lenet_keras.training import train
from lenet_study.stack import Stack, by_patches
from lenet_study.training import train_alone, train_stack

digits = load_data("digits")

recipe = Recipe(dataset="digits", epochs=1, kernel_initializer="glorot_uniform", momentum=0.9)
run, alone = (way(recipe, 0, digits, verbose=0) for way in (train, train_alone))
member, _ = train_stack([recipe, recipe.replace(learning_rate=0.01)], 0, digits, verbose=0)
difference = max(abs(one.test.loss - member.test.loss) for one in (run, alone))
print(run.provenance.backend, run.validation.accuracy, difference)

# Optimizer, averages of the layer and the dropout's numbers: all that a loop must carry along.
base = recipe.replace(epochs=2, batch_size=60, momentum=0.0, optimizer="adam")
base = base.replace(normalization="layer", dropout=0.2)
few = Split(digits.train.images[:300], digits.train.labels[:300])
few = dataclasses.replace(digits, train=few, validation=few)
steps = len(few.train.labels) // base.batch_size
assert steps > 2, steps


class StepByStep(Stack):
    def make_train_function(self, force=False):
        keras.Model.make_train_function(self, force)


recipes = [base.replace(learning_rate=rate) for rate in (0.001, 0.002)]
stacks = one_loop, one_by_one = Stack(recipes, 3), StepByStep(recipes, 3)
how = {"score_test": False, "verbose": 0}
runs = [train_stack(recipes, 3, few, stack=stack, **how) for stack in stacks]
for member in range(2):
    for a, b in zip(one_loop.weights_of(member), one_by_one.weights_of(member), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    for a, b in zip(*(run[member].history.loss for run in runs), strict=True):
        assert abs(a - b) < 1e-4, (a, b)

random = np.random.default_rng(0)
shapes = [(3, 14, 14, 5 * 6), (5, 5, 6, 5 * 16), (3, 10, 10, 5 * 16)]
x, kernel, upstream = (random.normal(size=shape).astype(np.float32) for shape in shapes)
results = []
for convolve in (by_patches, keras.ops.conv):
    y, backward = jax.vjp(lambda *arrays: convolve(*arrays), x, kernel)
    results.append([y, *backward(upstream)])
for a, b in zip(*results, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
"""


@pytest.fixture(scope="module")
def said() -> str:
    """What the program on JAX prints; one process, as to import JAX takes longer than to train."""
    pytest.importorskip("jax", reason="the extra 'jax' is not installed")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_one_loop_is_step_by_step_and_patches_are_a_convolution(said: str) -> None:
    assert said  # the program compares them itself


def test_keras_on_jax_trains_alone_and_in_a_stack(said: str) -> None:
    backend, accuracy, difference = said.split()
    assert backend == "jax"
    assert float(accuracy) > 0.5
    assert float(difference) < 1e-4


def test_a_person_says_how_large_a_stack_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = [Recipe(learning_rate=0.01 * (i + 1)) for i in range(20)]
    assert [len(group) for group in group_for_stacking(recipes)] == [8, 8, 4]
    monkeypatch.setenv("LENET_STACK", "64")
    assert [len(group) for group in group_for_stacking(recipes)] == [20]
    monkeypatch.setenv("LENET_STACK", "many")
    with pytest.raises(InputError, match="LENET_STACK: found 'many'"):
        group_for_stacking(recipes)
