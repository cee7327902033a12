"""Layers whose kernel is a product of wider ones in training, and one plain kernel afterwards.

Source: Guo, Alvarez & Salzmann 2020, "ExpandNets: linear over-parameterization to train compact
convolutional networks", NeurIPS 33, section 3. There a layer becomes a chain of linear ones. What
such a chain does, one layer does with the product of their kernels: the same function and the same
gradients. So the kernels are multiplied, once a step, and the images pass one layer.

network = expanded(lenet5(recipe, seed), 4)
"""

from typing import Any

import numpy as np

from lenet_keras.backend import keras, layers, ops


def expanded(network: keras.Model, expansion: int) -> keras.Model:
    """A network like this one, with freshly drawn weights, whose kernels are products.

    Args:
        network: its convolutions and dense layers have seeded initializers and no regularizers.
        expansion: how many times wider the products are inside than the kernel is outside; with 1
            there are no products, and the network is given back.
    """
    if expansion == 1:
        return network

    def clone(layer: keras.Layer) -> keras.Layer:
        kind = {layers.Conv2D: ExpandedConv2D, layers.Dense: ExpandedDense}.get(type(layer))
        settings = layer.get_config()
        if kind is None:
            return type(layer).from_config(settings)
        return kind.from_config({**settings, "expansion": expansion})

    return keras.models.clone_model(network, clone_function=clone)


class _Expanded(keras.Layer):
    """What both kinds of layer have in common; `plain` is the layer that each stands for."""

    plain: type[keras.Layer]

    def __init__(self, *arguments: Any, expansion: int, **settings: Any) -> None:
        """Those of the plain layer, without regularizers, and the factor of the width inside."""
        super().__init__(*arguments, **settings)
        self.expansion = expansion

    def _factor(self, name: str, shape: tuple[int, ...], number: int) -> keras.Variable:
        """One of the kernel's factors. The first one is drawn as a kernel is; the others change
        no signal's variance."""
        initializer = self.kernel_initializer
        if number:
            initializer = keras.initializers.LecunNormal(seed=initializer.seed + number)
        return self.add_weight(name=name, shape=shape, initializer=initializer)

    def in_plain_keras(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """The same as `call`, by a layer that Keras has, with the factors multiplied out."""
        settings = self.get_config()
        del settings["expansion"]
        plain = self.plain.from_config(settings)
        x = plain(x)
        plain.set_weights([np.asarray(self.kernel), np.asarray(self.bias)])
        return x

    def get_config(self) -> dict:
        """What a saved model needs."""
        return {**super().get_config(), "expansion": self.expansion}

    # The plain layers' own know of a kernel and a bias alone.
    save_own_variables = keras.Layer.save_own_variables
    load_own_variables = keras.Layer.load_own_variables


@keras.saving.register_keras_serializable(package="lenet_keras")
class ExpandedConv2D(_Expanded, layers.Conv2D):
    """A convolution whose kernel is (in, e in) (height, width, e in, e out) (e out, out): what a
    chain of a 1 x 1, a wide and a 1 x 1 convolution does, e being the expansion."""

    plain = layers.Conv2D

    def build(self, shape: tuple) -> None:
        """`shape` is (batch, height, width, in)."""
        wide_in, wide_out = self.expansion * shape[-1], self.expansion * self.filters
        self.between = self._factor("between", (*self.kernel_size, wide_in, wide_out), 0)
        self.before = self._factor("before", (shape[-1], wide_in), 1)
        self.after = self._factor("after", (wide_out, self.filters), 2)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.built = True

    @property
    def kernel(self) -> keras.KerasTensor:
        """The product, (height, width, in, out)."""
        wide = ops.tensordot(self.between, self.after, axes=1)
        return ops.einsum("im,hwmo->hwio", self.before, wide)


@keras.saving.register_keras_serializable(package="lenet_keras")
class ExpandedDense(_Expanded, layers.Dense):
    """A dense layer whose kernel is (in, e out) (e out, out), e being the expansion."""

    plain = layers.Dense

    def build(self, shape: tuple) -> None:
        """`shape` is (batch, in)."""
        wide = self.expansion * self.units
        self.between = self._factor("between", (shape[-1], wide), 0)
        self.after = self._factor("after", (wide, self.units), 1)
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    @property
    def kernel(self) -> keras.KerasTensor:
        """The product, (in, out)."""
        return ops.matmul(self.between, self.after)
