"""The command line as people call it, on the digits."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner
from examples import MOMENTUM, posix_only, write_yaml
from here import LENET, ROOT, call, cut_off, environment, files, invoke, no_file_above

from lenet_study import cli, records

TRAIN = str(ROOT / "train.py")
PROGRAMS = {"train": cli.train, "evaluate": cli.evaluate, "lenet": cli.main}
SHORT = ("--dataset", "digits", "--epochs", "1")
RUN_FILES = ["curves.png", "model.keras", "run.json"]
IMPORTS = """
import lenet_keras, lenet_study.cli
print("all that only reads")
import lenet_keras.training
"""
TECHNIQUE = MOMENTUM | {
    "base": {"activation": "relu", "kernel_initializer": "he_normal"},
    "epochs": 1,
}


def start_and_wait_for(text: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start `python <arguments>` and return once it has written `text` to standard error."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(**cut_off(folder.parent)),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell in the background lets its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    seen = ""
    while text not in seen:
        character = process.stderr.read(1)
        assert character, f"ended without {text!r}: {seen}"
        seen += character
    return process


def refused(answer: subprocess.CompletedProcess[str], message: str, code: int = 2) -> None:
    """Check that a command ended with this exit code and message."""
    assert answer.returncode == code, answer.stderr
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `first` is called."""
    return tmp_path_factory.mktemp("newcomer")


@pytest.fixture(scope="module")
def first(newcomer: Path) -> subprocess.CompletedProcess[str]:
    """`train.py` as a newcomer without CIFAR-10 calls it."""
    options = ("--dataset", "auto", "--set", "learning_rate=0.3", "--epochs", "2", "--seed", "7")
    return call(newcomer, TRAIN, *options, "--out", "runs/first", **cut_off(newcomer.parent))


@pytest.fixture(scope="module")
def run_dir(first: subprocess.CompletedProcess[str], newcomer: Path) -> Path:
    assert first.returncode == 0, first.stderr
    return newcomer / "runs/first"


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    """A folder with the first run that a test may damage."""
    shutil.copytree(run_dir, tmp_path / "run")
    return tmp_path / "run"


def test_train_writes_a_run_and_says_where(
    first: subprocess.CompletedProcess[str], run_dir: Path, newcomer: Path
) -> None:
    assert sorted(files(newcomer)) == [f"runs/first/{name}" for name in RUN_FILES]
    run = records.read(run_dir / "run.json")
    assert (run.seed, run.recipe.dataset, run.recipe.learning_rate) == (7, "digits", 0.3)
    assert len(run.history.val_loss) == run.recipe.epochs == 2
    assert run.test is not None
    lines = first.stdout.splitlines()
    assert lines[0].startswith("Dataset: digits (1,197 training")
    assert "CIFAR-10 is not on this machine" in lines[0]
    assert lines[1].split() == ["Test", "accuracy", f"{100 * run.test.accuracy:.2f}", "%"]
    assert lines[2].startswith("Validation accuracy")
    assert [line.split()[-1] for line in lines[-3:]] == [
        str(Path("runs/first", name)) for name in ("model.keras", "run.json", "curves.png")
    ]
    assert "Traceback" not in first.stderr
    assert "epoch 2" in first.stderr


def test_evaluate_finds_the_recorded_scores(copy: Path) -> None:
    answer = invoke(copy.parent, cli.evaluate, "run", "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    run = records.read(copy / "run.json")
    assert run.test is not None
    assert found["as_recorded"] is True
    assert found["recorded"] == run.test.model_dump()
    assert found["test"]["accuracy"] == pytest.approx(run.test.accuracy, abs=1e-6)
    assert found["test"]["loss"] == pytest.approx(run.test.loss, abs=1e-6)
    assert run.confusion_matrix is not None
    assert found["confusion_matrix"] == [list(row) for row in run.confusion_matrix]
    shares = {name: row["accuracy"] for name, row in found["classes"].items()}
    assert shares == pytest.approx(run.per_class_accuracy)
    assert sorted(files(copy)) == ["confusion.png", *RUN_FILES]
    assert (copy / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_overwrite_replaces_a_run_and_evaluate_sees_another_model(copy: Path) -> None:
    record = (copy / "run.json").read_bytes()
    left = copy.with_name(f".{copy.name}.old")  # as after a kill between two steps
    left.mkdir()
    (left / "run.json").write_text("the only copy")
    options = (*SHORT, "--seed", "8", "--out", "run", "--overwrite", "--quiet")
    answer = invoke(copy.parent, cli.train, *options)
    assert answer.returncode == 0, answer.stderr
    assert "epoch" not in answer.stderr
    assert sorted(files(copy.parent)) == [
        ".run.old/run.json",
        *(f"run/{name}" for name in RUN_FILES),
    ]
    assert (left / "run.json").read_text() == "the only copy"
    assert records.read(copy / "run.json").seed == 8

    now = records.read(copy / "run.json").test
    (copy / "run.json").write_bytes(record)
    then = records.read(copy / "run.json").test
    assert now is not None
    assert then is not None
    answer = invoke(copy.parent, cli.evaluate, "run")
    refused(answer, f"loss recorded {then.loss:.6f}, now {now.loss:.6f}", 1)
    assert "as recorded" not in answer.stdout
    assert f"{100 * now.accuracy:.2f} %" in answer.stdout


@posix_only
def test_ctrl_c_leaves_the_old_run_whole_and_nothing_else(copy: Path) -> None:
    before = files(copy.parent)
    arguments = ("--dataset", "digits", "--epochs", "9999", "--out", "run", "--overwrite")
    process = start_and_wait_for("epoch 2", copy.parent, TRAIN, *arguments)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "interrupted. Nothing was written." in errors
    assert files(copy.parent) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here: it takes root's rights")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_no_half_of_a_run(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "filler").write_bytes(bytes(5_000_000))
    answer = invoke(small_disk, cli.train, *SHORT, "--out", "run")
    refused(answer, "run: the run cannot be written (No space left on device)", 1)
    assert "Make room" in answer.stderr
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("command", [LENET, (*LENET, "train")])
def test_help_that_finds_no_room_says_so(command: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        process = [sys.executable, *command, "--help"]
        told = {"stdout": full, "stderr": subprocess.PIPE, "text": True}
        answer = subprocess.run(process, cwd=ROOT, env=environment(), check=False, **told)
    refused(answer, "No space left on device. Free space first.", 1)


@posix_only
def test_a_file_that_may_not_grow_leaves_the_old_run_whole(copy: Path) -> None:
    before = files(copy.parent)
    with no_file_above(100_000):  # a model has three times as many
        answer = invoke(copy.parent, cli.train, *SHORT, "--out", "run", "--overwrite")
    refused(answer, "run: the run cannot be written (File too large)", 1)
    assert files(copy.parent) == before


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "model.keras",
            b"PK",
            b"no",
            "model.keras: is no model that Keras can read (it is no whole",
        ),
        ("run.json", b'"seed": 7', b'"seed": 9', "run.json: was changed after it was written"),
    ],
)
def test_evaluate_refuses_what_train_did_not_write(
    name: str, old: bytes, new: bytes, message: str, copy: Path
) -> None:
    (copy / name).write_bytes((copy / name).read_bytes().replace(old, new))
    refused(invoke(copy.parent, cli.evaluate, "run"), message)
    assert sorted(files(copy)) == RUN_FILES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --set optimzer=adam", "optimzer: no such field. Did you mean 'optimizer'?"),
        ("train typo.yaml", "typo.yaml: this is not a valid recipe.\n  epoch: no such field."),
        ("train --set learning_rate=fast", "--set: this is not a valid recipe.\n  learning_rate"),
        ("train --set learning_rate=-0.1", "learning_rate: found -0.1; allowed: greater than 0"),
        ("train --set epochs=0", "epochs: found 0"),
        ("train --epochs 0", "'--epochs': 0 is not in the range x>=1"),
        ("train --set optimizer=adma", "optimizer: found 'adma'"),
        ("train --set epochs", "--set epochs: expected field=value"),
        ("train --set dataset=auto", "dataset: found 'auto'"),
        ("train missing.yaml", "missing.yaml: cannot be read (No such file or directory)"),
        ("train momentum.yaml", "python -m lenet_study study momentum.yaml"),
        (f"train {ROOT}/configs/factorial.yaml", "python -m lenet_study study"),
        (f"train {ROOT}/configs/search.yaml", "python -m lenet_study search"),
        ("train --dataset cifar", "dataset: found 'cifar'; no such dataset"),
        ("train --data-dir nowhere", "'--data-dir': Path 'nowhere' does not exist"),
        ("train --seed -1", "'--seed': -1 is not in the range"),
        ("train --epoch 3", "--epochs"),
        ("train --out notes.txt", "--out notes.txt: "),
        ("train --out taken", "--out taken: holds a run. Choose another folder, or replace"),
        ("train --out mine --overwrite", "--out mine: holds diary.txt"),
        ("train --out new --tensorboard new/logs", "--tensorboard new/logs: lies in new"),
        (
            "train --out new --tensorboard notes.txt/a",
            "notes.txt/a: is a file, or lies below one",
        ),
        ("train --set epochs=2024-13-45", "epochs: found '2024-13-45'; allowed: a valid integer"),
        ("evaluate missing", "missing: holds no run.json. Name a folder that train.py wrote"),
        ("evaluate taken", "run.json: is no record: it is not JSON"),
        ("lenet trian", "No such command 'trian'"),
        ("lenet study momentum.yaml --variants heavi", "Did you mean 'heavy'?"),
        ("lenet study momentum.yaml --executor threads", "executor: found 'threads'"),
        ("lenet study momentum.yaml --seeds 1", "'--seeds': 1 is not in the range x>=2"),
        (
            "lenet study momentum.yaml --seeds 9..7",
            "found 9..7; the first seed comes first",
        ),
        ("lenet study momentum.yaml --seeds 7..", "found '7..'; expected a first and a last seed"),
        ("lenet study momentum.yaml --seeds 0..268435456", "the largest seed is 268435455"),
        ("lenet study momentum.yaml --seeds 7..9", "no learning rate is tuned at this size for"),
        ("lenet study missing.yaml", "missing.yaml: cannot be read"),
        ("lenet records", "results: no such folder"),
        ("lenet reproduce", "results: no such folder"),
    ],
)
def test_bad_input_is_answered_with_what_to_do(
    arguments: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "typo.yaml").write_text("epoch: 3\n")
    write_yaml(tmp_path / "momentum.yaml", TECHNIQUE)
    (tmp_path / "notes.txt").write_text("a file")
    for folder, name in (("taken", "run.json"), ("taken", "model.keras"), ("mine", "diary.txt")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("kept")
    before = files(tmp_path)
    program, *options = arguments.split()
    answer = invoke(tmp_path, PROGRAMS[program], *options)
    refused(answer, message)
    assert answer.stdout in ("", "Dataset: digits\n")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "code", "imported", "errors"),
    [
        ((*LENET, "records"), 2, "", "Error: LENET_THREADS: found 'two'; allowed: whole numbers"),
        (("-c", IMPORTS), 1, "all that only reads\n", "InputError: LENET_THREADS: found 'two'"),
    ],
)
def test_a_number_of_threads_that_is_none_is_refused_by_what_computes(
    arguments: tuple[str, ...],
    code: int,
    imported: str,
    errors: str,
    tmp_path: Path,
) -> None:
    answer = call(tmp_path, *arguments, LENET_THREADS="two")
    assert (answer.returncode, answer.stdout) == (code, imported)
    assert errors in answer.stderr


def test_what_plain_keras_does_not_have_is_trained_as_studies_do(tmp_path: Path) -> None:
    fields = ("step_sizes=gauss_newton", "learning_rate=0.001", "train_on=train_and_validation")
    options = [option for field in fields for option in ("--set", field)]
    answer = invoke(tmp_path, cli.train, *SHORT, *options, "--out", "run", "--quiet")
    assert answer.returncode == 0, answer.stderr
    assert "Test accuracy" in answer.stdout
    assert "Validation accuracy" not in answer.stdout  # those images were trained on
    run = records.read(tmp_path / "run" / "run.json")
    assert (run.recipe.step_sizes, run.status) == ("gauss_newton", "completed")


@pytest.mark.parametrize("name", [None, *cli.main.commands])
def test_every_command_and_option_says_what_it_is_for(name: str | None) -> None:
    answer = CliRunner().invoke(cli.main, [*filter(None, [name]), "--help"])
    assert answer.exit_code == 0
    command = cli.main.commands[name] if name else cli.main
    assert command.get_short_help_str().split()[0] in answer.output
    clear = {"seed", "sample"}  # which show their default
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [o.name for o in options if not o.help and o.name not in clear] == []


def test_a_slip_is_answered_before_tensorflow_is_imported(tmp_path: Path) -> None:
    program = """
import sys
from lenet_study.cli import main
try:
    main(["train", "--set", "optimzer=adam"])
except SystemExit as end:
    print(end.code, sorted({"tensorflow", "keras", "pandas"} & set(sys.modules)))
"""
    assert call(tmp_path, "-c", program).stdout == "2 []\n"


def test_a_study_is_compared_listed_and_reproduced(tmp_path: Path) -> None:
    write_yaml(tmp_path / "momentum.yaml", TECHNIQUE)
    answer = invoke(tmp_path, cli.main, "study", "momentum.yaml", "--quiet")
    assert answer.returncode == 0, answer.stderr
    runs = records.table(tmp_path / "results")
    assert runs.groupby(["purpose", "variant"]).size().to_dict() == {
        ("final", "heavy"): 2,
        ("final", "plain"): 2,
        ("tuning", "heavy"): 2,
        ("tuning", "plain"): 2,
    }
    assert (runs["stack_size"] > 1).all()
    paths = records.find(tmp_path / "results", purpose="final")
    trained = [records.read(path) for path in paths]
    digests = {(run.seed, run.provenance.batches_digest) for run in trained}
    assert len(digests) == 2  # a seed fixes the minibatches, whatever the variant
    lines = answer.stdout.splitlines()
    assert lines[0] == "Dataset: digits"
    final = runs[runs["purpose"] == "final"]
    for variant, group in final.groupby("variant"):
        (line,) = (line for line in lines if line.split()[:1] == [variant])
        assert f" {100 * group['test_accuracy'].mean():.2f} [" in line
    assert "difference from plain" in answer.stdout
    answer = invoke(tmp_path, cli.main, "study", "momentum.yaml", "--variants", "heavy", "--quiet")
    assert "differences from plain" in answer.stdout
    assert "--variants plain,heavy: it trains what" in answer.stdout
    assert "p is corrected" not in answer.stdout

    options = ("--variant=heavy", "--purpose=final", "--csv=heavy.csv")
    answer = invoke(tmp_path, cli.main, "records", *options)
    assert answer.returncode == 0, answer.stderr
    written = pd.read_csv(tmp_path / "heavy.csv")
    assert list(written.columns) == list(runs.columns)
    assert written["test_accuracy"].tolist() == pytest.approx(
        final.loc[final["variant"] == "heavy", "test_accuracy"].tolist()
    )
    answer = invoke(tmp_path, cli.main, "records", "--variant", "heavi")
    refused(answer, "Did you mean 'heavy'?")
    with start_and_wait_for("", tmp_path, *LENET, "records") as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()  # as `| head` does
        assert (listing.wait(60), listing.stderr.read()) == (1, "")

    # One record as it was and one with another history: the second is to be found out.
    held, changed = paths[:2]
    run = records.read(changed)
    loss = run.history.val_loss[0]
    assert loss is not None
    history = run.history.model_copy(update={"val_loss": (loss + 0.5,)})
    checked = tmp_path / "checked" / changed.relative_to(tmp_path / "results")
    records.write(run.model_copy(update={"history": history}), checked)
    shutil.copy(held, tmp_path / "checked" / held.relative_to(tmp_path / "results"))
    options = ("--results", "checked", "--sample", "2", "--quiet")
    answer = invoke(tmp_path, cli.main, "reproduce", *options)
    refused(answer, "1 of 2 runs came out otherwise", 1)
    good, bad = sorted(answer.stdout.splitlines(), key=lambda line: "NOT" in line)
    assert f"{held.name}: reproduced to the last digit" in good
    assert f"{changed.name}: NOT reproduced" in bad
    assert f"recorded {loss + 0.5!r}, retrained {loss!r}" in bad
