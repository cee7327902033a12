"""Downloads: from mirrors that fail in every way, and what is told of them."""

import hashlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import posix_only, until
from here import ROOT
from mirror import Server, TinyCifar10

from lenet_keras.data import ARCHIVE, load_cifar10, load_data, load_digits
from lenet_keras.download import UnavailableError, download
from lenet_keras.recipe import InputError

pytestmark = pytest.mark.usefixtures("keras_home")


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


def test_auto_is_the_digits_where_cifar10_cannot_be_had(tiny: TinyCifar10, tmp_path: Path) -> None:
    assert load_data("auto", progress=False).fingerprint == load_digits().fingerprint
    with pytest.raises(UnavailableError):
        load_data("cifar10", progress=False)

    damaged = tiny.write_folder(tmp_path)  # whose sums are not those of CIFAR-10
    with pytest.raises(InputError, match="data_batch_1: is not the published file"):
        load_data("auto", damaged)


BAD_ANSWERS = {
    "truncated": "broke before the end",
    "short": "another file than the published one",
    "altered": "another file than the published one",
    "web-page": "a web page instead of the file",
    "web-page-in-disguise": "another file than the published one",
    "missing": "answered 404",
    "hangs": "sent nothing for 1 s",
    "stalls": "sent nothing for 1 s",
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
        cwd=ROOT,
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
