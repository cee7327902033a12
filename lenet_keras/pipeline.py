"""The tf.data pipeline: a dataset's uint8 arrays as seeded, normalised, augmented batches."""

import hashlib
from dataclasses import dataclass

import numpy as np

from lenet_keras.backend import tf
from lenet_keras.data import Dataset
from lenet_keras.recipe import InputError, Recipe


@dataclass(frozen=True)
class Batches:
    """All training batches of one run.

    Attributes:
        dataset: yields (images float32 (batch, 32, 32, 3), labels float32 (batch, classes)),
            `epochs * steps_per_epoch` times, through one iterator for the whole run.
        steps_per_epoch: full batches in one pass over the training split; what is left over after
            the last full batch is another few images in every epoch.
        digest: SHA-256 of the minibatch indices; equal digests mean paired runs.
    """

    dataset: tf.data.Dataset
    steps_per_epoch: int
    digest: str


def minibatch_indices(images: int, batch_size: int, epochs: int, seed: int) -> np.ndarray:
    """Which training images each step sees: int32 (epochs * steps_per_epoch, batch_size).

    Every epoch is its own permutation; it depends on the seed and the epoch's number alone, so a
    longer run begins like a shorter one.
    """
    steps = images // batch_size
    orders = [
        np.random.default_rng([seed, epoch]).permutation(images)[: steps * batch_size]
        for epoch in range(epochs)
    ]
    return np.concatenate(orders).astype(np.int32).reshape(epochs * steps, batch_size)


def training_batches(data: Dataset, recipe: Recipe, seed: int) -> Batches:
    """The training split, shuffled anew for each epoch, normalised and augmented.

    The same seed gives the same batches whatever the number of threads: order and augmentation
    are drawn from the seed and the step, never from a shared generator.

    Raises:
        InputError: the recipe is for another dataset, or one batch is larger than the split.
    """
    if recipe.dataset != data.name:
        raise InputError(f"dataset: the recipe asks for {recipe.dataset}, the data is {data.name}.")
    count = len(data.train.labels)
    if recipe.batch_size > count:
        raise InputError(
            f"batch_size: found {recipe.batch_size}; {data.name} has {count} training images, "
            "and one batch may not be larger."
        )
    indices = minibatch_indices(count, recipe.batch_size, recipe.epochs, seed)
    images = tf.constant(data.train.images)
    labels = tf.one_hot(data.train.labels, len(data.class_names))
    normalise = normalisation(data)
    # One weight a step, as in the reference implementation of Zhang et al. 2018.
    mixing = np.random.default_rng([seed, 1 << 32]).beta(
        recipe.mixup_alpha, recipe.mixup_alpha, len(indices)
    )

    def batch(step: tf.Tensor, chosen: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x, y = tf.gather(images, chosen), tf.gather(labels, chosen)
        draw = _Draw(seed, step, recipe.batch_size)
        if "flip" in recipe.augmentation:
            x = flip(x, draw.uniform(0) < 0.5)
        if "shift" in recipe.augmentation:
            x = shift(
                x, draw.integers(1, recipe.shift_pixels), draw.integers(2, recipe.shift_pixels)
            )
        x = normalise(x)
        if "cutout" in recipe.augmentation:
            x = cutout(x, draw.uniform(3), draw.uniform(4), recipe.cutout_size)
        if "mixup" in recipe.augmentation:
            # The order is random already, so the batch upside down is a random partner.
            x = weight * x + (1 - weight) * tf.reverse(x, [0])
            y = weight * y + (1 - weight) * tf.reverse(y, [0])
        return x, y

    dataset = tf.data.Dataset.from_tensor_slices(
        (np.arange(len(indices), dtype=np.int32), indices, mixing.astype(np.float32))
    )
    # One thread beside the training's is enough. The autotuner is off: it holds up the end of
    # every iterator.
    dataset = dataset.map(batch).prefetch(4)
    options = tf.data.Options()
    options.autotune.enabled = False
    return Batches(
        dataset=dataset.with_options(options),
        steps_per_epoch=count // recipe.batch_size,
        digest=hashlib.sha256(indices.astype("<i4").tobytes()).hexdigest()[:16],
    )


def normalisation(data: Dataset):  # type: ignore[no-untyped-def]
    """The function from uint8 images (n, 32, 32, 3) to float32 ones; those of the training split
    get mean 0 and standard deviation 1 in each channel."""
    # A value for every pixel: TensorFlow broadcasts three channels five times slower than images.
    pixels = int(np.prod(data.train.images.shape[1:3]))
    mean = tf.constant(np.tile(data.mean, pixels))
    scale = tf.constant(np.tile(1.0 / data.deviation, pixels))

    def normalise(images: tf.Tensor) -> tf.Tensor:
        flat = tf.cast(tf.reshape(images, (-1, len(mean))), tf.float32)
        return tf.reshape((flat - mean) * scale, tf.shape(images))

    return normalise


@dataclass(frozen=True)
class _Draw:
    """Random numbers for one batch, a stream per purpose, that depend on seed and step alone."""

    seed: int
    step: tf.Tensor
    batch_size: int

    def uniform(self, stream: int) -> tf.Tensor:
        """float32 (batch,) in [0, 1)."""
        key = tf.stack([self.seed * 8 + stream, self.step])
        return tf.random.stateless_uniform([self.batch_size], key)

    def integers(self, stream: int, largest: int) -> tf.Tensor:
        """int32 (batch,) in -largest..largest."""
        return tf.cast(tf.floor(self.uniform(stream) * (2 * largest + 1)), tf.int32) - largest


def flip(images: tf.Tensor, flipped: tf.Tensor) -> tf.Tensor:
    """Mirror left and right the images (batch, 32, 32, 3) where `flipped` (batch,) is true."""
    return tf.where(flipped[:, None, None, None], tf.reverse(images, [2]), images)


def shift(images: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Move each image by whole pixels; what enters at an edge is the image's own reflection.

    Args:
        images: any dtype (batch, height, width, channels).
        down, right: int32 (batch,), pixels, negative for up and left.
    """

    def source(length: int, moved: tf.Tensor) -> tf.Tensor:
        position = tf.abs(tf.range(length) - moved[:, None])  # reflect at the first pixel
        return length - 1 - tf.abs(length - 1 - position)  # and at the last

    rows = tf.gather(images, source(images.shape[1], down), batch_dims=1)
    return tf.gather(rows, source(images.shape[2], right), axis=2, batch_dims=1)


def cutout(images: tf.Tensor, y: tf.Tensor, x: tf.Tensor, size: int) -> tf.Tensor:
    """Blank a square of `size` pixels in each normalised image (DeVries & Taylor 2017).

    The square's centre is anywhere in the image, so a part of it may lie outside. Blank is 0: the
    training split's mean colour.

    Args:
        images: float32 (batch, height, width, channels), normalised.
        y, x: float32 (batch,) in [0, 1), the centre as a fraction of height and width.
    """

    def inside(length: int, centre: tf.Tensor) -> tf.Tensor:
        first = tf.cast(tf.floor(centre * length), tf.int32)[:, None] - size // 2
        pixels = tf.range(length)[None]
        return (pixels >= first) & (pixels < first + size)

    height, width = images.shape[1], images.shape[2]
    blank = inside(height, y)[:, :, None] & inside(width, x)[:, None, :]
    return tf.where(blank[..., None], 0.0, images)
