"""Executors: the same results from this process, from others and from a Dask cluster."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from examples import MOMENTUM, calls, posix_only, run_quickly, set_pause, until, write_yaml
from workers import die, fail, hold_workers, whereabouts

from lenet_keras.recipe import InputError, Recipe
from lenet_keras.run import Run
from lenet_study import executors, records
from lenet_study.executors import open_executor
from lenet_study.study import Study

THREE = {"plain": {}, "relu": {"activation": "relu"}, "adam": {"optimizer": "adam"}}
STUDY: dict[str, Any] = {**MOMENTUM, "variants": THREE, "seeds": 6}
RUNS = 3 * 2 + 3 * 6


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.from_yaml(write_yaml(tmp_path / "optimization.yaml", STUDY))


def running(pid: int) -> bool:
    """Whether a process does anything; a dead one that nobody has asked after does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "name", ["", "threads:2", "processes", "processes:0", "processes:two", "dask://", "dask://host"]
)
def test_an_unknown_executor_is_explained(study: Study, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"found '{name}'. Allowed: local, processes:N"):
        run_quickly(study, tmp_path, executor=name)
    assert not calls(tmp_path)


def test_what_is_no_scheduler_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="distributed (the extra 'dask') is not installed")
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as web_page:  # which waits to be asked
        name = f"dask://127.0.0.1:{web_page.getsockname()[1]}"
        with pytest.raises(InputError, match=r"is no Dask scheduler.*8787"), open_executor(name):
            pass


def test_in_this_process() -> None:
    with open_executor("local") as (executor, slots):
        assert slots() == 1
        assert executor.submit(os.getpid).result() == os.getpid()
        with pytest.raises(InputError, match="no such data"):
            executor.submit(fail, "no such data").result()


def test_processes_divide_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENET_THREADS", "6")
    with open_executor("processes:2") as (executor, slots):
        assert slots() == 2
        found = set(executor.map(whereabouts, range(4)))
        with pytest.raises(InputError, match="no such data"):
            executor.submit(fail, "no such data").result()
    pids = {pid for pid, _, _ in found}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert {threads for _, *threads in found for threads in threads} == {"3"}
    assert os.environ["LENET_THREADS"] == "6"
    until(lambda: not any(running(pid) for pid in pids))


def test_every_executor_gives_the_same_table(study: Study, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    expected = run_quickly(study, here, executor="local")
    pd.testing.assert_frame_equal(run_quickly(study, there, executor="processes:2"), expected)
    assert sorted(calls(there)) == sorted(calls(here))
    pids = {line.split()[0] for line in (there / "trained").read_text().splitlines()}
    assert str(os.getpid()) not in pids


def test_a_worker_that_dies_is_named(study: Study, tmp_path: Path) -> None:
    run_quickly(study, tmp_path, executor="local", variants=["plain"])
    with pytest.raises(InputError, match="fewer processes"):
        run_quickly(study, tmp_path, executor="processes:2", trainer=die)
    assert len(study.table(tmp_path / "results")) == 2 + 6
    assert len(run_quickly(study, tmp_path, executor="local")) == RUNS


@posix_only
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_workers_end_with_their_parent(tmp_path: Path, name: str) -> None:
    parent = multiprocessing.get_context("spawn").Process(target=hold_workers, args=(tmp_path,))
    parent.start()
    until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    assert parent.pid
    os.kill(parent.pid, signal.Signals[name])
    parent.join(30)
    assert parent.exitcode
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    until(lambda: not any(running(pid) for pid in workers), seconds=30)


# Dask: a scheduler and two workers as processes of their own


TESTED = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])


class Cluster:
    """A real Dask cluster on the loopback interface."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            ["-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", str(self.port)]
        )
        until(lambda: self.scheduler.poll() is not None or self._listens())
        for _ in range(workers):
            self.start_worker()

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def start_worker(
        self, *, python: Sequence[str] = ("-m", "dask", "worker"), **settings: Any
    ) -> subprocess.Popen[bytes]:
        """A worker of one thread; `settings` are those of `_start`."""
        place = self.folder / f"worker-{len(self.workers)}"
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(place))
        worker = self._start([*python, f"tcp://127.0.0.1:{self.port}", *options], **settings)
        self.workers.append(worker)
        return worker

    def _start(
        self, command: Sequence[str], cwd: Path | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        with (self.folder / "cluster.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *command, "--no-dashboard"],
                stderr=log,
                stdout=log,
                env={**os.environ, "PYTHONPATH": TESTED, **environment},
                cwd=cwd or self.folder,
            )

    @property
    def name(self) -> str:
        return f"dask://127.0.0.1:{self.port}"

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for two tests, the first of which takes a worker from it and the second the scheduler."""
    pytest.importorskip("distributed", reason="distributed (the extra 'dask') is not installed")
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


def trained_by(folder: Path) -> list[int]:
    path = folder / "trained"
    return [int(s.split()[0]) for s in path.read_text().splitlines()] if path.exists() else []


def test_a_dask_worker_killed_mid_run(study: Study, tmp_path: Path, cluster: Cluster) -> None:
    set_pause(tmp_path, 0.3)
    with ThreadPoolExecutor() as pool:
        table = pool.submit(run_quickly, study, tmp_path, executor=cluster.name)
        until(lambda: table.done() or len(set(trained_by(tmp_path))) == 2)  # both are at work
        assert not table.done(), table.exception()
        victim = cluster.workers[0]
        set_pause(tmp_path, 3)
        time.sleep(0.5)  # runs that began before are done
        before = len(trained_by(tmp_path))
        until(lambda: victim.pid in trained_by(tmp_path)[before:])  # it has just begun a run of 3 s
        victim.kill()
        set_pause(tmp_path, 0)
        rows = table.result(timeout=120)
    assert len(rows) == RUNS
    assert not rows.duplicated(["variant", "purpose", "seed", "key"]).any()
    asked = [(seed, tuple(keys)) for seed, _, keys in calls(tmp_path)]
    again = [call for call in set(asked) if asked.count(call) > 1]
    assert len(again) == 1  # the run that was lost, and no other
    (tmp_path / "alone").mkdir()
    pd.testing.assert_frame_equal(rows, run_quickly(study, tmp_path / "alone", executor="local"))


def test_a_dask_scheduler_that_goes(study: Study, tmp_path: Path, cluster: Cluster) -> None:
    set_pause(tmp_path, 0.3)
    with ThreadPoolExecutor() as pool:
        table = pool.submit(run_quickly, study, tmp_path, executor=cluster.name)
        until(lambda: table.done() or len(trained_by(tmp_path)) >= 6)
        assert not table.done(), table.exception()
        cluster.scheduler.kill()
        with pytest.raises(InputError, match=r"is gone\. Finished runs are recorded"):
            table.result(timeout=120)
    kept = study.table(tmp_path / "results")
    assert 0 < len(kept) < RUNS
    assert not records.leftovers(tmp_path / "results")
    set_pause(tmp_path, 0)
    rows = run_quickly(study, tmp_path, executor="local")
    assert len(rows) == RUNS
    (tmp_path / "alone").mkdir()
    pd.testing.assert_frame_equal(rows, run_quickly(study, tmp_path / "alone", executor="local"))


def test_no_dask_scheduler(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="distributed (the extra 'dask') is not installed")
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.5)
    with socket.socket() as taken:  # bound but not listening: nobody answers
        taken.bind(("127.0.0.1", 0))
        name = f"dask://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match="no Dask scheduler answers at tcp"):
            run_quickly(study, tmp_path, executor=name)


def test_without_distributed(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"pip install 'lenet-keras\[dask\]'"):
        run_quickly(study, tmp_path, executor="dask://localhost:8786")


def test_one_training_at_a_time_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Dask worker with two threads calls twice at once."""
    from lenet_study import runner, training

    at_once: list[int] = []
    inside = []

    def train(recipe: Recipe, *_: object, **__: object) -> Any:
        inside.append(recipe)
        at_once.append(len(inside))
        time.sleep(0.05)
        inside.remove(recipe)

    def train_one(rate: float) -> Sequence[Run]:
        return runner.train_group([Recipe(dataset="digits", learning_rate=rate)], 0, False, None)

    monkeypatch.setattr(training, "train_alone", train)
    with ThreadPoolExecutor(3) as pool:
        wait([pool.submit(train_one, rate) for rate in (0.1, 0.2, 0.3)])
    assert at_once == [1, 1, 1]
