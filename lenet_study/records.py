"""Runs on disk: written once, read for ever.

A record is one small JSON file that ends in the SHA-256 of all that stands before:

    results/<study>/<variant>-<key>/seed-<s>.json             the final runs
    results/<study>/<variant>-again-<key>/seed-<s>.json       the same recipe and seed once more
    results/<study>/tuning/<variant>-<key>/seed-<s>.json      the runs that chose a learning rate

Two results folders are merged by copying one over the other: equal paths hold equal runs.
"""

import functools
import hashlib
import json
import math
import os
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import ValidationError

from lenet_keras.recipe import InputError, Recipe, nearest
from lenet_keras.run import SCHEMA_VERSION, History, Run, Scores
from lenet_study.files import remedy

Purpose = Literal["final", "again", "tuning"]
AGAIN = "-again"  # the ending of a variant that trains a recipe a second time


class RecordExistsError(InputError):
    """There is a record already; records are never changed."""


@dataclass(frozen=True, order=True)
class Location:
    """Which run a record holds, as its path says it."""

    study: str
    purpose: Purpose
    variant: str
    key: str
    seed: int

    def path(self, results_dir: Path) -> Path:
        """Where the record lies or will lie."""
        folder = results_dir / self.study
        if self.purpose == "tuning":
            folder = folder / "tuning"
        return folder / f"{self.variant}-{self.key}" / f"seed-{self.seed}.json"

    def found(self, results_dir: Path) -> Path | None:
        """Where the run is recorded: here or, as no recipe is recorded twice, where another study
        has it, in the order of their names. A run that repeats another stands for no first one.

        Another study's run counts if it was made by the backend that this study's own records are
        of or, before it has any, that this process would train with: from one seed, backends draw
        other first weights.

        Raises:
            InputError: a record that cannot be trusted.
        """
        if (own := self.path(results_dir)).exists():
            return own
        folder = "*/tuning" if self.purpose == "tuning" else "*"
        same = results_dir.glob(f"{folder}/*-{self.key}/seed-{self.seed}.json")
        for path in sorted(path for path in same if Location.of(path).purpose == self.purpose):
            if _backend_of(path.absolute()) == _backend_for(results_dir.absolute() / self.study):
                return path
        return None

    @classmethod
    def of(cls, path: Path) -> "Location":
        """What the path of a record says.

        Raises:
            InputError: a path on which no record can lie.
        """
        file = re.fullmatch(r"seed-(0|[1-9]\d*)\.json", path.name)
        folder = re.fullmatch(r"(.+)-([0-9a-f]{10})", path.parent.name)
        if not file or not folder:
            raise InputError(
                f"{path}: expected <variant>-<ten digits of the key>/seed-<number>.json. "
                "Give the record its name back, or move it out of the results."
            )
        above = path.parent.parent
        tuning = above.name == "tuning"
        study = above.parent.name if tuning else above.name
        purpose: Purpose = "again" if folder[1].endswith(AGAIN) else "final"
        purpose = "tuning" if tuning else purpose
        return cls(study, purpose, folder[1], folder[2], int(file[1]))


def _backend_for(study: Path) -> str:
    """The backend whose runs the study in this folder takes from others."""
    try:
        return _backend_of(_first_record(study))
    except FileNotFoundError:
        return os.environ["KERAS_BACKEND"]  # lenet_keras sets it where nobody did


@functools.cache  # of a folder with records, not of one that is still without
def _first_record(study: Path) -> Path:
    for folder in (study, study / "tuning"):
        if found := min(folder.glob("*/seed-*.json"), default=None):
            return found
    raise FileNotFoundError(study)


@functools.cache  # a record is never changed
def _backend_of(path: Path) -> str:
    return read(path).provenance.backend


def write(run: Run, path: Path) -> None:
    """Write a run to `path`, whole or not at all, and never over another record.

    Raises:
        RecordExistsError: there is a record at `path`, which stays as it is.
        InputError: the folder cannot be written, or the disk is full.
    """
    text = _render(run)
    # The leading dot and the ending keep it from ever being read as a record.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: the record cannot be written ({error.strerror}). Nothing was changed. "
            f"{remedy(error)} or choose another results folder."
        ) from None


def _place(temporary: Path, path: Path) -> None:
    """Give a finished file its name, unless the name is taken."""
    try:
        os.link(temporary, path)  # unlike a rename, a link never replaces a file
        return
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            temporary.rename(path)
            return
    raise RecordExistsError(f"{path}: there is a record already, and records are never changed.")


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of writers that were killed; for whoever holds the study's lock.

    Raises:
        InputError: one cannot be deleted.
    """
    for temporary in leftovers(folder):
        try:
            temporary.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{temporary}: cannot be deleted ({error.strerror}).") from None


def leftovers(folder: Path) -> list[Path]:
    """The temporary files of writers that were killed, or are still at work, under `folder`."""
    return sorted(folder.rglob(".seed-*.tmp"))


def read(path: Path) -> Run:
    """The run that a record holds.

    Raises:
        InputError: the file is missing, was written by another version of the schema, is not what
            was once written, or lies on the path of another run.
    """
    try:
        text = path.read_bytes().replace(b"\r\n", b"\n").decode()  # git may have changed line ends
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no record, nor any other text in UTF-8.") from None
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        raise InputError(f"{path}: is no record: it is not JSON. {_RESTORE}") from None
    if not isinstance(content, dict) or "schema_version" not in content:
        raise InputError(f"{path}: is no record: it has no schema_version. {_RESTORE}")
    if content["schema_version"] != SCHEMA_VERSION:
        raise InputError(
            f"{path}: written by schema {content['schema_version']}; this version reads "
            f"{SCHEMA_VERSION}. Read it with the version of this package that wrote it."
        )
    body, digest = _split_digest(text)
    if digest != hashlib.sha256(body.encode()).hexdigest():
        raise InputError(
            f"{path}: was changed after it was written: its content does not give its digest. "
            f"{_RESTORE}"
        )
    del content["digest"]
    key = content.pop("key", None)
    try:
        provenance = content["provenance"]
        stack = [{**content["recipe"], **member} for member in provenance["stack"]]
        run = Run.model_validate({**content, "provenance": {**provenance, "stack": stack}})
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"]))
        raise InputError(
            f"{path}: does not fit schema {SCHEMA_VERSION}: {field}: {fault['msg'].lower()}."
        ) from None
    _compare_path(path, run, key)
    return run


def validation(path: Path) -> float:
    """The validation accuracy of a recorded run, minus infinity where it diverged.

    A study asks for it again and again; the file is read once for as long as it stays as it is.

    Raises:
        InputError: see `read`.
    """
    state = path.stat() if path.exists() else None
    return _validation(path, state and (state.st_ino, state.st_size, state.st_mtime_ns))


@functools.cache
def _validation(path: Path, state: tuple[int, ...] | None) -> float:
    run = read(path)
    return -math.inf if run.status == "diverged" else run.validation.accuracy


_RESTORE = "Restore it, or delete it and train this run again."


def _compare_path(path: Path, run: Run, key: Any) -> None:
    """Refuse a record that lies where another run's belongs; a file of any other name is free."""
    if key != run.key:
        raise InputError(
            f"{path}: its key is {key}, its recipe's is {run.key}: the record was altered, or a "
            f"default of the recipe has changed since. {_RESTORE}"
        )
    if not path.name.startswith("seed-"):
        return
    location = Location.of(path)
    purpose = "tuning" if run.test is None else "final"
    tuning = location.purpose == "tuning"
    if (location.key, location.seed, tuning) != (run.key, run.seed, run.test is None):
        raise InputError(
            f"{path}: the path speaks of the {location.purpose} run of recipe {location.key} with "
            f"seed {location.seed}; the file holds the {purpose} run of {run.key} with seed "
            f"{run.seed}. Move it back to where it belongs."
        )


def _render(run: Run) -> str:
    """A run as JSON that a person can read and `diff`, its digest as the last entry."""
    content = run.model_dump(mode="json")
    # Eight recipes in full would be most of the record. What differs from the run's own recipe is
    # enough, and stays so if a default changes one day.
    content["provenance"]["stack"] = [
        {name: value for name, value in member.items() if value != content["recipe"][name]}
        for member in content["provenance"]["stack"]
    ]
    body = _json(content)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return body.removesuffix("\n}") + f',\n  "digest": "{digest}"\n}}\n'


def _split_digest(text: str) -> tuple[str, str]:
    """The text as it was before the digest was added, and that digest; empty if there is none."""
    match = re.fullmatch(r'(.*),\n  "digest": "([0-9a-f]{64})"\n\}\n', text, re.DOTALL)
    return (f"{match[1]}\n}}", match[2]) if match else (text, "")


def _json(value: Any, indent: str = "") -> str:
    """JSON with one line for a list of numbers, for a row of a matrix and for a stack's member."""
    deeper = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{deeper}{json.dumps(k)}: {_json(v, deeper)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], list | dict):
        lines = [f"{deeper}{json.dumps(item, allow_nan=False)}" for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def find(
    results_dir: Path | str, study: str | None = None, purpose: Purpose | None = None
) -> list[Path]:
    """The paths of all records, of one study or of one purpose, ordered by path.

    Raises:
        InputError: no such folder, one below the results, or a file named like a record on no
            record's path.
    """
    results_dir = Path(results_dir)
    if not results_dir.is_dir():
        raise InputError(f"{results_dir}: no such folder. Run a study first.")
    paths = [*results_dir.glob("*/*/seed-*.json"), *results_dir.glob("*/tuning/*/seed-*.json")]
    located = sorted((Location.of(path), path) for path in paths)
    for location, path in located:
        if location.path(results_dir) != path:  # the tuning runs alone of one study
            raise InputError(
                f"{results_dir}: is the folder of one study. Name the folder above it as that of "
                f"the results; --study {location.study} chooses that study."
            )
    return [
        path
        for location, path in located
        if study in (None, location.study) and purpose in (None, location.purpose)
    ]


def table(
    results_dir: Path | str, study: str | None = None, purpose: Purpose | None = None, **recipe: Any
) -> pd.DataFrame:
    """One row a run: what was asked for, what it gave, and where.

    Args:
        results_dir: folder of the records.
        study: a technique file's stem; all without it.
        purpose: "final", "again" or "tuning"; all without it.
        recipe: values that fields of the recipe must have, as dataset="digits", epochs=2.

    Returns:
        Columns `study`, `variant`, `purpose`, `seed`, `key`, `status`, every field of the recipe
        (augmentations as one string, "none" without any), `epochs_run`, `best_epoch`, and for
        train, val, test and test_mirrored `_loss` (nats), `_accuracy` and `_calibration_error`
        (fractions; NaN where there is none, as on validation images that were trained on);
        `seconds` (median wall time of an epoch, per model),
        `wall_seconds`, `device`, `threads`, `backend`, `stack_size`. Ordered by path.

    Raises:
        InputError: a record that cannot be trusted (see `read`), or an unknown field.
    """
    return _select(table_of(find(results_dir, study, purpose)), recipe)


def _select(runs: pd.DataFrame, recipe: dict[str, Any]) -> pd.DataFrame:
    """The rows whose recipes have these values."""
    for field, value in recipe.items():
        if field not in Recipe.model_fields:
            raise InputError(f"{field}: no such field.{nearest(field, list(Recipe.model_fields))}")
        runs = runs[runs[field] == value]
    return runs


_SCORES = tuple(Scores.model_fields)
_IDENTITY = ("study", "variant", "purpose", "seed", "key")
# A Run's name: a column's prefix.
_SPLITS = {"train": "train", "validation": "val", "test": "test", "test_mirrored": "test_mirrored"}


def table_of(paths: Iterable[Path], called: Iterable[Location] | None = None) -> pd.DataFrame:
    """The rows of `table` for these records, in their order; `called` says what each is called
    where it is asked for, its path without."""
    rows = [_row(location, read(path)) for location, path in _called(paths, called)]
    scores = [f"{prefix}_{name}" for prefix in _SPLITS.values() for name in _SCORES]
    columns = [*_IDENTITY, "status", *Recipe.model_fields, "epochs_run", "best_epoch", *scores]
    columns += ["seconds", "wall_seconds", "device", "threads", "backend", "stack_size"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(scores, float))  # None, as in a diverged run, becomes NaN


def runs_of(rows: pd.DataFrame, results_dir: Path | str) -> list[Run]:
    """The runs behind rows of `table`, in their order.

    Raises:
        InputError: see `read`.
    """
    places = rows[["study", "purpose", "variant", "key", "seed"]].itertuples(index=False)
    locations = [Location(*place) for place in places]
    return [read(at.found(Path(results_dir)) or at.path(Path(results_dir))) for at in locations]


def right(rows: pd.DataFrame, results_dir: Path | str) -> dict[str, dict[int, np.ndarray]]:
    """Which test images the runs behind rows of `table` had right: bool (images,), by variant and
    seed, of those whose records say it."""
    found: dict[str, dict[int, np.ndarray]] = {}
    runs = zip(rows["variant"], runs_of(rows, results_dir), strict=True)
    for variant, run in runs:
        if (correct := run.correct) is not None:
            found.setdefault(str(variant), {})[run.seed] = correct
    return found


def _called(
    paths: Iterable[Path], called: Iterable[Location] | None
) -> list[tuple[Location, Path]]:
    paths = list(paths)
    return list(zip(called or map(Location.of, paths), paths, strict=True))


def _row(location: Location, run: Run) -> dict[str, Any]:
    """One run as a row of the run table."""
    recipe = dict(run.recipe)
    recipe["augmentation"] = ",".join(run.recipe.augmentation) or "none"
    scores = {
        f"{prefix}_{name}": getattr(getattr(run, split), name, None)
        for split, prefix in _SPLITS.items()
        for name in _SCORES
    }
    if not run.recipe.validates:
        scores |= {name: None for name in scores if name.startswith("val_")}
    return {
        **{name: getattr(location, name) for name in _IDENTITY},
        "status": run.status,
        **recipe,
        "epochs_run": len(run.history.loss),
        "best_epoch": run.best_epoch,
        **scores,
        "seconds": float(np.median(run.history.seconds)) if run.history.seconds else math.nan,
        "wall_seconds": run.provenance.wall_seconds,
        "device": run.provenance.device,
        "threads": run.provenance.threads,
        "backend": run.provenance.backend,
        "stack_size": max(1, len(run.provenance.stack)),
    }


def epoch_table_of(paths: Iterable[Path], called: Iterable[Location] | None = None) -> pd.DataFrame:
    """One row a run and epoch of these records, in their order; `called` as for `table_of`.

    Returns:
        Columns `study`, `variant`, `purpose`, `seed`, `key`, `epoch` (1-based), `loss` (as
        minimised), `accuracy` (on training batches), `val_loss` (nats), `val_accuracy`
        (NaN where validation images were trained on), `learning_rate`, `seconds`.

    Raises:
        InputError: see `read`.
    """
    names = tuple(History.model_fields)
    rows = []
    for location, path in _called(paths, called):
        run = read(path)
        history = run.history
        identity = [getattr(location, name) for name in _IDENTITY]
        columns = {name: getattr(history, name) for name in names}
        if not run.recipe.validates:
            columns |= {name: (None,) * len(history.loss) for name in names if "val_" in name}
        values = zip(*columns.values(), strict=True)
        rows += [[*identity, epoch, *line] for epoch, line in enumerate(values, start=1)]
    frame = pd.DataFrame(rows, columns=[*_IDENTITY, "epoch", *names])
    return frame.astype(dict.fromkeys(names, float))
