"""Loops over whole images that XLA makes one of, where TensorFlow's kernels pass over memory twice.

On a processor a small network's step waits for memory more than for arithmetic. An activation, its
pooling and the gradients of both each write and read arrays of megabytes; compiled together they
read the layer's output once forward and once backward. The sums are the same.
"""

import functools
from collections.abc import Callable

from lenet_keras.backend import keras, ops, tf

VECTOR = 16  # float32 numbers in a vector register; with fewer channels XLA's forward loop is slow


@functools.cache
def available() -> bool:
    """Whether TensorFlow trains on a processor here, and has XLA: it is tried once."""
    if keras.backend.backend() != "tensorflow" or tf.config.list_physical_devices("GPU"):
        return False
    try:
        with tf.GradientTape() as tape:
            x = tf.ones((1, 2, 2, VECTOR))
            tape.watch(x)
            y = average_pooled(x, tf.tanh)
        tape.gradient(y, x)
    except (tf.errors.OpError, ValueError):
        return False
    return True


def average_pooled(x: tf.Tensor, activation: Callable) -> tf.Tensor:
    """2 x 2 average pooling of an activation, for TensorFlow on a processor.

    Args:
        x: float32 (batch, height, width, channels), height and width even.
        activation: an elementwise function; the same object in every call, or it is compiled anew.

    Returns:
        float32 (batch, height / 2, width / 2, channels).
    """

    @tf.custom_gradient
    def pooled(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        return _forward(activation)(x), functools.partial(_backward(activation), x)

    return pooled(x)


def _windows(x: tf.Tensor) -> tf.Tensor:
    """(batch, height, width, channels) as (batch, height / 2, 2, width / 2, 2, channels)."""
    _, height, width, channels = x.shape
    return tf.reshape(x, (-1, height // 2, 2, width // 2, 2, channels))


@functools.cache
def _forward(activation: Callable) -> Callable:
    @tf.function(jit_compile=True, autograph=False)
    def compiled(x: tf.Tensor) -> tf.Tensor:
        y = activation(_windows(x))
        return 0.25 * (y[:, :, 0, :, 0] + y[:, :, 0, :, 1] + y[:, :, 1, :, 0] + y[:, :, 1, :, 1])

    def forward(x: tf.Tensor) -> tf.Tensor:
        if x.shape[-1] < VECTOR:
            return ops.average_pool(activation(x), pool_size=(2, 2), strides=(2, 2))
        return compiled(x)

    return forward


@functools.cache
def _backward(activation: Callable) -> Callable:
    @tf.function(jit_compile=True, autograph=False)
    def backward(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        windows = _windows(x)
        with tf.GradientTape() as tape:
            tape.watch(windows)
            y = activation(windows)
        share = tf.broadcast_to(0.25 * upstream[:, :, None, :, None, :], tf.shape(windows))
        return tf.reshape(tape.gradient(y, windows, share), tf.shape(x))

    return backward
