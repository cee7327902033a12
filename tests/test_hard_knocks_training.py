"""Faults that people met elsewhere, tried on training, evaluation, data and files; by their kind.

Real files and, wherever a fault is one of a process, real processes with real variables.
"""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from examples import posix_only
from here import COMPILED, ROOT, call, invoke
from mutated_yaml import answers

from lenet_keras.data import load_digits
from lenet_keras.recipe import InputError, Recipe, parse_yaml, read_recipe
from lenet_study import cli, records, run_folder

QUICK = ("--dataset", "digits", "--set", "learning_rate=0.3", "--epochs", "1", "--quiet")


def train(folder: Path, *options: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
    return call(folder, str(ROOT / "train.py"), *QUICK, *options, **variables)


@pytest.fixture
def without_figures(tmp_path: Path) -> str:
    """PYTHONPATH of a Python whose matplotlib cannot draw."""
    package = tmp_path / "broken" / "seaborn"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('libpng is missing')")
    package = package.with_name("cycler")
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('libpng is missing')")
    return f"{package.parent}{os.pathsep}{ROOT}"


# --- numbers that mean another thing -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-030", -30),
        ("1e-3", 0.001),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),
        (".inf", float("inf")),
        ("{on: 1, 010: 2, null: 3}", {"on": 1, "010": 2, "null": 3}),
    ],
)
def test_a_value_means_what_it_looks_like(text: str, value: object) -> None:
    found = parse_yaml(text, "here")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "number", ["learning_rate=1e308", "l2=1e39", "weight_decay=1e-46", "learning_rate=1e-300"]
)
def test_a_number_that_networks_cannot_hold_is_refused(number: str) -> None:
    field = number.partition("=")[0]
    with pytest.raises(InputError, match=f"{field}: found .*allowed: 0 or from 1e-37 to 1e37"):
        read_recipe(None, [number])


@pytest.mark.parametrize(
    "value", ["1:30", "0x10", "yes", "2024-01-01", "1e400", ".inf", "!!int 3", "1" * 5000]
)
def test_what_is_no_number_of_epochs_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="epochs"):
        read_recipe(None, [f"epochs={value}"])


# --- files with slips --------------------------------------------------------------------------


def test_a_file_with_slips_is_read_or_refused_by_its_name(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    for kind, fault in answers(100, 0, tmp_path):
        assert not fault
        found[kind] += 1
    assert set(found) == {"accepted", "refused"}


# --- a model that misleads ---------------------------------------------------------------------

NETWORKS = {
    "today": ("normalization=batch", "pooling=max", "dropout=0.2", "input_normalization=image"),
    "1998": ("activation=scaled_tanh", "pooling=trainable", "connections=table_1", "output=rbf"),
}
LOADED = """
import sys, keras, numpy as np
images = np.load("images.npy")
for name in sys.argv[1:]:
    model = keras.models.load_model(f"{name}/model.keras")
    np.save(f"{name}-uint8.npy", model.predict(images, verbose=0))
    np.save(f"{name}-float.npy", model.predict(images.astype("float32"), verbose=0))
assert not [name for name in sys.modules if name.startswith("lenet")]
"""


def test_plain_keras_loads_models_that_take_images_as_they_are(tmp_path: Path) -> None:
    for name, fields in NETWORKS.items():
        settings = [part for field in fields for part in ("--set", field)]
        options = (*settings, "--set", "learning_rate=0.01", "--out", name)
        answer = invoke(tmp_path, cli.train, *QUICK, *options)
        assert answer.returncode == 0, answer.stderr
    shutil.copytree(ROOT / "weights", tmp_path / "weights")
    data = load_digits()
    np.save(tmp_path / "images.npy", data.test.images)
    answer = call(tmp_path, "-c", LOADED, *NETWORKS, "weights", PYTHONPATH=None)
    assert answer.returncode == 0, answer.stderr
    given = run_folder.read_model(ROOT / "weights" / "model.keras", 10)
    expected = given.predict(data.test.images, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "weights-uint8.npy"), expected, atol=1e-4)
    for name in NETWORKS:
        run = records.read(tmp_path / name / "run.json")
        for kind in ("uint8", "float"):
            predicted = np.load(tmp_path / f"{name}-{kind}.npy").argmax(axis=1)
            np.testing.assert_array_equal(predicted == data.test.labels, run.correct)
        answer = invoke(tmp_path, cli.evaluate, name, "--json")
        assert answer.returncode == 0, answer.stderr
        assert json.loads(answer.stdout)["as_recorded"]


# --- a person's settings of Python -------------------------------------------------------------

PREPARED = """
import warnings
from lenet_study.process import prepare
{before}
try:
    prepare()
    warnings.warn("a library's")
except Exception as error:
    open("refused", "w").write(str(error))
"""


def test_a_warning_ends_nothing_and_without_output_or_with_two_copies_nothing_begins(
    tmp_path: Path,
) -> None:
    answer = call(tmp_path, "-c", PREPARED.format(before=""), PYTHONWARNINGS="error")
    assert (answer.returncode, (tmp_path / "refused").exists()) == (0, False)
    assert "a library's" in answer.stderr
    call(tmp_path, "-c", PREPARED.format(before="import sys; sys.stdout = None"))  # as >&- does
    assert "standard output or standard error is closed" in (tmp_path / "refused").read_text()

    package = tmp_path / "old" / "lenet_keras"
    shutil.copytree(ROOT / "lenet_keras", package, ignore=COMPILED)
    call(tmp_path, "-c", PREPARED.format(before=""), PYTHONPATH=f"old{os.pathsep}{ROOT}")
    assert "belongs to another copy than" in (tmp_path / "refused").read_text()


# --- a picture that cannot be drawn ------------------------------------------------------------


BOTH = """
import sys
from lenet_study.cli import evaluate, train
for command, arguments in ((train, sys.argv[1:]), (evaluate, ["run"])):
    try:
        command(arguments)
    except SystemExit as end:
        print("exit code", end.code)
"""


def test_a_run_and_its_scores_outlive_their_pictures(tmp_path: Path, without_figures: str) -> None:
    answer = call(tmp_path, "-c", BOTH, *QUICK, "--out", "run", PYTHONPATH=without_figures)
    assert answer.stdout.count("exit code 1\n") == 2, answer.stderr
    assert "curves.png: could not be drawn (libpng is missing)" in answer.stderr
    assert "Accuracy and loss are as recorded." in answer.stdout
    assert "confusion.png: could not be drawn (libpng is missing)" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"model.keras", "run.json"}

    answer = invoke(tmp_path, cli.evaluate, "run", "--out", "pictures/new")
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "pictures" / "new" / "confusion.png").exists()
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"model.keras", "run.json"}


# --- a setting that runs until it breaks -------------------------------------------------------


@pytest.mark.parametrize("engine", ["torch", "TensorFlow", "numpy"])
def test_an_engine_that_we_do_not_have_is_refused_at_once(engine: str, tmp_path: Path) -> None:
    answer = train(tmp_path, "--out", "run", KERAS_BACKEND=engine)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == f"Error: KERAS_BACKEND: found '{engine}'; allowed: tensorflow or jax.\n"


def test_keras_settings_that_keras_refuses_are_named(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"floatx": "bfloat16"}')
    answer = train(tmp_path, "--out", "run", KERAS_HOME=str(tmp_path))
    assert answer.returncode == 2
    assert "Received: floatx=bfloat16). What it reads first is keras.json" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_table_1_is_built_in_mixed_precision() -> None:
    from lenet_keras.model import lenet5

    recipe = Recipe(connections="table_1", pooling="trainable", dtype_policy="mixed_bfloat16")
    assert lenet5(recipe).output_shape == (None, 10)


# --- a person's settings, and paths as people type them; no home, no name ----------------------


def test_a_home_is_a_home_wherever_it_is_typed_and_a_person_s_matplotlib_changes_no_run(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "matplotlibrc").write_text("text.usetex: True\n")
    person = {"HOME": str(home), "USERPROFILE": str(home), "MPLBACKEND": "nonsense"}
    person |= {"MATPLOTLIBRC": str(home / "matplotlibrc")}
    answer = train(tmp_path, "--out=~/run", "--data-dir=~/", **person)
    assert answer.returncode == 0, answer.stderr
    assert (home / "run" / "run.json").exists()
    assert (home / "run" / "curves.png").exists()
    assert not (tmp_path / "~").exists()


@posix_only
def test_nobody_s_home_is_refused(tmp_path: Path) -> None:
    answer = invoke(tmp_path, cli.train, *QUICK, "--out=~nobody-of-that-name/run")
    assert answer.returncode == 2
    assert "there is no such home folder; write the path in full" in answer.stderr


@posix_only
def test_a_user_without_home_and_name_has_keras_cache(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become a user without a name")
    program = "import os; from lenet_keras.download import keras_datasets; os.setuid(54321)"
    answer = call(tmp_path, "-c", f"{program}; print(keras_datasets())", HOME=None)
    assert answer.stdout == "/tmp/.keras/datasets\n", answer.stderr
