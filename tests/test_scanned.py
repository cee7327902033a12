"""Keras on JAX: steps in one compiled loop are the steps one by one, patches are a convolution."""

import pytest
from here import call

from lenet_keras.recipe import InputError, Recipe
from lenet_study.grouping import group_for_stacking

PROGRAM = """
import dataclasses
from pathlib import Path

import jax
import keras
import numpy as np

from lenet_keras.data import load_data
from lenet_keras.model import for_pixels
from lenet_keras.recipe import Recipe
from lenet_keras.training import network_for, train
from lenet_study import run_folder
from lenet_study.stack import Stack, by_patches
from lenet_study.training import train_alone, train_stack

# As many images to learn from as to be scored by: for each other number JAX compiles once more.
digits = load_data("digits")
few = dataclasses.replace(digits, train=digits.train.take(np.arange(300)))

# Optimizer, averages of the layer and of weights, dropout's numbers: all that a loop carries along.
recipe = Recipe(dataset="digits", epochs=2, batch_size=60, kernel_initializer="glorot_uniform")
recipe = recipe.replace(optimizer="adam", learning_rate=0.005, ema_momentum=0.5)
recipe = recipe.replace(normalization="layer")
recipes = [recipe, recipe.replace(learning_rate=0.002, dropout=0.2)]
assert len(few.train) // recipe.batch_size > 2


class StepByStep(Stack):
    def make_train_function(self, force=False):
        keras.Model.make_train_function(self, force)


network = network_for(recipe, 3, few)
run = train(recipe, 3, few, model=network, verbose=0)
run_folder.write(run, for_pixels(network, few), Path("run"), overwrite=False)  # as train.py does
alone = train_alone(recipe, 3, few, verbose=0)
stacks = one_loop, one_by_one = Stack(recipes, 3), StepByStep(recipes, 3)
runs = [train_stack(recipes, 3, few, stack=stack, verbose=0) for stack in stacks]
difference = max(abs(one.test.loss - runs[0][0].test.loss) for one in (run, alone))
print(run.provenance.backend, run.validation.accuracy, difference)
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
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the program on JAX prints; one process, as to import JAX takes longer than to train."""
    pytest.importorskip("jax", reason="the extra 'jax' is not installed")
    folder = tmp_path_factory.mktemp("jax")
    quickly = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # to compile takes longest
    result = call(folder, "-c", PROGRAM, KERAS_BACKEND="jax", **quickly)
    assert result.returncode == 0, result.stderr
    assert (folder / "run" / "model.keras").exists()
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
    monkeypatch.delenv("LENET_STACK", raising=False)
    assert [len(group) for group in group_for_stacking(recipes)] == [8, 8, 4]
    monkeypatch.setenv("LENET_STACK", "64")
    assert [len(group) for group in group_for_stacking(recipes)] == [20]
    monkeypatch.setenv("LENET_STACK", "many")
    with pytest.raises(InputError, match="LENET_STACK: found 'many'"):
        group_for_stacking(recipes)
