"""The page of `make demo`: what a network makes of a picture, layer by layer, in a browser."""

import base64
import contextlib
import html
import io
import json
import os
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import numpy as np
import sklearn.datasets
from PIL import Image

from lenet_keras.backend import keras, tf
from lenet_keras.pictures import as_seen, open_picture
from lenet_keras.recipe import InputError
from lenet_keras.run import Run
from lenet_study import run_folder
from lenet_study.run_folder import in_percent

HOST = "127.0.0.1"  # this machine alone
PAGE = Path(__file__).with_suffix(".html")
PHOTOGRAPHS = {
    f"/{name}": Path(sklearn.datasets.__path__[0], "images", name)
    for name in ("china.jpg", "flower.jpg")
}
SIDES = {"C1": (28, 28), "C3": (10, 10)}  # of the maps, of which a wider network has more
TINY = 1e-12  # above 0, for what is flat
COPIES, NOISE = 64, 0.15  # of a picture, of its range: Smilkov et al. advise 50 and 0.1 to 0.2
PLACES = np.array(
    [
        ["at the top left", "at the top", "at the top right"],
        ["at the left", "in the middle", "at the right"],
        ["at the bottom left", "at the bottom", "at the bottom right"],
    ]
)


def serve(file: Path, run: Run, port: int, browser: bool) -> None:
    """Serve the page until Ctrl-C; says where.

    Args:
        file: of the model.
        run: that it came of.
        port: 0 is any free one.
        browser: whether to open it there.

    Raises:
        InputError: the port cannot be had, it is no model, or its run diverged.
    """
    with Server(Onlooker(file, run), port) as server, contextlib.suppress(KeyboardInterrupt):
        click.echo(f"The page is {server.address}, until Ctrl-C.")
        if browser:
            click.launch(server.address)
        server.serve_forever()


def feature_maps(network: keras.Model) -> keras.Model:
    """What C1 and C3 hand on to the pooling: a model from pixels to a dictionary of their maps.

    Args:
        network: a LeNet-5 from a file, whose activation may be a layer or several operations.
    """
    outputs = [operation.output for operation in network.operations]
    last = {
        name: [output for output in outputs if output.shape[1:3] == sides][-1]
        for name, sides in SIDES.items()
    }
    return keras.Model(network.input, last)


def gradients(network: keras.Model, images: np.ndarray, number: int) -> np.ndarray:
    """How a class's logit changes with each pixel value: float32, shaped as the images.

    Args:
        network: from pixels to logits.
        images: (n, 32, 32, 3), 0 to 255.
        number: of the class.
    """
    pixels = tf.convert_to_tensor(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        logits = network(pixels, training=False)[:, number]
    return tape.gradient(logits, pixels).numpy()


def saliency(network: keras.Model, image: np.ndarray, number: int) -> np.ndarray:
    """How much a class's logit hangs on each pixel: float32 (32, 32), 0 or more.

    The largest gradient of its three colours (Simonyan et al. 2014, section 3.1), after the mean
    over noisy copies of the picture (Smilkov et al. 2017, "SmoothGrad"), the same noise each time.
    """
    noise = np.random.default_rng(0).normal(size=(COPIES, *image.shape))
    copies = image + NOISE * np.ptp(image) * noise
    return np.abs(gradients(network, copies, number).mean(axis=0)).max(axis=-1)


def place(values: np.ndarray) -> str:
    """In words, in which ninth of a picture (height, width) the largest values lie."""
    rows = [np.array_split(row, 3, axis=1) for row in np.array_split(values, 3)]
    means = np.array([[part.mean() for part in row] for row in rows])
    return str(PLACES.flat[means.argmax()])


class Onlooker:
    """A network that says what it makes of pictures."""

    def __init__(self, file: Path, run: Run) -> None:
        """A model's file, and the run that it came of.

        Raises:
            InputError: it is no model, or its run diverged.
        """
        self.file, self.run = file, run
        self.network = run_folder.read_model(file, len(run.class_names))
        self.maps = feature_maps(self.network)
        self.look(np.full((32, 32, 3), 128, np.uint8))  # the first one traces the network

    def about(self) -> str:
        """Which network it is, in a line."""
        name, test = self.run.recipe.dataset, self.run.test
        right = f", with {in_percent(test.accuracy)} of its test images right" if test else ""
        return f"{self.file}: {self.network.count_params():,} parameters, trained on {name}{right}"

    def look(self, image: np.ndarray) -> dict[str, Any]:
        """Probabilities, largest first, and pictures of uint8 (32, 32, 3): for JSON."""
        names = self.run.class_names
        (shares,) = run_folder.ask(self.network, self.file, names, image[None])
        slope = saliency(self.network, image, names.index(next(iter(shares))))
        answer: dict[str, Any] = {
            "probabilities": shares,
            "seen": [{"source": _png(image), "words": "The picture at 32 × 32 pixels"}],
            "gradient": [_shown("The gradient", slope / max(np.percentile(slope, 99.5), TINY))],
        }
        for layer, batch in self.maps(image[None]).items():
            values = np.asarray(batch, np.float32)[0]
            levels = np.sqrt((values - values.min()) / max(np.ptp(values), TINY))
            answer[layer] = [
                _shown(f"Map {number}", each)
                for number, each in enumerate(np.moveaxis(levels, -1, 0), start=1)
            ]
        return answer


def _shown(name: str, levels: np.ndarray) -> dict[str, str]:
    """Levels (height, width), 0 to 1 and what is above it, as a grey picture and in words."""
    source = _png((255 * levels.clip(0, 1)).round().astype(np.uint8))
    return {"source": source, "words": f"{name}: brightest {place(levels)}"}


def _png(pixels: np.ndarray) -> str:
    """uint8 pixels as an address that holds the picture itself."""
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"


class Server(ThreadingHTTPServer):
    """Serves the page, and answers pictures that are sent to it, to this machine alone."""

    allow_reuse_address = os.name == "posix"  # on Windows, two would have one port, unnoticed

    def __init__(self, onlooker: Onlooker, port: int) -> None:
        """Port 0 is any free one.

        Raises:
            InputError: the port cannot be had.
        """
        self.onlooker = onlooker
        page = PAGE.read_text(encoding="utf-8").replace("ABOUT", html.escape(onlooker.about()))
        self.files = {"/": ("text/html; charset=utf-8", page.encode())}
        self.files |= {name: ("image/jpeg", p.read_bytes()) for name, p in PHOTOGRAPHS.items()}
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(
                f"--port {port}: cannot be had ({error.strerror}). Name another, or 0 for any free "
                "one."
            ) from None
        self.address = f"http://{HOST}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        """The page, and the photographs on it."""
        if self.path in self.server.files:
            self._send(200, *self.server.files[self.path])
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """A picture's answer, or why there is none."""
        origin = self.headers.get("Origin")  # of the page that asks; no other page may
        if origin and urlsplit(origin).hostname not in (HOST, "localhost"):
            self.send_error(403)
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "picture")
            try:
                with file.open("wb") as whole:  # part by part: it may be a film
                    left = int(self.headers.get("Content-Length", 0))
                    while left and (part := self.rfile.read(min(left, 2**20))):
                        left -= whole.write(part)
                status, told = 200, self.server.onlooker.look(as_seen(open_picture(file)))
            except (InputError, OSError) as error:
                status, told = 400, {"error": str(error).removeprefix(f"{file}: ")}
        self._send(status, "application/json", json.dumps(told).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the browser left
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""
