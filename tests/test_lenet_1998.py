"""The network of 1998 has the paper's parameters and does the paper's arithmetic."""

import numpy as np
import pytest

from lenet_keras.backend import keras
from lenet_keras.data import load_data
from lenet_keras.lenet_1998 import CODES, CONNECTIONS, NO_CLASS, MaximumAPosteriori
from lenet_keras.model import lenet5
from lenet_keras.optimizer import schedule_shape
from lenet_keras.recipe import InputError, Recipe
from lenet_keras.training import train
from lenet_study.grouping import stackable

RECIPE = Recipe(activation="scaled_tanh", pooling="trainable", connections="table_1", output="rbf")


def test_parameters_of_each_layer_are_the_papers() -> None:
    model = lenet5(RECIPE, channels=1)
    counts = {layer.name: layer.count_params() for layer in model.layers if layer.weights}
    assert counts == {"C1": 156, "S2": 12, "C3": 1_516, "S4": 32, "C5": 48_120, "F6": 10_164}
    assert model.count_params() == 60_000
    # Three input channels change C1, and nothing behind it.
    colour = {layer.name: layer.count_params() for layer in lenet5(RECIPE).layers if layer.weights}
    assert colour == {**counts, "C1": 456}


def test_the_connection_table_is_table_1() -> None:
    assert [len(maps) for maps in CONNECTIONS] == [3] * 6 + [4] * 9 + [6]
    assert len(set(CONNECTIONS)) == 16
    steps = [{(b - a) % 6 for a, b in zip(m, [*m[1:], m[0]], strict=True)} for m in CONNECTIONS]
    assert [max(s) for s in steps[:12]] == [4] * 6 + [3] * 6  # contiguous around a ring of six
    assert [max(s) for s in steps[12:]] == [2, 2, 2, 1]
    assert [sum(m in maps for maps in CONNECTIONS) for m in range(6)] == [10] * 6


def test_codes_are_ten_different_bitmaps() -> None:
    assert CODES.shape == (10, 84)
    assert set(np.unique(CODES)) == {-1.0, 1.0}
    assert len({code.tobytes() for code in CODES}) == 10


def test_the_forward_pass_is_plain_arithmetic() -> None:
    model = lenet5(RECIPE, seed=2)
    random = np.random.default_rng(0)
    for weights in model.weights:
        weights.assign(random.normal(size=weights.shape) * 0.2)
    w = {variable.path: np.asarray(variable, np.float64) for variable in model.weights}
    image = random.normal(size=(32, 32, 3))

    def squash(x: np.ndarray) -> np.ndarray:
        return 1.7159 * np.tanh(2 / 3 * x)

    def windows(x: np.ndarray) -> np.ndarray:
        return np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(0, 1))

    def pooled(x: np.ndarray, name: str) -> np.ndarray:
        sums = x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]
        return squash(sums * w[f"{name}/coefficient"] + w[f"{name}/bias"])

    x = squash(np.einsum("hwcij,ijcf->hwf", windows(image), w["C1/kernel"]) + w["C1/bias"])
    x = pooled(x, "S2")
    maps, taken = [], 0
    for inputs, bias in zip(CONNECTIONS, w["C3/bias"], strict=True):
        kernels = w["C3/kernel"][:, :, taken : taken + len(inputs)]
        maps.append(np.einsum("hwcij,ijc->hw", windows(x)[:, :, list(inputs)], kernels) + bias)
        taken += len(inputs)
    x = pooled(squash(np.stack(maps, axis=-1)), "S4").reshape(-1)
    for name in ("C5", "F6"):
        x = squash(x @ w[f"{name}/kernel"] + w[f"{name}/bias"])
    distances = ((x - CODES) ** 2).sum(axis=1)
    np.testing.assert_allclose(-model(image[None].astype("float32"))[0], distances, rtol=1e-5)


def test_the_loss_is_equation_9() -> None:
    distances = np.array([[3.0, 50.0, 90.0], [200.0, 10.0, 11.0]])
    labels = np.eye(3)[[0, 2]]
    expected = [
        distances[i, d] + np.log(np.exp(-NO_CLASS) + np.exp(-distances[i]).sum())
        for i, d in enumerate((0, 2))
    ]
    found = MaximumAPosteriori(reduction=None)(labels, -distances)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_each_map_starts_within_its_own_fan_in() -> None:
    kernel = np.asarray(lenet5(RECIPE, seed=1).get_layer("C3").kernel)
    limits = np.concatenate([[2.4 / (25 * len(maps))] * len(maps) for maps in CONNECTIONS])
    largest = np.abs(kernel).max(axis=(0, 1))
    assert (largest <= limits).all()
    assert (largest > 0.7 * limits).all()
    assert not np.array_equal(kernel[..., :3], kernel[..., 3:6])


def test_rates_fall_pass_by_pass_as_in_the_paper() -> None:
    rates = [0.0005 * float(schedule_shape("lecun_1998", p / 20 + 1e-6)) for p in range(20)]
    paper = [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    assert rates == pytest.approx(paper)


def test_it_learns_digits_and_is_saved_whole(tmp_path) -> None:
    recipe = RECIPE.replace(
        dataset="digits", epochs=12, batch_size=16, learning_rate=0.01, schedule="lecun_1998"
    )
    data = load_data("digits")
    model = lenet5(recipe, 0)
    run = train(recipe, 0, data, model=model, verbose=0)
    assert run.validation.accuracy > 0.9
    assert run.kernel_quantiles.keys() == {"C1", "C3", "C5", "F6"}
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(again(x), model(x))


def test_it_trains_alone_and_without_label_smoothing() -> None:
    for field in ("pooling", "connections", "output"):
        assert not stackable(Recipe(**{field: getattr(RECIPE, field)}))
    with pytest.raises(InputError, match="label_smoothing has no effect"):
        RECIPE.replace(label_smoothing=0.1)
