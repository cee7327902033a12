"""The screening's network, schedule and shifts, written anew for JAX, are those of lenet_keras."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lenet_keras.backend import ops, tf
from lenet_keras.data import load_data
from lenet_keras.model import lenet5
from lenet_keras.optimizer import schedule_shape
from lenet_keras.pipeline import normalisation, shown
from lenet_keras.recipe import read_recipe

ROOT = Path(__file__).parent.parent
DIGITS = load_data("digits")

pytest.importorskip("jax", reason="the extra 'jax' is not installed")


@pytest.fixture(scope="module")
def rates() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rates", ROOT / "screening" / "rates.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_that_of_the_best_recipe(rates: ModuleType, training: bool) -> None:
    network = lenet5(read_recipe(ROOT / "configs" / "best.yaml"), seed=3)
    random = np.random.default_rng(0)
    weights: dict = {}
    moments: dict = {}
    for variable in network.weights:
        layer, name = variable.path.split("/")[-2:]
        if name in ("gamma", "beta", "moving_mean", "moving_variance"):
            variable.assign(variable + random.uniform(0, 0.3, variable.shape))
        value = ops.convert_to_numpy(variable)
        if name == "kernel":
            value = value.reshape(-1, value.shape[-1])
        everywhere = np.broadcast_to(value, (rates.SEEDS, rates.RECIPES, *value.shape))
        kind = moments if name.startswith("moving_") else weights
        kind.setdefault(layer.removesuffix("_norm"), {})[name.removeprefix("moving_")] = everywhere
    images = np.array(normalisation(DIGITS)(DIGITS.train.images[:64]))
    expected = np.array(network(images, training=training))
    shared = np.broadcast_to(images, (rates.SEEDS, *images.shape))
    logits, kept = rates.logits_of(weights, moments, shared, training)
    assert logits.shape == (rates.SEEDS, rates.RECIPES, 64, 10)
    for found in (logits[0, 0], logits[-1, -1]):  # of half precision
        np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
    after = ops.convert_to_numpy(network.get_layer("F6_norm").moving_mean)
    np.testing.assert_allclose(kept["F6"]["mean"][0, 0], after, atol=0.02)


@pytest.mark.parametrize("name", ["cosine", "warmup_cosine"])
@pytest.mark.parametrize("progress", [0.0, 0.02, 0.05, 0.4, 0.999])
def test_the_schedules_are_those_of_the_recipes(
    rates: ModuleType, name: str, progress: float
) -> None:
    expected = float(schedule_shape(name, tf.constant(progress)))
    assert float(rates.shape(progress, name == "warmup_cosine")) == pytest.approx(expected, 1e-5)


def test_images_move_as_in_the_pipeline(rates: ModuleType) -> None:
    images = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    flipped = np.arange(6) % 2 == 0
    down, right = np.array([[-2, -1, 0, 1, 2, 2], [2, 0, -2, 1, -1, -2]], np.int32)
    expected = shown(
        *map(tf.constant, (images, np.arange(6, dtype=np.int32), flipped)), down, right
    )
    np.testing.assert_array_equal(rates.moved(images, flipped, down, right), expected)
