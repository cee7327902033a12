"""Data: found, verified, split; the batches are tiny."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mirror import CLASS_NAMES, TinyCifar10, published

from lenet_keras.data import (
    ARCHIVE,
    FOLDER,
    Split,
    load_cifar10,
    load_data,
    load_fashion_mnist,
    load_mnist,
    make_dataset,
    stratified_holdout,
)
from lenet_keras.download import PublishedFile, UnavailableError
from lenet_keras.recipe import InputError

pytestmark = pytest.mark.usefixtures("keras_home")
REAL_DATA = os.environ.get("LENET_DATA", "")
needs_cifar10 = pytest.mark.skipif(
    not (REAL_DATA and (Path(REAL_DATA) / FOLDER).is_dir()),
    reason=f"CIFAR-10 itself is needed: LENET_DATA names no folder with {FOLDER}",
)


def assert_holds(split: Split, images: np.ndarray, labels: np.ndarray) -> None:
    assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
    assert len(split) == len(split.images)
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 0


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
    with pytest.raises(InputError, match=rf"{ARCHIVE}: data_batch_2: is not the published file"):
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


def test_an_unknown_name() -> None:
    with pytest.raises(InputError, match=r"cifra10.*'cifar10'\?.*fashion_mnist"):
        load_data("cifra10")


def test_mnist_and_fashion_mnist(keras_home: Path) -> None:
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
        return published(path, content)

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
