"""Runs for tests, and a trainer that makes them in no time, in whatever process it is called."""

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from lenet_keras.recipe import Recipe
from lenet_keras.run import History, Provenance, Run, Scores
from lenet_study.runner import run_study
from lenet_study.study import Study

# A study of two variants that are trained side by side, as its file says it.
MOMENTUM: dict[str, Any] = {
    "title": "Momentum",
    "question": "Does it help?",
    "dataset": "digits",
    "baseline": "plain",
    "variants": {"plain": {}, "heavy": {"momentum": 0.9}},
    "tuning": {"learning_rates": [0.03, 0.1], "epochs": 1, "seeds": [1000]},
    "seeds": 2,
    "epochs": 2,
}
posix_only = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no SIGKILL, no limit of a file's size, no root"
)


def make_run(recipe: Recipe | None = None, seed: int = 0, **changes: object) -> Run:
    """A run of full size: 20 epochs, a stack of eight, numbers with all their digits."""
    recipe = recipe or Recipe(epochs=20, dataset="digits", learning_rate=0.05)
    random = np.random.default_rng([int(recipe.key, 16), seed])
    column = tuple(random.random(recipe.epochs).astype(np.float32).astype(float).tolist())
    score = Scores(loss=random.random(), accuracy=random.random(), calibration_error=0.25)
    values: dict = {
        "recipe": recipe,
        "seed": seed,
        "status": "completed",
        "history": History(
            **dict.fromkeys(History.model_fields, column)
            | {"seconds": tuple(float(i) for i in range(recipe.epochs))}
        ),
        "best_epoch": recipe.epochs,
        "train": score,
        "validation": score,
        "test": score,
        "class_names": ("airplane", "automobile"),
        "confusion_matrix": tuple(tuple(range(980, 990)) for _ in range(10)),
        "kernel_quantiles": {
            name: tuple(float(f"{q:.4g}") for q in random.normal(size=41))
            for name in ("C1", "C3", "C5", "F6", "output")
        },
        "provenance": make_provenance(
            stack=tuple(recipe.replace(learning_rate=r / 10) for r in range(1, 9))
        ),
    }
    return Run(**values | changes)


def run_table(accuracy: Mapping[str, Any], **columns: object) -> pd.DataFrame:
    """Final runs with these test accuracies: `accuracy[variant]`, a sequence or by seed."""
    rows = [
        {
            "study": "optimization",
            "variant": variant,
            "purpose": "final",
            "seed": seed,
            "key": f"{variant}0",
            "status": "completed",
            "dataset": "cifar10",
            "learning_rate": 0.1,
            "train_accuracy": value + 0.2,
            "val_accuracy": value + 0.01,
            "test_accuracy": value,
            "test_loss": 1.0 - value,
            "seconds": 2.0**seed,
        }
        for variant, values in accuracy.items()
        for seed, value in (values if isinstance(values, dict) else dict(enumerate(values))).items()
    ]
    return pd.DataFrame(rows).assign(**columns)


def make_provenance(**changes: object) -> Provenance:
    values: dict = {
        "dataset_fingerprint": "f" * 64,
        "batches_digest": "b" * 64,
        "git_commit": "c" * 40,
        "versions": {"python": "3.11", "keras": "3.15"},
        "backend": "tensorflow",
        "device": "a processor",
        "threads": 2,
        "instruction_set": "AVX2",
        "onednn": True,
        "started": "2026-01-01T00:00:00Z",
        "wall_seconds": 12.5,
    }
    return Provenance(**values | changes)


def train_quickly(
    recipes: Sequence[Recipe], seed: int, score_test: bool, folder: Path | str | None
) -> list[Run]:
    """What `train_group` gives, made up from recipe, seed and stack.

    Every call adds a line to `folder`/trained: process, threads, seed, test set, keys. Where there
    is a file `folder`/seconds, a call takes as long as it says.
    """
    folder = Path(str(folder))
    threads = f"threads={os.environ.get('LENET_THREADS')}"
    keys = " ".join(recipe.key for recipe in recipes)
    with (folder / "trained").open("a") as file:
        file.write(f"{os.getpid()} {threads} {seed} {score_test} {keys}\n")
    pause = folder / "seconds"
    time.sleep(float(pause.read_text()) if pause.exists() else 0)
    stack = tuple(recipes) if len(recipes) > 1 else ()
    together = hashlib.sha256("".join(recipe.key for recipe in stack).encode()).digest()[0]
    runs = []
    for recipe in recipes:
        run = make_run(recipe, seed)
        # As in a real stack, the company changes the last digits.
        loss = tuple(value + 1e-9 * together for value in run.history.loss if value is not None)
        changes: dict = {
            "history": run.history.model_copy(update={"loss": loss}),
            "provenance": make_provenance(stack=stack),
        }
        if not score_test:
            changes |= {"test": None, "confusion_matrix": None}
        runs.append(run.model_copy(update=changes))
    return runs


def run_quickly(study: Study, folder: Path, **arguments: Any) -> pd.DataFrame:
    """The study trained by `train_quickly`, its records in `folder`/results."""
    how: dict[str, Any] = {"data_dir": folder, "progress": False, "trainer": train_quickly}
    return run_study(study, folder / "results", **how | arguments)


def altered(change: Callable[[Run], dict[str, Any]]) -> Callable[..., list[Run]]:
    """A trainer that changes fields in the runs of `train_quickly`."""

    def trainer(*arguments: Any) -> list[Run]:
        return [run.model_copy(update=change(run)) for run in train_quickly(*arguments)]

    return trainer


def tuned(run: Run, accuracy: float | None) -> dict[str, Any]:
    """The fields of a run with this validation accuracy; None: it diverged, and says 1."""
    score = run.validation.model_copy(update={"accuracy": accuracy or 1.0})
    return {"validation": score, "status": "completed" if accuracy else "diverged"}


def interrupted(folder: Path, after: int) -> Callable[..., list[Run]]:
    """`train_quickly`, stopped by Ctrl-C after so many calls."""

    def trainer(*arguments: Any) -> list[Run]:
        if len(calls(folder)) == after:
            raise KeyboardInterrupt
        return train_quickly(*arguments)

    return trainer


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def set_pause(folder: Path, seconds: float) -> None:
    """From now on a call of `train_quickly` takes so long; no call reads half a number."""
    new = folder / "seconds.new"
    new.write_text(str(seconds))
    new.replace(folder / "seconds")


def calls(folder: Path) -> list[tuple[int, bool, list[str]]]:
    """What `train_quickly` was called for: seed, whether the test set was scored, keys."""
    path = folder / "trained"
    lines = path.read_text().splitlines() if path.exists() else []
    split = [line.split() for line in lines]
    return [(int(seed), score_test == "True", keys) for _, _, seed, score_test, *keys in split]


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for something that happens in another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.02)
