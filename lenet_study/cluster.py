"""The workers of a Dask cluster: whether there are any, and whether they can do our work.

A worker that lacks the package, or has another version of something, would fail in the middle of a
study or, worse, compute otherwise; so each is asked before it is given its first run.
"""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from lenet_keras.recipe import InputError

LONG = 10.0  # seconds to get ready, after which that is said


class Cluster:
    """What is known of a Dask cluster's workers."""

    def __init__(self, client: Any, address: str, ready: Callable[[], object]) -> None:
        """`client` is a `distributed.Client`; what is `ready` is what each worker must be able to
        do."""
        self.client, self.address, self.ready = client, address, ready
        self.fit: set[str] = set()
        self.missed = False  # whether it has been said that there are no workers

    def wait_for_workers(self) -> None:
        """Return when there is a worker; say so once if there is none yet.

        Raises:
            InputError: a worker that cannot do our work.
        """
        while not self._workers():
            time.sleep(1)

    def slots(self) -> int:
        """How many calls the workers run at once; a single one waits where there are no workers.

        Raises:
            InputError: a worker that cannot do our work.
        """
        return max(1, sum(self._workers().values()))

    def _workers(self) -> dict[str, int]:
        """The threads of each worker, by address; new ones are looked at."""
        threads: dict[str, int] = self.client.nthreads()
        if not threads and not self.missed:
            _say(
                f"The Dask scheduler at {self.address} has no workers; waiting for one. Start it "
                f"in an environment like this one: dask worker {self.address}"
            )
        self.missed = not threads
        if new := sorted(threads.keys() - self.fit):
            self.fit.update(self._examined(new))
        return {worker: count for worker, count in threads.items() if worker in self.fit}

    def _examined(self, workers: list[str]) -> list[str]:
        """Those of the workers that are still there; one that is unlike this process, or cannot
        get ready, is refused."""
        # First Python alone: between two versions not even a function can be sent.
        versions = self.client.get_versions()
        python = {worker: _python(found) for worker, found in versions["workers"].items()}
        here = _python(versions["client"])
        _compare(here, {worker: python.get(worker, here) for worker in workers})
        look = _look()
        looked = self.client.run(look, workers=workers, on_error="return")
        there = {worker: found for worker, found in looked.items() if isinstance(found, dict)}
        _compare(look(), there)
        asked = {w: self.client.submit(self.ready, workers=[w], pure=False) for w in there}
        for worker, future in asked.items():
            self._wait(worker, future)
            if not future.done():
                future.cancel()
            elif future.exception():
                raise InputError(
                    f"executor: the worker {worker} cannot get ready: {future.exception()} "
                    "Finished runs are recorded; give it the data, or --data-dir a folder that "
                    "every worker sees under that name."
                )
        return [worker for worker, future in asked.items() if future.done()]

    def _wait(self, worker: str, future: Any) -> None:
        """Until the call has ended or its worker is gone; say so once if that takes long."""
        deadline = time.monotonic() + LONG
        while not future.done() and worker in self.client.nthreads():
            time.sleep(0.1)
            if time.monotonic() > deadline:
                deadline = math.inf
                _say(f"The worker {worker} is not ready yet: it looks for data or downloads it.")


def _python(found: dict[str, Any]) -> dict[str, str]:
    """Python's version without its patches, from what Dask says of a process."""
    return {"Python": ".".join(found["packages"]["python"].split(".")[:2])}


def _say(message: str) -> None:
    tqdm.write(message, file=sys.stderr)  # above a progress line


def _compare(here: dict[str, str], there: dict[str, dict[str, str]]) -> None:
    """Raise InputError where a worker has something else than this process."""
    faults = [
        f"{worker}: {name} is {found[name]}, here {value}"
        for worker, found in there.items()
        for name, value in here.items()
        if found[name] != value
    ]
    if faults:
        raise InputError(
            "executor: workers that are not like this process would fail or compute otherwise.\n  "
            + "\n  ".join(faults)
            + "\nFinished runs are recorded. Stop these workers and start them in an environment "
            "like this one."
        )


def _look() -> Callable[[], dict[str, str]]:
    """A function that says what a process has, without loading TensorFlow.

    It is a function's own, so that it is sent by content: a worker may lack this package.
    """

    def look() -> dict[str, str]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import os
        import pathlib

        found = {}
        for name in ("lenet_keras", "lenet_study"):
            spec = importlib.util.find_spec(name)
            found[f"the package {name}"] = "missing"
            if spec and spec.origin:
                digest = hashlib.sha256()
                for path in sorted(pathlib.Path(spec.origin).parent.glob("*.py")):
                    digest.update(path.name.encode())
                    digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
                found[f"the package {name}"] = f"version {digest.hexdigest()[:10]}"
        backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
        packages = importlib.metadata.packages_distributions()
        for name in ("tensorflow", "keras", "numpy", *(["jax"] if backend == "jax" else [])):
            installed = packages.get(name)
            found[name] = importlib.metadata.version(installed[0]) if installed else "missing"
        return {**found, "KERAS_BACKEND": backend}

    return look
