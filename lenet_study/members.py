"""Fits a stack, or a lone network in shards, and gives back a run for each member."""

import functools
import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from lenet_keras import evaluation, training
from lenet_keras.backend import keras, tf
from lenet_keras.data import Dataset, Split
from lenet_keras.model import kernels, loss
from lenet_keras.optimizer import Schedule, optimizer
from lenet_keras.pipeline import Batches, normalisation, training_batches
from lenet_keras.recipe import Recipe
from lenet_keras.run import History, Run
from lenet_study import fused
from lenet_study.curvature import MeasuredSGD
from lenet_study.shards import ShardedNetwork, shard_count
from lenet_study.stack import MemberSchedule, Stack

PACKAGES = (training.PACKAGE, Path(__file__).parent)
Fitted = Stack | ShardedNetwork


@dataclass(frozen=True)
class Lesson:
    """What a training learns beside the labels of its dataset.

    Attributes:
        relabel, show: for `training_batches`.
        seconds_before: that teachers have cost an earlier run, whose teachers these are too.
    """

    relabel: Callable[..., tf.Tensor] | None = None
    show: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None
    seconds_before: float = 0.0


def fit(
    model: Fitted,
    recipes: Sequence[Recipe],
    seed: int,
    data: Dataset,
    lesson: Lesson,
    started: datetime,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    score_test: bool,
    verbose: int,
) -> list[Run]:
    """Train a model in place, in as many shards as this machine bears, and score its members.

    Args:
        model: a `Stack` of the recipes, or a `ShardedNetwork` around the `lenet5` of one.
        recipes: one a member.
        seed: of the minibatch order and the augmentation.
        data: the recipes' dataset.
        lesson: what it learns beside the dataset's labels.
        started: when the training began, its teachers' included, in UTC.
        callbacks: what else Keras is to call.
        score_test: whether the test set is evaluated, once, at the end.
        verbose: 0 is silent, 1 draws a progress bar.

    Returns:
        A run for each member, in order.
    """
    first = recipes[0]
    batches = training_batches(data, first, seed, lesson.relabel, lesson.show)
    _compile(model, first, batches, data)
    gc.collect()  # an earlier model is cyclic garbage that still holds its copy of the images
    steps, total_steps = batches.steps_per_epoch, first.epochs * batches.steps_per_epoch
    schedule = MemberSchedule(recipes, total_steps)
    watch = MemberWatch(data, len(recipes), schedule, verbose)
    with watch.bar:
        model.fit(
            batches.dataset,
            epochs=first.epochs,
            steps_per_epoch=steps,
            callbacks=[*training.callbacks(first, watch), *callbacks],
            shuffle=False,  # the batches are shuffled already; Keras would warn
            verbose=0,
        )
    logits = training.all_logits(final_predict(model, data), first, data, score_test)
    stack = recipes if len(recipes) > 1 else ()
    where = training.provenance(data, batches, started, stack, PACKAGES, lesson.seconds_before)
    return [
        training.make_run(
            recipe,
            seed,
            data,
            watch.member_history(member),
            {split: values[:, member] for split, values in logits.items()},
            model.member_kernels(member) if isinstance(model, Stack) else kernels(model.network),
            where,
        )
        for member, recipe in enumerate(recipes)
    ]


def _compile(model: Fitted, recipe: Recipe, batches: Batches, data: Dataset) -> None:
    """Make a model ready for its recipes' training; what they share, `recipe` says."""
    model.shards, model.prepare = shard_count(recipe), compiled_normalisation(data)
    settings = training.execution(batches.steps_per_epoch)
    total_steps = recipe.epochs * batches.steps_per_epoch
    if isinstance(model, Stack):
        model.compile_members(total_steps, **settings)
        return
    kind = MeasuredSGD if recipe.step_sizes == "gauss_newton" else None
    model.compile(
        optimizer=optimizer(recipe, total_steps, kind),
        loss=loss(recipe),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        **settings,
    )


def compiled_normalisation(data: Dataset) -> Callable[[Any], Any]:
    """`normalisation`, as one loop over the images where TensorFlow trains on a processor."""
    normalise = normalisation(data)
    if fused.available():
        return tf.function(normalise, jit_compile=True, autograph=False)
    return normalise


def predict(model: Fitted, split: Split) -> np.ndarray:
    """Logits of a whole split, without augmentation or dropout: float32 (images, members,
    classes). The model normalises by itself."""
    logits = evaluation.by_batches(model.predict_on_batch, split.images)
    return logits if logits.ndim == 3 else logits[:, None]


def final_predict(model: Fitted, data: Dataset) -> Callable[[Split], np.ndarray]:
    """`predict`, by plain Keras where there is one network: a run's scores are its model's."""
    if isinstance(model, Stack) and model.members > 1:
        return functools.partial(predict, model)
    network = model.member(0) if isinstance(model, Stack) else model.network
    return lambda split: evaluation.predict(network, split, data)[:, None]


class MemberWatch(training.Watch):
    """Watches several networks that train as one model; ends when all have diverged."""

    def __init__(self, data: Dataset, members: int, schedule: Schedule, verbose: int) -> None:
        """`members` is the number of networks; see `Watch`."""
        super().__init__(data, schedule, verbose)
        self.members = members
        self.epochs: list[dict[str, list[float]]] = []  # type: ignore[assignment]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Validate every member, and note the epoch; others are told the first member's."""
        assert logs is not None
        split = self.data.validation
        logits = predict(self.model, split)
        scores = [
            evaluation.score(logits[:, member], split.labels) for member in range(self.members)
        ]
        values = {
            **{
                name: np.atleast_1d(logs.pop(f"member_{name}", logs.get(name))).tolist()
                for name in ("loss", "accuracy")
            },
            "val_loss": [math.nan if s.loss is None else s.loss for s in scores],
            "val_accuracy": [s.accuracy for s in scores],
            "learning_rate": np.broadcast_to(self.learning_rate(), self.members).tolist(),
        }
        logs |= {name: column[0] for name, column in values.items()}
        values["seconds"] = [(time.perf_counter() - self.clock) / self.members] * self.members
        self.epochs.append(values)
        finite = np.isfinite(values["loss"]) & np.isfinite(values["val_loss"])
        if finite.any():
            mean = np.mean(np.array(values["loss"])[finite])
            self.bar.set_postfix(loss=mean, val_accuracy=max(values["val_accuracy"]))
        else:
            self.end_diverged()

    def member_history(self, member: int) -> History:
        """One member's epochs, up to the one in which it diverged."""
        return training.make_history(
            [{name: values[member] for name, values in epoch.items()} for epoch in self.epochs]
        )
