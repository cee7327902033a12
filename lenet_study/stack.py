"""Several recipes' networks side by side as one Keras model.

Networks that see the same minibatches share the reading of them, and large operations cost less
than many small ones: C1 is one convolution with all members' filters, C3 a grouped convolution,
the dense layers are batched matrix products. Every weight has a leading member axis, so a
member's weights, its learning rate and its momentum are slices along axis 0.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lenet_keras.backend import keras, onednn, ops, tf
from lenet_keras.model import (
    CLASSES,
    IMAGE_SHAPE,
    KERNEL_LAYERS,
    activation,
    input_normalization,
    lenet5,
    normalization,
)
from lenet_keras.optimizer import Schedule, averaging, optimizer_class, schedule_shape
from lenet_keras.recipe import InputError, Recipe
from lenet_study import fused, scanned
from lenet_study.grouping import POOLINGS, carried, own_fields, stackable

POOLS: dict[str, Callable] = {
    name: functools.partial(getattr(ops, f"{name}_pool"), pool_size=(2, 2), strides=(2, 2))
    for name in POOLINGS
}
RISING = frozenset({"tanh", "scaled_tanh", "sigmoid", "relu", "leaky_relu", "elu"})


class Stack(keras.Model):
    """Members' LeNet-5s as one model, from images (batch, 32, 32, 3) to logits (batch, members,
    classes).

    `prepare` is applied to the images first; it may normalise them. In training, a batch goes
    through the layers in `shards` equal parts (see `shards.py`).
    """

    shards = 1
    prepare: Callable = staticmethod(lambda images: images)
    train_function: Callable | None  # as Keras has it: None until it is made

    def __init__(
        self,
        recipes: Sequence[Recipe],
        seed: int,
        networks: Sequence[keras.Model] | None = None,
        classes: int = CLASSES,
    ) -> None:
        """Members start from the weights that `lenet5(recipe, seed)` draws.

        Args:
            recipes: one a member.
            seed: of the weights and of the dropout masks.
            networks: start from the weights of these `lenet5` models instead.
            classes: `len(data.class_names)` of the dataset, where there are no `networks`.

        Raises:
            InputError: the recipes differ in a field that a stack cannot carry, or one has what no
                stack carries.
        """
        super().__init__(name="stack")
        differing = {n for r in recipes for n, v in r if v != getattr(recipes[0], n)}
        differing -= own_fields(recipes[0])
        able = carried(recipes[0]) if len(recipes) == 1 else all(map(stackable, recipes))
        if differing or not able:
            raise InputError(
                "these recipes cannot train side by side: they differ in "
                f"{', '.join(sorted(differing)) or 'nothing'}, or stop early, or set what a stack "
                "does not have."
            )
        self.recipes, self.seed = tuple(recipes), seed
        self.members = len(recipes)
        self.activations = [keras.activations.get(activation(r.activation)) for r in recipes]
        self.features = [activate_and_pool(r.activation, r.pooling) for r in recipes]
        networks = networks or [lenet5(recipe, seed, classes=classes) for recipe in recipes]
        first, lone = networks[0], [network.get_weights() for network in networks]
        self.classes = first.output_shape[-1]
        self.member_weights = [
            self.add_weight(
                shape=(self.members, *variable.shape),
                initializer="zeros",
                trainable=variable.trainable,
                name=variable.path.replace("/", "_"),
            )
            for variable in first.weights  # its variables hold dropout's random state too
        ]
        for variable, *values in zip(self.member_weights, *lone, strict=True):
            variable.assign(np.stack(values))
        self.by_path = {
            variable.path: weights
            for variable, weights in zip(first.weights, self.member_weights, strict=True)
        }
        # Only its settings are used: the weights are ours, one set a member.
        self.norm: Any = normalization(recipes[0].normalization, "every")
        self.input_norm: Any = input_normalization(recipes[0].input_normalization)
        self.dropout_rates = np.array([recipe.dropout for recipe in recipes], np.float32)
        self.dropout_seed = keras.random.SeedGenerator(seed)
        self.member_loss = MemberMean(self.members, name="member_loss")
        self.member_accuracy = MemberMean(self.members, name="member_accuracy")
        self.build((None, *IMAGE_SHAPE))

    def build(self, input_shape: tuple) -> None:
        """All weights exist already: their values come from the members."""
        self.built = True
        if self.norm is not None:
            self.norm.built = True  # under JAX Keras calls a model anew while a layer is not
        if self.input_norm is not None:
            self.input_norm.build(input_shape)

    def make_train_function(self, force: bool = False) -> None:
        """Keras' own; under JAX the steps of an execution are one compiled loop."""
        if keras.backend.backend() != "jax":
            super().make_train_function(force)
        elif self.train_function is None or force:
            self.train_function = scanned.train_function(self, self.steps_per_execution)

    def call(self, images: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Logits float32 (batch, members, classes); in training in shards a list of the parts'
        logits, so that no part waits for another before the gradients are added."""
        parts = ops.split(images, self.shards) if training and self.shards > 1 else [images]
        parts = [self.prepare(x) for x in parts]
        if self.input_norm is not None:
            parts = [self.input_norm(x) for x in parts]
        for name, convolve in (("C1", ops.conv), ("C3", grouped_convolution())):
            parts = [self._convolution(name, x, convolve) for x in parts]
            parts = self._features(name, parts, training)
        # (batch, 5, 5, members * 16) to (members, batch, 400), rows as `Flatten` orders them
        parts = [ops.reshape(x, (-1, 25, self.members, 16)) for x in parts]
        parts = [
            ops.reshape(ops.transpose(x, (2, 0, 1, 3)), (self.members, -1, 400)) for x in parts
        ]
        for name in ("C5", "F6"):
            parts = self._normalized(name, [self._dense(name, x) for x in parts], training)
            parts = [self._dropped(self._by_member(self.activations, x), training) for x in parts]
        logits = [ops.transpose(self._dense("output", x), (1, 0, 2)) for x in parts]
        return logits if len(logits) > 1 else logits[0]

    def _convolution(
        self, name: str, x: keras.KerasTensor, convolve: Callable
    ) -> keras.KerasTensor:
        kernel = self.by_path[f"{name}/kernel"]  # (members, 5, 5, inputs, filters)
        side, _, inputs, filters = kernel.shape[1:]
        joined = ops.reshape(
            ops.transpose(kernel, (1, 2, 3, 0, 4)), (side, side, inputs, self.members * filters)
        )
        bias = ops.reshape(self.by_path[f"{name}/bias"], (-1,))
        channels = math.prod(self.by_path["C1/bias"].shape)
        if fused.neighbours_fit(channels):
            alone = fused.convolved_by_pairs if name == "C1" else fused.convolved_back_by_squares
            return alone(x, joined, bias)
        if name == "C1" and fused.fours_pay(channels):
            return fused.convolved_by_fours(x, joined, bias)
        return convolve(x, joined) + bias

    def _dense(self, name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        bias = ops.expand_dims(self.by_path[f"{name}/bias"], 1)
        return ops.matmul(x, self.by_path[f"{name}/kernel"]) + bias

    def _by_member(self, functions: Sequence[Callable], x: keras.KerasTensor) -> keras.KerasTensor:
        """Each member's own function of its part; neighbours with the same one share a call."""
        runs = [(function, len(list(same))) for function, same in itertools.groupby(functions)]
        if len(runs) == 1:
            return functions[0](x)
        axis = -1 if len(x.shape) == 4 else 0  # (…, members * channels) or (members, …)
        ends = np.cumsum([count for _, count in runs])[:-1] * (x.shape[axis] // self.members)
        parts = ops.split(x, ends.tolist(), axis=axis)
        return ops.concatenate(
            [function(part) for (function, _), part in zip(runs, parts, strict=True)], axis=axis
        )

    def _features(
        self, name: str, parts: list[keras.KerasTensor], training: bool
    ) -> list[keras.KerasTensor]:
        """The parts of a batch normalised, activated and pooled."""
        alike = len({(r.activation, r.pooling) for r in self.recipes}) == 1
        if (
            isinstance(self.norm, keras.layers.BatchNormalization)
            and alike
            and self.recipes[0].pooling == "max"
            and parts[0].shape[-1] >= fused.WIDE
            and fused.available()
        ):
            scale, offset = (ops.reshape(v, (-1,)) for v in self._over_batch(name, parts, training))
            return [fused.max_pooled(x, self.activations[0], scale, offset) for x in parts]
        parts = self._normalized(name, parts, training)
        return [self._by_member(self.features, x) for x in parts]

    def _normalized(
        self, name: str, parts: list[keras.KerasTensor], training: bool
    ) -> list[keras.KerasTensor]:
        """The parts of a batch, each as the recipes' normalisation makes it."""
        if self.norm is None:
            return parts
        if isinstance(self.norm, keras.layers.GroupNormalization):
            return [self._group_normalized(name, x) for x in parts]
        scale, offset = (self._spread(v, parts[0]) for v in self._over_batch(name, parts, training))
        return [x * scale + offset for x in parts]

    def _over_batch(
        self, name: str, parts: list[keras.KerasTensor], training: bool
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Batch normalisation as a factor and a summand, each (members, channels)."""
        statistics = [self.by_path[f"{name}_norm/moving_{v}"] for v in ("mean", "variance")]
        if training:
            moving, statistics = statistics, self._moments(parts)
            for kept, new in zip(moving, statistics, strict=True):
                kept.assign(kept * self.norm.momentum + new * (1.0 - self.norm.momentum))
        mean, variance = statistics
        gamma, beta = (self.by_path[f"{name}_norm/{v}"] for v in ("gamma", "beta"))
        scale = gamma * ops.rsqrt(variance + self.norm.epsilon)
        return scale, beta - mean * scale

    def _moments(self, parts: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
        """Mean and variance over the whole batch, each (members, channels)."""
        spatial = len(parts[0].shape) == 4
        if spatial and fused.available():
            moments = [fused.moments(x) for x in parts]
        else:
            axes = (0, 1, 2) if spatial else (1,)
            moments = [(ops.mean(x, axes), ops.mean(ops.square(x), axes)) for x in parts]
        mean, square = (
            ops.reshape(sum(values) / len(parts), (self.members, -1))
            for values in zip(*moments, strict=True)
        )
        return [mean, ops.maximum(square - ops.square(mean), 0.0)]

    @staticmethod
    def _spread(values: keras.KerasTensor, x: keras.KerasTensor) -> keras.KerasTensor:
        """Values (members, channels) shaped to broadcast against a convolution's or a dense
        layer's output: (batch, height, width, members * channels) or (members, batch, channels)."""
        return ops.reshape(values, (-1,)) if len(x.shape) == 4 else ops.expand_dims(values, 1)

    def _group_normalized(self, name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        spatial = len(x.shape) == 4
        groups = self.norm.groups * (self.members if spatial else 1)
        size = x.shape[-1] // groups

        def over_groups(values: keras.KerasTensor) -> keras.KerasTensor:
            """Each image's mean over a group, given to each of the group's channels."""
            if spatial:
                values = ops.mean(values, (1, 2))  # first: along channels a sum is fastest
            lead = (-1,) if spatial else (self.members, -1)
            return ops.repeat(ops.mean(ops.reshape(values, (*lead, groups, size)), -1), size, -1)

        mean, square = over_groups(x), over_groups(ops.square(x))
        variance = ops.maximum(square - ops.square(mean), 0.0)
        gamma, beta = (self.by_path[f"{name}_norm/{v}"] for v in ("gamma", "beta"))
        scale = self._spread(gamma, x) * ops.rsqrt(variance + self.norm.epsilon)
        offset = self._spread(beta, x) - mean * scale
        if spatial:
            scale, offset = (ops.expand_dims(v, (1, 2)) for v in (scale, offset))
        return x * scale + offset

    def _dropped(self, x: keras.KerasTensor, training: bool) -> keras.KerasTensor:
        if not training or not self.dropout_rates.any():
            return x
        rates = self.dropout_rates[:, None, None]
        drawn = keras.random.uniform(ops.shape(x), seed=self.dropout_seed)
        return x * ops.cast(drawn >= rates, x.dtype) * (1.0 / (1.0 - rates))

    def compile_members(self, total_steps: int, **settings: object) -> None:
        """Compile with every member's own loss and optimizer, over `total_steps` steps."""
        self.smoothing = np.array([r.label_smoothing for r in self.recipes], np.float32)[:, None]
        self.penalties = {
            power: np.array([getattr(r, power) for r in self.recipes], np.float32)
            for power in ("l1", "l2")
            if any(getattr(r, power) for r in self.recipes)
        }
        self.compile(optimizer=member_optimizer(self.recipes, total_steps), **settings)

    def compute_loss(
        self,
        x: keras.KerasTensor = None,
        y: keras.KerasTensor = None,
        y_pred: keras.KerasTensor | list[keras.KerasTensor] = None,
        sample_weight: None = None,
        training: bool = True,
    ) -> keras.KerasTensor:
        """The members' losses, summed: so each member's gradient is that of its own loss."""
        parts = y_pred if isinstance(y_pred, list) else [y_pred]
        targets = ops.split(ops.expand_dims(y, 1), len(parts))
        entropies = [
            ops.categorical_crossentropy(
                ops.broadcast_to(
                    target * (1.0 - self.smoothing) + self.smoothing / self.classes,
                    ops.shape(logits),
                ),
                logits,
                from_logits=True,
            )
            for target, logits in zip(targets, parts, strict=True)
        ]
        losses = sum(ops.mean(entropy, axis=0) for entropy in entropies) / len(parts)
        for power, factors in self.penalties.items():
            size = ops.abs if power == "l1" else ops.square
            for name in KERNEL_LAYERS:
                kernel = self.by_path[f"{name}/kernel"]
                losses += factors * ops.sum(size(kernel), axis=tuple(range(1, kernel.ndim)))
        self.member_loss.update_state(losses)
        return ops.sum(losses)

    def compute_metrics(
        self,
        x: keras.KerasTensor,
        y: keras.KerasTensor,
        y_pred: keras.KerasTensor | list[keras.KerasTensor],
        sample_weight: None = None,
    ) -> dict:
        """Mean loss and accuracy of every member so far in this epoch, each (members,)."""
        logits = ops.concatenate(y_pred) if isinstance(y_pred, list) else y_pred
        right = ops.equal(ops.argmax(logits, -1), ops.expand_dims(ops.argmax(y, -1), 1))
        self.member_accuracy.update_state(ops.mean(ops.cast(right, "float32"), axis=0))
        return self.get_metrics_result()

    def member(self, index: int) -> keras.Model:
        """The plain `lenet5` of one member, with the weights it has now."""
        model = lenet5(self.recipes[index], self.seed, classes=self.classes)
        model.set_weights(self.weights_of(index))
        return model

    def weights_of(self, index: int) -> list[np.ndarray]:
        """One member's weights, in the order of the plain model's."""
        return [np.asarray(weights[index]) for weights in self.member_weights]

    def member_kernels(self, index: int) -> dict[str, np.ndarray]:
        """One member's kernels by layer name, shaped as in the plain model."""
        return {n: np.asarray(self.by_path[f"{n}/kernel"][index]) for n in KERNEL_LAYERS}


class MemberMean(keras.Metric):
    """The mean over an epoch's batches of one number for each member."""

    def __init__(self, members: int, name: str) -> None:
        """`members` is the length of every value."""
        super().__init__(name=name)
        self.total = self.add_variable((members,), initializer="zeros", name="total")
        self.count = self.add_variable((), initializer="zeros", name="count")

    def update_state(self, values: keras.KerasTensor) -> None:
        """Add a batch's values, float32 (members,)."""
        self.total.assign_add(values)
        self.count.assign_add(1.0)

    def result(self) -> keras.KerasTensor:
        """float32 (members,); of one member a plain number, as Keras' callbacks expect."""
        mean = self.total / ops.maximum(self.count, 1.0)
        return mean if mean.shape[0] > 1 else mean[0]


class MemberSchedule(Schedule):
    """The learning rate of every member at each step."""

    def __init__(self, recipes: Sequence[Recipe], total_steps: int) -> None:
        """`total_steps` is the number of steps of the whole training."""
        super().__init__(recipes[0], total_steps)
        self.recipes = recipes

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """float32 (members,); () where there is one, as Keras' logs want it."""
        if len(self.recipes) == 1:
            return super().__call__(step)
        progress = ops.cast(step, "float32") / self.total_steps
        shapes = {r.schedule: schedule_shape(r.schedule, progress) for r in self.recipes}
        return ops.stack([r.learning_rate * shapes[r.schedule] for r in self.recipes])

    def get_config(self) -> dict:
        """Enough to save a compiled model."""
        recipes = [recipe.changes() for recipe in self.recipes]
        return {"recipes": recipes, "total_steps": self.total_steps}


def member_optimizer(recipes: Sequence[Recipe], total_steps: int) -> keras.Optimizer:
    """The recipes' common optimizer, with each member's own rates.

    Keras' update rules are elementwise, so a learning rate of shape (members, 1, …) gives each
    member its own; the same holds for momentum and weight decay.
    """
    base = optimizer_class(recipes[0].optimizer)
    momentum = np.array([recipe.momentum for recipe in recipes], np.float32)
    decay = np.array([recipe.weight_decay for recipe in recipes], np.float32)

    def along(values: np.ndarray, variable: keras.KerasTensor) -> keras.KerasTensor:
        """`values` (members,) shaped to broadcast against a variable (members, …)."""
        return ops.reshape(values, (-1,) + (1,) * (len(variable.shape) - 1))

    class MemberOptimizer(base):  # type: ignore[misc, valid-type]
        """Keras' own optimizer, one set of rates a member."""

        def update_step(
            self,
            gradient: keras.KerasTensor,
            variable: keras.Variable,
            learning_rate: keras.KerasTensor,
        ) -> None:
            rate = along(learning_rate, variable)
            if decay.any() and "kernel" in variable.name:
                self.assign_sub(variable, variable * along(decay, variable) * rate)
            if not momentum.any():
                super().update_step(gradient, variable, rate)
                return
            # SGD takes one float as momentum; this is its rule with one a member.
            velocity = self.momentums[self._get_variable_index(variable)]
            share = along(momentum, variable)
            self.assign(velocity, velocity * share - gradient * rate)
            if self.nesterov:
                self.assign_add(variable, velocity * share - gradient * rate)
            else:
                self.assign_add(variable, velocity)

    settings = averaging(recipes[0])
    if momentum.any():
        settings |= {"momentum": float(momentum.max()), "nesterov": recipes[0].nesterov}
    optimizer = MemberOptimizer(MemberSchedule(recipes, total_steps), **settings)
    optimizer.weight_decay = None  # AdamW has one of its own; here it is in the update step
    return optimizer


@functools.cache
def activate_and_pool(name: str, pooling: str) -> Callable:
    """S2 or S4 of an activation, as a function of (batch, height, width, channels).

    A rising function and the maximum may change places: the numbers are the same, and the function
    has a quarter of them to work on.
    """
    function, pool = keras.activations.get(activation(name)), POOLS[pooling]
    if pooling == "max" and name in RISING:
        return lambda x: function(pool(x))
    if not fused.available():
        return lambda x: pool(function(x))
    if pooling == "average":
        return functools.partial(fused.average_pooled, activation=function)

    def highest(x: tf.Tensor) -> tf.Tensor:
        channels = x.shape[-1]
        if channels < fused.WIDE:
            return pool(function(x))
        return fused.max_pooled(x, function, tf.ones(channels), tf.zeros(channels))

    return highest


@functools.cache
def grouped_convolution() -> Callable:
    """The quickest convolution with one group a member that is right on this machine.

    A function of (x float32 (batch, height, width, members * inputs), kernel (5, 5, inputs,
    members * filters)). Keras sends grouped convolutions on TensorFlow through XLA, thirty times
    slower on a CPU than TensorFlow's own; that one has gradients on a CPU only with oneDNN, and is
    the quickest there, with AVX-512 and without: members one by one take 1.0 to 1.4 times as long,
    pairs of them in one kernel of blocks 1.4 to 1.6 times, patches and one product ten times.
    Without oneDNN one by one is the quickest, by a tenth.

    Under JAX it is `by_patches`.
    """
    if keras.backend.backend() != "tensorflow":
        return by_patches
    return functools.partial(tf.nn.conv2d, strides=1, padding="VALID") if onednn() else one_by_one


def by_patches(x: keras.KerasTensor, kernel: keras.KerasTensor) -> keras.KerasTensor:
    """A grouped convolution as one product of patches for each group, all at once.

    For accelerators, whose libraries are slow where groups are many and narrow: on an H100 a step
    of nine networks took 2.5 ms, and 5.3 ms with JAX's own (without XLA's trials of kernels; with
    them 0.9 ms).
    """
    side, _, inputs, outputs = kernel.shape
    height, width = (length - side + 1 for length in x.shape[1:3])
    moves = itertools.product(range(side), repeat=2)
    patches = ops.stack([x[:, y : y + height, z : z + width] for y, z in moves], axis=3)
    patches = ops.reshape(patches, (-1, height, width, side * side, x.shape[-1] // inputs, inputs))
    own = ops.reshape(kernel, (side * side, inputs, -1, outputs * inputs // x.shape[-1]))
    y = ops.einsum("nhwpmi,pimf->nhwmf", patches, own)
    return ops.reshape(y, (-1, height, width, outputs))


def one_by_one(x: keras.KerasTensor, kernel: keras.KerasTensor) -> keras.KerasTensor:
    """A grouped convolution as one convolution a group, joined: right everywhere."""
    groups = x.shape[-1] // kernel.shape[2]
    pairs = zip(ops.split(x, groups, axis=-1), ops.split(kernel, groups, axis=-1), strict=True)
    return ops.concatenate([ops.conv(part, own) for part, own in pairs], axis=-1)
