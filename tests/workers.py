"""What tests have worker processes do: a module of its own, quick to import for each of them."""

import os
import signal
import time
from concurrent.futures import wait
from pathlib import Path

from lenet_keras.recipe import InputError
from lenet_study.executors import open_executor


def whereabouts(_: int = 0) -> tuple[int, str | None, str | None]:
    time.sleep(0.3)
    return (
        os.getpid(),
        os.environ.get("LENET_THREADS"),
        os.environ.get("TF_NUM_INTEROP_THREADS"),
    )


def fail(message: str) -> None:
    raise InputError(message)


def die(*_: object) -> None:
    os._exit(1)


def sleep_long(folder: Path) -> None:
    (folder / f"{os.getpid()}.pid").touch()
    time.sleep(600)


def hold_workers(folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    with open_executor("processes:2") as (executor, _):
        wait([executor.submit(sleep_long, folder) for _ in range(2)])
