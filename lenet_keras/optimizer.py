"""Keras' optimizers and the learning rate over a run, from a recipe."""

import itertools
from typing import Any

from lenet_keras.backend import keras, ops
from lenet_keras.recipe import Recipe


def schedule_shape(name: str, progress: keras.KerasTensor) -> keras.KerasTensor:
    """The factor on the learning rate after a fraction of the training.

    Args:
        name: `Recipe.schedule`.
        progress: float32 scalar, 0 at the first step, below 1 at the last.

    Returns:
        float32 scalar, at most 1.
    """

    def ramp(start: float, end: float) -> keras.KerasTensor:
        """0 before `start`, 1 after `end`, a straight line between."""
        return ops.clip((progress - start) / (end - start), 0.0, 1.0)

    def cosine(start: float) -> keras.KerasTensor:
        """Half a cosine from 1 at `start` to 0 at the end (Loshchilov & Hutter 2017, eq. 5)."""
        return 0.5 * (1.0 + ops.cos(3.141592653589793 * ramp(start, 1.0)))

    if name == "step":  # a tenth after one half, a hundredth after three quarters (He et al. 2016)
        return 0.1 ** (ops.cast(progress >= 0.5, "float32") + ops.cast(progress >= 0.75, "float32"))
    if name == "exponential":  # to a hundredth at the end
        return ops.exp(-4.605170185988092 * progress)
    if name == "cosine":
        return cosine(0.0)
    if name == "warmup_cosine":  # the first twentieth is a straight line up (Goyal et al. 2017)
        return ramp(-1e-3, 0.05) * cosine(0.05)
    if name == "lecun_1998":  # passes 1-2, 3-5, 6-8, 9-12 and 13-20 of 20 (1998, section III.B)
        ends, factors = (0.1, 0.25, 0.4, 0.6), (1.0, 0.4, 0.2, 0.1, 0.02)
        falls = [before - after for before, after in itertools.pairwise(factors)]
        return 1.0 - sum(
            fall * ops.cast(progress >= end, "float32")
            for end, fall in zip(ends, falls, strict=True)
        )
    if name == "one_cycle":  # up and down in straight lines, then to almost 0 (Smith & Topin 2018)
        up_and_down = 0.1 + 0.9 * (ramp(0.0, 0.45) - ramp(0.45, 0.9))
        return up_and_down * (1.0 - 0.99 * ramp(0.9, 1.0))
    return ops.ones_like(progress)


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at each step of a training."""

    def __init__(self, recipe: Recipe, total_steps: int) -> None:
        """`total_steps` is the number of steps of the whole training."""
        self.recipe, self.total_steps = recipe, total_steps

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """float32 ()."""
        progress = ops.cast(step, "float32") / self.total_steps
        return self.recipe.learning_rate * schedule_shape(self.recipe.schedule, progress)

    def get_config(self) -> dict:
        """Enough to save a compiled model."""
        return {"recipe": self.recipe.changes(), "total_steps": self.total_steps}


def optimizer(
    recipe: Recipe, total_steps: int, kind: type[keras.Optimizer] | None = None
) -> keras.Optimizer:
    """The recipe's optimizer, over a training of `total_steps` steps; with loss scaling where the
    smallest gradients would else be 0.

    Weight decay is decoupled (Loshchilov & Hutter 2019): each step takes `learning_rate *
    weight_decay` of a kernel away, whatever the optimizer; biases and normalisation stay.
    `kind` is a class to use instead of Keras' own.
    """
    settings: dict = {"weight_decay": recipe.weight_decay or None, **averaging(recipe)}
    if recipe.optimizer == "sgd":
        settings |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    if recipe.optimizer == "adamw":  # its own default is 0.004; ours is what the recipe says
        settings["weight_decay"] = recipe.weight_decay
    kind = kind or optimizer_class(recipe.optimizer)
    result = kind(Schedule(recipe, total_steps), **settings)
    if recipe.weight_decay:
        result.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if recipe.dtype_policy == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(result)
    return result


def averaging(recipe: Recipe) -> dict[str, Any]:
    """What a Keras optimizer needs to keep an average of the weights (Polyak & Juditsky 1992),
    which replaces them at the end: after each step `ema_momentum` of it stays."""
    if not recipe.ema_momentum:
        return {}
    return {"use_ema": True, "ema_momentum": recipe.ema_momentum}


def optimizer_class(name: str) -> type[keras.Optimizer]:
    """The Keras class behind `Recipe.optimizer`."""
    return type(keras.optimizers.get(name))
