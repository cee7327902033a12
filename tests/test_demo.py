"""The page of `make demo`: a real server on this machine, real requests."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from here import invoke
from PIL import Image
from sklearn.datasets import load_sample_image

from lenet_keras.backend import keras
from lenet_keras.data import load_digits
from lenet_keras.model import for_pixels, lenet5
from lenet_keras.pipeline import normalisation
from lenet_keras.recipe import InputError, Recipe, read_recipe
from lenet_study import cli, demo, run_folder

ROOT = Path(__file__).parent.parent
IMAGE = np.asarray(Image.fromarray(load_sample_image("flower.jpg")).resize((32, 32)))


@pytest.fixture(scope="module")
def onlooker() -> demo.Onlooker:
    return demo.Onlooker(*run_folder.find(None))


@pytest.fixture(scope="module")
def server(onlooker: demo.Onlooker) -> Iterator[demo.Server]:
    with demo.Server(onlooker, port=0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_the_page_and_its_photographs_are_served_to_this_machine_alone(server: demo.Server) -> None:
    page = requests.get(server.address, timeout=60)
    assert page.headers["Content-Type"].startswith("text/html")
    test = server.onlooker.run.test
    assert test is not None
    assert f"{100 * test.accuracy:.2f} % of its test images right" in page.text
    for name in ("china.jpg", "flower.jpg"):
        assert f'src="{name}"' in page.text
        photograph = requests.get(f"{server.address}/{name}", timeout=60)
        assert photograph.headers["Content-Type"] == "image/jpeg"
    assert requests.get(f"{server.address}/run.json", timeout=60).status_code == 404
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(InputError, match=rf"--port {server.server_port}: cannot be had"):
        demo.Server(server.onlooker, server.server_port)


def test_a_picture_gets_what_predict_says_and_its_maps(server: demo.Server, tmp_path: Path) -> None:
    picture = demo.PHOTOGRAPHS["/china.jpg"]
    told = requests.post(f"{server.address}/look", picture.read_bytes(), timeout=60).json()
    predicted = invoke(tmp_path, cli.predict, str(picture), "--json")
    expected = json.loads(predicted.stdout)["photographs"][0]["probabilities"]
    assert list(told["probabilities"].items()) == list(expected.items())
    assert {name: len(told[name]) for name in ("seen", "C1", "C3", "gradient")} == {
        "seen": 1,
        "C1": 6,
        "C3": 16,
        "gradient": 1,
    }
    assert told["C1"][0]["source"].startswith("data:image/png;base64,")


def test_what_is_no_picture_is_answered_as_predict_does(
    server: demo.Server, tmp_path: Path
) -> None:
    words = tmp_path / "words.jpg"
    words.write_text("no picture")
    answer = requests.post(f"{server.address}/look", words.read_bytes(), timeout=60)
    said = invoke(tmp_path, cli.predict, words.name).stderr.strip()
    assert (answer.status_code, f"Error: words.jpg: {answer.json()['error']}") == (400, said)


def test_another_page_is_refused(server: demo.Server) -> None:
    for origin, status in (
        ("http://localhost:80", 400),
        ("http://example.org", 403),
        ("null", 403),
    ):
        answer = requests.post(server.address, b"", headers={"Origin": origin}, timeout=60)
        assert answer.status_code == status


def test_the_maps_are_those_of_the_layers(onlooker: demo.Onlooker) -> None:
    network = onlooker.network
    for name, values in onlooker.maps(IMAGE[None]).items():
        layer = network.get_layer(f"{name}_{onlooker.run.recipe.activation}").output
        np.testing.assert_array_equal(values, keras.Model(network.input, layer)(IMAGE[None]))


def test_a_wider_network_shows_all_its_maps() -> None:
    shapes = {n: v.shape[1:] for n, v in demo.feature_maps(lenet5(Recipe(width=2))).output.items()}
    assert shapes == {"C1": (28, 28, 12), "C3": (10, 10, 32)}


def test_the_maps_of_1998_are_those_of_its_layers(tmp_path: Path) -> None:
    network, data = lenet5(read_recipe(ROOT / "configs" / "lenet_1998.yaml")), load_digits()
    for_pixels(network, data).save(tmp_path / "model.keras")
    maps = demo.feature_maps(run_folder.read_model(tmp_path / "model.keras", 10))(IMAGE[None])
    normalised = normalisation(data)(IMAGE[None])
    for name, values in maps.items():
        layer = network.get_layer(f"{name}_scaled_tanh").output
        expected = keras.Model(network.input, layer)(normalised)
        np.testing.assert_allclose(values, expected, atol=1e-5)


def test_the_gradient_is_the_slope_of_the_logit(onlooker: demo.Onlooker) -> None:
    network, number = onlooker.network, 3
    (slope,) = demo.gradients(network, IMAGE[None], number)
    step = 0.1 * slope / np.linalg.norm(slope)
    ends = network(np.stack([IMAGE + step, IMAGE - step]).astype(np.float32))
    difference = float(ends[0, number] - ends[1, number])
    assert difference == pytest.approx(0.2 * np.linalg.norm(slope), rel=0.02)


def test_words_say_where_a_map_is_brightest() -> None:
    corner = np.zeros((28, 28))
    corner[27, 0] = 1
    assert demo.place(corner) == "at the bottom left"
    assert demo.place(corner[::-1, ::-1]) == "at the top right"
