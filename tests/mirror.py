"""A tiny CIFAR-10, and a real server of it, on loopback, that does what servers do wrong."""

import hashlib
import io
import pickle
import tarfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from lenet_keras.data import ARCHIVE, FOLDER, Source
from lenet_keras.download import PublishedFile

TIMEOUT = (10.0, 1.0)
CLASS_NAMES = tuple(f"class {label}" for label in range(10))


def published(path: str, content: bytes, *urls: str) -> PublishedFile:
    return PublishedFile(path, f"sha256:{hashlib.sha256(content).hexdigest()}", urls, TIMEOUT)


def python2_pickle(content: object) -> bytes:
    """As Python 2 and its numpy named things; protocol 3 has bytes and still plain-text names."""
    pickled = pickle.dumps(content, protocol=3)
    return pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@dataclass(frozen=True)
class TinyCifar10:
    """20 images a batch, two of each class."""

    images: np.ndarray  # uint8 (120, 32, 32, 3), the last 20 for testing
    labels: np.ndarray
    files: dict[str, bytes]
    archive: bytes

    def source(self, *urls: str) -> Source:
        sums = {name: hashlib.md5(content).hexdigest() for name, content in self.files.items()}
        return Source(published(ARCHIVE, self.archive, *urls), sums, validation_images=10)

    def write_folder(self, parent: Path) -> Path:
        folder = parent / FOLDER
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder

    def write_archive(self, parent: Path, name: str = ARCHIVE) -> Path:
        parent.mkdir(parents=True, exist_ok=True)
        (parent / name).write_bytes(self.archive)
        return parent / name


def packed(files: dict[str, bytes], folder: str) -> bytes:
    """An archive of these files in a folder, the first one last."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in reversed(files.items()):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def tiny_cifar10() -> TinyCifar10:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (120, 32, 32, 3), dtype=np.uint8)
    labels = np.concatenate([generator.permutation(np.arange(20) % 10) for _ in range(6)])
    files = {}
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(20 * i, 20 * (i + 1))
        planes = np.ascontiguousarray(images[part].transpose(0, 3, 1, 2)).reshape(20, 3072)
        files[name] = python2_pickle({b"data": planes, b"labels": labels[part].tolist()})
    files["batches.meta"] = python2_pickle({b"label_names": [n.encode() for n in CLASS_NAMES]})
    return TinyCifar10(images, labels, files, packed(files, FOLDER))


class Server(ThreadingHTTPServer):
    """Serves the archive; the address's last part says what goes wrong."""

    def __init__(self, tiny: TinyCifar10) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tiny, self.content = tiny, tiny.archive
        self.requests: list[tuple[str, int]] = []  # what went wrong, and the first byte asked for
        self.sent = 0  # bytes of bodies
        self.gate = threading.Event()  # opened by a test or at its end

    def url(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}"

    def source(self, *behaviours: str) -> Source:
        return self.tiny.source(*map(self.url, behaviours))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        behaviour, content = self.path.strip("/"), self.server.content
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.server.requests.append((behaviour, start))
        half = len(content) // 2
        altered = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        resumed = (206, content[start:]) if start < len(content) else (416, b"")
        status, body = {
            "good": resumed,
            "gated": resumed,
            "no-range": (200, content),
            "truncated": (200, content[:half]),
            "stalls": (200, content[:half]),
            "short": (200, content[:half]),
            "altered": (200, altered),
            "web-page": (200, b"<html>sorry</html>"),
            "web-page-in-disguise": (200, b"<html>sorry</html>"),
        }.get(behaviour, (404, b""))
        if behaviour in ("gated", "hangs"):
            self.server.gate.wait(30)
        self.send_response(status)
        kind = "text/html; charset=utf-8" if behaviour == "web-page" else "application/gzip"
        self.send_header("Content-Type", kind)
        if behaviour != "short":  # which ends early without having said how long it is
            early = behaviour in ("truncated", "stalls")
            self.send_header("Content-Length", str(len(content if early else body)))
        self.end_headers()
        self.server.sent += len(body)  # counted first: the client may be done before this goes on
        self.wfile.write(body)
        if behaviour == "stalls":
            self.server.gate.wait(30)
