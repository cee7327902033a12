"""LeNet-5 from a recipe: Keras layers, nothing else.

Source: LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proc. IEEE 86(11), 1998, section II.B. By default with a dense softmax output in place of the RBF
units, plain average pooling and a C3 that sees all of S2; `Recipe.output`, `Recipe.pooling` and
`Recipe.connections` bring back what was there in 1998.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lenet_keras.backend import keras, layers
from lenet_keras.data import Dataset
from lenet_keras.expansion import expanded
from lenet_keras.lenet_1998 import (
    CODES,
    CONNECTIONS,
    ConnectedConv2D,
    EuclideanRBF,
    MaximumAPosteriori,
    TrainablePooling2D,
)
from lenet_keras.recipe import InputError, Recipe

IMAGE_SHAPE = (32, 32, 3)
PIXELS = "pixels"  # the input of what `for_pixels` gives
CLASSES = 10  # of CIFAR-10; another dataset says how many it has
LEAST_VARIANCE = 0.025  # added to an image's, where the dataset's is 1: an even one stays even
KERNEL_LAYERS = ("C1", "C3", "C5", "F6", "output")  # the layers that hold a kernel, input first


@keras.saving.register_keras_serializable(package="lenet_keras")
def scaled_tanh(x: keras.KerasTensor) -> keras.KerasTensor:
    """1.7159 tanh(2x/3), any shape: f(±1) = ±1, steepest where signals live (1998, appendix A)."""
    return 1.7159 * keras.ops.tanh(2.0 / 3.0 * x)


def activation(name: str) -> str | Callable:
    """What Keras needs for `Recipe.activation`: its own identifier, or our function."""
    return scaled_tanh if name == "scaled_tanh" else name


def kernel_initializer(name: str, fan_in: int, seed: int) -> keras.initializers.Initializer:
    """The initializer of one kernel.

    Args:
        name: `Recipe.kernel_initializer`.
        fan_in: inputs of each unit.
        seed: equal seeds draw equal numbers, so initializers of one family differ by scale alone.
    """
    if name == "lecun_1998_uniform":  # 1998, appendix A: uniform in ±2.4 / fan-in
        limit = 2.4 / fan_in
        return keras.initializers.RandomUniform(-limit, limit, seed=seed)
    if name == "tiny_normal":
        return keras.initializers.RandomNormal(stddev=1e-3, seed=seed)
    if name == "large_normal":
        return keras.initializers.RandomNormal(stddev=0.5, seed=seed)
    if name == "zeros":
        return keras.initializers.Zeros()
    return keras.initializers.get({"class_name": name, "config": {"seed": seed}})


def normalization(name: str, layer_name: str, dtype: str = "float32") -> keras.Layer | None:
    """The layer of `Recipe.normalization` after the layer `layer_name`, before its activation."""
    settings = {"name": f"{layer_name}_norm", "dtype": dtype}
    if name == "batch":  # Ioffe & Szegedy 2015
        return layers.BatchNormalization(momentum=0.9, **settings)
    if name == "layer":
        # Ba et al. 2016 over all of an image's features is group normalisation with one group (Wu
        # & He 2018, section 3.1); so scale and offset stay one per channel, as in the others.
        return layers.GroupNormalization(groups=1, **settings)
    if name == "group":
        # 2 divides 6, 16, 120 and 84; Wu & He's 32 groups need more channels than LeNet-5 has.
        return layers.GroupNormalization(groups=2, **settings)
    return None


def input_normalization(name: str, dtype: str = "float32") -> keras.Layer | None:
    """The layer of `Recipe.input_normalization` before C1. It has no weights.

    Over an image, brightness and contrast go, as from the patches of Coates, Ng & Lee (2011,
    section 3.1.1); over each of its channels, the colour of the light too.
    """
    axes = {"image": (1, 2, 3), "channel": (1, 2)}
    if name not in axes:
        return None
    settings: dict = {"center": False, "scale": False, "name": "input_norm", "dtype": dtype}
    return layers.LayerNormalization(axes[name], LEAST_VARIANCE, **settings)


def pooling(name: str, layer_name: str, dtype: str = "float32") -> keras.Layer:
    """The layer of `Recipe.pooling`, called `layer_name`: of 2 x 2 values it makes one."""
    if name == "trainable":
        return TrainablePooling2D(name=layer_name, dtype=dtype)
    kind = layers.AveragePooling2D if name == "average" else layers.MaxPooling2D
    return kind(2, name=layer_name, dtype=dtype)


def loss(recipe: Recipe) -> keras.losses.Loss:
    """The recipe's loss, of one-hot labels and what `lenet5` gives, both (batch, classes)."""
    if recipe.output == "rbf":
        return MaximumAPosteriori()
    return keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=recipe.label_smoothing
    )


def lenet5(
    recipe: Recipe, seed: int = 0, channels: int = IMAGE_SHAPE[2], classes: int = CLASSES
) -> keras.Model:
    """LeNet-5 as the recipe asks, with freshly drawn weights, not compiled.

    Args:
        recipe: every field about the network, its regularisation included, is honoured.
        seed: of the initial weights and of the dropout masks.
        channels: of the images: 3 for colour, 1 for the grey-scale images of 1998.
        classes: `len(data.class_names)` of the dataset.

    Returns:
        A model from float32 images (batch, 32, 32, channels), normalised, to float32 logits
        (batch, classes).

    Raises:
        InputError: the output is that of 1998, whose codes are ten, and the classes are not.
    """
    _check_codes(recipe, classes)
    dtype, seeds, wide = recipe.dtype_policy, _seeds(seed), recipe.width
    penalty = keras.regularizers.L1L2(recipe.l1, recipe.l2) if recipe.l1 or recipe.l2 else None

    def weights(name: str, fan_in: int) -> dict:
        initializer = kernel_initializer(recipe.kernel_initializer, fan_in, seeds[name])
        return {"name": name, "kernel_initializer": initializer, "kernel_regularizer": penalty}

    def nonlinear(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        function = activation(recipe.activation)
        return layers.Activation(function, name=f"{name}_{recipe.activation}", dtype=dtype)(x)

    def activated(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        return nonlinear(name, _through(normalization(recipe.normalization, name, dtype), x))

    def pooled(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        x = pooling(recipe.pooling, name, dtype)(x)
        return nonlinear(name, x) if recipe.pooling == "trainable" else x

    def dropped(name: str, x: keras.KerasTensor) -> keras.KerasTensor:
        dropout = layers.Dropout(recipe.dropout, seed=seeds[name], name=name, dtype=dtype)
        return dropout(x) if recipe.dropout else x

    inputs = keras.Input((*IMAGE_SHAPE[:2], channels), name="image")
    x = _through(input_normalization(recipe.input_normalization, dtype), inputs)
    x = layers.Conv2D(6 * wide, 5, dtype=dtype, **weights("C1", 5 * 5 * channels))(x)
    x = pooled("S2", activated("C1", x))  # 28 x 28 x 6, then 14 x 14 x 6
    if recipe.connections == "full":
        c3 = layers.Conv2D(16 * wide, 5, dtype=dtype, **weights("C3", 5 * 5 * 6 * wide))
    else:
        c3 = _connected(recipe, seeds["C3"], kernel_regularizer=penalty, name="C3", dtype=dtype)
    x = pooled("S4", activated("C3", c3(x)))  # 10 x 10 x 16, then 5 x 5 x 16
    x = layers.Flatten(name="flatten", dtype=dtype)(x)
    x = layers.Dense(120 * wide, dtype=dtype, **weights("C5", 5 * 5 * 16 * wide))(x)
    x = dropped("C5_dropout", activated("C5", x))
    x = layers.Dense(84 * wide, dtype=dtype, **weights("F6", 120 * wide))(x)
    x = dropped("F6_dropout", activated("F6", x))
    # Mixed precision ends before the loss, whose logarithms need float32.
    if recipe.output == "rbf":
        return keras.Model(inputs, EuclideanRBF(name="output", dtype="float32")(x), name="LeNet-5")
    logits = layers.Dense(classes, dtype="float32", **weights("output", 84 * wide))(x)
    return expanded(keras.Model(inputs, logits, name="LeNet-5"), recipe.expansion)


def _through(layer: keras.Layer | None, x: keras.KerasTensor) -> keras.KerasTensor:
    """What the layer makes of x; x, where there is no layer."""
    return x if layer is None else layer(x)


def _check_codes(recipe: Recipe, classes: int) -> None:
    if recipe.output == "rbf" and classes != len(CODES):
        raise InputError(
            f"output: 'rbf' has fixed codes for {len(CODES)} classes, and there are {classes}. Set "
            "output to softmax."
        )


def _seeds(seed: int) -> dict[str, int]:
    """A seed for each kernel and each layer of dropout. A new name goes to the end: those before it
    keep their seeds."""
    names = (*KERNEL_LAYERS, "C5_dropout", "F6_dropout")
    drawn = np.random.SeedSequence(seed).generate_state(len(names))
    return dict(zip(names, drawn.tolist(), strict=True))


def _connected(recipe: Recipe, seed: int, **settings: Any) -> ConnectedConv2D:
    """C3 by Table I: an initializer for each of its maps, as each sees 3, 4 or 6 maps of S2."""
    initializers = [
        kernel_initializer(recipe.kernel_initializer, 5 * 5 * len(maps), seed + number)
        for number, maps in enumerate(CONNECTIONS)
    ]
    return ConnectedConv2D(initializers, **settings)


def for_pixels(network: keras.Model, data: Dataset) -> keras.Model:
    """A trained `lenet5` as a model to give away: it takes images as they are, and plain Keras
    loads it without this package.

    Args:
        network: for normalised images. Its layers and weights are shared, but for those of 1998
            and those whose kernels are products, in whose place stand layers and operations of
            Keras with the same numbers.
        data: what it was trained on, which says how to normalise.

    Returns:
        A model from images (batch, 32, 32, channels), uint8 or float32, 0 to 255, to float32 logits
        (batch, classes).
    """
    pixels = keras.Input(network.input_shape[1:], name=PIXELS)
    # The operations of `pipeline.normalisation` in their order, so that no score changes.
    scale = data.scale.tolist()
    x = layers.Rescaling(1.0, (-data.mean).tolist(), name="minus_mean", dtype="float32")(pixels)
    x = layers.Rescaling(scale, name="over_deviation", dtype="float32")(x)
    for layer in network.layers[1:]:
        if hasattr(layer, "in_plain_keras"):
            x = layer.in_plain_keras(x)
        elif isinstance(layer, EuclideanRBF):
            x = layer.call(x)
        elif getattr(layer, "activation", None) is scaled_tanh:
            x = layer.activation(x)  # its operations in place of the function
        else:
            x = layer(x)
    return keras.Model(pixels, x, name=network.name)


def count_parameters(recipe: Recipe, classes: int = CLASSES) -> int:
    """How many numbers the recipe's network has when it is given away, its products multiplied."""
    return lenet5(recipe.replace(expansion=1), classes=classes).count_params()


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """The kernels of a `lenet5` model, by layer name: float32, shaped as Keras shapes them."""
    found = {name: model.get_layer(name) for name in KERNEL_LAYERS}
    return {n: np.asarray(layer.kernel) for n, layer in found.items() if layer.trainable_weights}
