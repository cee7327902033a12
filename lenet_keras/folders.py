"""One's own images as a dataset: a folder with a folder for each class, or arrays."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from lenet_keras.dataset import Dataset, Split, make_dataset, stratified_holdout
from lenet_keras.pictures import SIDE, as_seen, open_picture
from lenet_keras.recipe import DATASETS, InputError, dataset_name, expanded

SHARE = 6  # one image in so many is for testing, and one for validation, where nobody chose them
FEWEST = 3  # training images of a class: one is left when both are drawn
PARTS = {"train": "train", "test": "test", "validation": "validation", "val": "validation"}


def load_folder(path: Path | str, name: str | None = None) -> Dataset:
    """One's own images, resized to 32 × 32 pixels in colour as `pictures.as_seen` says; a line says
    what was done.

    Args:
        path: a folder with a folder for each class, which has the class's name and images; or with
            folders `train`, `test` and `validation` (or `val`) of such folders. Test and validation
            images that are not there are drawn from the training images, by class and always the
            same. Whatever Pillow reads is an image.
        name: of the dataset; by default the folder's.

    Raises:
        InputError: a folder or an image cannot be read, the name is not of letters, digits, "-" and
            "_" or is one of ours, or there are too few classes or images.
    """
    folder = expanded(path)
    name = _own_name(folder.resolve().name if name is None else name)
    there = _folders(folder)
    classes = _folders(folder / "train") if "train" in there else []
    if not classes and not ("train" in there and PARTS.keys() >= set(there)):
        _refuse_parts(folder, there)
        return _dataset(name, {"train": _read(folder, there)}, there, folder)
    if foreign := set(there).difference(PARTS):
        raise InputError(
            f"{folder}: holds folders train and {min(foreign)}; allowed beside train, where that "
            "holds folders: test, and validation or val."
        )
    for part in there:
        if others := set(_folders(folder / part)).difference(classes):
            raise InputError(f"{folder / part}: {min(others)} is no class of {folder / 'train'}.")
    splits = {PARTS[part]: _read(folder / part, classes) for part in there}
    return _dataset(name, splits, classes, folder)


def _refuse_parts(folder: Path, there: Sequence[str]) -> None:
    """Refuse parts under names of somebody's own, as Training and Test, which would be taken for
    two classes."""
    below = Counter(name for each in there for name in _folders(folder / each))
    if not below:
        return
    if max(below.values()) > 1 or {"train", "test"} <= {each.lower() for each in there}:
        raise InputError(
            f"{folder}: its folders ({', '.join(there[:3])}) hold folders themselves "
            f"({', '.join(sorted(below)[:3])}). If those are the classes, call what holds them "
            "train, test and validation; else put all images of a class into one folder."
        )


def from_arrays(
    name: str,
    images: Iterable[np.ndarray],
    labels: ArrayLike,
    class_names: Sequence[str] | None = None,
    test: tuple[Iterable[np.ndarray], ArrayLike] | None = None,
) -> Dataset:
    """One's own images and labels, resized to 32 × 32 pixels in colour; see `load_folder`.

    Args:
        name: of the dataset: letters, digits, "-" and "_".
        images: whole numbers 0 to 255, each (height, width) or (height, width, 1, 3 or 4).
        labels: (n,), class numbers from 0, or class names.
        class_names: by class number; by default the numbers, or the names in alphabetical order.
        test: images and labels for testing; by default drawn from the others.

    Raises:
        InputError: images and labels that are not such or do not fit each other; see `load_folder`.
    """
    name, given = _own_name(name), np.asarray(labels)
    if class_names is None:
        if given.dtype.kind in "iu" and given.size:
            class_names = [str(number) for number in range(int(given.max()) + 1)]
        else:  # a missing one, None or not a number, names no class and is refused below
            there = {each for each in given.ravel().tolist() if each is not None and each == each}
            class_names = sorted(map(str, there))
    class_names = [str(each) for each in class_names]
    if len(set(class_names)) < len(class_names):
        raise InputError(f"class_names: {', '.join(class_names)}: one is given twice.")
    pairs = {"train": (images, labels), **({"test": test} if test else {})}
    splits = {
        part: Split(
            _small(f"{part} images", enumerate(pair[0]), _picture), _numbers(pair[1], class_names)
        )
        for part, pair in pairs.items()
    }
    for part, split in splits.items():
        if len(split.images) != len(split.labels):
            raise InputError(f"{part}: found {len(split.images)} images, {len(split)} labels.")
    return _dataset(name, splits, class_names, name)


def _own_name(name: str) -> str:
    if name in DATASETS:
        raise InputError(f"name: {name!r} is a dataset that everybody has; give yours another.")
    try:
        return dataset_name(name)
    except ValueError as error:
        raise InputError(f"name: found {name!r}; {error}. Say name=….") from None


def _folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, in alphabetical order."""
    try:
        found = sorted(place.name for place in folder.iterdir() if place.is_dir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from None
    return [each for each in found if not each.startswith((".", "__"))]


def _read(folder: Path, classes: Sequence[str]) -> Split:
    """The images of a folder with a folder for each class."""
    endings = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    files = [
        (file, label)
        for label, class_name in enumerate(classes)
        for file in sorted((folder / class_name).rglob("*"))
        # A link that leads nowhere is a fault, as a missing image; one to a folder is passed over.
        if (file.is_file() or file.is_symlink())
        and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    ]
    images = [(file, label) for file, label in files if file.suffix.lower() in endings]
    if others := [file for file, _ in files if file.suffix.lower() not in endings]:
        _say(f"{folder}: passed over as no images: {len(others)}, such as {others[0]}.")
    labels = np.array([label for _, label in images], np.int32)
    return Split(_small(str(folder), [file for file, _ in images], open_picture), labels)


def _picture(numbered: tuple[int, ArrayLike]) -> Image.Image:
    number, values = numbered[0], np.asarray(numbered[1])
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    whole = values.dtype.kind in "iu" and values.size and 0 <= values.min() <= values.max() <= 255
    if not whole or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise InputError(
            f"number {number}: found {values.dtype} of shape {values.shape}; allowed: whole "
            "numbers from 0 to 255 of shape (height, width) or (height, width, 1, 3 or 4)."
        )
    return Image.fromarray(np.ascontiguousarray(values, np.uint8))


def _numbers(labels: ArrayLike, classes: Sequence[str]) -> np.ndarray:
    """Class numbers int32 (n,) of class numbers or names, (n,) or, as Keras has them, (n, 1)."""
    given = np.asarray(labels)
    given = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    allowed = f"allowed: class numbers from 0 to {len(classes) - 1} or class names, shape (n,)"
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iuUO"):
        raise InputError(f"labels: found {given.dtype} of shape {given.shape}; {allowed}.")
    places = dict(zip(classes, range(len(classes)), strict=True))
    named = given.dtype.kind in "UO"
    numbers = np.array([places.get(str(x), -1) for x in given], int) if named else given
    if (wrong := given[(numbers < 0) | (numbers >= len(classes))]).size:
        raise InputError(f"labels: found {wrong[0]}; {allowed}.")
    return numbers.astype(np.int32)


def _small(what: str, given: Iterable[Any], opened: Callable[[Any], Image.Image]) -> np.ndarray:
    """Pictures of whatever size and kind as uint8 (n, 32, 32, 3)."""
    images, faults, sizes = [], [], Counter[tuple[int, int]]()
    for each in given:
        try:
            picture = opened(each)
        except InputError as error:
            faults.append(f"\n  {error}")
            continue
        sizes[picture.size] += 1
        images.append(as_seen(picture))
    if faults:
        total = len(faults) + len(images)
        raise InputError(
            f"{what}: {len(faults)} of {total} images cannot be used. Mend or remove them:"
            f"{''.join(faults[:3])}{' …' if faults[3:] else ''}"
        )
    if resized := sizes.total() - sizes.pop((SIDE, SIDE), 0):
        (width, height), alike = sizes.most_common(1)[0]
        kinds = f"{width} × {height}{' and other sizes' if alike < resized else ''}"
        size = f"{SIDE} × {SIDE} pixels, the square in the middle of each"
        _say(f"{what}: {resized:,} images, {kinds}, are resized to {size}.")
    return np.stack(images) if images else np.empty((0, SIDE, SIDE, 3), np.uint8)


def _dataset(
    name: str, splits: dict[str, Split], classes: Sequence[str], place: Path | str
) -> Dataset:
    """The dataset of these splits; those for testing and validation are drawn where they lack."""
    train = splits["train"]
    counts = np.bincount(train.labels, minlength=len(classes)).tolist()
    if len(counts) < 2:
        raise InputError(
            f"{place}: found classes: {', '.join(classes) or 'none'}; two or more are needed. In a "
            "folder each class is a folder with its images."
        )
    if few := [f"{each}: {n}" for each, n in zip(classes, counts, strict=True) if n < FEWEST]:
        raise InputError(
            f"{place}: every class needs {FEWEST} training images or more. Found "
            f"{', '.join(few[:5])}{' …' if few[5:] else ''}. Add images, or leave the class out."
        )
    size = len(train) // SHARE
    for part in ("test", "validation"):
        if part not in splits:
            kept, held = stratified_holdout(train.labels, size)
            train, splits[part] = train.take(kept), train.take(held)
        elif not len(splits[part]):
            raise InputError(f"{place}: holds no {part} images. Add some, or remove that part.")
    return make_dataset(name, train, splits["validation"], splits["test"], tuple(classes))


def _say(line: str) -> None:
    print(line, file=sys.stderr)
