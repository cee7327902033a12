"""Fits a model, or a stack of models, and gives back runs."""

import dataclasses
import gc
import math
import platform
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy.special import log_softmax, softmax
from tqdm.auto import tqdm

from lenet_keras import PARALLEL_SHARDS, available_threads, curvature
from lenet_keras.backend import instruction_set, keras, onednn, rounding_settings, tf
from lenet_keras.data import Dataset, Split
from lenet_keras.model import KERNEL_LAYERS, lenet5, loss
from lenet_keras.optimizer import Schedule, optimizer
from lenet_keras.pipeline import Batches, normalisation, seen, training_batches, views
from lenet_keras.recipe import InputError, Recipe
from lenet_keras.records import History, Provenance, Run, Scores, Status
from lenet_keras.shards import ShardedNetwork, shard_count
from lenet_keras.stack import NETWORK_FIELDS, Stack, carried
from lenet_keras.stats import expected_calibration_error, negative_log_likelihood

EVALUATION_BATCH = 1000  # images; a divisor of CIFAR-10's splits, small enough to stay in the cache
LONGEST_EXECUTION = 32  # steps between two returns to Python
# What teachers have in common with the recipe that they teach.
OF_THE_TEACHERS = {"dataset", "augmentation", "shift_pixels", "batch_size", *NETWORK_FIELDS}
FIRST_TEACHER, MOST_TEACHERS = 1_000_000, 100  # seeds of teachers, beyond those of any study


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
        model: an untrained `lenet5(recipe, seed)` to train in place, for who wants its weights.
        score_test: whether the test set is evaluated, once, at the end. Tuning does not.
        verbose: 0 is silent, 1 draws a progress bar.
        tensorboard: folder for TensorBoard's logs.

    Raises:
        InputError: the batch is larger than the training split, or the recipe measures its step
            sizes and Keras does not run on TensorFlow.
    """
    if recipe.step_sizes == "gauss_newton" and keras.backend.backend() != "tensorflow":
        raise InputError("step_sizes: 'gauss_newton' needs KERAS_BACKEND=tensorflow.")
    network = lenet5(recipe, seed) if model is None else model
    # What is compiled is a shell: the network stays plain Keras, and is saved as that.
    shell = Stack([recipe], seed, [network]) if carried(recipe) else ShardedNetwork(network)
    started = datetime.now(UTC)
    batches = training_batches(data, recipe, seed, teach(recipe, seed, data, verbose=verbose))
    _compile(shell, [recipe], batches, data)
    callbacks: list[keras.callbacks.Callback] = []
    if recipe.step_sizes == "gauss_newton":
        callbacks.append(_MeasureCurvature(network, recipe, data))
    if recipe.early_stopping:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                "val_loss", patience=recipe.early_stopping, restore_best_weights=True
            )
        )
    if tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(tensorboard))
    watch = _fit(shell, [recipe], data, batches, callbacks, verbose)
    if isinstance(shell, Stack):
        network.set_weights(shell.weights_of(0))
    return _runs(network, [recipe], seed, data, batches, watch, started, score_test)[0]


def train_stack(
    recipes: Sequence[Recipe],
    seed: int,
    data: Dataset,
    *,
    stack: Stack | None = None,
    score_test: bool = True,
    verbose: int = 1,
) -> list[Run]:
    """Train several networks side by side on one stream of batches; a run each, in order.

    Each run is what `train` would have given, up to the rounding of sums and but for dropout's
    masks, which depend on a member's place, in less time. The arguments are those of `train`;
    `stack` is an untrained `Stack(recipes, seed)` to train in place.

    Raises:
        InputError: the recipes differ in something that a stack cannot carry.
    """
    stack = Stack(recipes, seed) if stack is None else stack
    started = datetime.now(UTC)
    taught = teach(recipes[0], seed, data, verbose=verbose)
    batches = training_batches(data, recipes[0], seed, taught)
    _compile(stack, recipes, batches, data)
    watch = _fit(stack, recipes, data, batches, [], verbose)
    return _runs(stack, recipes, seed, data, batches, watch, started, score_test)


def teach(recipe: Recipe, seed: int, data: Dataset, *, verbose: int = 1) -> np.ndarray | None:
    """What the recipe's teachers say of every training image, in every view that training shows.

    The teachers are the recipe's network with other first weights, and see its augmentation. They
    train side by side, with seeds that no study has, and answer with the mean of their
    probabilities (Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network").

    Args:
        recipe: whose `teachers` are asked for.
        seed: of the run that learns from them.
        data: the recipe's dataset. Only training and validation images are looked at.
        verbose: as for `train`.

    Returns:
        float16 (training images, `views`, classes), or None where the recipe has no teachers.
    """
    if not recipe.teachers:
        return None
    teacher = Recipe(
        **{name: value for name, value in recipe.changes().items() if name in OF_THE_TEACHERS},
        optimizer="adamw",
        learning_rate=recipe.teacher_learning_rate,
        weight_decay=recipe.teacher_weight_decay,
        schedule="cosine",
        epochs=recipe.teacher_epochs,
    )
    first = FIRST_TEACHER + seed * MOST_TEACHERS
    networks = [lenet5(teacher, first + number) for number in range(recipe.teachers)]
    ensemble = Stack([teacher] * recipe.teachers, first, networks)
    train_stack(
        [teacher] * recipe.teachers, first, data, stack=ensemble, score_test=False, verbose=verbose
    )
    answers = []
    for view in tqdm(views(recipe), desc="teachers", unit="view", disable=not verbose):
        shown = Split(seen(data.train.images, view), data.train.labels)
        answers.append(softmax(predict(ensemble, shown, data), axis=-1).mean(axis=1))
    return np.stack(answers, axis=1).astype(np.float16)


def _compile(
    model: Stack | ShardedNetwork, recipes: Sequence[Recipe], batches: Batches, data: Dataset
) -> None:
    """Make a model ready for its recipes' training, in as many shards as this machine bears."""
    model.shards, model.prepare = shard_count(recipes[0]), normalisation(data)
    settings = {
        "steps_per_execution": _steps_per_execution(batches.steps_per_epoch),
        "jit_compile": _jit_compile(),
    }
    total_steps = recipes[0].epochs * batches.steps_per_epoch
    if isinstance(model, Stack):
        model.compile_members(total_steps, **settings)
        return
    rule = optimizer(recipes[0], total_steps)
    if recipes[0].dtype_policy == "mixed_float16":  # whose smallest gradients would be 0 unscaled
        rule = keras.optimizers.LossScaleOptimizer(rule)
    model.compile(
        optimizer=rule,
        loss=loss(recipes[0]),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        **settings,
    )


def _steps_per_execution(steps: int) -> int:
    """The largest divisor of an epoch that is not too long, so that no epoch ends in between."""
    return max(n for n in range(1, LONGEST_EXECUTION + 1) if steps % n == 0)


def _jit_compile() -> bool:
    """Whether XLA pays: on an accelerator and under JAX; on a CPU TensorFlow's own kernels win."""
    return keras.backend.backend() == "jax" or accelerator() is not None


def _fit(
    model: keras.Model,
    recipes: Sequence[Recipe],
    data: Dataset,
    batches: Batches,
    callbacks: list[keras.callbacks.Callback],
    verbose: int,
) -> "_Watch":
    """Fit a compiled model of one member or several; what was seen on the way."""
    gc.collect()  # an earlier model is cyclic garbage that still holds its copy of the images
    epochs, steps = recipes[0].epochs, batches.steps_per_epoch
    with tqdm(total=epochs * steps, unit="step", disable=not verbose, leave=verbose > 0) as bar:
        schedule = Schedule(recipes if len(recipes) > 1 else recipes[0], epochs * steps)
        watch = _Watch(data, len(recipes), schedule, bar)
        first: list[keras.callbacks.Callback] = []
        if recipes[0].ema_momentum:  # what is validated is the average
            first.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
        model.fit(
            batches.dataset,
            epochs=epochs,
            steps_per_epoch=steps,
            callbacks=[*first, watch, *callbacks],
            shuffle=False,  # the batches are shuffled already; Keras would warn
            verbose=0,
        )
    return watch


def _runs(
    model: keras.Model,
    recipes: Sequence[Recipe],
    seed: int,
    data: Dataset,
    batches: Batches,
    watch: "_Watch",
    started: datetime,
    score_test: bool,
) -> list[Run]:
    """Score a trained network or stack and make each member's run."""
    splits = {"train": data.train, "validation": data.validation}
    if score_test:
        splits["test"] = data.test
    logits = {name: member_logits(predict(model, split, data)) for name, split in splits.items()}
    if score_test and "flip" in recipes[0].augmentation:
        mirrored = dataclasses.replace(data.test, images=data.test.images[:, :, ::-1])
        both = (logits["test"], member_logits(predict(model, mirrored, data)))
        logits["test_mirrored"] = np.logaddexp(*(log_softmax(one, axis=-1) for one in both))
    provenance = Provenance(
        dataset_fingerprint=data.fingerprint,
        batches_digest=batches.digest,
        git_commit=_git_commit(),
        versions={
            "python": platform.python_version(),
            "tensorflow": tf.__version__,  # its package may be tensorflow-cpu
            **{name: version(name) for name in ("keras", "numpy", *_of_backend())},
        },
        backend=keras.backend.backend(),
        device=accelerator() or _processor(),
        threads=available_threads(),
        instruction_set=instruction_set(),
        onednn=onednn(),
        settings=rounding_settings(),
        stack=tuple(recipes) if len(recipes) > 1 else (),
        started=started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        wall_seconds=round((datetime.now(UTC) - started).total_seconds() / len(recipes), 2),
    )
    return [
        _run(
            recipe,
            seed,
            data,
            watch.history(m),
            {split: values[m] for split, values in logits.items()},
            model.member_kernels(m) if isinstance(model, Stack) else kernels(model),
            provenance,
        )
        for m, recipe in enumerate(recipes)
    ]


def _run(
    recipe: Recipe,
    seed: int,
    data: Dataset,
    history: History,
    logits: dict[str, np.ndarray],
    kernel: dict[str, np.ndarray],
    provenance: Provenance,
) -> Run:
    """One member's record, from its history, its logits on each split and its kernels."""
    status: Status = "completed"
    best_epoch = len(history.loss)
    if history.loss[-1] is None or history.val_loss[-1] is None:
        status = "diverged"
    if recipe.early_stopping and np.isfinite(val_loss := np.array(history.val_loss, float)).any():
        best_epoch = 1 + int(np.nanargmin(val_loss))  # whose weights are kept
    if recipe.early_stopping and status != "diverged":
        status = "stopped_early" if len(history.loss) < recipe.epochs else "completed"
    return Run(
        recipe=recipe,
        seed=seed,
        status=status,
        history=history,
        best_epoch=best_epoch,
        train=score(logits["train"], data.train.labels),
        validation=score(logits["validation"], data.validation.labels),
        test=score(logits["test"], data.test.labels) if "test" in logits else None,
        test_mirrored=(
            score(logits["test_mirrored"], data.test.labels) if "test_mirrored" in logits else None
        ),
        class_names=data.class_names,
        confusion_matrix=(
            confusion(logits["test"], data.test.labels, len(data.class_names))
            if "test" in logits
            else None
        ),
        kernel_quantiles={name: _quantiles(values) for name, values in kernel.items()},
        provenance=provenance,
    )


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """The kernels of a `lenet5` model, by layer name: float32, shaped as Keras shapes them."""
    found = {name: model.get_layer(name) for name in KERNEL_LAYERS}
    return {n: np.asarray(layer.kernel) for n, layer in found.items() if layer.trainable_weights}


def predict(model: keras.Model, split: Split, data: Dataset) -> np.ndarray:
    """Logits of a whole split, without augmentation or dropout.

    Returns:
        float32 (images, classes), or (images, members, classes) from a stack.
    """
    normalise = None if isinstance(model, Stack | ShardedNetwork) else normalisation(data)
    chunks = [
        split.images[start : start + EVALUATION_BATCH]
        for start in range(0, len(split.images), EVALUATION_BATCH)
    ]

    def logits(chunk: np.ndarray) -> np.ndarray:
        # What trains normalises by itself; a plain network is given what it expects.
        images = np.asarray(normalise(chunk)) if normalise else chunk
        return np.asarray(model.predict_on_batch(images))

    first = logits(chunks[0])  # by itself: it traces the network
    workers = PARALLEL_SHARDS if keras.backend.backend() == "tensorflow" else 1
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate([first, *pool.map(logits, chunks[1:])])


def member_logits(logits: np.ndarray) -> np.ndarray:
    """Logits of one network or of a stack as (members, images, classes)."""
    return logits[None] if logits.ndim == 2 else np.moveaxis(logits, 1, 0)


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


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    """41 quantiles, from the smallest value to the largest, to four significant digits."""
    quantiles = np.quantile(values.astype(np.float64), np.linspace(0, 1, 41))
    return tuple(float(f"{q:.4g}") for q in quantiles)


class _MeasureCurvature(keras.callbacks.Callback):
    """Before each epoch, gives every weight its step size of 1998 (appendix C)."""

    def __init__(self, network: keras.Model, recipe: Recipe, data: Dataset) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        self.images = np.asarray(normalisation(data)(data.train.images[: curvature.IMAGES]))

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.model.optimizer.build(self.model.trainable_variables)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        measured = curvature.gauss_newton_diagonal(self.network, self.recipe, self.images)
        for factor, along in zip(self.model.optimizer.factors, measured, strict=True):
            factor.assign(1.0 / (curvature.MU + along))


class _Watch(keras.callbacks.Callback):
    """Validates after each epoch, keeps every member's history, ends what has diverged."""

    def __init__(self, data: Dataset, members: int, schedule: Schedule, bar: tqdm) -> None:
        super().__init__()
        self.data, self.members, self.schedule, self.bar = data, members, schedule, bar
        self.epochs: list[dict[str, list[float]]] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.clock = time.perf_counter()
        self.bar.set_description(f"epoch {epoch + 1}")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.bar.update(self.params["steps"] * len(self.epochs) + batch + 1 - self.bar.n)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        assert logs is not None
        logits = member_logits(predict(self.model, self.data.validation, self.data))
        scores = [score(member, self.data.validation.labels) for member in logits]
        # The optimizer counts the steps done, so its own learning rate is that of the next one.
        rate = keras.ops.convert_to_numpy(self.schedule(self.model.optimizer.iterations - 1))
        values = {
            **{
                name: np.atleast_1d(logs.pop(f"member_{name}", logs.get(name))).tolist()
                for name in ("loss", "accuracy")
            },
            "val_loss": [math.nan if s.loss is None else s.loss for s in scores],
            "val_accuracy": [s.accuracy for s in scores],
            "learning_rate": np.broadcast_to(rate, self.members).tolist(),
        }
        logs |= {name: column[0] for name, column in values.items()}  # others expect one number
        values["seconds"] = [(time.perf_counter() - self.clock) / self.members] * self.members
        self.epochs.append(values)
        finite = np.isfinite(values["loss"]) & np.isfinite(values["val_loss"])
        if finite.any():
            loss = np.mean(np.array(values["loss"])[finite])
            self.bar.set_postfix(loss=loss, val_accuracy=max(values["val_accuracy"]))
        else:
            self.model.stop_training = True
            if not self.bar.disable:
                self.bar.write("The loss is no longer finite: the run has diverged and ends here.")

    def history(self, member: int) -> History:
        """One member's epochs, up to the one in which it diverged."""
        columns = {
            name: [values[name][member] for values in self.epochs] for name in self.epochs[0]
        }
        finite = np.isfinite(columns["loss"]) & np.isfinite(columns["val_loss"])
        end = len(finite) if finite.all() else int(np.argmin(finite)) + 1
        columns["seconds"] = [round(value, 3) for value in columns["seconds"]]
        return History.model_validate(
            {
                name: [value if math.isfinite(value) else None for value in values[:end]]
                for name, values in columns.items()
            }
        )


def _of_backend() -> tuple[str, ...]:
    """The packages that compute where TensorFlow only reads the images."""
    return ("jax", "jaxlib") if keras.backend.backend() == "jax" else ()


def _git_commit() -> str | None:
    """The commit of the source tree this package runs from, None where it is no checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        # Installed into a folder of somebody's checkout, the package is no part of that.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        commit = git("rev-parse", "HEAD")
        # Only what decides a result: the package. Records and figures may be new in the tree.
        return commit + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def accelerator() -> str | None:
    """The name of the first GPU or TPU that Keras' backend uses, None on a CPU."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    for device in tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_device_details(device).get("device_name", "GPU")
    return None


def _processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
