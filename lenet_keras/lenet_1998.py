"""What LeNet-5 had in 1998 and most copies of it leave out, as Keras layers and one loss.

Source: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proc. IEEE 86(11), 1998: section II.B (the network), section II.C (the loss).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lenet_keras.backend import keras, layers, ops

# Table I: which maps of S2 each map of C3 sees. Six contiguous triples, six contiguous quadruples,
# three quadruples with gaps, and one map that sees all.
CONNECTIONS = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# Figure 3 shows each class's code as a stylised character of 7 x 12 pixels. These are drawn in the
# same size, not copied: "#" is +1, the rest -1.
DIGITS = """
..###.. ...#... .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.#...#. ..##... #.....# #.....# ...#.#. #...... .#..... #.....# #.....# #.....#
#.....# .#.#... ......# ......# ...#.#. #...... #...... ......# #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
#.....# ...#... .....#. .....#. ..#..#. #.####. #...... .....#. .#...#. #.....#
#.....# ...#... ....#.. ..###.. .#...#. ##....# #.###.. ....#.. ..###.. .######
#.....# ...#... ...#... .....#. .#...#. ......# ##...#. ....#.. .#...#. ......#
#.....# ...#... ..#.... ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... ......# .....#. ......# #.....# ...#... #.....# ......#
#.....# ...#... #...... ......# .....#. ......# #.....# ..#.... #.....# ......#
.#...#. ...#... #...... #.....# .....#. #.....# .#...#. ..#.... #.....# .....#.
..###.. .#####. ####### .#####. .....#. .#####. ..###.. ..#.... .#####. .####..
"""
CODES = np.array(
    [[[1.0 if p == "#" else -1.0 for p in part] for part in line.split()]
     for line in DIGITS.split("\n") if line],
    np.float32,
).transpose(1, 0, 2).reshape(10, 84)  # fmt: skip

NO_CLASS = 0.5 * float(np.square(CODES[:, None] - CODES).sum(-1)[~np.eye(10, dtype=bool)].mean())


@keras.saving.register_keras_serializable(package="lenet_keras")
class TrainablePooling2D(keras.Layer):
    """Subsampling of 1998: the sum of 2 x 2 neighbours, times a coefficient, plus a bias.

    One coefficient and one bias for each map: 12 parameters in S2, 32 in S4. An activation follows.
    """

    def build(self, shape: tuple) -> None:
        """`shape` is (batch, height, width, maps)."""
        # A unit has four inputs and one weight, so 2.4 / fan-in of appendix A is 2.4 / 4; at a
        # quarter the layer starts as the average, which keeps the signal's size.
        self.coefficient = self.add_weight(
            shape=(shape[-1],), initializer=keras.initializers.Constant(0.25), name="coefficient"
        )
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros", name="bias")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """(batch, height, width, maps) to (batch, height / 2, width / 2, maps)."""
        return 4.0 * self.coefficient * ops.average_pool(x, 2, 2) + self.bias

    def in_plain_keras(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """The same as `call`, by layers that Keras has."""
        scale = layers.DepthwiseConv2D(1, name=self.name, dtype=self.dtype_policy)
        x = layers.AveragePooling2D(2, name=f"{self.name}_average", dtype=self.dtype_policy)(x)
        x = scale(x)
        kernel = 4.0 * np.asarray(self.coefficient)
        scale.set_weights([kernel[None, None, :, None], np.asarray(self.bias)])
        return x


@keras.saving.register_keras_serializable(package="lenet_keras")
class ConnectedConv2D(keras.Layer):
    """C3 of 1998: a 5 x 5 convolution in which a map sees only the maps that Table I gives it.

    60 kernels of 25 weights and 16 biases: 1,516 parameters, where every map seeing every map
    would be 2,416. The gaps make the maps differ, and save connections.
    """

    def __init__(
        self, kernel_initializers: Sequence[Any], kernel_regularizer: Any = None, **settings: Any
    ) -> None:
        """One initializer for each of the 16 maps, as their fan-in differs."""
        super().__init__(**settings)
        self.kernel_initializers = [keras.initializers.get(one) for one in kernel_initializers]
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)

    def build(self, shape: tuple) -> None:
        """`shape` is (batch, height, width, 6)."""
        pairs = [(m, c) for c, maps in enumerate(CONNECTIONS) for m in maps]
        self.placement = np.zeros((len(pairs), shape[-1], len(CONNECTIONS)), np.float32)
        for pair, (m, c) in enumerate(pairs):
            self.placement[pair, m, c] = 1.0

        def by_map(_: tuple, dtype: str | None = None) -> keras.KerasTensor:
            drawn = zip(self.kernel_initializers, CONNECTIONS, strict=True)
            kernels = [one((5, 5, len(maps), 1), dtype=dtype) for one, maps in drawn]
            return ops.concatenate([kernel[..., 0] for kernel in kernels], axis=-1)

        self.kernel = self.add_weight(
            shape=(5, 5, len(pairs)),
            initializer=by_map,
            regularizer=self.kernel_regularizer,
            name="kernel",
        )
        self.bias = self.add_weight(shape=(len(CONNECTIONS),), initializer="zeros", name="bias")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """(batch, height, width, 6) to (batch, height - 4, width - 4, 16)."""
        placement = ops.cast(self.placement, self.compute_dtype)
        return ops.conv(x, ops.tensordot(self.kernel, placement, axes=1)) + self.bias

    def in_plain_keras(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """The same as `call`, by a layer that Keras has: where no map is seen stand zeros."""
        convolution = layers.Conv2D(len(CONNECTIONS), 5, name=self.name, dtype=self.dtype_policy)
        x = convolution(x)
        kernel = np.tensordot(np.asarray(self.kernel), self.placement, axes=1)
        convolution.set_weights([kernel, np.asarray(self.bias)])
        return x

    def get_config(self) -> dict:
        """What a saved model needs."""
        initializers = [keras.initializers.serialize(one) for one in self.kernel_initializers]
        return {
            **super().get_config(),
            "kernel_initializers": initializers,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


@keras.saving.register_keras_serializable(package="lenet_keras")
class EuclideanRBF(keras.Layer):
    """The output of 1998: how far the 84 values of F6 are from each class's fixed code.

    y_i = sum_j (x_j - w_ij)^2 (eq. 7). What is given back is -y: like logits, larger is better.
    The codes are characters; where classes are no digits, class k has the code of the digit k.
    """

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """(batch, 84) to (batch, 10), at most 0."""
        return -ops.sum(ops.square(ops.expand_dims(x, 1) - CODES), axis=-1)


@keras.saving.register_keras_serializable(package="lenet_keras")
class MaximumAPosteriori(keras.losses.Loss):
    """The loss of 1998 (eq. 9): y_D + log(exp(-j) + sum_i exp(-y_i)).

    The first term pulls F6 to the code of the right class D, the second pushes it from the others.
    exp(-j) stands for images of no class: a wrong code farther than j is not pushed any more. The
    paper gives no j; half of the mean distance between two codes asks for as much as there is.
    """

    def call(self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor) -> keras.KerasTensor:
        """One-hot labels and an `EuclideanRBF`'s output, both (batch, 10), to losses (batch,)."""
        nobody = ops.full_like(y_pred[:, :1], -NO_CLASS)
        pushed = ops.logsumexp(ops.concatenate([nobody, y_pred], axis=-1), axis=-1)
        return pushed - ops.sum(y_true * y_pred, axis=-1)
