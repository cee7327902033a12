"""A published file in the Keras cache: fetched from the first mirror that has it, and verified."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import AcquireReturnProxy, FileLock, Timeout
from tqdm.auto import tqdm

from lenet_keras.recipe import InputError, expanded


class UnavailableError(InputError):
    """A dataset is not on this machine and cannot be downloaded; the message says why."""


@dataclass(frozen=True)
class PublishedFile:
    """A file to download. Its sum is known, so a mirror needs no trust."""

    path: str  # below the `datasets` folder of the Keras cache
    known_hash: str  # "algorithm:hexadecimal digits"
    urls: tuple[str, ...]  # tried in this order
    timeout: tuple[float, float] = (5.0, 20.0)  # seconds: to connect, without receiving a byte


def keras_datasets() -> Path:
    """The folder `datasets` of the Keras cache, found as Keras finds it."""
    if named := os.getenv("KERAS_HOME"):
        return expanded(named) / "datasets"
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and a user without an entry in /etc/passwd
        home = Path("/tmp")
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras" / "datasets"


def verified(file: Path, known_hash: str) -> bytes:
    """The file's content, once its sum matched.

    Raises:
        InputError: it is missing, unreadable or not the published file.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from None
    check_sum(content, known_hash, str(file))
    return content


def check_sum(content: bytes, known_hash: str, called: str) -> None:
    """Whether a file's content has the sum of the published one.

    Raises:
        InputError: it has another; the message begins with what the file is `called`.
    """
    algorithm, expected = known_hash.split(":")
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise InputError(
            f"{called}: is not the published file: {algorithm.upper()} expected {expected}, found "
            f"{found}. Replace it with a fresh copy, or remove it to have it downloaded."
        )


def download(file: PublishedFile, *, progress: bool = True) -> Path:
    """The file in the Keras cache, fetched from the first address that has it.

    It takes its place only whole and with the right sum. What an interrupted download brought is
    kept as `<name>.part`, and the next attempt, also at another address, goes on from there. A
    second process that wants the same file waits for the first.

    Raises:
        UnavailableError: one line for each address: what it answered.
    """
    target = keras_datasets() / file.path
    attempts = []
    try:
        if _is_published(target, file):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target, progress):
            if _is_published(target, file):  # by the process that had the lock
                return target
            for url in file.urls:
                try:
                    return _fetch(url, target, file, progress)
                except requests.RequestException as error:
                    attempts.append(f"{url}: {_reason(error, file.timeout)}")
    except OSError as error:
        attempts.append(
            f"{error.filename or target.parent}: cannot be written ({error.strerror or error}). "
            "Set KERAS_HOME to a folder with room for it."
        )
    raise UnavailableError("\n".join(attempts))


def _is_published(path: Path, file: PublishedFile) -> bool:
    try:
        return bool(verified(path, file.known_hash))
    except InputError:
        return False


def _lock(target: Path, progress: bool) -> AcquireReturnProxy:
    """A lock that belongs to `target`, taken; the system frees it when a process dies."""
    lock = FileLock(f"{target}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        if progress:
            print(f"Another process downloads {target.name}; waiting for it.", file=sys.stderr)
        return lock.acquire()


def _fetch(url: str, target: Path, file: PublishedFile, progress: bool) -> Path:
    """Downloads what `<name>.part` lacks, and moves it to `target` once its sum matched.

    pooch and `keras.utils.get_file` begin anew, which at 55 kB/s is the better part of an hour.
    """
    part = target.with_name(f"{target.name}.part")
    start = part.stat().st_size if part.exists() else 0
    # A server that may compress would send an archive's bytes under another name.
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-"}
    with requests.get(url, headers=headers, stream=True, timeout=file.timeout) as response:
        if response.status_code != requests.codes.range_not_satisfiable:  # else nothing is left
            response.raise_for_status()
            if response.headers.get("Content-Type", "").startswith("text/html"):
                raise requests.RequestException("answered with a web page instead of the file")
            if response.status_code != requests.codes.partial_content:
                start = 0
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else None
            with (
                part.open("ab" if start else "wb") as output,
                tqdm.wrapattr(
                    output, "write", total, desc=target.name, initial=start, disable=not progress
                ) as counted,
            ):
                for chunk in response.iter_content(chunk_size=1 << 16):
                    counted.write(chunk)
    if _is_published(part, file):
        return part.replace(target)
    part.unlink(missing_ok=True)
    if start:  # what an earlier attempt left may be at fault
        return _fetch(url, target, file, progress)
    raise requests.RequestException("sent another file than the published one")


def _reason(error: requests.RequestException, timeout: tuple[float, float]) -> str:
    """A failed download in a few words."""
    to_connect, between_bytes = timeout
    if isinstance(error, requests.HTTPError):
        return f"answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {to_connect:g} s"
    if "Read timed out" in str(error):  # at the beginning or in the middle: two classes
        return f"sent nothing for {between_bytes:g} s"
    if isinstance(error, requests.ConnectionError):
        return f"cannot be reached ({type(error).__name__})"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke before the end"
    return str(error)
