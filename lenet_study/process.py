"""What every command finds: both packages of one copy, an output, warnings that are no errors."""

import os
import sys
import warnings
from pathlib import Path

import lenet_keras
from lenet_keras.recipe import InputError


def prepare() -> None:
    """Make this process fit for a command, whatever somebody has set for Python.

    A library's warning ends nothing, also where `python -W error` or PYTHONWARNINGS says so, as in
    a service that tests; worker processes inherit that.

    Raises:
        InputError: lenet_keras is that of another copy than this package, so that it is unknown
            what would be trained; or standard output or standard error is closed. Nobody would see
            what is said, and the next file to be opened would get what TensorFlow writes there.
    """
    ours, helper = Path(__file__).resolve().parent, Path(lenet_keras.__path__[0]).resolve()
    if ours.parent != helper.parent:
        raise InputError(
            f"{helper}: belongs to another copy than {ours}. Look after PYTHONPATH, and install "
            "one of the two: uv sync, or pip install --editable ."
        )
    if sys.stdout is None or sys.stderr is None:
        raise InputError(
            "standard output or standard error is closed. Send it to a file or to /dev/null."
        )
    if any(option.startswith("error") for option in sys.warnoptions):
        sys.warnoptions.clear()
        os.environ.pop("PYTHONWARNINGS", None)
        warnings.simplefilter("default")
