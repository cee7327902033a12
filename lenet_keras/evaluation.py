"""What a trained network makes of a split: predictions, scores, confusions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax, softmax

from lenet_keras import PARALLEL_SHARDS
from lenet_keras.backend import keras
from lenet_keras.data import Dataset, Split
from lenet_keras.pipeline import normalisation
from lenet_keras.recipe import InputError
from lenet_keras.run import Scores

EVALUATION_BATCH = 1000  # images; a divisor of CIFAR-10's splits, small enough to stay in the cache


def predict(model: keras.Model, split: Split, data: Dataset) -> np.ndarray:
    """Logits of a whole split, without augmentation or dropout: float32 (images, classes).

    Args:
        model: a `lenet5`.
        split: of `data`.
        data: whose training images say how to normalise.
    """
    normalise = normalisation(data)
    return by_batches(
        lambda images: model.predict_on_batch(np.asarray(normalise(images))), split.images
    )


def probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What a model for pixels (`model.for_pixels`) takes images for: float32 (images, classes).

    Args:
        model: gives logits.
        images: uint8 (images, 32, 32, 3), such as `pictures.as_seen` gives.
    """
    return np.asarray(keras.ops.softmax(by_batches(model.predict_on_batch, images)))


def by_batches(answer: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """A function's answers to all images, a batch at a time, joined."""
    batches = [
        images[start : start + EVALUATION_BATCH]
        for start in range(0, len(images), EVALUATION_BATCH)
    ]
    first = np.asarray(answer(batches[0]))  # by itself: it traces the network
    workers = PARALLEL_SHARDS if keras.backend.backend() == "tensorflow" else 1
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate([first, *map(np.asarray, pool.map(answer, batches[1:]))])


def score(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Cross-entropy, accuracy and calibration error of logits (images, classes).

    Logits that are not finite, as a diverged network gives, score None, with the accuracy that
    their first class earns.
    """
    accuracy = float(np.mean(logits.argmax(axis=1) == labels))
    if not np.isfinite(logits).all():
        return Scores(loss=None, accuracy=accuracy, calibration_error=None)
    return Scores(
        loss=negative_log_likelihood(logits, labels),
        accuracy=accuracy,
        calibration_error=expected_calibration_error(softmax(logits, axis=1), labels),
    )


def confusion(logits: np.ndarray, labels: np.ndarray, classes: int) -> tuple[tuple[int, ...], ...]:
    """How many images of each class (row) were taken for each class (column)."""
    counts = np.bincount(labels * classes + logits.argmax(axis=1), minlength=classes**2)
    return tuple(map(tuple, counts.reshape(classes, classes).tolist()))


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15
) -> float:
    """How far confidence and accuracy lie apart, on average over bins of equal width.

    The sum over bins of (share of images in the bin) · abs(accuracy - mean confidence), confidence
    being the largest probability of an image. Bins are closed on the right.
    Source: Guo et al. (2017), "On calibration of modern neural networks", section 2, equation 3.

    Args:
        probabilities: shape (n, classes), rows that sum to 1 (softmax of the logits).
        labels: int, shape (n,), 0 to classes - 1.
        bins: their number over 0 to 1.

    Returns:
        0 (calibrated) to 1; NaN where a probability is not a number.

    Raises:
        InputError: shapes or labels that do not fit, or rows that are no probabilities.
    """
    shares, truth = _classified(probabilities, labels)
    if np.isnan(shares).any():
        return np.nan
    if shares.min() < 0 or not np.allclose(shares.sum(axis=1), 1, atol=1e-2):
        raise InputError(
            "a calibration error needs probabilities: no row below 0 and each summing to 1. "
            "Logits go through a softmax first."
        )
    if bins < 1:
        raise InputError(f"bins: found {bins}; allowed: 1 or more.")
    confidence = shares.max(axis=1).astype(np.float64)
    correct = shares.argmax(axis=1) == truth
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    members = np.searchsorted(inner_edges, confidence, side="left")
    # |B| · |accuracy - mean confidence| of a bin is the |sum of (correct - confidence)| over it.
    excess = np.bincount(members, weights=correct - confidence, minlength=bins)
    return min(1.0, float(np.abs(excess).sum() / truth.size))


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    """The mean cross-entropy of the true classes, in nats.

    Args:
        logits: shape (n, classes), of any finite size: nothing overflows.
        labels: int, shape (n,), 0 to classes - 1.

    Returns:
        0 or more; NaN or infinite where a logit is not finite.

    Raises:
        InputError: shapes or labels that do not fit.
    """
    scores, truth = _classified(logits, labels)
    with np.errstate(invalid="ignore"):  # logits that are not finite: the answer says so
        log_probabilities = log_softmax(scores.astype(np.float64), axis=1)
    return float(-np.mean(log_probabilities[np.arange(truth.size), truth]))


def _classified(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.floating], NDArray]:
    """Scores (n, classes) and labels (n,) as arrays that fit each other."""
    score, label = np.asarray(scores), np.asarray(labels)
    if score.ndim != 2 or score.size == 0 or label.shape != score.shape[:1]:
        raise InputError(
            "expected scores of shape (n, classes) and labels of shape (n,); found "
            f"{score.shape} and {label.shape}."
        )
    if not np.issubdtype(label.dtype, np.integer):
        raise InputError(f"labels: expected whole numbers, found {label.dtype}.")
    if label.min() < 0 or label.max() >= score.shape[1]:
        raise InputError(
            f"labels: found {label.min()} to {label.max()}; allowed: 0 to {score.shape[1] - 1}."
        )
    return score, label
