"""A kernel that is a product in training is one kernel afterwards, and nothing else changes."""

import numpy as np
import pytest

from lenet_keras.backend import keras
from lenet_keras.data import load_data
from lenet_keras.expansion import ExpandedConv2D
from lenet_keras.model import count_parameters, for_pixels, kernels, lenet5
from lenet_keras.recipe import InputError, Recipe, make_recipe
from lenet_keras.training import train
from lenet_study.shards import shardable
from lenet_study.training import train_alone

DIGITS = load_data("digits")
PLAIN = Recipe(
    dataset="digits",
    activation="relu",
    pooling="max",
    kernel_initializer="he_normal",
    normalization="batch",
    optimizer="adamw",
    learning_rate=0.003,
    weight_decay=0.01,
    epochs=2,
)
WIDE = PLAIN.replace(expansion=3)


def test_a_product_is_a_chain_of_convolutions() -> None:
    initializer = keras.initializers.HeNormal(seed=1)
    layer = ExpandedConv2D(16, 5, expansion=4, kernel_initializer=initializer)
    x = np.random.default_rng(0).normal(size=(2, 14, 14, 6)).astype("float32")
    whole = layer(x)
    y = keras.ops.conv(x, layer.before[None, None])
    y = keras.ops.conv(y, layer.between)
    y = keras.ops.conv(y, layer.after[None, None])
    assert layer.between.shape == (5, 5, 24, 64)
    np.testing.assert_allclose(whole, y, atol=1e-4)


def test_a_trained_network_is_lenet5_again_with_the_same_answers() -> None:
    network = lenet5(WIDE, 0)
    assert network.count_params() > 3 * 62_910
    run = train(WIDE, 0, DIGITS, model=network, verbose=0)
    assert run.validation.accuracy > 0.5  # of ten classes
    given = for_pixels(network, DIGITS)
    assert given.count_params() == count_parameters(WIDE) == 62_910
    images = DIGITS.test.images[:50]
    normalised = (images.astype("float32") - DIGITS.mean) * DIGITS.scale
    np.testing.assert_allclose(given(images), network(normalised), atol=1e-4)
    assert all("lenet_keras" not in type(layer).__module__ for layer in given.layers)


def test_products_start_as_wide_as_kernels_and_anew_with_each_seed() -> None:
    plain, wide, other = kernels(lenet5(PLAIN)), kernels(lenet5(WIDE)), kernels(lenet5(WIDE, 1))
    for name in ("C3", "C5", "F6"):
        assert wide[name].shape == plain[name].shape
        assert 0.9 < wide[name].std() / plain[name].std() < 1.1
        assert not np.allclose(wide[name], other[name])


def test_an_expanded_network_is_saved_and_loaded(tmp_path) -> None:
    network = lenet5(WIDE)
    network.save(tmp_path / "wide.keras")
    again = keras.saving.load_model(tmp_path / "wide.keras")
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(again(x), network(x))


def test_shards_know_products() -> None:
    brief = WIDE.replace(epochs=1, normalization="none")  # a network that is split
    assert shardable(brief)
    alone, plain = (way(brief, 0, DIGITS, verbose=0) for way in (train_alone, train))
    np.testing.assert_allclose(alone.history.loss, plain.history.loss, rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"l2": 0.001},
        {"connections": "table_1"},
        {"kernel_initializer": "lecun_1998_uniform"},
    ],
)
def test_what_products_cannot_honour_is_refused(changes: dict) -> None:
    make_recipe(WIDE.changes(), "file")
    with pytest.raises(InputError, match="expansion: products need"):
        make_recipe({**WIDE.changes(), **changes}, "file")
