"""Commands in this process, for which TensorFlow, dear to import, is imported once for all tests.

What depends on a process of its own, as signals, start-up files or what is printed at its end, is
for a real one.
"""

import contextlib
import subprocess
from pathlib import Path

import click
import matplotlib as mpl
import pytest
from click.testing import CliRunner


def invoke(
    folder: Path, command: click.Command, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """What a command answers in `folder`; nothing that it sets for its process stays.

    An exception that would be a traceback is raised.
    """
    with contextlib.chdir(folder), mpl.rc_context(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "Agg")
        patch.setenv("COLUMNS", "200")
        answer = CliRunner().invoke(command, arguments, catch_exceptions=False)
    return subprocess.CompletedProcess(arguments, answer.exit_code, answer.stdout, answer.stderr)
