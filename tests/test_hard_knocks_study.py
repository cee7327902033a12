"""Studies under hard knocks: clusters that cannot work, wrong advice, kills, empty successes."""

import errno
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from examples import (
    MOMENTUM,
    altered,
    calls,
    interrupted,
    make_provenance,
    make_run,
    run_quickly,
    train_quickly,
    until,
    write_yaml,
)
from here import COMPILED, ROOT, call, environment, invoke
from test_executors import TESTED, Cluster

import lenet_keras
from lenet_keras import backend
from lenet_keras.recipe import InputError, Recipe
from lenet_keras.run import Scores
from lenet_study import cli, readme, records
from lenet_study.files import write_csv
from lenet_study.records import Location
from lenet_study.reproduce import compare, draw
from lenet_study.runner import alone_in
from lenet_study.search import Search
from lenet_study.study import Study

RUNS = 2 * 2 + 2 * 2


def study_file(folder: Path, **changes: Any) -> Path:
    return write_yaml(folder / "optimization.yaml", MOMENTUM | changes)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.from_yaml(study_file(tmp_path))


# A cluster that cannot work


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without workers."""
    pytest.importorskip("distributed", reason="distributed (the extra 'dask') is not installed")
    cluster = Cluster(tmp_path, workers=0)
    yield cluster
    cluster.close()


def test_a_scheduler_without_workers_is_told_and_paths_mean_what_they_meant_where_typed(
    tmp_path: Path,
    scheduler: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "data").mkdir(parents=True)
    elsewhere.mkdir()
    monkeypatch.chdir(home)
    study = Study.from_yaml(study_file(home))
    said = "has no workers; waiting for one. Start it in an environment like this one: dask worker"
    errors = ""
    with ThreadPoolExecutor() as pool:
        how: dict[str, Any] = {"data_dir": "data", "executor": scheduler.name}
        runs = pool.submit(run_quickly, study, Path(), **how)

        def told() -> bool:
            nonlocal errors
            errors += capsys.readouterr().err
            return said in errors

        until(lambda: told() or runs.done())
        assert not runs.done(), runs.exception()
        scheduler.start_worker(cwd=elsewhere)
        assert len(runs.result(timeout=120)) == RUNS
    assert len(calls(home / "data")) > 0
    told()
    assert errors.count(said) == 1


SITE = re.compile("site-")  # packages
WITHOUT_THE_PACKAGE = """
import os, sys
sys.path += sys.argv.pop(1).split(os.pathsep)
from distributed.cli.dask_worker import main
main()
"""


def test_workers_that_cannot_do_the_work_are_named(
    study: Study, tmp_path: Path, scheduler: Cluster
) -> None:
    other = tmp_path / "other"
    for package in ("lenet_keras", "lenet_study"):
        shutil.copytree(ROOT / package, other / package, ignore=COMPILED)
    with (other / "lenet_study" / "files.py").open("a") as file:
        file.write("# another version\n")
    path = os.pathsep.join([str(other), str(ROOT / "tests")])
    worker = scheduler.start_worker(PYTHONPATH=path, KERAS_BACKEND="jax")
    with pytest.raises(InputError) as refusal:
        run_quickly(study, tmp_path, executor=scheduler.name)
    assert re.search(r"tcp.*: the package lenet_study is version \w+, here", str(refusal.value))
    assert re.search("tcp.*: KERAS_BACKEND is jax, here tensorflow", str(refusal.value))
    worker.kill()
    worker.wait()

    # -S: what the environment installs as editable is not found, all else is.
    worker = scheduler.start_worker(
        python=["-S", "-c", WITHOUT_THE_PACKAGE, os.pathsep.join(filter(SITE.search, sys.path))],
        PYTHONPATH="",
    )
    with pytest.raises(InputError, match="the package lenet_study is missing, here version"):
        run_quickly(study, tmp_path, executor=scheduler.name)
    worker.kill()
    worker.wait()

    # Nobody else's cache, and no network to fetch from.
    nowhere = {"HOME": str(tmp_path), "KERAS_HOME": str(tmp_path), "LENET_DATA": ""}
    nowhere |= {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}
    scheduler.start_worker(**nowhere)
    cifar = study.resized(dataset="cifar10")
    with pytest.raises(InputError, match=r"worker tcp\S+ cannot get ready: CIFAR-10 was not found"):
        run_quickly(cifar, tmp_path, executor=scheduler.name)
    assert not calls(tmp_path)


# Wrong advice

WITHOUT_GUARD = """
from pathlib import Path
from examples import train_quickly
from lenet_study.runner import run_study
from lenet_study.study import Study

study = Study.from_yaml("optimization.yaml")
arguments = dict(data_dir=".", progress=False, trainer=train_quickly)
run_study(study, "results", executor="processes:2", **arguments)
"""
WORKERS_ALONE = """
from lenet_study.executors import open_executor

with open_executor("processes:2") as (pool, _):
    pool.submit(print).result()
"""


@pytest.mark.parametrize(
    ("script", "how"), [(WITHOUT_GUARD, "file"), (WORKERS_ALONE, "standard input")]
)
def test_a_script_without_a_main_guard_is_told_of_it(tmp_path: Path, script: str, how: str) -> None:
    study_file(tmp_path)
    (tmp_path / "script.py").write_text(script)
    given = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120}
    command = [sys.executable, "script.py" if how == "file" else "-"]
    ended = subprocess.run(command, input=script, env=environment(PYTHONPATH=TESTED), **given)
    assert ended.returncode
    last = ended.stderr.splitlines()[-1]
    assert "InputError: executor: no worker process could start" in last
    assert '`if __name__ == "__main__":`' in last
    assert "memory" not in ended.stderr
    assert "another study" not in ended.stderr
    assert not list(tmp_path.rglob("seed-*.json"))


LOCKED = """
import os, sys
from pathlib import Path
from lenet_keras.recipe import InputError
from lenet_study.runner import alone_in

for os.environ["FLOCK_ERRNO"] in sys.argv[2:]:
    try:
        with alone_in(Path(sys.argv[1])):
            pass
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(
    not (sys.platform == "linux" and shutil.which("gcc")), reason="gcc makes what is preloaded"
)
def test_a_file_system_without_locks_is_named(tmp_path: Path) -> None:
    library = tmp_path / "no_locks.so"
    source = Path(__file__).with_name("no_locks.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    answers = [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL]
    given = ("-c", LOCKED, str(tmp_path / "study"), *map(str, answers))
    ended = call(tmp_path, *given, LD_PRELOAD=str(library))
    told = ended.stdout.splitlines()
    assert len(told) == len(answers), ended.stderr
    for number, line in zip(answers, told, strict=True):
        assert "the file system gives no lock" in line
        assert os.strerror(number) in line
        assert "writable" not in line


def test_advice_fits_what_the_file_system_answers(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300)
    with pytest.raises(InputError, match=r"File name too long.*Shorten the names"), alone_in(long):
        pass
    (tmp_path / "results").write_text("")
    below = tmp_path / "results" / "study"
    with pytest.raises(InputError, match="Move the file that is where a folder"), alone_in(below):
        pass


# Which runs a study takes from others, and which are drawn to be trained again


def recorded_by(backend: str, results: Path, study: str, seed: int = 0) -> Path:
    run = make_run(seed=seed, provenance=make_provenance(backend=backend))
    path = Location(study, "final", "sgd", run.key, seed).path(results)
    records.write(run, path)
    return path


def test_a_study_takes_runs_of_its_own_backend_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jax = recorded_by("jax", tmp_path, "factorial")
    key = make_run().key
    asked = Location("schedule", "final", "constant", key, 0)
    assert asked.found(tmp_path) is None  # this process would train it with TensorFlow
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert asked.found(tmp_path) == jax
    recorded_by("tensorflow", tmp_path, "schedule", seed=1)
    assert asked.found(tmp_path) is None  # beside runs of TensorFlow it would pair with none
    tensorflow = recorded_by("tensorflow", tmp_path, "regularization")
    assert asked.found(tmp_path) == tensorflow  # whatever reads it
    own = recorded_by("jax", tmp_path, "schedule")
    assert Location("schedule", "final", "sgd", key, 0).found(tmp_path) == own


def test_a_record_that_was_replaced_counts_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    records.write(make_run(), path)
    assert records.validation(path) == make_run().validation.accuracy
    path.unlink()
    records.write(make_run(status="diverged"), path)
    assert records.validation(path) == -math.inf
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        records.validation(path)


@pytest.mark.parametrize("engine", ["tensorflow", "jax"])
def test_every_committed_study_is_complete_whatever_reads_it(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", engine)
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        if "variants" in content or "factors" in content:
            study = Study.from_yaml(path)
            planned = study.planned_runs(results_dir=ROOT / "results")
            assert len(study.recorded(ROOT / "results", None)) == planned, (
                f"python -m lenet_study study configs/{path.name}: not completely recorded"
            )


def test_what_an_accelerator_trained_fast_is_drawn_as_seldom_as_a_processor_needs() -> None:
    runs = {}
    for seed, device in enumerate(("AMD EPYC", "NVIDIA H100 80GB HBM3")):
        provenance = make_provenance(device=device, wall_seconds=1.0)  # 20 epochs
        runs[Path(f"seed-{seed}.json")] = make_run(seed=seed, provenance=provenance)
    drawn = [draw(runs, 1, seed)[0] for seed in range(400)]
    assert 0.75 < drawn.count((Path("seed-0.json"),)) / 400 < 0.85


# Arithmetic switches

SWITCHES = {
    "TF_DETERMINISTIC_OPS": "1",
    "TF_NUM_INTRAOP_THREADS": "77",
    "DNNL_DEFAULT_FPMATH_MODE": "BF16",
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=true",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "NPY_DISABLE_CPU_FEATURES": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2",
}


def test_no_secret_and_no_folder_of_a_person_gets_into_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = backend.rounding_settings()
    for name in ("TF_TOKEN_app_terraform_io", "TF_CLI_CONFIG_FILE", "TF_VAR_password"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("XLA_FLAGS", r"--xla_dump_to=/data/ana/x --xla_gpu_autotune_level=0 C:\Ana")
    kept = {"XLA_FLAGS": "--xla_dump_to=… --xla_gpu_autotune_level=0 C:…"}
    assert backend.rounding_settings() == before | kept


def test_switches_that_change_how_sums_are_rounded_are_part_of_the_provenance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = backend.rounding_settings()
    assert not before.keys() & lenet_keras.THREADS.keys()  # the package's own
    for name, value in {**SWITCHES, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": "/x"}.items():
        monkeypatch.setenv(name, value)
    assert backend.rounding_settings() == before | SWITCHES
    run, rounded = make_run(test=None), (1.0 + 1e-7,) * 20
    history = run.history.model_copy(update={"loss": rounded, "val_loss": rounded})
    again = {"history": history, "provenance": make_provenance(settings=SWITCHES)}
    old = run.model_copy(update={"history": history.model_copy(update={"loss": (1.0,) * 20})})
    assert compare(Path("seed-0.json"), old, run.model_copy(update=again)).held


# Silent successes


def test_a_study_whose_records_vanish_meanwhile_does_not_succeed(
    study: Study, tmp_path: Path
) -> None:
    def vanishing(*arguments: Any) -> Any:
        for path in (tmp_path / "results" / "optimization").glob("*/seed-0.json"):
            path.unlink()
        return train_quickly(*arguments)

    with pytest.raises(InputError, match=r"[12] of 8 runs have no record"):
        run_quickly(study, tmp_path, trainer=vanishing)
    assert len(run_quickly(study, tmp_path)) == RUNS


SEARCH: dict[str, Any] = {
    "title": "A search",
    "question": "Which recipe?",
    "dataset": "digits",
    "families": {"plain": {}},
    "members": {"learning_rate": {"low": 0.001, "high": 0.01}},
    "stages": [
        {"recipes": 4, "epochs": 1, "seeds": [2000]},
        {"recipes": 2, "epochs": 2, "seeds": [2000]},
    ],
}


@pytest.mark.parametrize(
    ("status", "stage", "trials"),
    [("diverged", "4 recipes of stage 1", 4), ("completed", "2 recipes", 6)],
)
def test_a_search_that_finds_nothing_does_not_name_a_winner(
    tmp_path: Path, status: str, stage: str, trials: int
) -> None:
    chance = Scores(loss=2.3, accuracy=0.1, calibration_error=0.0)
    hopeless = altered(lambda run: {"status": status, "validation": chance})
    search = Search.from_yaml(write_yaml(tmp_path / "search.yaml", SEARCH))
    results = tmp_path / "results"

    def best() -> Recipe:
        search.run(results, data_dir=tmp_path, progress=False, trainer=hopeless)
        return search.winner(results)

    with pytest.raises(InputError, match=f"none of the {stage} .*learns"):
        best()
    assert len(search.table(results)) == trials  # all that made sense to try is recorded


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["records", "--results", "{}"], "no record lies in it"),
        (["records", "--results", "{}", "--purpose", "tuning"], "no record of purpose tuning"),
        (["records", "--results", "{}", "--csv", "{}/all.csv"], "no record lies in it"),
        (["records", "--results", "results/schedule"], "is the folder of one study"),
        (["reproduce", "--results", "results/schedule"], "is the folder of one study"),
        (["records", "--results", ""], "the path is empty"),
        (["report", "--results", "{}"], "Figures and README stay as they are"),
        (["study", "configs/schedule.yaml", "--variants", ""], "no variant ''"),
    ],
)
def test_a_command_without_content_does_not_succeed(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    readme = (ROOT / "README.md").read_bytes()
    ended = invoke(ROOT, cli.main, *(argument.format(tmp_path) for argument in arguments))
    assert ended.returncode == 2
    assert message in ended.stderr
    assert not list(tmp_path.iterdir())
    assert (ROOT / "README.md").read_bytes() == readme


def test_no_table_is_written_into_a_file_called_minus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--csv -: name a file"):
        write_csv(pd.DataFrame({"a": [1]}), Path("-"))
    assert not list(tmp_path.iterdir())


def test_the_factorial_is_missed_too_where_it_is_not_recorded(tmp_path: Path) -> None:
    assert "Together" in readme.lacking(ROOT / "configs", tmp_path)
    assert readme.lacking(ROOT / "configs", ROOT / "results") == []


def test_a_report_that_lacks_a_technique_does_not_succeed(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    study = Study.from_yaml(study_file(configs))
    run_quickly(study, tmp_path)
    lacking = {**MOMENTUM, "title": "Schedule", "variants": {"plain": {"schedule": "cosine"}}}
    write_yaml(configs / "schedule.yaml", lacking)
    page = tmp_path / "README.md"
    page.write_text(f"{readme.BEGIN}\n{readme.END}\n")
    ended = invoke(tmp_path, cli.main, "report")
    assert ended.returncode == 1
    assert "so not in figures and README: Schedule." in ended.stderr
    assert "Momentum" in page.read_text()
    assert (tmp_path / "figures" / "techniques.png").exists()


# Kills


def test_an_interruption_changes_no_stack_of_grids_that_grow(tmp_path: Path) -> None:
    variants = {"plain": {}, **{f"momentum-{i}": {"momentum": i / 20} for i in range(1, 12)}}
    tuning = {"learning_rates": [0.001, 0.01, 0.1], "epochs": 1, "seeds": [1000], "interior": True}
    study = Study.from_yaml(study_file(tmp_path, variants=variants, tuning=tuning))

    def contents(folder: Path) -> dict[str, bytes]:
        paths = (folder / "results").rglob("seed-*.json")
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    def trained_again(after: int) -> Path:
        folder = tmp_path / str(after)
        folder.mkdir()
        with pytest.raises(KeyboardInterrupt):
            run_quickly(study, folder, trainer=interrupted(folder, after))
        run_quickly(study, folder)
        return folder

    whole = tmp_path / "whole"
    whole.mkdir()
    assert len(run_quickly(study, whole)) > len(variants) * (3 + 2)  # grids did grow
    for after in range(1, len(calls(whole))):
        assert contents(trained_again(after)) == contents(whole)


@pytest.mark.skipif(sys.platform != "linux", reason="it forks, which is safe on Linux alone")
def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    # In a process of its own, since it kills what it has forked: a lock that was held then, as
    # tqdm's for all processes, is never free again in this one.
    campaign = (str(ROOT / "tests" / "kills.py"), "--kills", "30", "study", "search")
    ended = call(tmp_path, *campaign, "--folder", str(tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("Tally(kills=30, ") == 2
