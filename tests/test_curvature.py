"""The step sizes of 1998 are appendix C's arithmetic, and training uses them."""

import numpy as np
import pytest

from lenet_keras.data import load_data
from lenet_keras.lenet_1998 import CONNECTIONS
from lenet_keras.model import lenet5
from lenet_keras.recipe import InputError, Recipe
from lenet_study.curvature import MU, gauss_newton_diagonal
from lenet_study.grouping import stackable
from lenet_study.training import train_alone

OF_1998 = Recipe(activation="scaled_tanh", pooling="trainable", connections="table_1", output="rbf")


def windows(x: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(0, 1))


def spread(h: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Curvature behind a convolution, weighted with squared kernels, at each of its inputs."""
    height, width, _ = h.shape
    before = np.zeros((height + 4, width + 4, kernel.shape[2]))
    for i in range(5):
        for j in range(5):
            before[i : i + height, j : j + width] += h @ np.square(kernel[i, j]).T
    return before


def by_hand(w: dict[str, np.ndarray], image: np.ndarray) -> dict[str, np.ndarray]:
    """Appendix C for one image, in loops and sums: curvature by path."""

    def squash(a: np.ndarray) -> np.ndarray:
        return 1.7159 * np.tanh(2 / 3 * a)

    def slope(a: np.ndarray) -> np.ndarray:
        return 1.7159 * 2 / 3 / np.cosh(2 / 3 * a) ** 2

    def four(x: np.ndarray) -> np.ndarray:
        return x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]

    dense = np.zeros((5, 5, 6, 16))
    pairs = [(m, c) for c, maps in enumerate(CONNECTIONS) for m in maps]
    for pair, (m, c) in enumerate(pairs):
        dense[:, :, m, c] = w["C3/kernel"][:, :, pair]
    a1 = np.einsum("hwcij,ijcf->hwf", windows(image), w["C1/kernel"]) + w["C1/bias"]
    s2 = four(squash(a1))
    a2 = s2 * w["S2/coefficient"] + w["S2/bias"]
    a3 = np.einsum("hwcij,ijcf->hwf", windows(squash(a2)), dense) + w["C3/bias"]
    s4 = four(squash(a3))
    a4 = s4 * w["S4/coefficient"] + w["S4/bias"]
    a5 = squash(a4).reshape(-1) @ w["C5/kernel"] + w["C5/bias"]
    a6 = squash(a5) @ w["F6/kernel"] + w["F6/bias"]

    found = {}
    h = 2.0 * slope(a6) ** 2
    found["F6/kernel"], found["F6/bias"] = np.outer(squash(a5) ** 2, h), h
    h = np.square(w["F6/kernel"]) @ h * slope(a5) ** 2
    found["C5/kernel"], found["C5/bias"] = np.outer(squash(a4).reshape(-1) ** 2, h), h
    h = (np.square(w["C5/kernel"]) @ h).reshape(a4.shape) * slope(a4) ** 2
    found["S4/coefficient"], found["S4/bias"] = (h * s4**2).sum((0, 1)), h.sum((0, 1))
    h = (h * w["S4/coefficient"] ** 2).repeat(2, 0).repeat(2, 1) * slope(a3) ** 2
    kernel = np.einsum("hwcij,hwf->ijcf", windows(squash(a2) ** 2), h)
    found["C3/kernel"] = np.stack([kernel[:, :, m, c] for m, c in pairs], axis=-1)
    found["C3/bias"] = h.sum((0, 1))
    h = spread(h, dense) * slope(a2) ** 2
    found["S2/coefficient"], found["S2/bias"] = (h * s2**2).sum((0, 1)), h.sum((0, 1))
    h = (h * w["S2/coefficient"] ** 2).repeat(2, 0).repeat(2, 1) * slope(a1) ** 2
    found["C1/kernel"] = np.einsum("hwcij,hwf->ijcf", windows(image**2), h)
    found["C1/bias"] = h.sum((0, 1))
    return found


def test_curvature_is_appendix_c() -> None:
    model = lenet5(OF_1998, seed=2)
    random = np.random.default_rng(0)
    for weights in model.weights:
        weights.assign(random.normal(size=weights.shape) * 0.2)
    w = {variable.path: np.asarray(variable, np.float64) for variable in model.weights}
    images = random.normal(size=(3, 32, 32, 3)).astype("float32")
    each = [by_hand(w, image.astype(float)) for image in images]
    found = gauss_newton_diagonal(model, OF_1998, images)
    for variable, values in zip(model.trainable_variables, found, strict=True):
        expected = np.mean([one[variable.path] for one in each], axis=0)
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-8, err_msg=variable.path)


def test_behind_a_softmax_it_starts_from_the_probabilities() -> None:
    recipe = Recipe(activation="relu", pooling="max", kernel_initializer="he_normal")
    model = lenet5(recipe, seed=1)
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    logits = np.asarray(model(images), float)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = gauss_newton_diagonal(model, recipe, images)[-1]
    np.testing.assert_allclose(found, (p * (1 - p)).mean(axis=0), rtol=1e-5)


def test_average_pooling_weighs_a_quarter() -> None:
    plain = Recipe(activation="scaled_tanh", kernel_initializer="glorot_uniform")
    trainable = plain.replace(pooling="trainable")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    # Without the second squashing a trainable layer at 1/4 is the average; there it is almost
    # linear, as values are small.
    ratio = [
        gauss_newton_diagonal(lenet5(recipe, 3), recipe, 0.01 * images)[0].mean()
        for recipe in (plain, trainable)
    ]
    slope = 1.7159 * 2 / 3  # at 0, once more in each of two pooling layers
    assert ratio[1] / ratio[0] == pytest.approx(slope**4, rel=0.05)


def test_training_divides_each_step_by_its_curvature() -> None:
    data = load_data("digits")
    recipe = OF_1998.replace(
        dataset="digits", epochs=1, batch_size=1197, step_sizes="gauss_newton", learning_rate=1e-3
    )
    steps = {}
    for sizes in ("gauss_newton", "equal"):
        model = lenet5(recipe, 0)
        before = model.get_weights()
        train_alone(recipe.replace(step_sizes=sizes), 0, data, model=model, verbose=0)
        steps[sizes] = [a - b for a, b in zip(model.get_weights(), before, strict=True)]
    fresh = lenet5(recipe, 0)
    images = (data.train.images[:500] - data.mean) / data.deviation
    curvature = gauss_newton_diagonal(fresh, recipe, images.astype("float32"))
    for scaled, plain, h in zip(*steps.values(), curvature, strict=True):
        np.testing.assert_allclose(scaled, plain / (MU + h), rtol=1e-2, atol=1e-6)


def test_with_its_own_step_sizes_the_network_of_1998_learns() -> None:
    recipe = OF_1998.replace(
        dataset="digits",
        epochs=12,
        batch_size=16,
        learning_rate=0.0001,  # the paper's range: 0.0005 and less
        schedule="lecun_1998",
        step_sizes="gauss_newton",
    )
    run = train_alone(recipe, 0, load_data("digits"), verbose=0)
    assert run.validation.accuracy > 0.85
    assert not stackable(recipe)


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "adam"}, {"normalization": "group"}, {"dtype_policy": "mixed_float16"}],
)
def test_step_sizes_go_with_plain_sgd_alone(changes: dict) -> None:
    with pytest.raises(InputError, match="step_sizes: 'gauss_newton' needs"):
        OF_1998.replace(step_sizes="gauss_newton", **changes)
