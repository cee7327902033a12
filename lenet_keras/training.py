"""Trains one network in plain Keras: `fit` over the pipeline; gives back a run.

What one network's training shares with that of several at once stands here too.
"""

import base64
import gc
import math
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax
from tqdm.auto import tqdm

from lenet_keras import available_threads, backend
from lenet_keras.backend import keras, tf
from lenet_keras.data import Dataset, Split
from lenet_keras.evaluation import confusion, predict, score
from lenet_keras.model import kernels, lenet5, loss
from lenet_keras.optimizer import Schedule, optimizer
from lenet_keras.pipeline import Batches, normalised, training_batches
from lenet_keras.recipe import InputError, Recipe
from lenet_keras.run import History, Provenance, Run, Status

LONGEST_EXECUTION = 32  # steps between two returns to Python
BEYOND_KERAS = ("teachers", "step_sizes")  # fields for which plain `fit` is not enough
PACKAGE = Path(__file__).parent


def train(
    recipe: Recipe,
    seed: int,
    data: Dataset,
    *,
    model: keras.Model | None = None,
    score_test: bool = True,
    verbose: int = 1,
    tensorboard: Path | None = None,
) -> Run:
    """Train one network and score it.

    Args:
        recipe: what to train.
        seed: of the initial weights, the minibatch order, the augmentation and the dropout masks.
        data: from `load_data`; the recipe's `dataset` must be its name.
        model: an untrained `lenet5(recipe, seed, classes=…)` to train in place; its weights can be
            read afterwards.
        score_test: whether the test set is evaluated, once, at the end. Tuning does not.
        verbose: 0 is silent, 1 draws a progress bar.
        tensorboard: folder for TensorBoard's logs.

    Raises:
        InputError: the batch is larger than the training split, `model` has another number of
            classes than the data, or the recipe has teachers or step sizes of its own.
    """
    if beyond := beyond_keras(recipe):
        raise InputError(
            f"{' and '.join(beyond)}: plain Keras does not have it. Call "
            "lenet_study.training.train_alone with the same arguments."
        )
    started = datetime.now(UTC)
    data = images_for(recipe, data)
    network = network_for(recipe, seed, data, model)
    batches, watch = fit(network, recipe, seed, data, verbose, tensorboard)
    logits = all_logits(lambda split: predict(network, split, data), recipe, data, score_test)
    where = provenance(data, batches, started)
    return make_run(recipe, seed, data, make_history(watch.epochs), logits, kernels(network), where)


def fit(
    network: keras.Model,
    recipe: Recipe,
    seed: int,
    data: Dataset,
    verbose: int = 1,
    tensorboard: Path | None = None,
) -> tuple[Batches, "Watch"]:
    """Train a network of whatever kind in place, by the recipe's batches, loss and optimizer.

    Args:
        network: from normalised images to logits, not compiled.
        recipe: what it says of a LeNet-5's layers is not asked for.
        seed: of the minibatch order and the augmentation.
        data: the recipe's dataset. Its test split is not looked at.
        verbose, tensorboard: as for `train`.

    Returns:
        The batches that it saw, and what watched it.
    """
    batches = normalised(training_batches(data, recipe, seed), data)
    steps, total_steps = batches.steps_per_epoch, recipe.epochs * batches.steps_per_epoch
    # What is compiled shares the network's layers; the network is saved without an optimizer.
    fitted = keras.Model(network.inputs, network.outputs, name=network.name)
    fitted.compile(
        optimizer=optimizer(recipe, total_steps),
        loss=loss(recipe),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        **execution(steps),
    )
    gc.collect()  # an earlier model is cyclic garbage that still holds its copy of the images
    watch = Watch(data, Schedule(recipe, total_steps), verbose)
    with watch.bar:
        fitted.fit(
            batches.dataset,
            epochs=recipe.epochs,
            steps_per_epoch=steps,
            callbacks=callbacks(recipe, watch, tensorboard),
            shuffle=False,  # the batches are shuffled already; Keras would warn
            verbose=0,
        )
    return batches, watch


def images_for(recipe: Recipe, data: Dataset) -> Dataset:
    """The data with the training images that the recipe asks for."""
    return data if recipe.validates else data.joined()


def network_for(
    recipe: Recipe, seed: int, data: Dataset, model: keras.Model | None = None
) -> keras.Model:
    """An untrained `lenet5` with as many outputs as the data has classes: `model`, if given.

    Raises:
        InputError: `model` has another number.
    """
    classes = len(data.class_names)
    if model is None:
        return lenet5(recipe, seed, classes=classes)
    if model.output_shape[-1] != classes:
        raise InputError(
            f"model: has {model.output_shape[-1]} outputs, and {data.name} has {classes} classes. "
            "Make it with lenet5(recipe, seed, classes=len(data.class_names))."
        )
    return model


def beyond_keras(recipe: Recipe) -> list[str]:
    """The recipe's fields for which plain `fit` is not enough."""
    return [name for name in BEYOND_KERAS if name in recipe.changes()]


def execution(steps: int) -> dict[str, Any]:
    """How Keras is to run the `steps` of an epoch, for `compile`.

    An execution has the largest number of steps, up to `LONGEST_EXECUTION`, that divides an epoch
    evenly. XLA pays on an accelerator and under JAX; on a CPU TensorFlow's own kernels win.
    """
    return {
        "steps_per_execution": max(n for n in range(1, LONGEST_EXECUTION + 1) if steps % n == 0),
        "jit_compile": keras.backend.backend() == "jax" or backend.accelerator() is not None,
    }


def callbacks(
    recipe: Recipe, watch: "Watch", tensorboard: Path | None = None
) -> list[keras.callbacks.Callback]:
    """What the recipe needs around `watch`, in the order in which Keras calls them."""
    found: list[keras.callbacks.Callback] = [watch]
    if recipe.ema_momentum:  # first, so that the average is what is validated
        # Weights and average share their arrays after the last swap, and JAX frees those of the
        # weights while it validates: the weights need copies.
        copied = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: watch.model.set_weights(watch.model.get_weights())
        )
        found = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True), copied, watch]
    if patience := recipe.early_stopping:
        settings = {"patience": patience, "restore_best_weights": True}
        found.append(keras.callbacks.EarlyStopping("val_loss", **settings))
    if tensorboard:
        found.append(keras.callbacks.TensorBoard(tensorboard))
    return found


class Watch(keras.callbacks.Callback):
    """Validates after each epoch, keeps the history, ends a run that has diverged."""

    def __init__(self, data: Dataset, schedule: Schedule, verbose: int) -> None:
        """`data` has the validation split, `schedule` tells the learning rate; 0 draws no bar."""
        super().__init__()
        self.data, self.schedule = data, schedule
        self.bar = tqdm(
            total=schedule.total_steps, unit="step", disable=not verbose, leave=verbose > 0
        )
        self.epochs: list[dict[str, float]] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Make the optimizer's variables: a first step that has to is traced a second time."""
        self.model.optimizer.build(self.model.trainable_variables)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self.clock = time.perf_counter()
        self.bar.set_description(f"epoch {epoch + 1}")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Move the bar on."""
        self.bar.update(self.params["steps"] * len(self.epochs) + batch + 1 - self.bar.n)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Validate, and note the epoch; the other callbacks are told in `logs`."""
        assert logs is not None
        split = self.data.validation
        scores = score(predict(self.model, split, self.data), split.labels)
        logs["val_loss"] = math.nan if scores.loss is None else scores.loss
        logs["val_accuracy"] = scores.accuracy
        logs["learning_rate"] = float(self.learning_rate())
        self.epochs.append({**logs, "seconds": time.perf_counter() - self.clock})
        if math.isfinite(logs["loss"]) and math.isfinite(logs["val_loss"]):
            self.bar.set_postfix(loss=logs["loss"], val_accuracy=logs["val_accuracy"])
        else:
            self.end_diverged()

    def learning_rate(self) -> np.ndarray:
        """The rate at the last step. The optimizer's own is that of the next one."""
        return keras.ops.convert_to_numpy(self.schedule(self.model.optimizer.iterations - 1))

    def end_diverged(self) -> None:
        """Train no further, and say why."""
        self.model.stop_training = True
        if not self.bar.disable:
            self.bar.write("The loss is no longer finite: the run has diverged and ends here.")


def make_history(epochs: Sequence[Mapping[str, float]]) -> History:
    """One network's epochs as a `History`, up to the first whose loss is not finite."""
    columns: dict[str, list[float | None]] = {name: [] for name in History.model_fields}
    for epoch in epochs:
        for name, column in columns.items():
            value = float(epoch[name])
            rounded = round(value, 3) if name == "seconds" else value
            column.append(rounded if math.isfinite(value) else None)
        if None in (columns["loss"][-1], columns["val_loss"][-1]):
            break
    return History.model_validate(columns)


def all_logits(
    answer: Callable[[Split], np.ndarray], recipe: Recipe, data: Dataset, score_test: bool
) -> dict[str, np.ndarray]:
    """Logits of every split, and of test images averaged with their mirror images.

    Args:
        answer: gives the logits of a split, (images, classes) or with an axis between for members.
        recipe: one trained with flips knows mirror images.
        data: the recipe's dataset.
        score_test: whether the test set is looked at.
    """
    splits = {"train": data.train, "validation": data.validation}
    if score_test:
        splits["test"] = data.test
        if "flip" in recipe.augmentation:
            splits["mirrored"] = Split(data.test.images[:, :, ::-1], data.test.labels)
    logits = {name: answer(split) for name, split in splits.items()}
    if "mirrored" in logits:
        both = (log_softmax(each, axis=-1) for each in (logits["test"], logits.pop("mirrored")))
        logits["test_mirrored"] = np.logaddexp(*both)
    return logits


def make_run(
    recipe: Recipe,
    seed: int,
    data: Dataset,
    history: History,
    logits: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    where: Provenance,
) -> Run:
    """One network's run, from its history, its logits on each split and its kernels."""
    val_loss = np.array(history.val_loss, float)
    stops = recipe.early_stopping and np.isfinite(val_loss).any()
    status: Status = "completed"
    if history.loss[-1] is None or history.val_loss[-1] is None:
        status = "diverged"
    elif stops and len(val_loss) < recipe.epochs:
        status = "stopped_early"
    truth = {"train": data.train.labels, "validation": data.validation.labels}
    matrix = correct = None
    if "test" in logits:
        right = logits["test"].argmax(axis=1) == data.test.labels
        correct = base64.b64encode(np.packbits(right).tobytes()).decode()
        truth |= dict.fromkeys(("test", "test_mirrored"), data.test.labels)
        matrix = confusion(logits["test"], data.test.labels, len(data.class_names))
    scores = {name: score(values, truth[name]) for name, values in logits.items()}
    return Run(
        recipe=recipe,
        seed=seed,
        status=status,
        history=history,
        best_epoch=1 + int(np.nanargmin(val_loss)) if stops else len(val_loss),
        train=scores["train"],
        validation=scores["validation"],
        test=scores.get("test"),
        test_mirrored=scores.get("test_mirrored"),
        class_names=data.class_names,
        confusion_matrix=matrix,
        test_correct=correct,
        kernel_quantiles={name: _quantiles(values) for name, values in weights.items()},
        provenance=where,
    )


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    """41 quantiles, from the smallest value to the largest, to four significant digits."""
    quantiles = np.quantile(values.astype(np.float64), np.linspace(0, 1, 41))
    return tuple(float(f"{q:.4g}") for q in quantiles)


def provenance(
    data: Dataset,
    batches: Batches,
    started: datetime,
    stack: Sequence[Recipe] = (),
    packages: Sequence[Path] = (PACKAGE,),
    seconds_before: float = 0.0,
) -> Provenance:
    """Where, with what and for how long the training that ends now was done.

    Args:
        data: what was trained on.
        batches: in which order.
        started: in UTC.
        stack: the recipes that trained side by side, if they did.
        packages: folders whose code decides the result.
        seconds_before: that something cost which this training needs and found done.
    """
    engine = keras.backend.backend()
    computing = ("jax", "jaxlib") if engine == "jax" else ()  # TensorFlow only reads images then
    seconds = (datetime.now(UTC) - started).total_seconds() + seconds_before
    return Provenance(
        dataset_fingerprint=data.fingerprint,
        batches_digest=batches.digest,
        git_commit=_git_commit(packages),
        versions={
            "python": platform.python_version(),
            "tensorflow": tf.__version__,  # its package may be tensorflow-cpu
            **{name: version(name) for name in ("keras", "numpy", *computing)},
        },
        backend=engine,
        device=backend.accelerator() or backend.processor(),
        threads=available_threads(),
        instruction_set=backend.instruction_set(),
        onednn=backend.onednn(),
        settings=backend.rounding_settings(),
        stack=tuple(stack),
        started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        wall_seconds=round(seconds / max(1, len(stack)), 2),
    )


def _git_commit(packages: Sequence[Path]) -> str | None:
    """The commit of the source tree these packages run from, None where it is no checkout."""

    def git(*arguments: str) -> str:
        command, nowhere = ["git", *arguments], subprocess.DEVNULL
        return subprocess.check_output(command, cwd=PACKAGE, text=True, stderr=nowhere).strip()

    try:
        # Installed into a folder of somebody's checkout, the package is no part of that.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = git("rev-parse", "HEAD")
        # Only what decides a result: the code. Records and figures may be new in the tree.
        changed = git("status", "--porcelain", "--", *map(str, packages))
        return commit + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
