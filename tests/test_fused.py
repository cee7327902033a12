"""Loops arranged for a processor: the same numbers as TensorFlow's plain operations."""

from collections.abc import Callable

import numpy as np
import pytest

from lenet_keras.backend import keras, tf
from lenet_study import fused

pytestmark = pytest.mark.skipif(not fused.available(), reason="no XLA for this processor")


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(len(shape)).normal(size=shape), tf.float32)


def value_and_gradients(function: Callable, *arguments: tf.Tensor) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = function(*arguments)
        loss = tf.reduce_sum(tf.sin(y))  # no two outputs with the same gradient
    return [part.numpy() for part in (y, *tape.gradient(loss, arguments))]


def assert_same(ours: list[np.ndarray], plain: list[np.ndarray]) -> None:
    for mine, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ours", [fused.convolved_by_pairs, fused.convolved_back_by_squares])
def test_neighbouring_pixels_together_give_the_plain_convolution(ours: Callable):
    arguments = normal(3, 12, 10, 2), normal(5, 5, 2, 6), normal(6)
    plain = value_and_gradients(
        lambda x, kernel, bias: tf.nn.conv2d(x, kernel, 1, "VALID") + bias, *arguments
    )
    assert_same(value_and_gradients(ours, *arguments), plain)


@pytest.mark.parametrize("channels", [6, 16, 48])  # three ways of doing it
@pytest.mark.parametrize("name", ["tanh", "silu"])
def test_average_pooling_of_an_activation_is_what_its_name_says(name: str, channels: int):
    activation = keras.activations.get(name)
    x = normal(2, 6, 4, channels)
    ours = value_and_gradients(lambda x: fused.average_pooled(x, activation), x)
    plain = value_and_gradients(lambda x: tf.nn.avg_pool2d(activation(x), 2, 2, "VALID"), x)
    assert_same(ours, plain)


@pytest.mark.parametrize("name", ["relu", "gelu"])  # in one loop, and in two
def test_the_maximum_of_an_activation_is_what_its_name_says(name: str):
    activation = keras.activations.get(name)
    arguments = normal(2, 6, 4, 24), normal(24, 1)[:, 0], normal(1, 24)[0]
    ours = value_and_gradients(
        lambda *given: fused.max_pooled(given[0], activation, *given[1:]), *arguments
    )
    plain = value_and_gradients(
        lambda x, scale, offset: tf.nn.max_pool2d(activation(x * scale + offset), 2, 2, "VALID"),
        *arguments,
    )
    assert_same(ours, plain)
