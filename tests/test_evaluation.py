"""Scores are what published examples and other libraries say they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from sklearn.metrics import log_loss

from lenet_keras import evaluation
from lenet_keras.recipe import InputError


def test_calibration_error_of_a_published_example() -> None:
    # The example in the documentation of torchmetrics' MulticlassCalibrationError: 0.2000.
    shares = [[0.25, 0.20, 0.55], [0.55, 0.05, 0.40], [0.10, 0.30, 0.60], [0.90, 0.05, 0.05]]
    assert evaluation.expected_calibration_error(shares, [0, 1, 2, 0], bins=3) == pytest.approx(0.2)


def test_calibration_bins_are_closed_on_the_right() -> None:
    # Guo et al. (2017), section 2: bin m is ((m - 1) / M, m / M]. A confidence of 1/2 then shares
    # the lower of two bins with nobody: |0 - 0.5| / 2 + |1 - 0.6| / 2.
    shares = [[0.5, 0.5], [0.6, 0.4]]
    assert evaluation.expected_calibration_error(shares, [1, 0], bins=2) == pytest.approx(0.45)


def test_calibration_error_of_sure_predictions() -> None:
    sure = np.eye(10, dtype=np.float32)
    labels = np.arange(10, dtype=np.int32)
    assert evaluation.expected_calibration_error(sure, labels) == 0
    assert evaluation.expected_calibration_error(sure, (labels + 1) % 10) == 1
    rounded_up = np.nextafter(sure, np.float32(2)) * sure  # as a float32 softmax may be
    assert evaluation.expected_calibration_error(rounded_up, (labels + 1) % 10) == 1


def test_calibration_error_nears_0_where_probabilities_are_true() -> None:
    random = np.random.default_rng(4)
    shares = special.softmax(random.normal(0, 2, (50_000, 10)), axis=1).astype(np.float32)
    labels = (random.random((50_000, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(max=9)
    assert evaluation.expected_calibration_error(shares, labels) < 0.01
    overconfident = special.softmax(3 * np.log(shares), axis=1)
    assert evaluation.expected_calibration_error(overconfident, labels) > 0.1


@given(st.integers(1, 40), st.integers(2, 10), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_calibration_laws(images: int, classes: int, bins: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    shares = special.softmax(random.normal(0, 3, (images, classes)), axis=1)
    labels = random.integers(0, classes, images)
    error = evaluation.expected_calibration_error(shares, labels, bins)
    assert 0 <= error <= 1
    order = random.permutation(images)
    assert evaluation.expected_calibration_error(
        shares[order], labels[order], bins
    ) == pytest.approx(error)
    # With one bin it is |accuracy - mean confidence|; more bins can only add to that.
    accuracy = np.mean(shares.argmax(axis=1) == labels)
    overall = abs(accuracy - shares.max(axis=1).mean())
    assert evaluation.expected_calibration_error(shares, labels, 1) == pytest.approx(overall)
    assert error >= overall - 1e-12


def test_negative_log_likelihood_of_a_published_example() -> None:
    # The example in the documentation of sklearn.metrics.log_loss: 0.21616.
    shares = np.array([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]])
    value = evaluation.negative_log_likelihood(np.log(shares) + 7, [1, 0, 0, 1])
    assert value == pytest.approx(0.21616, abs=5e-6)


def test_negative_log_likelihood_equals_scikit_learns() -> None:
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, (500, 10)).astype(np.float32)
    labels = random.integers(0, 10, 500).astype(np.int32)
    expected = log_loss(labels, special.softmax(logits.astype(float), axis=1), labels=range(10))
    assert evaluation.negative_log_likelihood(logits, labels) == pytest.approx(expected)


def test_negative_log_likelihood_of_huge_logits() -> None:
    logits = np.array([[1e4, 0.0], [1e4, 0.0]], dtype=np.float32)
    assert evaluation.negative_log_likelihood(logits, [0, 1]) == pytest.approx(5e3)


def test_scores_that_are_not_finite_give_an_answer_that_is_not() -> None:
    broken = np.array([[np.nan, 0.0], [np.inf, 0.0]])
    assert np.isnan(evaluation.negative_log_likelihood(broken, [0, 1]))
    assert np.isnan(evaluation.expected_calibration_error(broken, [0, 1]))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[0.5, 0.5]], [0, 1], r"found \(1, 2\) and \(2,\)"),
        ([0.5, 0.5], [0, 1], r"found \(2,\) and \(2,\)"),
        (np.zeros((0, 2)), [], r"found \(0, 2\)"),
        ([[0.5, 0.5]], [2], "found 2 to 2; allowed: 0 to 1"),
        ([[0.5, 0.5]], [-1], "found -1 to -1; allowed: 0 to 1"),
        ([[0.5, 0.5]], [0.0], "whole numbers"),
    ],
)
def test_scores_and_labels_must_fit(scores, labels, message: str) -> None:
    for score in (evaluation.negative_log_likelihood, evaluation.expected_calibration_error):
        with pytest.raises(InputError, match=message):
            score(scores, labels)


@pytest.mark.parametrize("logits", [[[2.0, -1.0]], [[0.9, 0.9]]])
def test_calibration_error_refuses_logits(logits: list[list[float]]) -> None:
    with pytest.raises(InputError, match="softmax first"):
        evaluation.expected_calibration_error(logits, [0])


def test_calibration_error_needs_a_bin() -> None:
    with pytest.raises(InputError, match="1 or more"):
        evaluation.expected_calibration_error([[0.5, 0.5]], [0], bins=0)
