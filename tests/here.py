"""Commands, in this process or in one of their own, and the files that they find and leave.

TensorFlow is dear to import: in this process that is done once for all tests. What depends on a
process of its own, as signals, start-up files or what is printed at its end, is for a real one.
"""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
import pytest
from click.testing import CliRunner

from lenet_keras.dataset import Dataset

ROOT = Path(__file__).parent.parent
TECHNIQUE = r"0[1-79]|[1-7]\d"  # begins the name of a technique's notebook
NOWHERE = "http://127.0.0.1:9"  # a closed port, as a proxy: no network
LENET = ("-m", "lenet_study")
# Left out where a package is copied: another worker may be writing one of these.
COMPILED = shutil.ignore_patterns("__pycache__")


def first_images(count: int, data: Dataset) -> Dataset:
    """So many of each split: Keras traces a network anew for splits of different sizes."""
    splits = {
        name: getattr(data, name).take(np.arange(count)) for name in ("train", "validation", "test")
    }
    return dataclasses.replace(data, **splits)


def invoke(
    folder: Path, command: click.Command, *arguments: str, **variables: str | None
) -> subprocess.CompletedProcess[str]:
    """What a command answers in `folder`; nothing that it sets for its process stays.

    `variables` are environment variables, None for one that is not set. An exception that would be
    a traceback is raised.
    """
    with contextlib.chdir(folder), mpl.rc_context(), pytest.MonkeyPatch.context() as patch:
        for name, value in {"MPLBACKEND": "Agg", "COLUMNS": "200", **variables}.items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        answer = CliRunner().invoke(command, arguments, catch_exceptions=False)
    return subprocess.CompletedProcess(arguments, answer.exit_code, answer.stdout, answer.stderr)


def environment(**variables: str | None) -> dict[str, str]:
    """This process's variables with some set otherwise; None: one that is not set."""
    changed = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **variables}
    return {name: value for name, value in changed.items() if value is not None}


def call(
    folder: Path, *arguments: str, **variables: str | None
) -> subprocess.CompletedProcess[str]:
    """Run `python <arguments>` in `folder` to its end, with `variables` as in `environment`."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(**variables),
        encoding="utf-8",
        capture_output=True,
        timeout=550,
        check=False,
    )


def cut_off(folder: Path) -> dict[str, str | None]:
    """Variables of a machine without CIFAR-10 and network: all that it keeps lies in `folder`."""
    there = {"KERAS_HOME": str(folder / "keras"), "IPYTHONDIR": str(folder / "ipy")}
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), NOWHERE)
    return there | nowhere | dict.fromkeys(("LENET_DATA", "NO_PROXY", "no_proxy"))


def commit_all(folder: Path) -> None:
    """Make a folder a git repository with one commit, whatever the tester's settings of git are."""
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    own = environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "Start"]):
        subprocess.run([*git, *arguments], cwd=folder, env=own, check=True)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@contextlib.contextmanager
def as_nobody(*read_only: Path) -> Iterator[None]:
    """In read-only folders, without the rights of root, whom no file mode stops."""
    for folder in read_only:
        folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for folder in read_only:
            folder.chmod(0o755)


@contextlib.contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """A write beyond so many bytes fails, as on a full disk."""
    import resource  # which Windows does not have

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
