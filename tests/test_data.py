"""Data: found, verified, split, downloaded. The server is real, on loopback, the batches tiny."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from examples import posix_only, until
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lenet_keras.data import (
    ARCHIVE,
    FOLDER,
    Source,
    Split,
    load_cifar10,
    load_data,
    load_digits,
    load_fashion_mnist,
    load_mnist,
    make_dataset,
    stratified_holdout,
)
from lenet_keras.download import PublishedFile, UnavailableError, download
from lenet_keras.recipe import InputError

REAL_DATA = os.environ.get("LENET_DATA", "")
needs_cifar10 = pytest.mark.skipif(
    not (REAL_DATA and (Path(REAL_DATA) / FOLDER).is_dir()),
    reason=f"CIFAR-10 itself is needed: LENET_DATA names no folder with {FOLDER}",
)
TIMEOUT = (2.0, 0.3)
CLASS_NAMES = tuple(f"class {label}" for label in range(10))


@pytest.fixture(autouse=True)
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache, no CIFAR-10 from the environment, and no proxy before the server."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("LENET_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "keras" / "datasets"


def published(path: str, content: bytes, *urls: str) -> PublishedFile:
    return PublishedFile(path, f"sha256:{hashlib.sha256(content).hexdigest()}", urls, TIMEOUT)


def assert_holds(split: Split, images: np.ndarray, labels: np.ndarray) -> None:
    assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
    assert len(split) == len(split.images)
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 0


# --- a tiny CIFAR-10 ---------------------------------------------------------------------------


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


@pytest.fixture(scope="module")
def tiny() -> TinyCifar10:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (120, 32, 32, 3), dtype=np.uint8)
    labels = np.concatenate([generator.permutation(np.arange(20) % 10) for _ in range(6)])
    files = {}
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(20 * i, 20 * (i + 1))
        planes = np.ascontiguousarray(images[part].transpose(0, 3, 1, 2)).reshape(20, 3072)
        files[name] = python2_pickle({b"data": planes, b"labels": labels[part].tolist()})
    files["batches.meta"] = python2_pickle({b"label_names": [n.encode() for n in CLASS_NAMES]})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in reversed(files.items()):
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return TinyCifar10(images, labels, files, packed.getvalue())


# --- a server ----------------------------------------------------------------------------------


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


@pytest.fixture
def server(tiny: TinyCifar10) -> Iterator[Server]:
    with Server(tiny) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield http
        http.gate.set()
        http.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> str:
    """An address at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


# --- finding and reading -----------------------------------------------------------------------


def test_cifar10_has_the_published_pixels_and_labels(tiny: TinyCifar10, tmp_path: Path) -> None:
    tiny.write_folder(tmp_path)
    data = load_cifar10(tmp_path, source=tiny.source())

    assert data.name == "cifar10"
    assert data.class_names == CLASS_NAMES
    kept, held = stratified_holdout(tiny.labels[:100], 10)
    assert_holds(data.train, tiny.images[kept], tiny.labels[kept])
    assert_holds(data.validation, tiny.images[held], tiny.labels[held])
    assert_holds(data.test, tiny.images[100:], tiny.labels[100:])
    np.testing.assert_array_equal(np.sort(data.validation.labels), np.arange(10))


def test_every_place_and_form_gives_the_same_data(
    tiny: TinyCifar10, tmp_path: Path, keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny.source()
    folder = tiny.write_folder(tmp_path / "folder")
    archive = tiny.write_archive(tmp_path / "archive")
    (tmp_path / "archive" / FOLDER).mkdir()  # an empty one is as good as none
    given = [folder, folder.parent, str(folder), archive, archive.parent]
    fingerprints = {load_cifar10(place, source=source).fingerprint for place in given}

    for place in (folder.parent, archive.parent):
        monkeypatch.setenv("LENET_DATA", str(place))
        fingerprints.add(load_cifar10(source=source).fingerprint)
    monkeypatch.delenv("LENET_DATA")

    for write in (
        lambda: tiny.write_folder(keras_home),
        lambda: tiny.write_folder(keras_home / f"{FOLDER}-target"),  # Keras 3
        lambda: tiny.write_archive(keras_home, f"{FOLDER}-target_archive"),
        lambda: tiny.write_archive(keras_home, f"{FOLDER}.tar.gz"),  # Keras 2
        lambda: tiny.write_archive(keras_home),
    ):
        written = write()
        fingerprints.add(load_cifar10(source=source).fingerprint)
        # Given, but without CIFAR-10: the search goes on.
        fingerprints.add(load_cifar10(tmp_path, source=source).fingerprint)
        written.rename(tmp_path / f"used-{len(list(tmp_path.iterdir()))}")
    assert len(fingerprints) == 1
    with pytest.raises(UnavailableError):
        load_cifar10(source=source)


FORMS = ["deeper", "tar", "tar.xz", "tgz", "zip", "in capitals", "another name"]


@pytest.mark.parametrize("form", FORMS)
def test_the_files_decide_however_they_are_packed(
    form: str, tiny: TinyCifar10, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    folder = tiny.write_folder(given / "unpacked" if form == "deeper" else tmp_path / "source")
    if form == "zip":
        shutil.make_archive(str(given / "CIFAR"), "zip", folder.parent)
        (given / "CIFAR.zip").rename(given / "my-cifar.zip")
    elif form != "deeper":
        given.mkdir()
        kind = {"tar.xz": "xz", "tgz": "gz", "another name": "bz2"}.get(form, "")
        name = {"another name": "pictures", "in capitals": "CIFAR.TAR"}.get(form, f"cifar.{form}")
        with tarfile.open(given / name, f"w:{kind}") as tar:  # type: ignore[call-overload]
            tar.add(folder, "renamed")
        given = given / name if form == "another name" else given
    data = load_cifar10(given, source=tiny.source())
    assert data.fingerprint == load_cifar10(folder, source=tiny.source()).fingerprint


def test_a_batch_that_was_packed_damaged_is_named(tiny: TinyCifar10, tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "source")
    (folder / "data_batch_2").write_bytes(b"no batch")
    with tarfile.open(tmp_path / ARCHIVE, "w") as tar:
        tar.add(folder, FOLDER)
    with pytest.raises(InputError, match=rf"{ARCHIVE}: .*data_batch_2: is not the published file"):
        load_cifar10(tmp_path / ARCHIVE, source=tiny.source())


def test_an_archive_that_cannot_be_unpacked_is_named(tiny: TinyCifar10, tmp_path: Path) -> None:
    packed = tmp_path / "cifar.tar.xz"
    with tarfile.open(packed, "w:xz") as tar:
        tar.add(tiny.write_folder(tmp_path / "source"), FOLDER)
    content = packed.read_bytes()
    packed.write_bytes(content[:5000] + bytes(100) + content[5100:])
    locked = tmp_path / "cifar.zip"
    with zipfile.ZipFile(locked, "w") as zipped:
        zipped.writestr("test_batch", b"")
    # In each head, the bit that says that there is a password.
    content = locked.read_bytes().replace(b"PK\3\4\x14\0\0", b"PK\3\4\x14\0\1")
    locked.write_bytes(content.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"))
    for file, reason in ((packed, "Corrupt input data"), (locked, ".*password required")):
        with pytest.raises(InputError, match=rf"{file.name}: cannot be unpacked \({reason}"):
            load_cifar10(file, source=tiny.source())


def test_the_argument_comes_before_the_environment(
    tiny: TinyCifar10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tiny.write_folder(tmp_path / "damaged")
    (damaged / "test_batch").write_bytes(b"no batch")
    whole = tiny.write_folder(tmp_path / "whole")
    monkeypatch.setenv("LENET_DATA", str(damaged))
    load_cifar10(whole, source=tiny.source())
    with pytest.raises(InputError, match="test_batch"):
        load_cifar10(source=tiny.source())


@pytest.mark.parametrize("damage", ["a bit of a batch", "a batch is missing", "an archive's end"])
def test_what_was_given_damaged_is_named_and_nothing_is_downloaded(
    damage: str, tmp_path: Path, server: Server
) -> None:
    if damage == "an archive's end":
        file, kind = server.tiny.write_archive(tmp_path), "sha256"
        content = server.content[: len(server.content) // 2]
    else:
        file, kind = server.tiny.write_folder(tmp_path) / "data_batch_3", "md5"
        *whole, last = file.read_bytes()
        content = bytes([*whole, last ^ 1])
    parts = [hashlib.new(kind, each).hexdigest() for each in (file.read_bytes(), content)]
    file.write_bytes(content)
    if damage == "a batch is missing":
        file.unlink()
        parts = ["cannot be read"]
    if damage == "an archive's end":
        parts = ["cannot be unpacked"]
    with pytest.raises(InputError) as caught:
        load_cifar10(tmp_path, source=server.source("good"))
    for part in (str(file), *parts):
        assert part in str(caught.value)
    assert server.requests == []


@dataclass
class Intruder:
    """Makes a folder when it is unpickled."""

    folder: Path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_no_pickle_runs_code(tiny: TinyCifar10, tmp_path: Path) -> None:
    """Not with a wrong sum, and not if a sum were forged."""
    folder = tiny.write_folder(tmp_path)
    source = tiny.source()
    for name in source.file_md5:
        evil = pickle.dumps(Intruder(tmp_path / "made"))
        (folder / name).write_bytes(evil)
        with pytest.raises(InputError, match=name):
            load_cifar10(folder, source=source)
        forged = {**source.file_md5, name: hashlib.md5(evil).hexdigest()}
        with pytest.raises(pickle.UnpicklingError, match="mkdir is not allowed"):
            load_cifar10(folder, source=replace(source, file_md5=forged))
        (folder / name).write_bytes(tiny.files[name])
    assert not (tmp_path / "made").exists()


def test_a_damaged_cache_is_passed_over(keras_home: Path, server: Server) -> None:
    (server.tiny.write_folder(keras_home) / "data_batch_1").write_bytes(b"")
    server.tiny.write_archive(keras_home).write_bytes(b"<html>")
    source = server.source("good")
    load_cifar10(source=source, progress=False)
    load_cifar10(source=source, progress=False)
    assert len(server.requests) == 1

    (keras_home / ARCHIVE).unlink()
    with pytest.raises(UnavailableError, match="data_batch_1: is not the published file"):
        load_cifar10(source=server.source("missing"))


def test_the_error_lists_what_was_tried_and_three_ways_out(
    tiny: TinyCifar10, tmp_path: Path, keras_home: Path, closed_port: str
) -> None:
    with pytest.raises(UnavailableError) as caught:
        load_cifar10(tmp_path / "nowhere", source=tiny.source(f"{closed_port}/file"))
    message = str(caught.value)
    for part in (
        f"{tmp_path / 'nowhere'}: no such folder",
        f"{closed_port}/file: cannot be reached",
        "--data-dir",
        "LENET_DATA",
        str(keras_home / ARCHIVE),
        "network",
    ):
        assert part in message


# --- downloading -------------------------------------------------------------------------------

BAD_ANSWERS = {
    "truncated": "broke before the end",
    "short": "another file than the published one",
    "altered": "another file than the published one",
    "web-page": "a web page instead of the file",
    "web-page-in-disguise": "another file than the published one",
    "missing": "answered 404",
    "hangs": "sent nothing for 0.3 s",
    "stalls": "sent nothing for 0.3 s",
    "refused": "cannot be reached",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS)
def test_after_a_bad_answer_the_next_mirror_and_no_bad_file(
    answer: str, server: Server, closed_port: str, keras_home: Path
) -> None:
    bad = f"{closed_port}/refused" if answer == "refused" else server.url(answer)
    with pytest.raises(UnavailableError) as caught:
        load_cifar10(source=server.tiny.source(bad), progress=False)
    (line,) = (line for line in str(caught.value).splitlines() if bad in line)
    assert BAD_ANSWERS[answer] in line
    left = {path.name for path in keras_home.iterdir()} - {f"{ARCHIVE}.lock"}
    assert left <= {f"{ARCHIVE}.part"}

    # A later call takes nothing that this one left, and asks the next mirror.
    data = load_cifar10(source=server.tiny.source(bad, server.url("good")), progress=False)
    np.testing.assert_array_equal(data.test.images, server.tiny.images[100:])
    assert (keras_home / ARCHIVE).read_bytes() == server.content
    assert not (keras_home / f"{ARCHIVE}.part").exists()

    count = len(server.requests)
    load_cifar10(source=server.tiny.source(bad), progress=False)
    assert len(server.requests) == count


def test_a_broken_download_goes_on_where_it_stopped(server: Server, keras_home: Path) -> None:
    half = len(server.content) // 2
    source = server.source("truncated", "good")
    download(source.archive, progress=False)
    (first, (behaviour, start)) = server.requests
    assert (first, behaviour) == (("truncated", 0), "good")
    assert half - (1 << 16) < start <= half  # at most the chunk in which it broke comes again
    assert server.sent == half + len(server.content) - start
    assert (keras_home / ARCHIVE).read_bytes() == server.content


@pytest.mark.parametrize(
    ("part", "behaviour", "requests"),
    [
        ("half", "no-range", 1),  # the whole file comes and replaces the part
        ("whole", "good", 1),  # all there, only not yet verified: 416
        ("poisoned", "good", 2),  # does not match together: once more from the start
        ("too long", "good", 2),
        ("half", "web-page", 1),  # refused before it overwrites the part
    ],
)
def test_a_part_from_an_earlier_attempt(
    part: str, behaviour: str, requests: int, server: Server, keras_home: Path
) -> None:
    content = {
        "half": server.content[: len(server.content) // 2],
        "whole": server.content,
        "poisoned": b"<html>" * 100,
        "too long": server.content + b"more",
    }[part]
    keras_home.mkdir(parents=True)
    kept = keras_home / f"{ARCHIVE}.part"
    kept.write_bytes(content)
    file = server.source(behaviour).archive
    if behaviour == "web-page":
        with pytest.raises(UnavailableError):
            download(file, progress=False)
        assert kept.read_bytes() == content
    else:
        assert download(file, progress=False).read_bytes() == server.content
        assert not kept.exists()
    assert len(server.requests) == requests


def start_download(server: Server, behaviour: str, before: str = "") -> subprocess.Popen[str]:
    """A process of its own that does something, downloads the archive and prints where it is."""
    file = replace(server.source(behaviour).archive, timeout=(5.0, 60.0))
    program = f"""
{before}
from lenet_keras.download import PublishedFile, UnavailableError, download
try:
    print(download({file!r}))
except UnavailableError as error:
    print(error)
"""
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


def test_two_processes_at_once_download_once(server: Server, keras_home: Path) -> None:
    with start_download(server, "gated") as first:
        until(lambda: server.requests)
        with start_download(server, "gated") as second:
            assert second.stderr is not None
            assert "waiting for it" in second.stderr.readline()
            server.gate.set()
            for process in (first, second):
                output, errors = process.communicate(timeout=60)
                assert output.strip() == str(keras_home / ARCHIVE), errors
                assert process.returncode == 0
    assert server.requests == [("gated", 0)]


@posix_only
def test_a_killed_download_leaves_nothing_but_a_part_to_go_on_from(
    server: Server, keras_home: Path
) -> None:
    at_least = len(server.content) // 2 - (1 << 16)  # all but the chunk that is not full yet
    part = keras_home / f"{ARCHIVE}.part"
    with start_download(server, "stalls") as process:
        until(lambda: part.exists() and part.stat().st_size > at_least)
        process.send_signal(signal.SIGKILL)
    assert not (keras_home / ARCHIVE).exists()
    received = part.stat().st_size

    good = server.source("good").archive
    assert download(good, progress=False).read_bytes() == server.content
    assert server.requests[-1] == ("good", received)


@posix_only
def test_a_full_disk_is_an_error_for_people(server: Server, keras_home: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    with start_download(server, "good", before=limit) as process:
        output, errors = process.communicate(timeout=60)
    assert "cannot be written" in output
    assert "KERAS_HOME" in output
    assert "Traceback" not in errors
    assert not (keras_home / ARCHIVE).exists()


def test_a_cache_that_cannot_be_made_is_an_error_for_people(
    server: Server, keras_home: Path
) -> None:
    keras_home.parent.write_text("a file, not a folder")
    with pytest.raises(UnavailableError, match="KERAS_HOME"):
        load_cifar10(source=server.source("good"), progress=False)


# --- the other datasets, and by name -----------------------------------------------------------


def test_digits() -> None:
    data = load_data("digits")
    assert data.fingerprint == "8899dbb9cb9a3390"
    assert data.class_names == tuple("0123456789")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [1197, 300, 300]
    everything = np.concatenate([s.images for s in (data.train, data.validation, data.test)])
    assert everything.shape == (1797, 32, 32, 3)
    assert everything.dtype == np.uint8
    assert (everything.min(), everything.max()) == (0, 255)
    assert len(np.unique(everything.reshape(1797, -1), axis=0)) == 1797  # no image in two splits
    for split in (data.validation, data.test):
        assert set(np.bincount(split.labels)) <= {29, 30, 31}
    # Pixels keep their place: every 4 by 4 block is one of scikit-learn's pixels.
    blocks = everything[..., 0].reshape(1797, 8, 4, 8, 4)
    assert (blocks == blocks[:, :, :1, :, :1]).all()


def test_auto_is_the_digits_where_cifar10_cannot_be_had(
    tiny: TinyCifar10, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", closed_port)  # no way out, also where there is a network
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    assert load_data("auto", progress=False).fingerprint == load_digits().fingerprint
    with pytest.raises(UnavailableError):
        load_data("cifar10", progress=False)

    damaged = tiny.write_folder(tmp_path)  # whose sums are not those of CIFAR-10
    with pytest.raises(InputError, match="data_batch_1: is not the published file"):
        load_data("auto", damaged)


def test_an_unknown_name() -> None:
    with pytest.raises(InputError, match=r"cifra10.*'cifar10'\?.*fashion_mnist"):
        load_data("cifra10")


def test_mnist_and_fashion_mnist(server: Server, keras_home: Path) -> None:
    generator = np.random.default_rng(0)
    made = {
        "x_train": generator.integers(0, 256, (120, 28, 28), dtype=np.uint8),
        "y_train": np.arange(120, dtype=np.uint8) % 10,
        "x_test": generator.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
    }

    def publish(path: str, content: bytes) -> PublishedFile:
        keras_home.mkdir(parents=True, exist_ok=True)
        (keras_home / path).write_bytes(content)
        return published(path, content, server.url("missing"))

    packed = io.BytesIO()
    np.savez(packed, **made)
    npz = publish("mnist.npz", packed.getvalue())
    idx = {
        part: publish(part, gzip.compress(bytes(16 if part[0] == "x" else 8) + array.tobytes()))
        for part, array in made.items()
    }
    kept, held = stratified_holdout(made["y_train"], 10)
    images = {  # with a black border, in three equal channels
        part: np.pad(made[part], ((0, 0), (2, 2), (2, 2)))[..., np.newaxis].repeat(3, axis=-1)
        for part in ("x_train", "x_test")
    }
    for data in (load_mnist(file=npz), load_fashion_mnist(files=idx)):
        assert len(data.class_names) == 10
        assert_holds(data.train, images["x_train"][kept], made["y_train"][kept])
        assert_holds(data.validation, images["x_train"][held], made["y_train"][held])
        assert_holds(data.test, images["x_test"], made["y_test"])

    (keras_home / "mnist.npz").write_bytes(b"altered")
    with pytest.raises(UnavailableError):
        load_mnist(file=npz)


@needs_cifar10
def test_cifar10_itself() -> None:
    data = load_data("cifar10", REAL_DATA)
    assert data.fingerprint == "24b610d4aa178e3d"
    assert data.class_names[3] == "cat"
    for split, per_class in ((data.train, 4500), (data.validation, 500), (data.test, 1000)):
        np.testing.assert_array_equal(np.bincount(split.labels), np.full(10, per_class))
    # Known to all who normalise CIFAR-10: 0.4914, 0.4822, 0.4465 of 255.
    np.testing.assert_allclose(data.mean / 255, [0.4914, 0.4822, 0.4465], atol=5e-4)
    np.testing.assert_allclose(data.deviation / 255, [0.2470, 0.2435, 0.2616], atol=5e-4)


# --- laws --------------------------------------------------------------------------------------


@given(
    labels=arrays(np.int32, st.integers(1, 200), elements=st.integers(0, 5)),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 2**32),
)
def test_a_holdout_is_a_part_in_proportion(labels: np.ndarray, share: float, seed: int) -> None:
    size = max(1, int(share * len(labels)))
    kept, held = stratified_holdout(labels, size, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    assert len(held) == size
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()
    expected = np.bincount(labels, minlength=6) * size / len(labels)
    assert (abs(np.bincount(labels[held], minlength=6) - expected) < 1).all()


def test_a_holdout_is_drawn_at_random_and_never_changes() -> None:
    labels = np.arange(1000) % 2
    _, held = stratified_holdout(labels, 8, seed=1)
    np.testing.assert_array_equal(held, [204, 312, 324, 609, 768, 771, 863, 901])
    picked = np.concatenate([stratified_holdout(labels, 100, seed)[1] for seed in range(200)])
    times = np.bincount(picked, minlength=1000)  # 20 expected, deviation 4.2
    assert times.max() < 45
    assert times.min() > 3


@given(
    images=arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(32), st.just(32), st.just(3))),
)
def test_mean_and_deviation_are_those_of_a_float_copy(images: np.ndarray) -> None:
    split = Split(images, np.zeros(len(images), np.int32))
    data = make_dataset("made", split, split, split, ("only",))
    pixels = images.astype(np.float64)
    assert data.mean.dtype == data.deviation.dtype == np.float32
    np.testing.assert_allclose(data.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(data.deviation, pixels.std(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)


def test_the_fingerprint_sees_every_part() -> None:
    def fingerprint(name: str = "made", changed: str = "", swap: bool = False) -> str:
        parts = {}
        for part in ("train", "validation", "test"):
            images, labels = np.zeros((2, 32, 32, 3), np.uint8), np.zeros(2, np.int32)
            images[1, 0, 0, 0] = changed == f"{part} pixel"
            labels[1] = changed == f"{part} label"
            parts[part] = Split(images, labels).take(np.array([1, 0] if swap else [0, 1]))
        return make_dataset(name, **parts, class_names=("a", "b")).fingerprint

    changes = [
        f"{p} {what}" for p in ("train", "validation", "test") for what in ("pixel", "label")
    ]
    variants = [fingerprint(), fingerprint(name="other"), fingerprint("made", "train pixel", True)]
    variants += [fingerprint(changed=change) for change in changes]
    assert len(set(variants)) == 9
    assert fingerprint() == variants[0]


def test_data_needs_neither_tensorflow_nor_keras() -> None:
    program = (
        "import lenet_keras.data, sys; sys.exit(bool({'tensorflow', 'keras'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent.parent)
