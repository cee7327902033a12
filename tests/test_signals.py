"""Signals at step 0 follow from the weights' variance, and their records are read, not redone."""

import json
from pathlib import Path

import numpy as np
import pytest

from lenet_keras.data import Dataset, load_data
from lenet_keras.model import lenet5
from lenet_keras.pipeline import normalisation, training_batches
from lenet_keras.recipe import InputError, Recipe
from lenet_study import records
from lenet_study.signals import LAYERS, measure, share_off, step_0, trained_c1

DIGITS = Recipe(dataset="digits", epochs=1)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_data("digits")


def test_scales_are_those_of_the_network_itself(digits: Dataset) -> None:
    recipe = DIGITS.replace(kernel_initializer="lecun_normal", label_smoothing=0.1)
    table = measure(recipe, 3, digits).set_index("layer")
    assert tuple(table.index) == LAYERS
    model = lenet5(recipe, 3)
    pixels, labels = next(iter(training_batches(digits, recipe, 3).dataset.as_numpy_iterator()))
    images = np.asarray(normalisation(digits)(pixels))
    logits = np.asarray(model(images), dtype=float)
    assert table["activation"]["output"] == pytest.approx(np.std(logits), rel=1e-5)
    assert table["weight"]["C3"] == pytest.approx(np.std(np.asarray(model.get_layer("C3").kernel)))
    # The output layer's gradient by hand: inputs times (softmax minus the smoothed labels).
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = 0.9 * labels + 0.1 / labels.shape[1]
    features = lenet5_until(model, "F6_tanh", images)
    by_hand = features.T @ (share - wanted) / len(labels)
    assert table["gradient"]["output"] == pytest.approx(np.std(by_hand), rel=1e-4)
    assert table["gradient"].isna().tolist() == [name.startswith("S") for name in LAYERS]


def lenet5_until(model: object, layer: str, images: np.ndarray) -> np.ndarray:
    from lenet_keras.backend import keras

    part = keras.Model(model.input, model.get_layer(layer).output)  # type: ignore[attr-defined]
    return np.asarray(part(images), dtype=float)


def test_zeros_send_no_gradient_into_any_kernel(digits: Dataset) -> None:
    table = measure(DIGITS.replace(kernel_initializer="zeros"), 0, digits)
    assert table["gradient"].dropna().eq(0).all()


def test_a_record_is_read_and_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = {"tanh": DIGITS, "relu": DIGITS.replace(activation="relu")}
    first = step_0(recipes, tmp_path / "study")
    kernel = trained_c1(DIGITS, "tanh", tmp_path / "study")
    assert kernel.shape == (5, 5, 3, 6)
    assert not np.allclose(kernel, np.asarray(lenet5(DIGITS, 0).get_layer("C1").kernel), rtol=1e-4)

    def refuse(*_: object) -> None:
        raise AssertionError("the dataset was asked for")

    monkeypatch.setattr("lenet_keras.data.load_data", refuse)
    # The learning rate and the number of epochs come after step 0.
    longer = {name: r.replace(epochs=9, learning_rate=0.5) for name, r in recipes.items()}
    assert step_0(longer, tmp_path / "study").equals(first)
    assert np.array_equal(trained_c1(DIGITS, "tanh", tmp_path / "study"), kernel)
    with pytest.raises(AssertionError, match="asked for"):
        step_0({"tanh": DIGITS.replace(pooling="max")}, tmp_path / "study")
    with pytest.raises(AssertionError, match="asked for"):
        trained_c1(DIGITS.replace(epochs=2), "tanh", tmp_path / "study")


@pytest.mark.parametrize("change", ["value", "seed", "no JSON", "no digest"])
def test_an_altered_record_is_refused(tmp_path: Path, change: str) -> None:
    step_0({"tanh": DIGITS}, tmp_path)
    (path,) = tmp_path.rglob("*.json")
    content = json.loads(path.read_text())
    if change == "value":
        content["values"]["activation"][0] *= 1.001
    elif change == "seed":
        content["seed"] = 1
    elif change == "no digest":
        del content["digest"]
    path.write_text("{" if change == "no JSON" else json.dumps(content))
    with pytest.raises(InputError, match="tanh-"):
        step_0({"tanh": DIGITS}, tmp_path)


def test_a_record_of_another_seed_is_not_taken_for_this_one(tmp_path: Path) -> None:
    step_0({"tanh": DIGITS}, tmp_path, seed=0)
    with pytest.raises(InputError, match="seed: found 0, expected 1"):
        step_0({"tanh": DIGITS}, tmp_path, seed=1)


def test_signals_are_not_taken_for_runs(tmp_path: Path) -> None:
    step_0({"seed-0": DIGITS, "tanh": DIGITS.replace(pooling="max")}, tmp_path / "study")
    trained_c1(DIGITS, "seed-0", tmp_path / "study")
    assert len(list(tmp_path.rglob("*.json"))) == 3
    assert records.find(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "signals").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot be written"):
        step_0({"tanh": DIGITS}, tmp_path)


def test_units_that_no_image_turns_on_are_counted() -> None:
    model = lenet5(Recipe(activation="relu", kernel_initializer="he_normal"), 0)
    kernel, bias = model.get_layer("F6").get_weights()
    bias[:21], bias[21:] = -1e6, 1e6  # of 84
    model.get_layer("F6").set_weights([kernel, bias])
    images = np.random.default_rng(0).normal(size=(64, 32, 32, 3)).astype("float32")
    shares = share_off(model, images)
    assert list(shares) == ["C1", "C3", "C5", "F6"]
    assert shares["C1"] == shares["C3"] == 0
    assert shares["F6"] == 0.25
