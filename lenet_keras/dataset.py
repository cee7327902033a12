"""What a dataset is: images and labels in three splits, drawn by class, with a fingerprint."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

SPLIT_SEED = 1998  # of the validation split; another value is another study


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their classes, in a fixed order."""

    images: np.ndarray  # uint8 (n, 32, 32, 3), 0 to 255
    labels: np.ndarray  # int32 (n,), index into the dataset's class names

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """Copies of some of the images, in the order of `indices`, int (k,)."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits without a common image. All arrays are read-only."""

    name: str
    train: Split
    validation: Split  # for tuning and early stopping
    test: Split  # evaluated once a run, at its end
    class_names: tuple[str, ...]
    fingerprint: str  # 16 hexadecimal digits; equal for equal content in an equal order

    @property
    def mean(self) -> np.ndarray:
        """Mean of the training images, float32 (3,), per channel, in pixel values 0 to 255."""
        return self._moments[0]

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of the training images, float32 (3,), unit and axes as in `mean`."""
        return self._moments[1]

    @property
    def scale(self) -> np.ndarray:
        """What normalisation multiplies with, float32 (3,), which is 1 / `deviation`, and 1 where a
        channel never varies, as in pictures of one colour."""
        return 1.0 / np.where(self.deviation > 0, self.deviation, np.float32(1.0))

    def joined(self) -> "Dataset":
        """The same dataset with its validation images among the training images, behind them.

        Mean and deviation stay as they are: a network's input does not hang on how it trained.
        """
        images = np.concatenate([self.train.images, self.validation.images])
        labels = np.concatenate([self.train.labels, self.validation.labels])
        images.flags.writeable = labels.flags.writeable = False
        dataset = replace(self, train=Split(images, labels))
        dataset.__dict__["_moments"] = self._moments
        return dataset

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        # Counting values is exact and needs no float copy of the images.
        counts = np.zeros((3, 256), np.int64)
        for part in np.array_split(self.train.images, 1 + len(self.train) // 1000):
            counts += [np.bincount(part[..., c].ravel(), minlength=256) for c in range(3)]
        total, values = counts.sum(axis=1), np.arange(256)
        mean = counts @ values / total
        deviation = np.sqrt(counts @ values**2 / total - mean**2)
        return mean.astype(np.float32), deviation.astype(np.float32)


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
