"""Who trains: this process, worker processes beside it, or a Dask cluster.

All three are a `concurrent.futures.Executor`; `open_executor` gives one by its name.
"""

import contextlib
import multiprocessing
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any, ParamSpec, TypeVar

from lenet_keras import available_threads
from lenet_keras.recipe import InputError
from lenet_study.cluster import Cluster

P = ParamSpec("P")
T = TypeVar("T")
Slots = Callable[[], int]  # how many calls run at once, asked again as a cluster may grow

CONNECT_SECONDS = 10.0
ALLOWED = "local, processes:N (as in processes:2), dask://host:port (as in dask://localhost:8786)"


@contextlib.contextmanager
def open_executor(
    name: str, ready: Callable[[], object] = lambda: None
) -> Iterator[tuple[Executor, Slots]]:
    """An executor for the length of a `with` block, and how many calls it runs at once.

    Args:
        name: "local": in this process. "processes:N": N spawned processes that share this
            machine's processor cores. "dask://host:port": the workers of a Dask scheduler; where
            there are none yet, that is said, and they are waited for.
        ready: what every worker of a cluster must be able to do before it is given a call, as to
            load the data.

    Raises:
        InputError: an unknown name; no such scheduler or no `distributed` installed; a worker of
            the cluster that cannot do what this process can; a script without a main guard; and,
            out of the block, workers or a scheduler that are gone.
    """
    if name == "local":
        yield _InThisProcess(), lambda: 1
    elif match := re.fullmatch(r"processes:([1-9]\d*)", name):
        count = int(match[1])
        with _processes(count) as executor:
            yield executor, lambda: count
    elif match := re.fullmatch(r"dask://([^/]+:\d+)", name):
        with _dask(f"tcp://{match[1]}", ready) as found:
            yield found
    else:
        raise InputError(f"executor: found '{name}'. Allowed: {ALLOWED}.")


class _InThisProcess(Executor):
    """Calls at once, while `submit` is waited for."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


_GUARD = (
    "worker processes begin by running the script that called for them, as far as it is not below "
    '`if __name__ == "__main__":`. Put the call there, in a file and not on standard input; or '
    "use the executor 'local'."
)


@contextlib.contextmanager
def _processes(count: int) -> Iterator[Executor]:
    """Spawned processes, each with its share of the cores; killed when the block is left early."""
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    # Set, as for Python's own refusal, while a new process runs the script that called for it.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(f"executor: {_GUARD}")
    started = context.Event()
    threads = max(1, available_threads() // count)
    lifeline, end = context.Pipe(duplex=False)
    # Read when a worker imports lenet_keras. JAX would take most of a GPU's memory at its start.
    shared = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with environment(LENET_THREADS=str(threads), XLA_PYTHON_CLIENT_PREALLOCATE=shared):
        pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_follow_parent, initargs=(lifeline, started)
        )
        try:
            yield pool
        except BrokenProcessPool:
            if not started.is_set():
                raise InputError(
                    f"executor: no worker process could start; why, stands above. Most often: "
                    f"{_GUARD}"
                ) from None
            fewer = "; run again with fewer processes" if count > 1 else ""
            raise InputError(
                f"executor: a worker process, of {count}, ended unexpectedly; it may have run out "
                f"of memory. Finished runs are recorded{fewer}."
            ) from None
        except BaseException:
            end.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            lifeline.close()
            end.close()


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """These environment variables, for the length of a `with` block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _follow_parent(lifeline: Connection, started: Event) -> None:
    """In a worker: end at once when the parent closes the lifeline or dies, even by `kill -9`.

    Without it a worker would finish its run, for minutes, and then wait for ever. Ctrl-C reaches
    every process of a terminal; the parent alone answers it.
    """
    started.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        lifeline.poll(None)  # until the other end is closed, as it is when its process dies
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _keeps_silent(address: str) -> bool:
    """Whether something listens there but does not speak first, as a scheduler does; Dask's client
    would wait for it for ever (dask/distributed#8071)."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection:
            return not connection.recv(1)
    except TimeoutError:
        return True
    except (OSError, OverflowError):  # nobody is there, or not yet: the client waits and says so
        return False


@contextlib.contextmanager
def _dask(address: str, ready: Callable[[], object]) -> Iterator[tuple[Executor, Slots]]:
    """The workers of the Dask scheduler at `address`."""
    try:
        import distributed
    except ImportError:
        raise InputError(
            "executor: dask:// needs the package distributed: uv sync --extra dask, "
            "or pip install 'lenet-keras[dask]'."
        ) from None
    if _keeps_silent(address):
        raise InputError(
            f"executor: what listens at {address} is no Dask scheduler. Its port is the one that "
            "'dask scheduler' prints, most often 8786; 8787 is that of its web page."
        )
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"executor: no Dask scheduler answers at {address} ({error}). "
            "Start one with 'dask scheduler' and its workers with 'dask worker'."
        ) from None
    gone: tuple[type[BaseException], ...] = (CancelledError, distributed.CancelledError)
    gone += (distributed.comm.CommClosedError,)
    try:
        cluster = Cluster(client, address, ready)
        cluster.wait_for_workers()
        executor: Any = client.get_executor(pure=False)
        yield executor, cluster.slots
    except gone:
        raise InputError(
            f"executor: the Dask scheduler at {address} is gone. Finished runs are recorded; "
            "start it again, and the study goes on where it stopped."
        ) from None
    except distributed.KilledWorker as error:
        raise InputError(
            f"executor: Dask gave a run up ({error}). Finished runs are recorded; look into the "
            "workers' logs, often they are out of memory."
        ) from None
    finally:
        client.close(timeout=CONNECT_SECONDS)
