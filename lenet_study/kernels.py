"""What the kernels of our notebooks find: this Python, this package, no settings of one person.

Jupyter starts whatever a machine calls `python3`, with the start-up files, the backend of figures
and the warnings of whoever calls. A batch and the guard have to say the same on every machine.
"""

import os
import sysconfig
from pathlib import Path

from ipykernel.kernelspec import write_kernel_spec

from lenet_study.executors import environment

PACKAGE = Path(__file__).resolve().parent  # that runs here, and that kernels shall import
PLACES = ("LENET_DATA", "KERAS_HOME")  # a kernel runs in another folder than it was called from
# Of Python, Jupyter and TensorFlow; an empty text is for all of them as if nothing were set.
LEFT_OUT = (
    "JUPYTER_NO_CONFIG",
    "JUPYTER_PLATFORM_DIRS",
    "PYTHONDEVMODE",
    "PYTHONINSPECT",
    "PYTHONIOENCODING",
    "PYTHONOPTIMIZE",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONSTARTUP",
    "PYTHONVERBOSE",
    "PYTHONWARNINGS",
)


def settings(folder: Path, data_dir: Path | None = None) -> dict[str, str]:
    """The environment variables of a kernel, for `environment`, where it is started.

    A kernel called `python3` is then the Python of this process. What a person decides for all
    programs of this package stays: LENET_…, KERAS_BACKEND, KERAS_HOME, threads and devices.

    Args:
        folder: empty; holds what a kernel reads and writes beside its notebook, for as long as it
            runs.
        data_dir: where CIFAR-10 lies; LENET_DATA without it.
    """
    style = folder / "matplotlibrc"
    style.touch()
    with environment(MATPLOTLIBRC=str(style), MPLBACKEND="Agg"):
        import matplotlib.font_manager  # looks for fonts, and warns, here and not in a cell
    write_kernel_spec(folder / "kernels" / "python3")
    places = {name: os.environ.get(name) for name in PLACES}
    if data_dir:
        places["LENET_DATA"] = str(data_dir)
    return {
        **dict.fromkeys(LEFT_OUT, ""),
        **{name: _absolute(place) for name, place in places.items() if place},
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_CONFIG_DIR": str(folder),
        "JUPYTER_DATA_DIR": str(folder),
        "JUPYTER_DEFAULT_PROVISIONER_NAME": "local-provisioner",
        "JUPYTER_PATH": str(folder),
        "JUPYTER_RUNTIME_DIR": str(folder),
        "MATPLOTLIBRC": str(style),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MPLCONFIGDIR": matplotlib.get_cachedir(),
        "PYTHONPATH": _search_path(),
        "PYTHONUTF8": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def _search_path() -> str:
    """PYTHONPATH, with this package before all others that a kernel might import."""
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    path = [_absolute(entry) for entry in given]
    if PACKAGE.parent != Path(sysconfig.get_path("purelib")):  # where it is found without
        path.insert(0, str(PACKAGE.parent))
    return os.pathsep.join(path)


def _absolute(place: str) -> str:
    return str(Path(place).expanduser().resolve())
