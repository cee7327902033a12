"""A training step in equal parts of the batch, side by side: the same sums, more of the processor.

LeNet-5's operations are so small that two threads on one of them spend much of their time waiting
for each other. A thread for each part of the batch, from the first layer to the last gradient,
waits once a step. The parts' gradients are added, so the step is that of the whole batch up to the
order in which sums are rounded.
"""

import functools
import operator

from lenet_keras import PARALLEL_SHARDS
from lenet_keras.backend import keras, tf
from lenet_keras.recipe import Recipe

SMALLEST_SHARD = 32  # images; below, what is done once a part costs more than waiting


def shard_count(recipe: Recipe) -> int:
    """Into how many parts a batch of this recipe is split on this machine; 1: not at all.

    Batch normalisation takes its mean over the whole batch, and half precision scales its loss,
    so both stay whole; so does everything on an accelerator and under JAX.
    """
    whole = (
        recipe.normalization == "batch"
        or recipe.dtype_policy != "float32"
        or keras.backend.backend() != "tensorflow"
        or tf.config.list_physical_devices("GPU")
    )
    if whole:
        return 1
    largest = min(PARALLEL_SHARDS, recipe.batch_size // SMALLEST_SHARD)
    return max(n for n in range(1, max(1, largest) + 1) if recipe.batch_size % n == 0)


class Sharded(keras.Model):
    """A model whose training step works on `shards` parts of each batch at once."""

    shards = 1

    def train_step(self, *data: tuple) -> dict:
        """One step of the optimizer; the metrics so far, by name. A batch is (images, labels)."""
        if self.shards == 1:
            return super().train_step(*data)
        ((x, y),) = data
        gradients, logits = [], []
        for images, labels in zip(tf.split(x, self.shards), tf.split(y, self.shards), strict=True):
            with tf.GradientTape() as tape:
                logits.append(self(images, training=True))
                loss = self.compute_loss(images, labels, logits[-1], training=True)
                share = loss / self.shards
            self.metrics[0].update_state(loss)
            gradients.append(tape.gradient(share, self.trainable_weights))
        sums = [functools.reduce(operator.add, parts) for parts in zip(*gradients, strict=True)]
        self.optimizer.apply_gradients(zip(sums, self.trainable_weights, strict=True))
        return self.compute_metrics(x, y, tf.concat(logits, axis=0))


class ShardedNetwork(Sharded):
    """Another model, trained in shards; the weights are that model's own."""

    def __init__(self, network: keras.Model, shards: int) -> None:
        """`network` is any model of one input; `shards` divides every batch."""
        super().__init__(name=network.name)
        self.network, self.shards = network, shards

    def call(self, images: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """The network's logits."""
        return self.network(images, training=training)
