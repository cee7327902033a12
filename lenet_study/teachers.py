"""Labels from an ensemble: the same network, or a wider one, trained several times, answers for
every image.

Source: Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network".
"""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from scipy.special import softmax
from tqdm.auto import tqdm

from lenet_keras.backend import tf
from lenet_keras.data import Dataset, Split
from lenet_keras.model import lenet5
from lenet_keras.pipeline import shown
from lenet_keras.recipe import Recipe
from lenet_study import members
from lenet_study.grouping import NETWORK_FIELDS, carried
from lenet_study.shards import ShardedNetwork
from lenet_study.stack import Stack

# What teachers have in common with the recipe that they teach.
OF_THE_TEACHERS = {"dataset", "augmentation", "shift_pixels", "batch_size", *NETWORK_FIELDS}
FIRST_TEACHER, MOST_TEACHERS = 1_000_000, 100  # seeds of teachers, beyond those of any study


def teach(recipe: Recipe, seed: int, data: Dataset, *, verbose: int = 1) -> np.ndarray | None:
    """What the recipe's teachers say of every training image, in every view that training shows.

    The teachers are the recipe's network, as wide as it asks, with other first weights, and see its
    augmentation. They train side by side, or in turn where they are wider, with seeds that no study
    has, and answer with the mean of their probabilities.

    Args:
        recipe: whose `teachers` are asked for.
        seed: of the run that learns from them.
        data: the recipe's dataset. Only training and validation images are looked at.
        verbose: as for `train`.

    Returns:
        float16 (training images, `views`, classes), or None where the recipe has no teachers.
    """
    if not recipe.teachers:
        return None
    teacher = Recipe(
        **{name: value for name, value in recipe.changes().items() if name in OF_THE_TEACHERS},
        width=recipe.teacher_width,
        optimizer="adamw",
        learning_rate=recipe.teacher_learning_rate,
        weight_decay=recipe.teacher_weight_decay,
        schedule="cosine",
        epochs=recipe.teacher_epochs,
    )
    ensemble = _trained(
        teacher, recipe.teachers, FIRST_TEACHER + seed * MOST_TEACHERS, data, verbose
    )
    answers = []
    for view in tqdm(views(recipe), desc="teachers", unit="view", disable=not verbose):
        split = Split(seen(data.train.images, view), data.train.labels)
        logits = np.concatenate([members.predict(model, split) for model in ensemble], axis=1)
        answers.append(softmax(logits, axis=-1).mean(axis=1))
    return np.stack(answers, axis=1).astype(np.float16)


def _trained(
    teacher: Recipe, count: int, first: int, data: Dataset, verbose: int
) -> list[members.Fitted]:
    """So many networks with seeds from `first` on: in one stack if one carries them, else a model
    each."""
    networks = [
        lenet5(teacher, first + number, classes=len(data.class_names)) for number in range(count)
    ]
    models: list[members.Fitted] = (
        [Stack([teacher] * count, first, networks)]
        if carried(teacher)
        else [ShardedNetwork(network) for network in networks]
    )
    started = datetime.now(UTC)
    for number, model in enumerate(models):
        recipes = [teacher] * (count // len(models))
        seed = first + number
        members.fit(model, recipes, seed, data, None, started, score_test=False, verbose=verbose)
    return models


def relabelling(taught: np.ndarray | None, recipe: Recipe) -> Callable[..., tf.Tensor] | None:
    """For `training_batches`: `teacher_share` of each label is what teachers say of what is shown.

    Args:
        taught: from `teach`.
        recipe: whose share it is, and whose views.
    """
    if taught is None:
        return None
    known, share, largest = tf.constant(taught), recipe.teacher_share, _largest_shift(recipe)
    side = 2 * largest + 1

    def relabel(
        y: tf.Tensor, chosen: tf.Tensor, flipped: tf.Tensor, down: tf.Tensor, right: tf.Tensor
    ) -> tf.Tensor:
        view = (tf.cast(flipped, tf.int32) * side + down + largest) * side + right + largest
        answers = tf.cast(tf.gather_nd(known, tf.stack([chosen, view], 1)), tf.float32)
        return y * (1.0 - share) + answers * share

    return relabel


def views(recipe: Recipe) -> list[tuple[bool, int, int]]:
    """Every way in which a recipe's flips and shifts can show an image: whether it is mirrored, and
    the pixels down and right, in the order of their numbers."""
    largest = _largest_shift(recipe)
    moves = range(-largest, largest + 1)
    mirrored = (False, True) if "flip" in recipe.augmentation else (False,)
    return list(itertools.product(mirrored, moves, moves))


def seen(images: np.ndarray, view: tuple[bool, int, int]) -> np.ndarray:
    """Images uint8 (n, 32, 32, 3) as one of `views` shows them."""
    every = tf.range(len(images))
    mirrored, down, right = (tf.fill([len(images)], value) for value in view)
    return shown(tf.constant(images), every, mirrored, down, right).numpy()


def _largest_shift(recipe: Recipe) -> int:
    return recipe.shift_pixels if "shift" in recipe.augmentation else 0
