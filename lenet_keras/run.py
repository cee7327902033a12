"""What came of one run: its history, its scores, and where it was trained."""

import base64
import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, computed_field

from lenet_keras.recipe import Recipe

SCHEMA_VERSION = 1
Status = Literal["completed", "stopped_early", "diverged"]


def _none_unless_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Quantile = Annotated[float | None, BeforeValidator(_none_unless_finite)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Scores(_Frozen):
    """How a trained network does on one split, without augmentation or regularisation."""

    loss: float | None  # mean cross-entropy (negative log-likelihood), nats; None: not finite
    accuracy: float  # fraction of images, 0 to 1
    calibration_error: float | None  # expected calibration error, 15 equal bins; None: not finite


class History(_Frozen):
    """One value per finished epoch, names as in a Keras `History`."""

    loss: tuple[float | None, ...]  # training loss as minimised, mean over the epoch's batches
    accuracy: tuple[float, ...]  # on the augmented training batches while the weights move
    val_loss: tuple[float | None, ...]  # cross-entropy alone
    val_accuracy: tuple[float, ...]
    learning_rate: tuple[float, ...]  # at the epoch's last step
    seconds: tuple[float, ...]  # wall time of the epoch, training and validation, per model


class Provenance(_Frozen):
    """Where a run came from: what one needs to obtain it again."""

    dataset_fingerprint: str
    batches_digest: str  # SHA-256 over the minibatch indices, equal for paired runs
    git_commit: str | None  # None outside a git checkout; ends in "+changes" if files had changed
    versions: dict[str, str]  # of python, tensorflow, keras, numpy, and jax where that computes
    backend: str  # of keras: tensorflow or jax
    device: str  # processor or accelerator, by name
    threads: int  # that TensorFlow was given
    # Added later; None in an older record, which does not say.
    instruction_set: str | None = None  # the widest in use: AVX2, AVX512_CORE, arm64
    onednn: bool | None = None  # whether TensorFlow's products are oneDNN's
    settings: dict[str, str] = {}  # environment variables that change how sums are rounded
    stack: tuple[Recipe, ...] = ()  # all members, in order, where trained side by side
    started: str  # UTC, ISO 8601, to the second
    wall_seconds: float  # of the whole training, shared equally by a stack's members


class Run(_Frozen):
    """What one (recipe, seed) gave. A tuning run never saw the test set: its `test` is None.

    Where the recipe trains on the validation images too, what stands under their name, here and in
    the history, is of images that were trained on.
    """

    schema_version: int = SCHEMA_VERSION
    recipe: Recipe
    seed: int
    status: Status
    history: History
    best_epoch: int  # 1-based; the epoch whose weights were scored: the last unless stopped early
    train: Scores
    validation: Scores
    test: Scores | None
    # Of each test image and its mirror image, probabilities averaged; None: not trained with flips.
    test_mirrored: Scores | None = None
    class_names: tuple[str, ...]
    # Of test images; row: true class, column: predicted.
    confusion_matrix: tuple[tuple[int, ...], ...] | None
    # Base64 of a bit a test image, in order: whether it was right. None in an older record.
    test_correct: str | None = None
    # Layer name: 41 quantiles, 0 to 1, of its kernel; None: not finite, as after divergence.
    kernel_quantiles: dict[str, tuple[Quantile, ...]]
    provenance: Provenance

    @computed_field  # type: ignore[prop-decorator]
    @property
    def key(self) -> str:
        """The recipe's key, written into the record so that a reader can search for it."""
        return self.recipe.key

    @property
    def per_class_accuracy(self) -> dict[str, float] | None:
        """Test accuracy of each class, in the order of `class_names`."""
        if self.confusion_matrix is None:
            return None
        rows = zip(self.class_names, self.confusion_matrix, strict=True)
        return {name: row[i] / sum(row) if sum(row) else 0.0 for i, (name, row) in enumerate(rows)}

    @property
    def correct(self) -> np.ndarray | None:
        """Which test images were right, bool (images,), or None where the record does not say."""
        if self.test_correct is None or self.confusion_matrix is None:
            return None
        bits = np.frombuffer(base64.b64decode(self.test_correct), np.uint8)
        return np.unpackbits(bits, count=int(np.sum(self.confusion_matrix))).astype(bool)
