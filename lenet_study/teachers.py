"""Labels from an ensemble: the same network, or a larger one, trained first, answers for every
image.

Source: Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network"; for blended
images Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent".
"""

import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from scipy.special import softmax
from tqdm.auto import tqdm

from lenet_keras.backend import keras, tf
from lenet_keras.data import Dataset, Split
from lenet_keras.evaluation import predict
from lenet_keras.model import lenet5
from lenet_keras.pipeline import shown
from lenet_keras.recipe import Recipe
from lenet_study import members, residual
from lenet_study.grouping import NETWORK_FIELDS, carried
from lenet_study.members import Lesson
from lenet_study.shards import ShardedNetwork
from lenet_study.stack import Stack

# What teachers have in common with the recipe that they teach.
OF_THE_TEACHERS = {"dataset", "augmentation", "shift_pixels", "batch_size", *NETWORK_FIELDS}
FIRST_TEACHER, MOST_TEACHERS = 1_000_000, 100  # seeds of teachers, beyond those of any study
# What residual teachers' answers hang on, beside the data. They teach all seeds, as one costs more
# than a run.
OF_RESIDUAL_ANSWERS = (
    *("train_on", "augmentation", "shift_pixels", "batch_size", "teachers", "teacher_network"),
    *("teacher_epochs", "teacher_learning_rate", "teacher_weight_decay", "teacher_views"),
    "teacher_averages",
)
_residual_answers: dict[tuple, tuple[np.ndarray, float]] = {}  # and the seconds they took
Answer = Callable[[Split], np.ndarray]  # logits (images, networks, classes) of a split


def prepare_lesson(recipe: Recipe, seed: int, data: Dataset, *, verbose: int = 1) -> Lesson:
    """What the recipe's teachers have to say, after their training. One process trains a residual
    network once for all seeds. The arguments are those of `teach`."""
    if not recipe.teachers:
        return Lesson()
    asked = (data.fingerprint, *(getattr(recipe, name) for name in OF_RESIDUAL_ANSWERS))
    taught, seconds_before = _residual_answers.get(asked, (None, 0.0))
    if taught is None:
        began = time.perf_counter()
        taught = teach(recipe, seed, data, verbose=verbose)
        if recipe.teacher_network == "residual":
            _residual_answers[asked] = taught, time.perf_counter() - began
    if recipe.teacher_views:
        return Lesson(show=showing(taught, recipe, data), seconds_before=seconds_before)
    return Lesson(relabelling(taught, recipe), seconds_before=seconds_before)


def teach(recipe: Recipe, seed: int, data: Dataset, *, verbose: int = 1) -> np.ndarray:
    """What the recipe's teachers say of every training image, in every view that training shows.

    The teachers see the recipe's augmentation. Those of its own network, as wide as it asks, have
    other first weights, train side by side, or in turn where they are wider, and have seeds that no
    study has. Residual ones have the same seeds whatever the run's. Several answer with the mean of
    their probabilities.

    Args:
        recipe: has `teachers`.
        seed: of the run that learns from them.
        data: the recipe's dataset. Only training and validation images are looked at.
        verbose: as for `train`.

    Returns:
        float16 (training images, views, classes), the views being `views`, or those of
        `draw_blends` where the recipe has `teacher_views`; one that stands for all where it has
        `teacher_averages`.
    """
    own = recipe.teacher_network == "lenet5"
    ensemble = (
        _trained(recipe, seed, data, verbose) if own else _trained_residual(recipe, data, verbose)
    )
    answers = _answers(recipe, ensemble, data, verbose)
    if recipe.teacher_averages:
        answers = answers.mean(axis=1, keepdims=True, dtype=np.float32).astype(np.float16)
    return answers


def _answers(recipe: Recipe, ensemble: list[Answer], data: Dataset, verbose: int) -> np.ndarray:
    images = data.train.images
    pixels, blends = tf.constant(images), draw_blends(recipe, len(images))
    shows: list[Callable[[], np.ndarray]] = [
        functools.partial(_blended, pixels, blends, number)
        for number in range(recipe.teacher_views)
    ]
    shows = shows or [functools.partial(seen, images, view) for view in views(recipe)]
    answers = []
    for show in tqdm(shows, desc="teachers", unit="view", disable=not verbose):
        split = Split(show(), data.train.labels)
        logits = np.concatenate([answer(split) for answer in ensemble], axis=1)
        answers.append(softmax(logits, axis=-1).mean(axis=1).astype(np.float16))
    return np.stack(answers, axis=1)


def _trained(recipe: Recipe, seed: int, data: Dataset, verbose: int) -> list[Answer]:
    """The recipe's own network, trained with other seeds: in one stack if one carries them, else a
    model each."""
    teacher = Recipe(
        **{name: value for name, value in recipe.changes().items() if name in OF_THE_TEACHERS},
        width=recipe.teacher_width,
        optimizer="adamw",
        learning_rate=recipe.teacher_learning_rate,
        weight_decay=recipe.teacher_weight_decay,
        schedule="cosine",
        epochs=recipe.teacher_epochs,
    )
    count, first = recipe.teachers, FIRST_TEACHER + seed * MOST_TEACHERS
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
        members.fit(
            model, recipes, seed, data, Lesson(), started, score_test=False, verbose=verbose
        )
    return [functools.partial(members.predict, model) for model in models]


def _trained_residual(recipe: Recipe, data: Dataset, verbose: int) -> list[Answer]:
    seen_by_both = {n: v for n, v in recipe.changes().items() if n in ("dataset", "shift_pixels")}
    teacher = Recipe(
        **seen_by_both,
        augmentation=(*recipe.augmentation, "mixup"),  # it is asked of blended images too
        batch_size=min(4 * recipe.batch_size, len(data.train)),
        learning_rate=recipe.teacher_learning_rate,
        weight_decay=recipe.teacher_weight_decay,
        epochs=recipe.teacher_epochs,
        **residual.SETTINGS,
    )

    def answer(network: keras.Model, split: Split) -> np.ndarray:
        return predict(network, split, data)[:, None]

    return [
        functools.partial(
            answer, residual.trained(teacher, FIRST_TEACHER + number, data, verbose=verbose)
        )
        for number in range(recipe.teachers)
    ]


def relabelling(taught: np.ndarray, recipe: Recipe) -> Callable[..., tf.Tensor]:
    """For `training_batches`: `teacher_share` of each label is what teachers say of what is shown.

    Args:
        taught: from `teach`.
        recipe: whose share it is, and whose views.
    """
    known, share, largest = tf.constant(taught), recipe.teacher_share, _largest_shift(recipe)
    side = 2 * largest + 1

    def relabel(
        y: tf.Tensor, chosen: tf.Tensor, flipped: tf.Tensor, down: tf.Tensor, right: tf.Tensor
    ) -> tf.Tensor:
        view = (tf.cast(flipped, tf.int32) * side + down + largest) * side + right + largest
        if recipe.teacher_averages:
            view = tf.zeros_like(view)
        answers = tf.cast(tf.gather_nd(known, tf.stack([chosen, view], 1)), tf.float32)
        return y * (1.0 - share) + answers * share

    return relabel


def showing(
    taught: np.ndarray, recipe: Recipe, data: Dataset
) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """For `training_batches`: images as `draw_blends` shows them, each in any of its views, and
    labels of which `teacher_share` is what teachers say of that view.

    Args:
        taught: from `teach`.
        recipe: whose views they are, and whose share it is.
        data: the recipe's dataset.
    """
    images, blends = tf.constant(data.train.images), draw_blends(recipe, len(data.train.labels))
    truth = np.eye(len(data.class_names), dtype=np.float32)[data.train.labels]
    own = blends.weight[..., None]
    true = own * truth[:, None] + (1.0 - own) * truth[blends.partner]
    labels = tf.constant(recipe.teacher_share * taught + (1.0 - recipe.teacher_share) * true)

    def show(chosen: tf.Tensor, drawn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        number = tf.cast(drawn * recipe.teacher_views, tf.int32)
        y = tf.gather_nd(labels, tf.stack([chosen, number], 1))
        return blended(images, blends, chosen, number), y

    return show


@dataclass(frozen=True)
class Blends:
    """Views of every training image, drawn once; all arrays (images, views).

    Attributes:
        flipped: bool, whether it is mirrored.
        down, right: int32, the pixels that it is moved.
        partner: int32, which image is blended in before that.
        weight: float32, the image's own share, the partner's being the rest.
    """

    flipped: np.ndarray
    down: np.ndarray
    right: np.ndarray
    partner: np.ndarray
    weight: np.ndarray


def draw_blends(recipe: Recipe, images: int) -> Blends:
    """The recipe's `teacher_views` of so many images, the same for every seed: its flips and
    shifts, half of them of two images, of which one has a share between a half and the whole."""
    random, size = np.random.default_rng(FIRST_TEACHER), (images, recipe.teacher_views)
    largest = _largest_shift(recipe)
    flipped = random.random(size) < (0.5 if "flip" in recipe.augmentation else 0.0)
    down, right = random.integers(-largest, largest, (2, *size), np.int32, endpoint=True)
    partner = random.integers(images, size=size, dtype=np.int32)
    weight = np.where(random.random(size) < 0.5, random.uniform(0.5, 1.0, size), 1.0)
    return Blends(flipped, down, right, partner, weight.astype(np.float32))


def blended(images: tf.Tensor, blends: Blends, chosen: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
    """Some images, each in one of its views: uint8 (batch, height, width, channels).

    Args:
        images: uint8 (images, height, width, channels).
        blends: from `draw_blends`.
        chosen: int32 (batch,), which images.
        number: int32 (batch,), which view of each.
    """
    place = tf.stack([chosen, number], 1)
    flipped, down, right, partner, weight = (
        tf.gather_nd(tf.constant(values), place) for values in vars(blends).values()
    )
    own, other = (
        tf.cast(shown(images, which, flipped, down, right), tf.float32)
        for which in (chosen, partner)
    )
    weight = weight[:, None, None, None]
    return tf.cast(tf.round(weight * own + (1.0 - weight) * other), tf.uint8)


def _blended(images: tf.Tensor, blends: Blends, number: int) -> np.ndarray:
    """All images in their view of this number, by parts that are small as float32."""
    parts = np.split(np.arange(len(images), dtype=np.int32), range(5000, len(images), 5000))
    return np.concatenate(
        [blended(images, blends, part, np.full_like(part, number)).numpy() for part in parts]
    )


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
