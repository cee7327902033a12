"""LeNet-5 has the paper's layers, and every field about the network changes the network."""

import numpy as np
import pytest

from lenet_keras.backend import keras
from lenet_keras.model import KERNEL_LAYERS, kernel_initializer, lenet5, scaled_tanh
from lenet_keras.recipe import Recipe

# The paper's table, with three input channels, full C3 and a dense output.
PARAMETERS = {"C1": 456, "C3": 2_416, "C5": 48_120, "F6": 10_164, "output": 850}


def test_the_baseline_is_the_table_of_the_paper():
    model = lenet5(Recipe())
    assert model.count_params() == 62_006
    assert {name: model.get_layer(name).count_params() for name in KERNEL_LAYERS} == PARAMETERS
    shapes = {name: model.get_layer(name).output.shape[1:] for name in ("C1", "S2", "C3", "S4")}
    assert shapes == {"C1": (28, 28, 6), "S2": (14, 14, 6), "C3": (10, 10, 16), "S4": (5, 5, 16)}
    assert [layer.name for layer in model.layers if layer.weights] == list(KERNEL_LAYERS)


def test_the_forward_pass_is_plain_arithmetic():
    model = lenet5(Recipe(), seed=1)
    weights = {w.path: np.asarray(w, np.float64) for w in model.weights}
    image = np.random.default_rng(0).normal(size=(32, 32, 3))

    def convolve(x, name):
        kernel = weights[f"{name}/kernel"]
        side = x.shape[0] - 4
        windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(0, 1))
        assert windows.shape[:2] == (side, side)
        return np.einsum("hwcij,ijcf->hwf", windows, kernel) + weights[f"{name}/bias"]

    def pool(x):
        return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).mean((1, 3))

    x = pool(np.tanh(convolve(image, "C1")))
    x = pool(np.tanh(convolve(x, "C3"))).reshape(-1)
    for name in ("C5", "F6"):
        x = np.tanh(x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"])
    logits = x @ weights["output/kernel"] + weights["output/bias"]
    np.testing.assert_allclose(model(image[None].astype("float32"))[0], logits, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({"normalization": "batch"}, 62_910),  # 2 trained and 2 moving numbers a channel
        ({"normalization": "layer"}, 62_458),
        ({"normalization": "group"}, 62_458),
        ({"pooling": "max", "activation": "relu", "dropout": 0.5, "l2": 1e-3}, 62_006),
        ({"width": 2}, 912 + 9_632 + 192_240 + 40_488 + 1_690),
    ],
)
def test_parameters_of_the_variants(changes, parameters):
    assert lenet5(Recipe(**changes)).count_params() == parameters


def test_layer_normalisation_has_one_group_and_group_normalisation_two():
    kinds = [lenet5(Recipe(normalization=name)) for name in ("layer", "group")]
    assert [network.get_layer("C1_norm").groups for network in kinds] == [1, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "relu"},
        {"activation": "scaled_tanh"},
        {"pooling": "max"},
        {"normalization": "layer"},
        {"normalization": "group"},
        {"kernel_initializer": "he_normal"},
    ],
)
def test_a_field_about_the_network_changes_its_output(changes):
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    assert not np.allclose(lenet5(Recipe())(x), lenet5(Recipe(**changes))(x), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "light", "tint"),
    [("dataset", False, False), ("image", True, False), ("channel", True, True)],
)
def test_an_image_by_itself_is_the_same_in_other_light(name, light, tint):
    # Values far above those of the dataset: at them the least variance is nothing.
    x = 100 * np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    model = lenet5(Recipe(input_normalization=name, kernel_initializer="he_normal"))
    assert model.count_params() == 62_006
    brighter, tinted = 2 * x + 100, x * [1, 2, 3] + [0, 100, 200]
    assert np.allclose(model(x), model(brighter), atol=1e-3) == light
    assert np.allclose(model(x), model(tinted.astype("float32")), atol=1e-3) == tint
    even = model(np.full((1, 32, 32, 3), 5, "float32"))
    assert np.isfinite(even).all()


def test_regularisers_and_dropout_are_there():
    model = lenet5(Recipe(l1=0.1, l2=0.01))
    kernels = [np.asarray(model.get_layer(name).kernel) for name in KERNEL_LAYERS]
    expected = sum(0.1 * np.abs(k).sum() + 0.01 * (k**2).sum() for k in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
    dropped = lenet5(Recipe(dropout=0.25))
    assert [layer.rate for layer in dropped.layers if hasattr(layer, "rate")] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("lecun_1998_uniform", 2.4 / 400 / np.sqrt(3)),
        ("lecun_normal", np.sqrt(1 / 400)),
        ("lecun_uniform", np.sqrt(1 / 400)),
        ("glorot_uniform", np.sqrt(2 / 520)),
        ("he_normal", np.sqrt(2 / 400)),
        ("he_uniform", np.sqrt(2 / 400)),
        ("tiny_normal", 1e-3),
        ("large_normal", 0.5),
        ("orthogonal", np.sqrt(1 / 400)),
        ("zeros", 0),
    ],
)
def test_initial_weights_have_the_scale_of_their_source(name, deviation):
    values = np.asarray(kernel_initializer(name, fan_in=400, seed=1)((400, 120)))
    assert values.std() == pytest.approx(deviation, rel=0.02, abs=1e-12)
    assert values.mean() == pytest.approx(0, abs=0.05 * deviation + 1e-12)


def test_equal_seeds_draw_equal_weights_and_other_seeds_others():
    first, again, other = (lenet5(Recipe(), seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    kernels = first[::2]
    assert len({k.ravel()[0] for k in kernels}) == len(kernels)  # no two layers share their draw


def test_a_seed_draws_the_kernels_it_has_always_drawn():
    # A layer that draws at random, added anywhere but last, would move every seed's first weights.
    model = lenet5(Recipe(kernel_initializer="he_normal", dropout=0.5), seed=1)
    drawn = [np.asarray(model.get_layer(name).kernel).flat[0] for name in KERNEL_LAYERS]
    assert drawn == pytest.approx([-0.178366, 0.070458, -0.038717, 0.112515, -0.228150], rel=1e-4)


def test_scaled_tanh_fixes_plus_and_minus_one():
    np.testing.assert_allclose(scaled_tanh(np.float32([-1, 0, 1])), [-1, 0, 1], atol=1e-4)


def test_a_saved_model_is_the_same_model(tmp_path):
    model = lenet5(Recipe(activation="scaled_tanh", normalization="batch"), seed=2)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(x), loaded(x))


def test_mixed_precision_computes_in_half_and_answers_in_full():
    model = lenet5(Recipe(dtype_policy="mixed_bfloat16"))
    assert model.get_layer("C3").compute_dtype == model.get_layer("S4").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"  # no state is left behind
