"""A training step in equal parts of the batch, side by side: the same sums, more of the processor.

LeNet-5's operations are so small that two threads on one of them spend much of their time waiting
for each other. A thread for each part of the batch, from the first layer to the last, waits once a
step. The parts are joined before the loss, so the step is that of the whole batch up to the order
in which sums are rounded.
"""

from collections.abc import Callable

from lenet_keras import PARALLEL_SHARDS
from lenet_keras.backend import keras, ops, tf
from lenet_keras.recipe import Recipe
from lenet_study.grouping import COMMON_FIELDS, MEMBER_FIELDS

# What a network may have beside a stack's fields, and each image still count by itself.
LONE_FIELDS = frozenset(
    {"connections", "output", "step_sizes", "dtype_policy", "expansion", "width"}
)
SMALLEST_SHARD = 32  # images; below, what is done once a part costs more than waiting


def shardable(recipe: Recipe) -> bool:
    """Whether the recipe's network is known to be the same in parts of a batch; it is split only
    then, and but for batch normalisation."""
    return recipe.changes().keys() <= MEMBER_FIELDS | COMMON_FIELDS | LONE_FIELDS


def shard_count(recipe: Recipe) -> int:
    """Into how many parts a batch of this recipe is split on this machine; 1: not at all.

    Half precision would round the parts' sums otherwise than the whole's, so it stays whole; so
    does everything on an accelerator and under JAX.
    """
    whole = (
        recipe.dtype_policy != "float32"
        or keras.backend.backend() != "tensorflow"
        or tf.config.list_physical_devices("GPU")
    )
    if whole:
        return 1
    largest = min(PARALLEL_SHARDS, recipe.batch_size // SMALLEST_SHARD)
    return max(n for n in range(1, max(1, largest) + 1) if recipe.batch_size % n == 0)


class ShardedNetwork(keras.Model):
    """Another model, trained in `shards` equal parts of each batch; the weights are that model's.

    `prepare` is applied to the images first; it may normalise them. A model with batch
    normalisation, whose mean is over the batch, is trained whole.
    """

    shards = 1
    prepare: Callable = staticmethod(lambda images: images)

    def __init__(self, network: keras.Model) -> None:
        """`network` is any model of one input."""
        super().__init__(name=network.name)
        self.network = network
        self.by_image = not any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers
        )

    def call(self, images: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """The network's logits."""
        if self.shards == 1 or not training or not self.by_image:
            return self.network(self.prepare(images), training=training)
        parts = ops.split(images, self.shards)
        return ops.concatenate([self.network(self.prepare(x), training=True) for x in parts])
