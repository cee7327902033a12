"""The tf.data pipeline: a dataset's uint8 arrays as seeded, augmented batches, and their scaling.

Batches stay in pixel values, a quarter of the bytes; the network's first operation normalises them.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lenet_keras.backend import ops, tf
from lenet_keras.data import Dataset
from lenet_keras.recipe import InputError, Recipe


@dataclass(frozen=True)
class Batches:
    """All training batches of one run.

    Attributes:
        dataset: yields (images (batch, 32, 32, 3), labels float32 (batch, classes)), `epochs *
            steps_per_epoch` times, through one iterator for the whole run. Images hold pixel
            values, uint8 or, after cutout and mixup, float32; `normalisation` scales them.
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


def training_batches(
    data: Dataset,
    recipe: Recipe,
    seed: int,
    relabel: Callable[..., tf.Tensor] | None = None,
    show: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None,
) -> Batches:
    """The training split, shuffled anew for each epoch and augmented.

    The same seed gives the same batches whatever the number of threads: order and augmentation
    are drawn from the seed and the step, never from a shared generator.

    Args:
        data: the recipe's dataset.
        recipe: of batches and augmentation.
        seed: of order and augmentation.
        relabel: gives other labels for a batch's own (batch, classes), from these, the images'
            numbers, whether each is flipped, and its pixels down and right, all (batch,).
        show: gives a batch's images and labels in place of all this, from the images' numbers and
            a draw from [0, 1) for each, both (batch,).

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
    # One weight a step, as in the reference implementation of Zhang et al. 2018.
    mixing = np.random.default_rng([seed, 1 << 32]).beta(
        recipe.mixup_alpha, recipe.mixup_alpha, len(indices)
    )
    dataset = tf.data.Dataset.from_tensor_slices(
        (np.arange(len(indices), dtype=np.int32), indices, mixing.astype(np.float32))
    )
    # One thread beside the training's is enough. The autotuner is off: it holds up the end of
    # every iterator.
    dataset = dataset.map(_augmentation(data, recipe, seed, relabel, show)).prefetch(4)
    options = tf.data.Options()
    options.autotune.enabled = False
    return Batches(
        dataset=dataset.with_options(options),
        steps_per_epoch=count // recipe.batch_size,
        digest=hashlib.sha256(indices.astype("<i4").tobytes()).hexdigest()[:16],
    )


def _augmentation(
    data: Dataset,
    recipe: Recipe,
    seed: int,
    relabel: Callable[..., tf.Tensor] | None,
    show: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None,
) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
    """The function from a step, its images' numbers and mixup's weight to images and labels."""
    images = tf.constant(data.train.images)
    labels = tf.one_hot(data.train.labels, len(data.class_names))
    largest = recipe.shift_pixels if "shift" in recipe.augmentation else 0

    def batch(step: tf.Tensor, chosen: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        draw = _Draw(seed, step, recipe.batch_size)
        if show:
            return show(chosen, draw.uniform(0))
        y = tf.gather(labels, chosen)
        # Each stream is drawn by itself: without flips or shifts the others stay as they are.
        flipped = draw.uniform(0) < (0.5 if "flip" in recipe.augmentation else 0.0)
        down, right = draw.integers(1, largest), draw.integers(2, largest)
        if {"flip", "shift"}.intersection(recipe.augmentation):
            x = shown(images, chosen, flipped, down, right)
        else:
            x = tf.gather(images, chosen)
        if relabel:
            y = relabel(y, chosen, flipped, down, right)
        if {"cutout", "mixup"}.intersection(recipe.augmentation):
            x = tf.cast(x, tf.float32)
        if "cutout" in recipe.augmentation:
            x = cutout(x, draw.uniform(3), draw.uniform(4), recipe.cutout_size, data.mean)
        if "mixup" in recipe.augmentation:
            # The order is random already, so the batch upside down is a random partner.
            x = weight * x + (1 - weight) * tf.reverse(x, [0])
            y = weight * y + (1 - weight) * tf.reverse(y, [0])
        return x, y

    return batch


def normalisation(data: Dataset, library: Any = ops) -> Callable[[Any], Any]:
    """The function from pixel values (n, 32, 32, 3), uint8 or float32, to float32 images; those of
    the training split get mean 0 and standard deviation 1 in each channel.

    Args:
        data: whose training split it is.
        library: `ops` for Keras' backend, `tf` for tf.data.
    """
    # A value for every pixel: three channels broadcast five times slower than whole images.
    pixels = int(np.prod(data.train.images.shape[1:3]))
    mean, scale = np.tile(data.mean, pixels), np.tile(data.scale, pixels)

    def normalise(images: Any) -> Any:
        flat = library.cast(library.reshape(images, (-1, len(mean))), "float32")
        return library.reshape((flat - mean) * scale, library.shape(images))

    return normalise


def normalised(batches: Batches, data: Dataset) -> Batches:
    """The same batches with `normalisation` applied, for a network that does not do it itself."""
    normalise = normalisation(data, tf)
    dataset = batches.dataset.map(lambda images, labels: (normalise(images), labels))
    return dataclasses.replace(batches, dataset=dataset.prefetch(4))


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


def shown(
    images: tf.Tensor, chosen: tf.Tensor, flipped: tf.Tensor, down: tf.Tensor, right: tf.Tensor
) -> tf.Tensor:
    """Some of the images, each mirrored left and right or not, then moved by whole pixels; what
    enters at an edge is the image's own reflection.

    One look-up of pixels does it all, in less than a third of the time of one after another.

    Args:
        images: any dtype (n, height, width, channels).
        chosen: int32 (batch,), which of them.
        flipped: bool (batch,), which to mirror.
        down, right: int32 (batch,), pixels, negative for up and left.

    Returns:
        The images' dtype (batch, height, width, channels).
    """
    height, width, channels = images.shape[1:]

    def source(length: int, moved: tf.Tensor) -> tf.Tensor:
        position = tf.abs(tf.range(length) - moved[:, None])  # reflect at the first pixel
        return length - 1 - tf.abs(length - 1 - position)  # and at the last

    rows, columns = source(height, down), source(width, right)
    columns = tf.where(flipped[:, None], width - 1 - columns, columns)
    rows = (chosen[:, None] * height + rows) * width
    return tf.gather(tf.reshape(images, (-1, channels)), rows[:, :, None] + columns[:, None, :])


def cutout(
    images: tf.Tensor, y: tf.Tensor, x: tf.Tensor, size: int, colour: tf.Tensor
) -> tf.Tensor:
    """Blank a square of `size` pixels in each image (DeVries & Taylor 2017).

    The square's centre is anywhere in the image, so a part of it may lie outside.

    Args:
        images: float32 (batch, height, width, channels).
        y, x: float32 (batch,) in [0, 1), the centre as a fraction of height and width.
        size: of a side, in pixels.
        colour: float32 (channels,): the training split's mean, which normalises to 0.
    """

    def inside(length: int, centre: tf.Tensor) -> tf.Tensor:
        first = tf.cast(tf.floor(centre * length), tf.int32)[:, None] - size // 2
        pixels = tf.range(length)[None]
        return (pixels >= first) & (pixels < first + size)

    height, width = images.shape[1], images.shape[2]
    blank = inside(height, y)[:, :, None] & inside(width, x)[:, None, :]
    return tf.where(blank[..., None], colour, images)
