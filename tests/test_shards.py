"""A step in shards is the step of the whole batch."""

import numpy as np
import pytest
from here import first_images

from lenet_keras.data import load_data
from lenet_keras.model import lenet5
from lenet_keras.recipe import Recipe
from lenet_study import shards
from lenet_study.shards import ShardedNetwork, shard_count
from lenet_study.stack import Stack
from lenet_study.training import train_alone, train_stack

FEW = first_images(288, load_data("digits"))  # three steps
BASE = Recipe(
    dataset="digits",
    epochs=1,
    batch_size=96,
    kernel_initializer="glorot_uniform",
    momentum=0.9,
    learning_rate=0.02,
)


@pytest.mark.parametrize(
    ("threads", "changes", "count"),
    [
        (1, {}, 1),
        (2, {}, 2),
        (4, {}, 3),  # of 96 images no four parts of 32 can be made
        (4, {"batch_size": 128}, 4),
        (4, {"batch_size": 50}, 1),
        (4, {"batch_size": 101}, 1),  # a prime
        (2, {"normalization": "group"}, 2),
        (2, {"normalization": "batch"}, 2),
        (2, {"dtype_policy": "mixed_bfloat16"}, 1),
    ],
)
def test_a_batch_is_split_where_that_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, threads: int, changes: dict, count: int
) -> None:
    monkeypatch.setattr(shards, "PARALLEL_SHARDS", threads)
    assert shard_count(BASE.replace(**changes)) == count


@pytest.mark.parametrize(
    "changes",
    [
        {
            "l1": 1e-4,
            "l2": 1e-3,
            "label_smoothing": 0.1,
            "augmentation": ("mixup",),
            "normalization": "layer",
        },
        {"optimizer": "adam", "momentum": 0.0, "learning_rate": 1e-3, "schedule": "cosine"},
        {"normalization": "batch"},  # its mean is the whole batch's
    ],
)
def test_shards_give_the_same_weights_and_the_same_history(
    monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    recipe = BASE.replace(**changes)
    monkeypatch.setattr(shards, "PARALLEL_SHARDS", 1)
    model = lenet5(recipe, 3)
    run, whole = train_alone(recipe, 3, FEW, model=model, verbose=0), model.get_weights()
    monkeypatch.setattr(shards, "PARALLEL_SHARDS", 3)
    model, stack = lenet5(recipe, 3), Stack([recipe, recipe.replace(learning_rate=0.01)], 3)
    lone = train_alone(recipe, 3, FEW, model=model, verbose=0)
    member, _ = train_stack(stack.recipes, 3, FEW, stack=stack, verbose=0)
    assert stack.shards == 3
    for split, weights in ((lone, model.get_weights()), (member, stack.member(0).get_weights())):
        for a, b in zip(whole, weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        assert split.history.loss == pytest.approx(run.history.loss, rel=1e-5)
        assert split.history.accuracy == pytest.approx(run.history.accuracy, abs=2e-3)
        assert split.test.loss == pytest.approx(run.test.loss, rel=1e-4)
        assert split.kernel_quantiles.keys() == run.kernel_quantiles.keys()


@pytest.mark.parametrize(("normalization", "parts"), [("none", [32] * 3), ("batch", [96])])
def test_a_network_is_split_unless_it_has_batch_normalisation(
    normalization: str, parts: list[int]
) -> None:
    network = ShardedNetwork(lenet5(BASE.replace(normalization=normalization), 0))
    sizes = []
    network.shards, network.prepare = 3, lambda images: sizes.append(len(images)) or images
    network(np.zeros((96, 32, 32, 3), np.float32), training=True)
    assert sizes == parts


def test_a_network_that_no_stack_carries_trains_the_same_in_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = []
    for threads in (1, 3):
        monkeypatch.setattr(shards, "PARALLEL_SHARDS", threads)
        run = train_alone(BASE.replace(pooling="trainable"), 0, FEW, verbose=0)
        losses.append(run.history.loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_dropout_in_shards_repeats_to_the_last_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "PARALLEL_SHARDS", 3)
    recipe = BASE.replace(dropout=0.5)
    first, again = (train_alone(recipe, 0, FEW, verbose=0) for _ in range(2))
    assert first.history.loss == again.history.loss
