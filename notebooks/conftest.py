"""How `pytest --nbval notebooks` guards the notebooks: from the records, without training.

Cells tagged `needs-images` are skipped where CIFAR-10 is not on this machine, cells tagged
`nbval-skip`, which train or show what was trained, everywhere. A notebook whose runs are not all
recorded would train for hours: it fails at once, or is skipped while it has no outputs. Kernels are
those of `lenet_study.kernels`, and nothing is written beside the notebooks.
"""

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from lenet_keras.data import load_data
from lenet_keras.download import UnavailableError
from lenet_keras.recipe import InputError, read_yaml
from lenet_study import kernels
from lenet_study.executors import environment
from lenet_study.notebooks import PARAMETERS, technique
from lenet_study.study import Study

NOWHERE = "http://127.0.0.1:9"  # a closed port instead of the network


SETTINGS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Kernels are of this Python, whatever name a notebook was last saved with."""
    if not getattr(config.option, "nbval_kernel_name", None):
        config.option.nbval_current_env = True
    folder = tempfile.TemporaryDirectory(prefix="lenet-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    config.stash[SETTINGS] = kernels.settings(Path(folder.name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Give the kernel that nbval starts its settings; what a notebook shows is not saved too."""
    cell = getattr(item, "cell", None)
    if cell is None:
        return (yield)
    skip_or_fail(item)
    if PARAMETERS in cell.metadata.get("tags", []):
        cell.source += f"\nfigures_dir = {os.devnull!r}"
    # An image's words must be the same; its bytes may come from another version of matplotlib.
    item.parent.sanitize_patterns[r'(?<=;base64,)[^"]+'] = ""
    with environment(**item.config.stash[SETTINGS]):
        return (yield)


def skip_or_fail(item: pytest.Item) -> None:
    """Skip or fail a cell before nbval starts a kernel for it."""
    lacking = lacking_runs(item.path)
    if lacking and has_outputs(item.path):
        pytest.fail(f"results lack {lacking} of its runs: `make study` trains them", pytrace=False)
    if not has_outputs(item.path):
        pytest.skip("no outputs to compare: `python -m lenet_study notebooks --in-place`")
    tags = item.cell.metadata.get("tags", [])
    if "needs-images" in tags and not cifar10_is_here():
        pytest.skip("needs images: CIFAR-10 is not on this machine")
    if "nbval-skip" in tags:  # nbval skips it too, and says no reason
        pytest.skip("trains: another machine may give other last digits")


@functools.cache
def cifar10_is_here() -> bool:
    """Whether CIFAR-10 can be read without the network."""
    try:
        with environment(HTTPS_PROXY=NOWHERE, https_proxy=NOWHERE):
            load_data("cifar10", progress=False)
    except UnavailableError:
        return False
    return True


@functools.cache
def lacking_runs(notebook: Path) -> int:
    """How many runs that the notebook reads are not recorded.

    A technique's own notebook reads all its runs; so does a notebook that names a study outside of
    the summary. Another one that names a technique file, as that of the baseline does, reads those
    of the technique's baseline. Files of recipes and searches hold no study.
    """
    code = "\n".join(c.source for c in nbformat.read(notebook, as_version=4).cells)
    lacking = 0
    named = re.findall(r"configs/(\w+)\.yaml\"|open_technique\(\s*\"(\w+)\"", code)
    for name in sorted({file or opened for file, opened in named}):
        path = notebook.parent.parent / "configs" / f"{name}.yaml"
        if not {"variants", "factors"} & read_yaml(path).keys():
            continue
        study = Study.from_yaml(path)
        own = technique(notebook) == name or not study.in_summary
        variants = list(study.variants) if own else [study.baseline]
        with contextlib.suppress(InputError):  # no trust in a record: the notebook says in which
            results = notebook.parent / "../results"
            runs = study.table(results, variants=variants)
            lacking += study.planned_runs(variants, results) - len(runs)
    return lacking


@functools.cache
def has_outputs(notebook: Path) -> bool:
    """Whether the notebook was executed before it was stored."""
    cells = nbformat.read(notebook, as_version=4).cells
    return any(cell.get("execution_count") for cell in cells)
