"""Trains recipes as studies do: several side by side as one model, or one by itself."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from lenet_keras import training
from lenet_keras.backend import keras
from lenet_keras.data import Dataset
from lenet_keras.recipe import InputError, Recipe
from lenet_keras.run import Run
from lenet_study.curvature import MeasureCurvature
from lenet_study.grouping import carried
from lenet_study.members import fit
from lenet_study.shards import ShardedNetwork, shardable
from lenet_study.stack import Stack
from lenet_study.teachers import prepare_lesson


def train_alone(
    recipe: Recipe,
    seed: int,
    data: Dataset,
    *,
    model: keras.Model | None = None,
    score_test: bool = True,
    verbose: int = 1,
    tensorboard: Path | None = None,
) -> Run:
    """Train one network as a study does: its processor's cores share every batch.

    A recipe with a field of which neither a stack nor shards know anything trains in plain Keras.
    The arguments are those of `lenet_keras.training.train`, which gives the same run up to the
    rounding of sums and but for dropout's masks, and has no teachers and no step sizes of 1998.

    Raises:
        InputError: the batch is larger than the training split, or the recipe measures its step
            sizes and Keras does not run on TensorFlow.
    """
    if recipe.step_sizes == "gauss_newton" and keras.backend.backend() != "tensorflow":
        raise InputError("step_sizes: 'gauss_newton' needs KERAS_BACKEND=tensorflow.")
    network = training.network_for(recipe, seed, data, model)
    if not shardable(recipe):
        return training.train(
            recipe,
            seed,
            data,
            model=network,
            score_test=score_test,
            verbose=verbose,
            tensorboard=tensorboard,
        )
    started = datetime.now(UTC)
    data = training.images_for(recipe, data)
    lesson = prepare_lesson(recipe, seed, data, verbose=verbose)
    callbacks: list[keras.callbacks.Callback] = []
    if recipe.step_sizes == "gauss_newton":
        callbacks.append(MeasureCurvature(network, recipe, data))
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(tensorboard))
    shell = Stack([recipe], seed, [network]) if carried(recipe) else ShardedNetwork(network)
    (run,) = fit(
        shell,
        [recipe],
        seed,
        data,
        lesson,
        started,
        callbacks,
        score_test=score_test,
        verbose=verbose,
    )
    if isinstance(shell, Stack):
        network.set_weights(shell.weights_of(0))
    return run


def train_stack(
    recipes: Sequence[Recipe],
    seed: int,
    data: Dataset,
    *,
    stack: Stack | None = None,
    score_test: bool = True,
    verbose: int = 1,
) -> list[Run]:
    """Train several networks side by side on one stream of batches; a run each, in order.

    Each run is what `train_alone` would have given, up to the rounding of sums and but for
    dropout's masks, which depend on a member's place, in less time. The arguments are those of
    `train_alone`; `stack` is an untrained `Stack(recipes, seed, classes=…)` to train in place.

    Raises:
        InputError: the recipes differ in something that a stack cannot carry.
    """
    stack = Stack(recipes, seed, classes=len(data.class_names)) if stack is None else stack
    started = datetime.now(UTC)
    first = recipes[0]
    data = training.images_for(first, data)
    lesson = prepare_lesson(first, seed, data, verbose=verbose)
    return fit(stack, recipes, seed, data, lesson, started, score_test=score_test, verbose=verbose)
