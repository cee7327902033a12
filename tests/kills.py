"""Kill what writes records at random moments, and look whether anything is lost.

    python tests/kills.py --kills 500 --seed 0 --folder runs/kills study search
    python tests/kills.py --kills 12 --seed 0 --folder runs/killed \\
        study-command search-command notebooks-command

Studies and searches train with `train_quickly` in a forked process: real records, locks and links,
a hundred kills in a minute. The commands are processes of their own that train on the digits.
After each kill every record must be readable and as it was; once a round ends by itself, its table
must be that of a round that nobody disturbed. The seed fixes when, as shares of the time that such
a round takes, each kill comes.
"""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pandas as pd
from examples import MOMENTUM, run_quickly, set_pause, train_quickly, write_yaml
from here import ROOT, environment
from tqdm import tqdm

from lenet_keras.recipe import InputError
from lenet_study import records
from lenet_study.search import Search
from lenet_study.study import Study

TIMES = ["seconds", "wall_seconds"]
THREE = {"plain": {}, "relu": {"activation": "relu"}, "adam": {"optimizer": "adam"}}
STUDY: dict[str, Any] = {**MOMENTUM, "variants": THREE, "seeds": 8}
SEARCH: dict[str, Any] = {
    "title": "A search",
    "question": "Which recipe?",
    "dataset": "digits",
    "base": {"batch_size": 64, "optimizer": "adamw"},
    "families": {"plain": {}, "flipped": {"augmentation": ["flip"]}},
    "members": {"learning_rate": {"low": 0.001, "high": 0.01}, "activation": ["relu", "silu"]},
    "stages": [
        {"recipes": 16, "epochs": 1, "seeds": [2000]},
        {"recipes": 6, "epochs": 2, "seeds": [2000, 2001]},
        {"recipes": 2, "epochs": 3, "seeds": [2002]},
    ],
}


@dataclass
class Tally:
    """What a campaign did and found."""

    kills: int = 0
    rounds: int = 0  # that came to their end between kills
    records: int = 0  # that all rounds left, the last one included
    lost: int = 0  # records gone or changed
    misread: int = 0  # files that are no whole record, notebooks or pages, or rounds that differ
    tracebacks: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Subject:
    """What is killed: how it starts in a folder; after which share of its time at the latest."""

    start: Callable[[Path], Any]
    share: float


def study_here(folder: Path) -> None:
    """A study with the made-up trainer."""
    run_quickly(Study.model_validate({**STUDY, "name": "study"}), folder)


def search_here(folder: Path) -> None:
    """A search with the made-up trainer."""
    search = Search.model_validate({**SEARCH, "name": "search"})
    search.run(folder / "results", data_dir=folder, progress=False, trainer=train_quickly)


class Forked:
    """A function in a forked process, spoken to like a `subprocess.Popen`."""

    def __init__(self, work: Callable[[Path], None], folder: Path) -> None:
        def quietly() -> None:
            # tqdm's own lock is one for all forked processes: who is killed holding it, keeps it.
            tqdm.set_lock(threading.RLock())
            with (folder / "stderr").open("ab") as file:
                os.dup2(file.fileno(), 2)
            work(folder)

        self._process = multiprocessing.get_context("fork").Process(target=quietly)
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode


def _command(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / "stderr").open("ab") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "lenet_study", *arguments, "--quiet"],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )


def _file_command(name: str, content: dict[str, Any], folder: Path) -> subprocess.Popen[bytes]:
    file = write_yaml(folder / f"{name}.yaml", content)
    return _command(folder, name, str(file), "--results", str(folder / "results"))


def _notebooks_command(folder: Path) -> subprocess.Popen[bytes]:
    values = {"dataset": "digits", "seeds": "2", "epochs": "1"}
    values |= {"results_dir": str(folder / "results"), "figures_dir": str(folder / "figures")}
    given = [word for name, value in values.items() for word in ("-p", name, value)]
    out = str(folder / "notebooks")
    return _command(folder, "notebooks", "--only", "schedule", "-o", out, *given)


SUBJECTS = {
    "study": Subject(lambda folder: Forked(study_here, folder), 0.3),
    "search": Subject(lambda folder: Forked(search_here, folder), 0.3),
    "study-command": Subject(lambda folder: _file_command("study", STUDY, folder), 0.9),
    "search-command": Subject(lambda folder: _file_command("search", SEARCH, folder), 0.9),
    "notebooks-command": Subject(_notebooks_command, 0.9),
}


def torment(subject: Subject, folder: Path, kills: int, seed: int, minutes: float = 60.0) -> Tally:
    """Kill a subject again and again, and look after each time.

    Args:
        subject: one of `SUBJECTS`.
        folder: an empty one.
        kills: how many.
        seed: of their moments.
        minutes: after which no other kill is begun.
    """
    tally, dice = Tally(), random.Random(seed)
    whole = _new(folder / "whole")
    started = time.monotonic()
    process = subject.start(whole)
    if process.wait():
        raise SystemExit(f"undisturbed, it fails: {(whole / 'stderr').read_text()}")
    longest = subject.share * (time.monotonic() - started)
    expected = _table(whole)
    torn, seen = _new(folder / "torn-0"), dict[Path, bytes]()
    while tally.kills < kills and time.monotonic() < started + 60 * minutes:
        process = subject.start(torn)
        deadline = time.monotonic() + dice.uniform(0, longest)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        if process.poll() is None:
            _kill(process)
            tally.kills += 1
        code = process.wait()
        before, seen = len(seen), _look(torn, seen, tally)
        tally.records += len(seen) - before
        if code == 0:
            tally.rounds += 1
            if not _table(torn).equals(expected):
                tally.misread += 1
                tally.notes.append(f"{torn}: another table than undisturbed")
            torn, seen = _new(folder / f"torn-{tally.rounds}"), {}
        elif code is None or code > 0:
            tally.tracebacks += 1
            tally.notes.append(f"{torn}: exit code {code}: {(torn / 'stderr').read_text()}")
            break
    return tally


def _new(folder: Path) -> Path:
    folder.mkdir()
    (folder / "stderr").touch()
    set_pause(folder, 0.002)
    return folder


def _kill(process: Any) -> None:
    process.kill()
    if isinstance(process, subprocess.Popen):
        process.wait()
        with contextlib.suppress(ProcessLookupError):  # what it started, as a notebook's kernel
            os.killpg(process.pid, signal.SIGKILL)


def _table(folder: Path) -> pd.DataFrame:
    return records.table(folder / "results").drop(columns=TIMES)


def _look(folder: Path, before: dict[Path, bytes], tally: Tally) -> dict[Path, bytes]:
    """Every record that there is, after those that were there before have been compared."""
    found = {path: path.read_bytes() for path in (folder / "results").rglob("seed-*.json")}
    for path in found.keys() - before.keys():
        try:
            records.read(path)
        except InputError as error:
            tally.misread += 1
            tally.notes.append(str(error))
    for path, content in before.items():
        if found.get(path) != content:
            tally.lost += 1
            tally.notes.append(f"{path}: gone or changed")
    for path in (folder / "notebooks").glob("[!.]*"):
        if path.suffix == ".ipynb":
            whole = "cells" in json.loads(path.read_text() or "{}")
        else:
            whole = path.suffix != ".html" or path.read_text().rstrip().endswith("</html>")
        if not whole:
            tally.misread += 1
            tally.notes.append(f"{path}: half of it")
    if "Traceback" in (folder / "stderr").read_text():
        tally.tracebacks += 1
        tally.notes.append(f"{folder / 'stderr'}: a traceback")
    return found


@click.command()
@click.argument("subjects", nargs=-1, required=True, type=click.Choice(list(SUBJECTS)))
@click.option("--kills", default=30, show_default=True, help="Of each subject.")
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--minutes", default=20.0, show_default=True, help="At most, for each subject.")
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="An empty one.")
def main(subjects: tuple[str, ...], kills: int, seed: int, minutes: float, folder: Path) -> None:
    """Kill SUBJECTS; exit code 1 if anything was lost, misread or ended in a traceback."""
    failed = False
    for name in subjects:
        (folder / name).mkdir(parents=True)
        tally = torment(SUBJECTS[name], folder / name, kills, seed, minutes)
        click.echo(f"{name}: {tally}")
        failed |= bool(tally.lost or tally.misread or tally.tracebacks)
        failed |= tally.kills < kills or not tally.records
    sys.exit(failed)


if __name__ == "__main__":
    main()
