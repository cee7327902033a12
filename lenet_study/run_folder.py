"""The folder that `train.py` writes, `evaluate.py` and `predict.py` read: a model, its record, its
pictures; and what the model takes other pictures for.

`check_free` answers before TensorFlow is imported, so the others import what they need themselves.
"""

import importlib.util
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_keras.recipe import InputError
from lenet_study.files import whole_file, whole_folder

if TYPE_CHECKING:
    import keras
    import numpy as np
    from matplotlib.axes import Axes

    from lenet_keras.run import Run, Scores

MODEL, RECORD, CURVES, CONFUSION = "model.keras", "run.json", "curves.png", "confusion.png"
WEIGHTS = Path(__file__).parent.parent / "weights"
SHOWN = 10  # classes of a picture, the most probable ones
AGREEMENT = 1e-6  # largest difference between a recorded score and the same score computed again


def check_free(folder: Path, overwrite: bool, tensorboard: Path | None = None) -> None:
    """Refuse, before anything is trained, a folder that could not be written in the end.

    Raises:
        InputError: it cannot be written, holds anything else than a run, or a run that is to stay;
            or `tensorboard`, a folder for logs, cannot be used.
    """
    if tensorboard:
        _check_logs(tensorboard, folder)
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"--out {folder}: {existing} is a file. Choose another folder.")
    if not os.access(existing.parent if folder.exists() else existing, os.W_OK | os.X_OK):
        raise InputError(f"--out {folder}: {existing} cannot be written. Choose another folder.")
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()}
    foreign = sorted(found - {MODEL, RECORD, CURVES, CONFUSION})
    if foreign or (found and RECORD not in found):
        raise InputError(
            f"--out {folder}: holds {', '.join(foreign or sorted(found))}, so it is no folder "
            "that train.py wrote and will not be replaced. Choose another folder."
        )
    if found and not overwrite:
        raise InputError(
            f"--out {folder}: holds a run. Choose another folder, or replace that run with "
            "--overwrite."
        )


def _check_logs(tensorboard: Path, folder: Path) -> None:
    """Refuse a folder for TensorBoard's logs that cannot be, or nothing to write them with."""
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "--tensorboard: the package tensorboard is not installed: uv sync --extra tensorboard, "
            "or pip install 'lenet-keras[tensorboard]'."
        )
    if any(path.is_file() for path in (tensorboard, *tensorboard.parents)):
        raise InputError(
            f"--tensorboard {tensorboard}: is a file, or lies below one. Name a folder."
        )
    if tensorboard.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"--tensorboard {tensorboard}: lies in {folder}, which appears only when the run is "
            "complete. Choose a folder beside it."
        )


def write(run: "Run", model: "keras.Model", folder: Path, overwrite: bool) -> str | None:
    """Write a run and its model, both or nothing, and its curves if they can be drawn.

    Args:
        run: what was trained.
        model: see `lenet_keras.model.for_pixels`.
        folder: the run's.
        overwrite: whether a run that is there may be replaced.

    Returns:
        Why there are no curves, if there are none.

    Raises:
        OSError, InputError: the folder cannot be written.
    """
    from lenet_study import records

    with whole_folder(folder, overwrite) as new:
        model.save(new / MODEL)
        records.write(run, new / RECORD)
        return _drawn(lambda plots: plots.history(run)[0], new / CURVES)


def read(folder: Path, model: str = MODEL) -> "Run":
    """The recorded run of a folder.

    Raises:
        InputError: it lacks a record or that model, or the record cannot be trusted.
    """
    for name in (RECORD, model):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder}: holds no {name}. Name a folder that train.py wrote; it holds "
                f"{MODEL} and {RECORD}."
            )
    from lenet_study import records

    return records.read(folder / RECORD)


def find(model: Path | None) -> tuple[Path, "Run"]:
    """A model's file and its recorded run.

    Args:
        model: that file, or the run's folder; by default the weights that are given away.

    Raises:
        InputError: as of `read`.
    """
    file = model or WEIGHTS
    file = file if file.is_file() else file / MODEL
    return file, read(file.parent, file.name)


def read_model(path: Path, classes: int) -> "keras.Model":
    """The Keras model in a file, from 32×32×3 images as they are to logits.

    Raises:
        InputError: Keras cannot read the file, or it holds another kind of model.
    """
    from lenet_keras.backend import keras
    from lenet_keras.model import IMAGE_SHAPE, PIXELS

    try:
        if not zipfile.is_zipfile(path):  # of which Keras says that there is none
            raise ValueError("it is no whole .keras file")
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # what Keras raises on a foreign file depends on the file
        raise InputError(f"{path}: is no model that Keras can read ({_reason(error)}).") from None
    expected = (None, *IMAGE_SHAPE), (None, classes)
    if (model.input_shape, model.output_shape) != expected:
        raise InputError(
            f"{path}: holds a model from {model.input_shape} to {model.output_shape}; expected "
            f"{expected[0]} to {expected[1]}."
        )
    if model.inputs[0].name != PIXELS:
        raise InputError(
            f"{path}: was written by an earlier version, whose models do not normalise images "
            "themselves. Train it again, or evaluate it with that version."
        )
    return model


def ask(
    network: "keras.Model", path: Path, names: tuple[str, ...], images: "np.ndarray"
) -> list[dict[str, float]]:
    """What a model takes each of some images for: its classes' probabilities, largest first.

    Args:
        network: the model in the file `path`.
        path: for the message.
        names: of its classes.
        images: uint8 (n, 32, 32, 3), such as `pictures.as_seen` gives.

    Raises:
        InputError: the probabilities are not finite.
    """
    import numpy as np

    from lenet_keras import evaluation

    shares = evaluation.probabilities(network, images)
    if not np.isfinite(shares).all():
        raise InputError(f"{path}: its answers are not finite: its run diverged.")
    return [
        dict(sorted(zip(names, row, strict=True), key=lambda pair: -pair[1]))
        for row in shares.tolist()
    ]


def ranking(name: str, shares: dict[str, float]) -> str:
    """A picture's name, and below it the most probable classes."""
    shown = list(shares.items())[:SHOWN]
    width = max(len(each) for each, _ in shown)
    rows = [f"  {each:<{width}}  {in_percent(share):>8}" for each, share in shown]
    return "\n".join([name, *rows])


def draw_confusion(
    matrix: tuple[tuple[int, ...], ...], run: "Run", folder: Path
) -> tuple[Path, str | None]:
    """Draw the confusion matrix into a folder; gives the file, and why there is none if so."""

    def draw(plots: Any) -> "Axes":
        axes = plots.confusion_matrix(matrix, run.class_names)
        axes.set_title(f"{run.recipe.dataset}, test images, seed {run.seed}")
        return axes

    return folder / CONFUSION, _drawn(draw, folder / CONFUSION)


def differences(scores: "Scores", recorded: "Scores | None") -> list[str]:
    """In words, what is not as recorded: accuracy or loss."""
    if recorded is None:
        return ["the record holds no test scores"]
    texts = []
    for name in ("accuracy", "loss"):
        now, then = getattr(scores, name), getattr(recorded, name)
        not_finite = now is None or then is None
        if now is not then if not_finite else abs(now - then) > AGREEMENT:
            texts.append(f"{name} recorded {in_digits(then)}, now {in_digits(now)}")
    return texts


def in_percent(share: float | None) -> str:
    """A fraction in percent with two digits after the point."""
    return "not finite" if share is None else f"{share * 100:.2f} %"


def in_digits(value: float | None) -> str:
    """A number with six digits after the point."""
    return "not finite" if value is None else f"{value:.6f}"


def without_screen() -> None:
    """Draw into files, as matplotlib is by default: a window is of no use here, and what a person
    set for figures of their own may need programs that are not there, as LaTeX."""
    os.environ["MPLBACKEND"] = "Agg"
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcdefaults()


def _drawn(draw: Callable[[Any], "Axes"], path: Path) -> str | None:
    """Write the figure that `draw` makes with `network_plots` as a PNG without a date or a version.

    Returns:
        Why that failed, if it did: a picture is never worth the work that it shows.
    """
    try:
        without_screen()
        from lenet_study import network_plots, style

        style.use_style()
        figure = draw(network_plots).get_figure(root=True)
        assert figure is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            figure.savefig(temporary, metadata={"Software": None})
    except Exception as error:  # of a broken installation or a full disk as well
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
