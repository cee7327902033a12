"""Several recipes' networks side by side as one Keras model.

Networks that see the same minibatches share the reading of them, and large operations cost less
than many small ones: C1 is one convolution with all members' filters, C3 a grouped convolution,
the dense layers are batched matrix products. Every weight has a leading member axis, so a
member's weights, its learning rate and its momentum are slices along axis 0.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lenet_keras.backend import keras, ops, tf
from lenet_keras.model import CLASSES, IMAGE_SHAPE, KERNEL_LAYERS, activation, lenet5, normalization
from lenet_keras.optimizer import Schedule, optimizer_class
from lenet_keras.recipe import InputError, Recipe
from lenet_keras.shards import Sharded

# What members of one stack may differ in; all else must be equal.
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
POOLS: dict[str, Callable] = {
    "average": functools.partial(ops.average_pool, pool_size=(2, 2), strides=(2, 2)),
    "max": functools.partial(ops.max_pool, pool_size=(2, 2), strides=(2, 2)),
}


def _shared(recipe: Recipe) -> tuple:
    """The values that all members of a stack have in common."""
    return tuple((n, v) for n, v in recipe if n not in MEMBER_FIELDS)


def stackable(recipe: Recipe) -> bool:
    """Whether a stack can carry the recipe at all.

    Early stopping ends each member at its own epoch, half precision would round a stack's sums
    otherwise than a lone run's, and what is of 1998 is not written for several
    members.
    """
    return (
        not recipe.early_stopping
        and recipe.dtype_policy == "float32"
        and recipe.pooling in POOLS
        and (recipe.connections, recipe.output) == ("full", "softmax")
        and recipe.step_sizes == "equal"
    )


def group_for_stacking(recipes: Sequence[Recipe], size: int = 8) -> list[list[Recipe]]:
    """Split recipes into groups that can train side by side, `size` at the most.

    A group of one trains alone. The order within a group is the order given, and groups are
    ordered by their first member.
    """
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


class Stack(Sharded):
    """Members' LeNet-5s as one model: images (batch, 32, 32, 3) to logits (batch, members, 10)."""

    def __init__(self, recipes: Sequence[Recipe], seed: int) -> None:
        """Members start from the weights that `lenet5(recipe, seed)` draws.

        Raises:
            InputError: the recipes differ in a field that a stack cannot carry.
        """
        super().__init__(name="stack")
        differing = {n for r in recipes for n, v in r if v != getattr(recipes[0], n)}
        if differing - MEMBER_FIELDS or not all(map(stackable, recipes)):
            raise InputError(
                "these recipes cannot train side by side: they differ in "
                f"{', '.join(sorted(differing - MEMBER_FIELDS)) or 'nothing'}, or stop early, or "
                "use half precision."
            )
        self.recipes, self.seed = tuple(recipes), seed
        self.members = len(recipes)
        self.activations = [keras.activations.get(activation(r.activation)) for r in recipes]
        self.pools = [POOLS[recipe.pooling] for recipe in recipes]
        first = lenet5(recipes[0], seed)
        lone = [first.get_weights()]
        lone += [lenet5(recipe, seed).get_weights() for recipe in recipes[1:]]
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
        self.dropout_rates = np.array([recipe.dropout for recipe in recipes], np.float32)
        self.dropout_seed = keras.random.SeedGenerator(seed)
        self.member_loss = MemberMean(self.members, name="member_loss")
        self.member_accuracy = MemberMean(self.members, name="member_accuracy")
        self.build((None, *IMAGE_SHAPE))

    def build(self, input_shape: tuple) -> None:
        """All weights exist already: their values come from the members."""
        self.built = True

    def call(self, images: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Logits float32 (batch, members, 10)."""
        x = self._convolution("C1", images, ops.conv)
        x = self._by_member(self.pools, self._activated("C1", x, training))
        x = self._convolution("C3", x, grouped_convolution())
        x = self._by_member(self.pools, self._activated("C3", x, training))
        # (batch, 5, 5, members * 16) to (members, batch, 400), rows as `Flatten` orders them
        x = ops.reshape(x, (-1, 25, self.members, 16))
        x = ops.reshape(ops.transpose(x, (2, 0, 1, 3)), (self.members, -1, 400))
        x = self._dropped(self._activated("C5", self._dense("C5", x), training), training)
        x = self._dropped(self._activated("F6", self._dense("F6", x), training), training)
        return ops.transpose(self._dense("output", x), (1, 0, 2))

    def _convolution(
        self, name: str, x: keras.KerasTensor, convolve: Callable
    ) -> keras.KerasTensor:
        kernel = self.by_path[f"{name}/kernel"]  # (members, 5, 5, inputs, filters)
        side, _, inputs, filters = kernel.shape[1:]
        joined = ops.reshape(
            ops.transpose(kernel, (1, 2, 3, 0, 4)), (side, side, inputs, self.members * filters)
        )
        return convolve(x, joined) + ops.reshape(self.by_path[f"{name}/bias"], (-1,))

    def _dense(self, name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        bias = ops.expand_dims(self.by_path[f"{name}/bias"], 1)
        return ops.matmul(x, self.by_path[f"{name}/kernel"]) + bias

    def _activated(self, name: str, x: keras.KerasTensor, training: bool) -> keras.KerasTensor:
        kind = self.recipes[0].normalization
        if kind == "batch":
            x = self._batch_normalized(name, x, training)
        elif kind != "none":
            x = self._group_normalized(name, x, groups=self.norm.groups)
        return self._by_member(self.activations, x)

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

    def _affine(self, name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        """Each member's own scale and offset of each channel."""
        gamma, beta = (self.by_path[f"{name}_norm/{v}"] for v in ("gamma", "beta"))
        return x * self._spread(gamma, x) + self._spread(beta, x)

    @staticmethod
    def _spread(values: keras.KerasTensor, x: keras.KerasTensor) -> keras.KerasTensor:
        """Values (members, channels) shaped to broadcast against a convolution's or a dense
        layer's output: (batch, height, width, members * channels) or (members, batch, channels)."""
        return ops.reshape(values, (-1,)) if len(x.shape) == 4 else ops.expand_dims(values, 1)

    def _batch_normalized(
        self, name: str, x: keras.KerasTensor, training: bool
    ) -> keras.KerasTensor:
        layer = self.norm
        moving = [self.by_path[f"{name}_norm/moving_{v}"] for v in ("mean", "variance")]
        if training:
            statistics = ops.moments(x, axes=(0, 1, 2) if len(x.shape) == 4 else (1,))
            statistics = [ops.reshape(s, moving[0].shape) for s in statistics]
            for kept, new in zip(moving, statistics, strict=True):
                kept.assign(kept * layer.momentum + new * (1.0 - layer.momentum))
        else:
            statistics = moving
        mean, variance = (self._spread(s, x) for s in statistics)
        return self._affine(name, (x - mean) * ops.rsqrt(variance + layer.epsilon))

    def _group_normalized(self, name: str, x: keras.KerasTensor, groups: int) -> keras.KerasTensor:
        if len(x.shape) == 4:
            pixels, channels = x.shape[1] * x.shape[2], x.shape[3] // (self.members * groups)
            grouped = ops.reshape(x, (-1, pixels, self.members * groups, channels))
            axes: tuple[int, ...] = (1, 3)
        else:
            grouped = ops.reshape(x, (self.members, -1, groups, x.shape[2] // groups))
            axes = (3,)
        mean, variance = ops.moments(grouped, axes=axes, keepdims=True)
        normalized = (grouped - mean) * ops.rsqrt(variance + self.norm.epsilon)
        return self._affine(name, ops.reshape(normalized, ops.shape(x)))

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

    @property
    def metrics(self) -> list[keras.Metric]:
        """The trackers that Keras resets at each epoch."""
        return [*super().metrics, self.member_loss, self.member_accuracy]

    def compute_loss(
        self,
        x: keras.KerasTensor = None,
        y: keras.KerasTensor = None,
        y_pred: keras.KerasTensor = None,
        sample_weight: None = None,
        training: bool = True,
    ) -> keras.KerasTensor:
        """The members' losses, summed: so each member's gradient is that of its own loss."""
        y = ops.expand_dims(y, 1)
        smoothed = y * (1.0 - self.smoothing) + self.smoothing / CLASSES
        entropies = ops.categorical_crossentropy(
            ops.broadcast_to(smoothed, ops.shape(y_pred)), y_pred, from_logits=True
        )
        losses = ops.mean(entropies, axis=0)
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
        y_pred: keras.KerasTensor,
        sample_weight: None = None,
    ) -> dict:
        """Mean loss and accuracy of every member so far in this epoch, each (members,)."""
        right = ops.equal(ops.argmax(y_pred, -1), ops.expand_dims(ops.argmax(y, -1), 1))
        self.member_accuracy.update_state(ops.mean(ops.cast(right, "float32"), axis=0))
        return self.get_metrics_result()

    def member(self, index: int) -> keras.Model:
        """The plain `lenet5` of one member, with the weights it has now."""
        model = lenet5(self.recipes[index], self.seed)
        model.set_weights([np.asarray(weights[index]) for weights in self.member_weights])
        return model

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
        """float32 (members,)."""
        return self.total / ops.maximum(self.count, 1.0)


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

    settings: dict = {}
    if momentum.any():
        settings |= {"momentum": float(momentum.max()), "nesterov": recipes[0].nesterov}
    optimizer = MemberOptimizer(Schedule(recipes, total_steps), **settings)
    optimizer.weight_decay = None  # AdamW has one of its own; here it is in the update step
    return optimizer


@functools.cache
def grouped_convolution() -> Callable:
    """The quickest convolution with one group a member that is right on this machine.

    A function of (x float32 (batch, height, width, members * inputs), kernel (5, 5, inputs,
    members * filters)). Keras sends grouped convolutions on TensorFlow through XLA, thirty times
    slower on a CPU than TensorFlow's own; that one has gradients on a CPU only with oneDNN. So it
    is tried once on small arrays, and where it fails, members are convolved one after another.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.conv

    def grouped(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(x, kernel, strides=1, padding="VALID")

    try:
        with tf.GradientTape() as tape:
            x, kernel = tf.ones((1, 6, 6, 4)), tf.ones((5, 5, 2, 6))
            tape.watch((x, kernel))
            y = tf.function(grouped)(x, kernel)  # as a graph, which is how a stack runs
        tape.gradient(y, (x, kernel))
    except tf.errors.OpError:
        return one_by_one
    return grouped


def one_by_one(x: keras.KerasTensor, kernel: keras.KerasTensor) -> keras.KerasTensor:
    """A grouped convolution as one convolution a group, joined: right everywhere."""
    groups = x.shape[-1] // kernel.shape[2]
    pairs = zip(ops.split(x, groups, axis=-1), ops.split(kernel, groups, axis=-1), strict=True)
    return ops.concatenate([ops.conv(part, own) for part, own in pairs], axis=-1)
