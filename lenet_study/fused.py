"""Loops over whole images arranged for a processor, where TensorFlow's own are slow.

A small network's step waits for memory more than for arithmetic. An activation, its pooling and the
gradients of both each write and read arrays of megabytes; compiled together by XLA they read the
layer's output once forward and once backward. And six filters leave most of a vector register
empty. The sums are the same.
"""

import functools
from collections.abc import Callable

from lenet_keras.backend import instruction_set, keras, onednn, ops, tf

VECTOR = 16  # float32 numbers in a vector register; with fewer channels XLA's forward loop is slow
WIDE = 24  # channels from which on XLA finds maxima faster than TensorFlow
ROWS = range(12, 31)  # channels with which XLA's gradient is slow unless it goes over whole rows
# With other activations XLA takes up to five times as long in one loop with their maxima as in two
# (GELU of 24 channels); with these, which are cheap, two thirds.
CHEAP = (keras.activations.relu, keras.activations.leaky_relu)


@functools.cache
def available() -> bool:
    """Whether TensorFlow trains on a processor here, and has XLA: it is tried once."""
    if keras.backend.backend() != "tensorflow" or tf.config.list_physical_devices("GPU"):
        return False
    # Whoever asks first may be tracing a model, in which nothing runs and nothing is raised.
    with tf.init_scope():
        try:
            with tf.GradientTape() as tape:
                x = tf.ones((1, 2, 2, VECTOR))
                tape.watch(x)
                y = average_pooled(x, tf.tanh)
            tape.gradient(y, x)
        except (tf.errors.OpError, ValueError):
            return False
    return True


def neighbours_fit(channels: int) -> bool:
    """Whether so few channels leave room for a neighbour's in a vector register here."""
    sixteen_lanes = instruction_set().startswith("AVX512")
    return available() and onednn() and sixteen_lanes and 2 * channels <= VECTOR


def fours_pay(channels: int) -> bool:
    """Whether TensorFlow's own convolution with so few filters is slow here."""
    return available() and not onednn() and channels <= VECTOR


def _neighbours(kernel: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """The kernel of `rows` x `columns` neighbouring pixels, each with its own filters: it is larger
    by the distance between them, and 0 where it is not a pixel's own."""
    own = [
        tf.pad(kernel, [[y, rows - 1 - y], [x, columns - 1 - x], [0, 0], [0, 0]])
        for y in range(rows)
        for x in range(columns)
    ]
    return tf.concat(own, axis=3)


def convolved_by_pairs(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """A convolution with few filters and no padding, for TensorFlow on a processor.

    Two neighbouring pixels of the output are computed as one pixel with twice the filters. Every
    sum has its terms in the same order, and zeros, so the numbers are those of a plain convolution.

    Args:
        x: float32 (batch, height, width, channels), width - columns odd.
        kernel: float32 (rows, columns, channels, filters).
        bias: float32 (filters,).

    Returns:
        float32 (batch, height - rows + 1, width - columns + 1, filters).
    """

    @tf.custom_gradient
    def convolved(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        pairs = tf.nn.conv2d(x, _neighbours(kernel, 1, 2), strides=(1, 2), padding="VALID")
        height, width = (x.shape[axis + 1] - kernel.shape[axis] + 1 for axis in (0, 1))
        y = tf.reshape(pairs + tf.tile(bias, [2]), (-1, height, width, kernel.shape[3]))

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            along_x = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x),
                filter=kernel,
                out_backprop=upstream,
                strides=(1, 1, 1, 1),
                padding="VALID",
            )
            return along_x, *_along_weights(x, kernel, upstream)

        return y, gradient

    return convolved(x, kernel, bias)


def convolved_by_fours(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """A convolution with few filters and no padding, for TensorFlow without oneDNN.

    Four neighbouring pixels of the output are computed as one pixel with four times the filters,
    and so is the kernel's gradient: in products so large TensorFlow's own convolution takes 0.3 to
    0.4 of the time.

    Args:
        x: float32 (batch, height, width, channels), width - columns + 1 a multiple of four.
        kernel: float32 (rows, columns, channels, filters).
        bias: float32 (filters,).

    Returns:
        float32 (batch, height - rows + 1, width - columns + 1, filters).
    """
    fours = tf.nn.conv2d(x, _neighbours(kernel, 1, 4), strides=(1, 4), padding="VALID")
    height, width = (x.shape[axis + 1] - kernel.shape[axis] + 1 for axis in (0, 1))
    return tf.reshape(fours, (-1, height, width, kernel.shape[3])) + bias


def convolved_back_by_squares(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """A convolution of few channels without padding, for TensorFlow on a processor.

    The gradient along x is a convolution with few filters. There, four neighbouring pixels are
    computed as one pixel with four times the filters; the numbers are the same.

    Args:
        x: float32 (batch, height, width, channels), height and width even.
        kernel: float32 (side, side, channels, filters).
        bias: float32 (filters,).

    Returns:
        float32 (batch, height - side + 1, width - side + 1, filters).
    """

    @tf.custom_gradient
    def convolved(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            turned = tf.transpose(tf.reverse(kernel, [0, 1]), (0, 1, 3, 2))
            edge = [kernel.shape[0] - 1] * 2
            squares = tf.nn.conv2d(
                upstream,
                _neighbours(turned, 2, 2),
                strides=2,
                padding=[[0, 0], edge, edge, [0, 0]],
            )
            _, height, width, channels = x.shape
            squares = tf.reshape(squares, (-1, height // 2, width // 2, 2, 2 * channels))
            along_x = tf.reshape(tf.transpose(squares, (0, 1, 3, 2, 4)), tf.shape(x))
            return along_x, *_along_weights(x, kernel, upstream)

        return tf.nn.conv2d(x, kernel, strides=1, padding="VALID") + bias, gradient

    return convolved(x, kernel, bias)


def _along_weights(
    x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """A plain convolution's gradients along its kernel and its bias."""
    along_kernel = tf.raw_ops.Conv2DBackpropFilter(
        input=x,
        filter_sizes=kernel.shape,
        out_backprop=upstream,
        strides=(1, 1, 1, 1),
        padding="VALID",
    )
    return along_kernel, tf.reduce_sum(upstream, (0, 1, 2))


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
    def slope(x: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = activation(x)
        return tape.gradient(y, x, tf.broadcast_to(share, tf.shape(x)))

    @tf.function(jit_compile=True, autograph=False)
    def in_windows(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        share = 0.25 * upstream[:, :, None, :, None, :]
        return tf.reshape(slope(_windows(x), share), tf.shape(x))

    @tf.function(jit_compile=True, autograph=False)
    def in_rows(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        """Of pairs of rows (n, 2, width * channels), and (n, width / 2, channels)."""
        share = tf.tile(0.25 * upstream[:, :, None, :], (1, 1, 2, 1))
        return slope(x, tf.reshape(share, (-1, 1, x.shape[2])))

    def backward(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
        _, _, width, channels = x.shape
        if channels not in ROWS:
            return in_windows(x, upstream)
        # XLA loops as its result is shaped, so the reshaping is done outside.
        rows = tf.reshape(x, (-1, 2, width * channels))
        shares = tf.reshape(upstream, (-1, width // 2, channels))
        return tf.reshape(in_rows(rows, shares), tf.shape(x))

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


def _cells(x: tf.Tensor) -> list[tf.Tensor]:
    """The four of each window, row by row: each (batch, height / 2, width / 2, channels)."""
    windows = _windows(x)
    return [windows[:, :, row, :, column] for row in (0, 1) for column in (0, 1)]


def _first_highest(values: list[tf.Tensor], candidates: list[tf.Tensor]) -> tuple[tf.Tensor, ...]:
    """The highest of the values, its candidate, and its place among them."""
    top, chosen, place = values[0], candidates[0], tf.zeros_like(values[0])
    for number in range(1, len(values)):
        higher = values[number] > top
        top = tf.where(higher, values[number], top)
        chosen = tf.where(higher, candidates[number], chosen)
        place = tf.where(higher, float(number), place)
    return top, chosen, place


@functools.cache
def _highest(activation: Callable) -> Callable:
    """Gives the maxima, the values of x that they come from, and which of the four that was."""

    @tf.function(jit_compile=True, autograph=False)
    def in_one_loop(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tuple[tf.Tensor, ...]:
        cells = _cells(x)
        return _first_highest([activation(cell * scale + offset) for cell in cells], cells)

    @tf.function(jit_compile=True, autograph=False)
    def activated(rows: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
        return activation(rows * scale + offset)

    @tf.function(jit_compile=True, autograph=False)
    def highest(y: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return _first_highest(_cells(y), _cells(x))

    def in_two_loops(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tuple[tf.Tensor, ...]:
        _, height, width, channels = x.shape
        rows = tf.reshape(x, (-1, width * channels))
        y = activated(rows, tf.tile(scale, [width]), tf.tile(offset, [width]))
        return highest(tf.reshape(y, (-1, height, width, channels)), x)

    return in_one_loop if activation in CHEAP else in_two_loops


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
