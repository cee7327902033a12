"""Loops over whole images that XLA makes one of, where TensorFlow's kernels pass over memory twice.

On a processor a small network's step waits for memory more than for arithmetic. An activation, its
pooling and the gradients of both each write and read arrays of megabytes; compiled together they
read the layer's output once forward and once backward. The sums are the same.
"""

import functools
from collections.abc import Callable

from lenet_keras.backend import keras, ops, tf

VECTOR = 16  # float32 numbers in a vector register; with fewer channels XLA's forward loop is slow
WIDE = 24  # channels from which on XLA finds maxima faster than TensorFlow


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


def max_pooled(
    x: tf.Tensor, activation: Callable, scale: tf.Tensor, offset: tf.Tensor
) -> tf.Tensor:
    """2 x 2 maximum of an activation of x * scale + offset, for TensorFlow on a processor.

    Where two of the four are equal, the first has the gradient, as in TensorFlow.

    Args:
        x: float32 (batch, height, width, channels), height and width even.
        activation: as for `average_pooled`.
        scale, offset: float32 (channels,).

    Returns:
        float32 (batch, height / 2, width / 2, channels).
    """

    @tf.custom_gradient
    def pooled(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        y, chosen, place = _highest(activation)(x, scale, offset)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            along_x, along_sum = _from_highest(activation)(chosen, place, scale, offset, upstream)
            axes = (0, 1, 2)
            return along_x, tf.reduce_sum(along_sum * chosen, axes), tf.reduce_sum(along_sum, axes)

        return y, gradient

    return pooled(x, scale, offset)


@functools.cache
def _highest(activation: Callable) -> Callable:
    @tf.function(jit_compile=True, autograph=False)
    def highest(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The maxima, the values of x that they come from, and which of the four that was."""
        windows = _windows(x)
        first, *others = (windows[:, :, row, :, column] for row in (0, 1) for column in (0, 1))
        y, chosen, place = activation(first * scale + offset), first, tf.zeros_like(first)
        for number, candidate in enumerate(others, start=1):
            value = activation(candidate * scale + offset)
            higher = value > y
            y = tf.where(higher, value, y)
            chosen = tf.where(higher, candidate, chosen)
            place = tf.where(higher, float(number), place)
        return y, chosen, place

    return highest


@functools.cache
def _from_highest(activation: Callable) -> Callable:
    @tf.function(jit_compile=True, autograph=False)
    def backward(
        chosen: tf.Tensor,
        place: tf.Tensor,
        scale: tf.Tensor,
        offset: tf.Tensor,
        upstream: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Along x, and along x * scale + offset where that was the highest."""
        total = chosen * scale + offset
        with tf.GradientTape() as tape:
            tape.watch(total)
            y = activation(total)
        along_sum = tape.gradient(y, total, upstream)
        _, height, width, channels = chosen.shape
        places = tf.reshape(tf.range(4.0), (1, 1, 2, 1, 2, 1))
        here = place[:, :, None, :, None, :] == places
        spread = tf.where(here, (along_sum * scale)[:, :, None, :, None, :], 0.0)
        return tf.reshape(spread, (-1, 2 * height, 2 * width, channels)), along_sum

    return backward


@tf.custom_gradient
def moments(x: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    """Mean and mean square of each channel: float32 (…, channels) to two of (channels,)."""
    axes = tuple(range(len(x.shape) - 1))
    number = float(x.shape.num_elements() // x.shape[-1])

    def gradient(along_mean: tf.Tensor, along_square: tf.Tensor) -> tf.Tensor:
        return _along_line(along_mean / number, 2.0 * along_square / number, x)

    return (tf.reduce_mean(x, axes), tf.reduce_mean(tf.square(x), axes)), gradient


@tf.function(jit_compile=True, autograph=False)
def _along_line(level: tf.Tensor, slope: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return level + slope * x
