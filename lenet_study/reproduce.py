"""Trains recorded runs again and compares: whether the evidence can be had once more."""

import functools
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from lenet_keras import available_threads
from lenet_keras.recipe import InputError
from lenet_keras.run import History, Run
from lenet_study import records
from lenet_study.executors import environment, open_executor
from lenet_study.runner import Trainer, train_group

BETWEEN_SEEDS = 0.05  # of 100 recorded pairs of seeds, 99 differ less in validation accuracy
# How accelerators call themselves; a record names its device and no more.
ACCELERATOR = re.compile(r"NVIDIA|Tesla|Quadro|GeForce|Instinct|TPU|GPU|Metal")


@dataclass(frozen=True)
class Comparison:
    """A recorded run beside the same run trained again."""

    path: Path
    same_machine: bool  # the record names this machine's kind
    held: bool
    rule: str  # by which it held or did not
    what: str  # the first value that did not hold, else the last that was compared
    recorded: float | str | None
    retrained: float | str | None

    def __str__(self) -> str:
        """One line with both numbers."""
        return (
            f"{self.path}: {'reproduced' if self.held else 'NOT reproduced'} {self.rule}; "
            f"{self.what}: recorded {self.recorded!r}, retrained {self.retrained!r}"
        )


def reproduce(
    results_dir: Path | str,
    sample: int = 3,
    seed: int = 0,
    study: str | None = None,
    *,
    data_dir: Path | str | None = None,
    progress: bool = True,
    trainer: Trainer | None = None,
) -> list[Comparison]:
    """Train recorded runs again and compare their histories; records are only read.

    On the machine kind that the record names (device, instruction set, oneDNN, threads, backend,
    versions, settings) every epoch must come out to the last digit. On another, or where an older
    record does not say all of it, the first epoch should be within 1e-6. But processors
    round some functions otherwise (1 / square root, with which normalisation and some optimizers
    divide), and a step multiplies what it finds of that: there, the run must end as near to the
    record as another seed would, within 0.05 of its validation accuracy. Times are not compared.
    A run that was trained in a stack is trained in the same stack, and with as many threads; all
    that are recorded of a training are compared, for they cost it once.

    Args:
        results_dir: folder of the records.
        sample: how many trainings to draw, see `draw`; all of them if there are fewer.
        seed: of the drawing.
        study: draw from this study's records only.
        data_dir: see `load_data`.
        progress: whether a progress bar is drawn.
        trainer: what trains a group of recipes, `train_group` without it.

    Raises:
        InputError: no record to draw from, or one that cannot be trusted.
    """
    if sample < 1:
        raise InputError(f"sample: found {sample}; at least one record is needed.")
    runs = {path: records.read(path) for path in records.find(Path(results_dir), study)}
    if not runs:
        raise InputError(f"{results_dir}: no record{f' of {study}' if study else ''} to reproduce.")
    comparisons = []
    drawn = draw(runs, sample, seed)
    for paths in tqdm(drawn, desc="reproduce", unit="training", disable=not progress):
        recorded = runs[paths[0]]
        group = recorded.provenance.stack or (recorded.recipe,)
        again = _train_with_threads(
            recorded.provenance.threads,
            functools.partial(
                trainer or train_group, group, recorded.seed, recorded.test is not None, data_dir
            ),
        )
        comparisons += [
            compare(path, runs[path], again[group.index(runs[path].recipe)]) for path in paths
        ]
    return comparisons


def draw(runs: Mapping[Path, Run], sample: int, seed: int) -> list[tuple[Path, ...]]:
    """Trainings drawn by chance without replacement, each as the records that it gave; the dearer,
    the more seldom: its weight is one over its seconds (Efraimidis and Spirakis 2006).

    A network's epoch counts a second at the least, and four where an accelerator trained it: its
    seconds say nothing of a processor's, and a stack as wide as suits it takes a laptop two to
    five seconds a network and epoch.
    """
    chance = random.Random(seed)
    order: dict[tuple[Path, ...], float] = {}
    for paths in _trainings(runs):
        run = runs[paths[0]]
        members = max(1, len(run.provenance.stack))
        least = 4 if ACCELERATOR.search(run.provenance.device) else 1
        seconds = members * max(run.provenance.wall_seconds, least * run.recipe.epochs)
        order[paths] = seconds * math.log(1.0 - chance.random())
    return sorted(sorted(order, key=order.__getitem__, reverse=True)[:sample])


def _trainings(runs: Mapping[Path, Run]) -> list[tuple[Path, ...]]:
    """The records, those of one training together: a stack's members, or one network alone."""
    together: dict[object, list[Path]] = {}
    for path, run in sorted(runs.items()):
        given = run.provenance
        stack = given.stack, given.threads, run.seed, run.test is None
        together.setdefault(stack if given.stack else path, []).append(path)
    return [tuple(paths) for paths in together.values()]


def _train_with_threads(threads: int, train: Callable[[], list[Run]]) -> list[Run]:
    """Train with as many threads as the record had, which decide in what order sums are rounded.

    TensorFlow fixes their number when it starts; any other number needs a process of its own.
    """
    if threads == available_threads():
        return train()
    with environment(LENET_THREADS=str(threads)), open_executor("processes:1") as (pool, _):
        return pool.submit(train).result()


# What decides how a run's sums are rounded. An older record lacks some of it, and two processors of
# one name may differ in that.
_MACHINE_KIND = (
    "device",
    "instruction_set",
    "onednn",
    "threads",
    "backend",
    "versions",
    "settings",
)


def compare(path: Path, recorded: Run, retrained: Run) -> Comparison:
    """Compare the histories of one run trained twice, by the rule of `reproduce`."""
    old, new = recorded.provenance, retrained.provenance
    same_machine = all(getattr(old, name) == getattr(new, name) for name in _MACHINE_KIND)

    def history(epochs: int) -> list[tuple[str, Any, Any]]:
        return [
            (
                f"{name}, epoch {i + 1}",
                *(getattr(r.history, name)[i] for r in (recorded, retrained)),
            )
            for i in range(epochs)
            for name in History.model_fields
            if name != "seconds"
        ]

    given = [
        ("dataset_fingerprint", old.dataset_fingerprint, new.dataset_fingerprint),
        ("batches_digest", old.batches_digest, new.batches_digest),
    ]
    lengths = len(recorded.history.loss), len(retrained.history.loss)
    everything = [*given, ("epochs", *lengths), *history(min(lengths))]
    if recorded.test and retrained.test:
        everything.append(("test loss", recorded.test.loss, retrained.test.loss))
        everything.append(("test accuracy", recorded.test.accuracy, retrained.test.accuracy))
    different = [value for value in everything if value[1] != value[2]]
    if not different:
        return Comparison(path, same_machine, True, "to the last digit", *everything[-1])
    if same_machine or different[0] in given:
        return Comparison(path, same_machine, False, "to the last digit", *different[0])
    first = history(1)
    if lengths[0] == lengths[1] and all(
        before == after or _close(before, after) for _, before, after in first
    ):
        return Comparison(path, False, True, "within 1e-6 after the first epoch", *first[-1])
    ends = recorded.validation.accuracy, retrained.validation.accuracy
    alike = abs(ends[0] - ends[1]) <= BETWEEN_SEEDS
    rule = "as nearly as another seed would be, for roundings differ here"
    return Comparison(path, False, alike, rule, "validation accuracy", *ends)


def _close(a: object, b: object) -> bool:
    numbers = isinstance(a, float) and isinstance(b, float)
    return numbers and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)  # type: ignore[arg-type]
