"""What runs through a network before its first step, and C1's kernels after its last.

Measured once and recorded beside the runs as small text, so that a notebook draws them without the
dataset and without training:

    results/<study>/signals/step-0/<name>-<key>.json    `step_0`
    results/<study>/signals/C1/<name>-<key>.json        `trained_c1`

As in a run's record, the last entry is a SHA-256 of all others, and a file that is there is never
written again. None lies where a run's record does, so none is taken for a run.
"""

import functools
import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lenet_keras.recipe import InputError, Recipe
from lenet_study.files import whole_file

if TYPE_CHECKING:
    from lenet_keras.backend import keras
    from lenet_keras.data import Dataset

Values = dict[str, list[float | None]]
LAYERS = ("C1", "S2", "C3", "S4", "C5", "F6", "output")
SCHEMA_VERSION = 1
COLUMNS = ["weight", "activation", "gradient"]
# At step 0 nothing has been optimised yet, so these cannot matter; equal recipes share a record.
WITHOUT_EFFECT = {
    "optimizer",
    "learning_rate",
    "momentum",
    "nesterov",
    "weight_decay",
    "schedule",
    "epochs",
    "early_stopping",
}


def measure(recipe: Recipe, seed: int, data: "Dataset") -> pd.DataFrame:
    """Scale of weights, activations and gradients in a fresh network on its first minibatch.

    Activations are what a layer hands on (after its activation function; of `output` the logits),
    gradients those of the loss with respect to a layer's kernel, which plain SGD multiplies by the
    learning rate. Glorot & Bengio (2010), section 4.2, look at the same quantities.

    Args:
        recipe: of network, data and loss.
        seed: of the weights and of the minibatch.
        data: a `Dataset`, the recipe's own.

    Returns:
        One row a layer, from input to output: `layer` and the standard deviations `weight`,
        `activation` and `gradient`; NaN where a pooling layer has neither kernel nor gradient.

    Raises:
        InputError: the recipe is for another dataset.
    """
    from lenet_keras.backend import keras  # here: who only reads records needs no TensorFlow
    from lenet_keras.model import kernels, lenet5, loss
    from lenet_keras.pipeline import normalisation, training_batches

    model = lenet5(recipe, seed, classes=len(data.class_names))
    pixels, labels = next(
        iter(training_batches(data, recipe.replace(epochs=1), seed).dataset.as_numpy_iterator())
    )
    images = np.asarray(normalisation(data)(pixels))
    names = {layer.name for layer in model.layers}
    activated = {name: f"{name}_{recipe.activation}" for name in LAYERS}
    handed_on = {
        name: model.get_layer(activated[name] if activated[name] in names else name).output
        for name in LAYERS
    }
    activations = keras.Model(model.input, handed_on)(images, training=True)
    weights = kernels(model)
    # After one step from rest the momentum is minus learning rate times gradient, to the last
    # digit: gradients as training has them, on every backend.
    sgd = keras.optimizers.SGD(learning_rate=1.0, momentum=0.5)
    model.compile(optimizer=sgd, loss=loss(recipe), run_eagerly=True)
    model.train_on_batch(images, labels)
    momenta = {
        variable.path: np.asarray(momentum)
        for variable, momentum in zip(model.trainable_variables, sgd.momentums, strict=True)
    }
    return pd.DataFrame(
        [
            {
                "layer": name,
                "weight": np.std(weights[name], dtype=float) if name in weights else np.nan,
                "activation": np.std(np.asarray(activations[name]), dtype=float),
                "gradient": (
                    np.std(momenta[model.get_layer(name).kernel.path], dtype=float)
                    if name in weights
                    else np.nan
                ),
            }
            for name in LAYERS
        ]
    )


def step_0(
    recipes: Mapping[str, Recipe],
    folder: Path | str,
    seed: int = 0,
    data_dir: Path | str | None = None,
) -> pd.DataFrame:
    """What `measure` gives for each recipe, read from the records or measured and recorded now.

    Args:
        recipes: by the name under which they are drawn.
        folder: a study's, as `results/initialization`.
        seed: of weights and minibatch.
        data_dir: where the dataset lies, needed only where a record is missing; see `load_data`.

    Returns:
        The rows of `measure`, to four significant digits, with a first column `variant`.

    Raises:
        InputError: a record that was changed, or a folder that cannot be written.
    """
    tables = []
    read = functools.cache(functools.partial(_dataset, data_dir=data_dir))  # once for all recipes
    for name, recipe in recipes.items():
        kept = {field: v for field, v in recipe.changes().items() if field not in WITHOUT_EFFECT}
        recipe = Recipe(**kept)

        def values(data: "Dataset", recipe: Recipe = recipe) -> Values:
            table = measure(recipe, seed, data)
            return {column: _rounded(table[column], digits=4) for column in COLUMNS}

        path = Path(folder) / "signals" / "step-0" / f"{name}-{recipe.key}.json"
        recorded = _read_or_record(path, recipe, seed, read, values)
        table = pd.DataFrame({"layer": LAYERS, **recorded})
        table = table.astype(dict.fromkeys(COLUMNS, float))
        table.insert(0, "variant", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def trained_c1(
    recipe: Recipe,
    name: str,
    folder: Path | str,
    seed: int = 0,
    data_dir: Path | str | None = None,
) -> np.ndarray:
    """C1's kernels after training, read from the records or trained and recorded now.

    Args:
        recipe: trained as it stands, for all its epochs.
        name: under which the record lies.
        folder: a study's.
        seed: of the run.
        data_dir: as for `step_0`.

    Returns:
        float64 (5, 5, 3, 6), to five significant digits.

    Raises:
        InputError: as `step_0`.
    """

    def values(data: "Dataset") -> Values:
        from lenet_keras.model import kernels, lenet5
        from lenet_study.training import train_alone

        model = lenet5(recipe, seed, classes=len(data.class_names))
        train_alone(recipe, seed, data, model=model, score_test=False, verbose=0)
        return {"kernel": _rounded(kernels(model)["C1"].ravel(), digits=5)}

    path = Path(folder) / "signals" / "C1" / f"{name}-{recipe.key}.json"
    read = functools.partial(_dataset, data_dir=data_dir)
    recorded = _read_or_record(path, recipe, seed, read, values)
    return np.array(recorded["kernel"], dtype=float).reshape(5, 5, 3, 6)


def share_off(network: "keras.Model", images: np.ndarray) -> dict[str, float]:
    """How many units, in a convolution maps, are not above 0 for any of the images: under ReLU
    they are dead, as no gradient of these images passes.

    Args:
        network: from `lenet5`.
        images: float32 (images, height, width, channels), normalised.

    Returns:
        Shares by layer, C1, C3, C5 and F6.
    """
    from lenet_keras.backend import keras

    activated = {
        layer.name.partition("_")[0]: layer.output
        for layer in network.layers
        if isinstance(layer, keras.layers.Activation)
    }
    values = keras.Model(network.inputs[0], activated)(images)
    highest = {
        name: np.asarray(v).reshape(-1, v.shape[-1]).max(axis=0) for name, v in values.items()
    }
    return {name: float(np.mean(units <= 0)) for name, units in highest.items()}


def _rounded(values: Iterable[float], digits: int) -> list[float | None]:
    """As many significant digits as another machine agrees on; None for what is no number."""
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values]


def _dataset(name: str, data_dir: Path | str | None) -> "Dataset":
    from lenet_keras.data import load_data

    return load_data(name, data_dir)


def _read_or_record(
    path: Path,
    recipe: Recipe,
    seed: int,
    read: Callable[[str], "Dataset"],
    values: Callable[["Dataset"], Values],
) -> Values:
    """The values recorded at `path`, or else those of `values`, recorded now."""
    what = {"schema_version": SCHEMA_VERSION, "recipe": recipe.changes(), "seed": seed}
    if path.exists():
        return _read(path, what)
    from lenet_keras.backend import keras, tf

    data = read(recipe.dataset)
    versions = {"tensorflow": tf.__version__} | {n: version(n) for n in ("keras", "numpy")}
    body: dict = {
        **what,
        "values": values(data),
        "provenance": {
            "dataset_fingerprint": data.fingerprint,
            "versions": {"python": platform.python_version(), **versions},
            "backend": keras.backend.backend(),
        },
    }
    _write({**body, "digest": _digest(body)}, path)
    return body["values"]


def _read(path: Path, what: Mapping[str, object]) -> Values:
    """The values of a record, which must be of what was asked for and as it was written."""
    advice = "Restore it, or delete it and it is measured again."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        digest = content.pop("digest")
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        raise InputError(f"{path}: is no record of signals. {advice}") from None
    if digest != _digest(content):
        raise InputError(f"{path}: was changed after it was written. {advice}")
    for name, asked in what.items():
        if content.get(name) != asked:
            raise InputError(
                f"{path}: {name}: found {content.get(name)}, expected {asked}. {advice}"
            )
    return content["values"]


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write(content: dict, path: Path) -> None:
    """Write a record whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", "utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: the record cannot be written ({error.strerror}). Make the folder writable or "
            "choose another results folder."
        ) from None
