"""Which recipes' networks can train side by side, said without TensorFlow: who has a study trained
elsewhere, or has nothing to train, waits for none of it."""

import os
from collections.abc import Sequence

from lenet_keras.recipe import InputError, Recipe

# What members of one stack may differ in.
MEMBER_FIELDS = frozenset(
    {
        "activation",
        "pooling",
        "kernel_initializer",
        "dropout",
        "l1",
        "l2",
        "label_smoothing",
        "learning_rate",
        "momentum",
        "weight_decay",
        "schedule",
    }
)
# What a stack honours and its members have in common. A recipe in which any other field is set
# trains alone.
COMMON_FIELDS = frozenset(
    {
        "dataset",
        "train_on",
        "augmentation",
        "shift_pixels",
        "cutout_size",
        "mixup_alpha",
        "input_normalization",
        "normalization",
        "teachers",
        "teacher_network",
        "teacher_width",
        "teacher_epochs",
        "teacher_learning_rate",
        "teacher_weight_decay",
        "teacher_share",
        "teacher_views",
        "teacher_averages",
        "optimizer",
        "nesterov",
        "ema_momentum",
        "batch_size",
        "epochs",
        "early_stopping",
    }
)
NORMALIZATIONS = frozenset({"none", "batch", "layer", "group"})
POOLINGS = frozenset({"average", "max"})
ON_A_PROCESSOR = 8  # members: with more, a step's arrays no longer stay in the cache
NETWORK_FIELDS = frozenset({"activation", "pooling", "kernel_initializer", "normalization"})


def own_fields(recipe: Recipe) -> frozenset[str]:
    """What members of a stack like the recipe may differ in. Teachers, which teach all of them,
    have the members' network."""
    return MEMBER_FIELDS - NETWORK_FIELDS if recipe.teachers else MEMBER_FIELDS


def _shared(recipe: Recipe) -> tuple:
    """The values that all members of a stack have in common."""
    own = own_fields(recipe)
    return tuple((n, v) for n, v in recipe if n not in own)


def carried(recipe: Recipe) -> bool:
    """Whether a stack, be it of one member, honours all that the recipe sets."""
    return (
        recipe.changes().keys() <= MEMBER_FIELDS | COMMON_FIELDS
        and recipe.pooling in POOLINGS
        and recipe.normalization in NORMALIZATIONS
    )


def stackable(recipe: Recipe) -> bool:
    """Whether the recipe can train beside others: early stopping ends each at its own epoch."""
    return carried(recipe) and not recipe.early_stopping


def largest_stack() -> int:
    """How many members a stack may have: what a person set as LENET_STACK, else as many as are
    quickest on a processor. An accelerator bears more.

    Raises:
        InputError: LENET_STACK is no number from 1.
    """
    given = os.environ.get("LENET_STACK") or str(ON_A_PROCESSOR)
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"LENET_STACK: found {given!r}; allowed: whole numbers from 1.")
    return int(given)


def group_for_stacking(recipes: Sequence[Recipe], size: int | None = None) -> list[list[Recipe]]:
    """Split recipes into groups that can train side by side, `size` at the most, which is
    `largest_stack` where it is not given.

    A group of one trains alone. The order within a group is the order given, and groups are
    ordered by their first member.
    """
    size = size or largest_stack()
    groups: list[list[Recipe]] = []
    filling: dict[tuple, list[Recipe]] = {}
    for recipe in recipes:
        shared = _shared(recipe)
        if not stackable(recipe) or len(filling.get(shared, ())) in (0, size):
            groups.append([])
            if stackable(recipe):
                filling[shared] = groups[-1]
            groups[-1].append(recipe)
        else:
            filling[shared].append(recipe)
    return groups
