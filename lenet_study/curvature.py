"""Step sizes of 1998: one for each weight, from the curvature of the loss along it.

Source: LeCun, Bottou, Bengio, Haffner 1998, appendix C ("stochastic diagonal Levenberg-Marquardt").
A weight's step is eta / (mu + h): h is the second derivative of the loss along the weight, without
the terms that could make it negative (Gauss-Newton) and without those that link two units of a
layer. It is measured on 500 training images before each pass and kept through it.
"""

import numpy as np

from lenet_keras.backend import keras, layers, ops, tf
from lenet_keras.data import Dataset
from lenet_keras.lenet_1998 import TrainablePooling2D
from lenet_keras.model import lenet5
from lenet_keras.pipeline import normalisation
from lenet_keras.recipe import Recipe

IMAGES = 500  # section III.B
MU = 0.02


def gauss_newton_diagonal(
    model: keras.Model, recipe: Recipe, images: np.ndarray
) -> list[np.ndarray]:
    """The curvature of the loss along each weight, a mean over images.

    Curvatures go backwards as gradients do, through squared weights and squared slopes.

    Args:
        model: a `lenet5(recipe)` without normalisation, on TensorFlow.
        recipe: the model's own.
        images: float32 (n, 32, 32, channels), normalised.

    Returns:
        An array for each of `model.trainable_variables`, shaped like it, at least 0.
    """
    squared = lenet5(recipe, channels=images.shape[-1], classes=model.output_shape[-1])
    squared.set_weights([np.square(weights) for weights in model.get_weights()])
    chain = [layer for layer in model.layers[1:] if not isinstance(layer, layers.Dropout)]
    if recipe.output == "rbf":
        chain = chain[:-1]  # its curvature along each value of F6 is that of a square: 2
    inputs = [tf.constant(images)]
    for layer in chain:
        inputs.append(layer(inputs[-1]))
    outputs = inputs.pop()
    if recipe.output == "rbf":
        curvature = tf.fill(tf.shape(outputs), 2.0 / len(images))
    else:  # of cross-entropy along a logit
        probability = tf.nn.softmax(outputs)
        curvature = probability * (1.0 - probability) / len(images)
    found: dict[str, np.ndarray] = {}
    for layer, x in zip(reversed(chain), reversed(inputs), strict=True):
        if layer.trainable_weights:
            found |= _along_weights(layer, x, curvature)
        curvature = _along_inputs(layer, squared.get_layer(layer.name), x, curvature)
    return [found[variable.path] for variable in model.trainable_variables]


def _along_weights(layer: keras.Layer, x: tf.Tensor, curvature: tf.Tensor) -> dict[str, np.ndarray]:
    """Along a layer's weights: the slope along a weight is the input it meets."""
    if isinstance(layer, TrainablePooling2D):  # its coefficient meets the sum of four
        sums = ops.square(4.0 * ops.average_pool(x, 2, 2))
        x = ops.sqrt(ops.repeat(ops.repeat(sums, 2, axis=1), 2, axis=2) / 4.0)
    with tf.GradientTape() as tape:
        y = layer(tf.square(x))
    variables = layer.trainable_weights
    sums = tape.gradient(y, variables, output_gradients=curvature)
    return {v.path: np.asarray(s) for v, s in zip(variables, sums, strict=True)}


def _along_inputs(
    layer: keras.Layer, squared: keras.Layer, x: tf.Tensor, curvature: tf.Tensor
) -> tf.Tensor:
    """Along a layer's inputs: squared weights, and an activation's slope squared."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = squared(x)
    if isinstance(layer, layers.Activation):
        return curvature * tf.square(tape.gradient(y, x))
    if isinstance(layer, layers.AveragePooling2D):  # four weights of 1/4
        curvature = curvature / 4.0
    return tape.gradient(y, x, output_gradients=curvature)


class MeasuredSGD(keras.optimizers.SGD):
    """SGD in which each weight has a factor of its own on its gradient, 1 until it is measured."""

    def build(self, variables: list[keras.Variable]) -> None:
        """One factor for each number in `variables`."""
        super().build(variables)
        self.factors = self.add_optimizer_variables(variables, "factor", initializer="ones")

    def update_step(
        self,
        gradient: keras.KerasTensor,
        variable: keras.Variable,
        learning_rate: keras.KerasTensor,
    ) -> None:
        """SGD's own step, of the gradient times the factors."""
        factor = self.factors[self._get_variable_index(variable)]
        super().update_step(gradient * factor, variable, learning_rate)


class MeasureCurvature(keras.callbacks.Callback):
    """Before each epoch, gives every weight its step size; the optimizer is a `MeasuredSGD`."""

    def __init__(self, network: keras.Model, recipe: Recipe, data: Dataset) -> None:
        """`network` is the `lenet5` of the recipe that trains, `data` its dataset."""
        super().__init__()
        self.network, self.recipe = network, recipe
        self.images = np.asarray(normalisation(data)(data.train.images[:IMAGES]))

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Measure, and set the factors."""
        measured = gauss_newton_diagonal(self.network, self.recipe, self.images)
        for factor, curvature in zip(self.model.optimizer.factors, measured, strict=True):
            factor.assign(1.0 / (MU + curvature))
