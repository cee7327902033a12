"""A member of a stack is what its recipe gives alone, in less time."""

import dataclasses
import functools
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenet_keras.backend import keras, tf
from lenet_keras.data import Dataset, load_data
from lenet_keras.model import lenet5, loss
from lenet_keras.optimizer import optimizer
from lenet_keras.pipeline import normalisation, training_batches
from lenet_keras.recipe import Activation, InputError, Recipe
from lenet_keras.training import train
from lenet_study.grouping import COMMON_FIELDS, MEMBER_FIELDS, carried, group_for_stacking
from lenet_study.shards import shardable
from lenet_study.stack import Stack, grouped_convolution, one_by_one
from lenet_study.training import train_alone, train_stack

DIGITS = load_data("digits")
# One epoch is 20 steps.
BASE = Recipe(dataset="digits", epochs=1, batch_size=59, kernel_initializer="glorot_uniform")


def weights_after(
    recipes: list[Recipe], seed: int = 3, data: Dataset = DIGITS
) -> list[list[np.ndarray]]:
    """Each member's weights after one epoch in a stack."""
    stack = Stack(recipes, seed)
    train_stack(recipes, seed, data, stack=stack, score_test=False, verbose=0)
    return [stack.member(i).get_weights() for i in range(len(recipes))]


def lone_weights(recipe: Recipe, seed: int = 3, data: Dataset = DIGITS) -> list[np.ndarray]:
    """The weights after one epoch of plain Keras: no stack, no shards, no loops of our own."""
    model, normalise = lenet5(recipe, seed), normalisation(data)
    batches = training_batches(data, recipe, seed)
    steps = batches.steps_per_epoch
    # To trace a step takes longer than to take one.
    how = {"run_eagerly": True} if steps == 1 else {"jit_compile": False}
    model.compile(optimizer(recipe, steps), loss(recipe), **how)
    for images, labels in batches.dataset:
        model.train_on_batch(np.asarray(normalise(images)), labels)
    model.optimizer.finalize_variable_values(model.trainable_variables)  # `fit` does it at its end
    return model.get_weights()


def distance(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    """The largest relative difference over the weight arrays.

    A bias before batch normalisation has no effect and stays at rounding noise around 0, of which
    no relative difference can be asked: hence the floor.
    """
    return max(
        np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-3)
        for a, b in zip(some, others, strict=True)
    )


STACKS = {
    "sgd": [{"learning_rate": 0.05}, {"learning_rate": 0.2, "l2": 1e-3}],
    "momentum": [{"momentum": 0.9}, {"momentum": 0.5, "learning_rate": 0.02, "l1": 1e-4}, {}],
    "nesterov": [{"momentum": 0.9, "nesterov": True}, {"momentum": 0.5, "nesterov": True}],
    "adam": [
        {"optimizer": "adam", "learning_rate": 1e-3},
        {"optimizer": "adam", "learning_rate": 3e-3, "label_smoothing": 0.1},
    ],
    "rmsprop": [
        {"optimizer": "rmsprop", "learning_rate": 1e-3, "schedule": "cosine"},
        {"optimizer": "rmsprop", "learning_rate": 3e-4, "weight_decay": 0.1},
    ],
    "adamw": [
        {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1},
        {"optimizer": "adamw", "learning_rate": 3e-3},
    ],
    "nadam": [{"optimizer": "nadam", "learning_rate": r} for r in (1e-3, 2e-3)],
    "adagrad": [{"optimizer": "adagrad", "learning_rate": r} for r in (1e-2, 2e-2)],
    "lion": [{"optimizer": "lion", "learning_rate": r} for r in (1e-5, 2e-5)],
    "max pooling, augmented": [
        {"pooling": "max", "activation": "relu", "augmentation": "flip,shift", "learning_rate": r}
        for r in (0.05, 0.1)
    ],
    "activations and poolings": [
        {"activation": "tanh"},
        {"activation": "silu"},
        {"activation": "silu", "pooling": "max"},
        {"activation": "scaled_tanh", "pooling": "max"},
    ],
    "batch": [
        {"normalization": "batch", "weight_decay": 0.1, "learning_rate": r} for r in (0.005, 0.01)
    ],
    "layer, each image by itself": [
        {"normalization": "layer", "input_normalization": "image", "learning_rate": r}
        for r in (0.02, 0.1)
    ],
    "group": [{"normalization": "group", "learning_rate": r} for r in (0.02, 0.1)],
    "averaged": [{"momentum": 0.9, "ema_momentum": 0.9, "learning_rate": r} for r in (0.02, 0.05)],
    "alone": [{"momentum": 0.9, "l2": 1e-3, "weight_decay": 0.1}],
    "initializer": [{"kernel_initializer": k} for k in ("zeros", "he_normal", "lecun_uniform")],
}


@pytest.mark.parametrize("changes", STACKS.values(), ids=STACKS.keys())
def test_a_member_equals_its_lone_run_after_twenty_steps(changes):
    recipes = [BASE.replace(**fields) for fields in changes]
    assert len(DIGITS.train.labels) // BASE.batch_size == 20
    pairs = list(zip(recipes, weights_after(recipes), strict=True))
    # Of members that differ in their rates alone the last tells of all.
    alike = len({recipe.replace(learning_rate=1.0) for recipe in recipes}) == 1
    for recipe, member in pairs[-1:] if alike else pairs:
        assert distance(lone_weights(recipe), member) < 1e-4


def test_every_field_that_a_stack_honours_is_compared_with_a_lone_run():
    compared = {field for changes in STACKS.values() for fields in changes for field in fields}
    # Masks depend on a member's place; these are the data's, the teachers' and the last epoch's.
    others = {"dropout", "train_on", "shift_pixels", "cutout_size", "mixup_alpha", "early_stopping"}
    others |= {field for field in COMMON_FIELDS if field.startswith("teacher")}
    assert compared | others | BASE.changes().keys() >= MEMBER_FIELDS | COMMON_FIELDS


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_the_gradients_through_every_activation_and_pooling_are_keras_own(pooling):
    # One step, and a hundredth: a unit at a rectifier's kink may fall on either side by rounding.
    # Noise: where the digits have none, whole areas of an image stand at such a kink together.
    noise = np.random.default_rng(0).integers(0, 256, (384, 32, 32, 3), np.uint8)
    split = dataclasses.replace(DIGITS.train, images=noise, labels=DIGITS.train.labels[:384])
    data = dataclasses.replace(DIGITS, train=split)
    recipes = [
        BASE.replace(activation=name, pooling=pooling, batch_size=384)
        for name in get_args(Activation)
    ]
    eight = [recipes[-1].replace(learning_rate=r / 10) for r in range(1, 9)]
    normalized = [recipe.replace(normalization="batch") for recipe in eight]
    lone = functools.cache(functools.partial(lone_weights, data=data))
    for members in (recipes, recipes[:1], recipes[-1:], eight, normalized):
        pairs = list(zip(members, weights_after(members, data=data), strict=True))
        # Eight that differ in their rates alone have one gradient: the ends tell of it.
        for recipe, member in pairs if members is recipes else pairs[::7]:
            start = lenet5(recipe, 3).get_weights()
            steps, own = (
                [after - before for after, before in zip(weights, start, strict=True)]
                for weights in (member, lone(recipe))
            )
            assert distance(own, steps) < 1e-2, recipe.activation


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
def test_a_stack_is_built_from_the_start(normalization):
    # Keras on JAX calls a model once more, and eagerly, at every prediction while a layer is not.
    stack = Stack([BASE.replace(normalization=normalization)] * 2, 0)
    assert all(layer.built for layer in [stack, *stack._flatten_layers()])


def test_a_member_does_not_depend_on_its_neighbours():
    recipe = BASE.replace(optimizer="adam", learning_rate=1e-3)
    others = [recipe.replace(learning_rate=r) for r in (1e-4, 3e-3)]
    diverging = recipe.replace(learning_rate=1e30)
    (with_two, *_) = weights_after([recipe, *others])
    (_, with_a_diverging_one) = weights_after([diverging, recipe])
    assert distance(with_two, with_a_diverging_one) < 1e-5


def test_stacked_runs_are_recorded_like_lone_ones():
    # Unbounded, or 1e30 would not diverge. And smooth: one unit at a rectifier's kink, which falls
    # on its other side by rounding, parts two runs for good, and forty steps may well have one.
    base = BASE.replace(activation="silu", epochs=2)
    recipes = [base.replace(learning_rate=r) for r in (0.05, 1e30)]
    run, diverged = train_stack(recipes, 0, DIGITS, verbose=0)
    lone = train_alone(recipes[0], 0, DIGITS, verbose=0)
    assert run.history.loss == pytest.approx(lone.history.loss, rel=1e-5)
    assert run.history.accuracy == pytest.approx(lone.history.accuracy, abs=2e-3)
    assert run.history.learning_rate == pytest.approx(lone.history.learning_rate)
    assert run.test.loss == pytest.approx(lone.test.loss, rel=1e-5)
    assert run.provenance.batches_digest == lone.provenance.batches_digest
    assert run.provenance.stack == tuple(recipes)
    assert not lone.provenance.stack
    assert diverged.status == "diverged"
    assert len(diverged.history.loss) == 1
    assert run.status == "completed"
    assert len(run.history.loss) == 2


def test_dropout_leaves_each_member_its_own_share():
    recipes = [BASE.replace(dropout=rate) for rate in (0.75, 0.0, 0.25)]  # the first drops
    stack = Stack(recipes, 0)
    for recipe, start in zip(recipes, map(stack.member, range(3)), strict=True):
        assert distance(lenet5(recipe, 0).get_weights(), start.get_weights()) == 0
    x = np.ones((3, 4000, 84), np.float32)
    dropped = np.asarray(stack._dropped(x, training=True))
    np.testing.assert_allclose((dropped == 0).mean((1, 2)), [0.75, 0, 0.25], atol=0.01)
    np.testing.assert_allclose(dropped.mean((1, 2)), 1, atol=0.02)
    assert np.array_equal(stack._dropped(x, training=False), x)


@given(st.lists(st.sampled_from(["sgd", "adam", "stop"]), max_size=30), st.integers(1, 9))
@settings(deadline=None)
def test_grouping_keeps_every_recipe_once_and_mixes_nothing(kinds, size):
    recipes = [
        BASE.replace(learning_rate=0.01 * (i + 1), early_stopping=3)
        if kind == "stop"
        else BASE.replace(learning_rate=0.01 * (i + 1), optimizer=kind)
        for i, kind in enumerate(kinds)
    ]
    groups = group_for_stacking(recipes, size)
    assert sorted(r.key for g in groups for r in g) == sorted(r.key for r in recipes)
    for group in groups:
        assert len(group) <= size
        assert len({r.optimizer for r in group}) == 1
        assert len(group) == 1 or not group[0].early_stopping
    alone = sum(len(g) < size for g in groups if not g[0].early_stopping)
    assert alone <= len({k for k in kinds if k != "stop"})  # at most one unfilled group a kind


def test_recipes_that_cannot_stand_side_by_side_are_refused_by_name():
    with pytest.raises(InputError, match="optimizer"):
        Stack([BASE, BASE.replace(optimizer="adam")], 0)


class WithSilence(Recipe):
    """A recipe with a field of which stacks and shards know nothing."""

    silent: bool = False


class Silent(keras.layers.AveragePooling2D):
    """S2 gives 0 as long as `silent` is set, as a new field of the network would."""

    silent = False

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Pooled; in S2 perhaps 0."""
        return super().call(images) * (0.0 if self.name == "S2" and self.silent else 1.0)


def test_a_field_that_no_stack_knows_is_honoured_in_plain_keras(monkeypatch):
    monkeypatch.setattr(keras.layers, "AveragePooling2D", Silent)
    fields = BASE.changes()
    quiet, loud = WithSilence(**fields, silent=True), WithSilence(**fields)
    assert carried(loud)
    assert not carried(quiet)
    assert not shardable(quiet)
    others = [quiet.model_copy(update={"learning_rate": rate}) for rate in (0.01, 0.02)]
    assert [len(group) for group in group_for_stacking([quiet, *others])] == [1, 1, 1]
    assert [len(group) for group in group_for_stacking([loud, loud])] == [2]
    with pytest.raises(InputError, match="cannot train side by side"):
        Stack([quiet], 0)

    heard = train_alone(loud, 0, DIGITS, verbose=0)
    monkeypatch.setattr(Silent, "silent", True)
    plain, alone = (way(quiet, 0, DIGITS, verbose=0) for way in (train, train_alone))
    assert alone.history.loss == plain.history.loss
    assert alone.test == plain.test
    assert alone.history.loss[0] > heard.history.loss[0] + 0.1
    # What follows a silent S2 never sees the image: nothing is learnt.
    assert alone.test.accuracy < 0.2 < heard.test.accuracy


def test_teachers_teach_one_kind_of_network():
    taught = [
        BASE.replace(teachers=2),
        BASE.replace(teachers=2, learning_rate=0.3),
        BASE.replace(teachers=2, activation="silu"),
    ]
    assert [len(group) for group in group_for_stacking(taught)] == [2, 1]
    with pytest.raises(InputError, match="differ in activation"):
        Stack(taught, 0)


def test_one_by_one_is_the_grouped_convolution_gradients_included():
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(2, 9, 9, 6)), tf.float32)
    kernel = tf.constant(random.normal(size=(5, 5, 2, 12)), tf.float32)
    upstream = tf.constant(random.normal(size=(2, 5, 5, 12)), tf.float32)
    results = []
    for convolve in (one_by_one, grouped_convolution()):
        with tf.GradientTape() as tape:
            tape.watch((x, kernel))
            y = convolve(x, kernel)
        results.append([y, *tape.gradient(y, (x, kernel), upstream)])
    for loop, grouped in zip(*results, strict=True):
        np.testing.assert_allclose(loop, grouped, rtol=1e-4, atol=1e-4)
