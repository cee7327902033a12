"""Faults that people met in other projects, each as a real process with real settings, by kind."""

import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from here import LENET, ROOT, call, cut_off, files, invoke
from nbformat.v4 import new_output
from test_notebooks import write_notebook, written

from lenet_keras.recipe import InputError
from lenet_study import cli, notebooks
from lenet_study.files import whole_folder
from lenet_study.images import HTML, described_in, html_image

# A person's settings reach our processes


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that a person may have set for Python, Jupyter and matplotlib, at its worst."""
    person = tmp_path / "person"
    startup = person / "ipython" / "profile_default" / "startup" / "00.py"
    config = startup.parents[1] / "ipython_kernel_config.py"
    spec = person / "jupyter" / "kernels" / "python3" / "kernel.json"
    for path, text in {
        startup: "print('IPython starts up')",
        config: "c.InlineBackend.figure_formats = ['svg']\nc.InteractiveShell.colors = 'nocolor'",
        spec: json.dumps({"argv": ["/no/python"], "display_name": "x", "language": "python"}),
        person / "matplotlibrc": "text.usetex: True\nfigure.figsize: 1, 1",
        person / "startup.py": "print('Python starts up')",
        person / "keras" / "keras.json": '{"floatx": "float16"}',
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, value in {
        "HOME": "/dev/null/home",
        "IPYTHONDIR": str(person / "ipython"),
        "JUPYTER_DATA_DIR": str(person / "jupyter"),
        "JUPYTER_PATH": str(person / "jupyter"),
        "JUPYTER_RUNTIME_DIR": "/dev/null/runtime",
        "KERAS_HOME": "../person/keras",
        "KERAS_MAX_EPOCHS": "1",
        "KERAS_MAX_STEPS_PER_EPOCH": "1",
        "LC_ALL": "C",
        "MATPLOTLIBRC": str(person / "matplotlibrc"),
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/dev/null/matplotlib",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.path.relpath(ROOT, tmp_path / "project"),
        "PYTHONSTARTUP": str(person / "startup.py"),
        "PYTHONWARNINGS": "default",
        "TF_CPP_MIN_LOG_LEVEL": "0",
        "TZ": "Asia/Kathmandu",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def test_kernels_take_nothing_of_a_person_and_are_this_python_with_this_package(
    settings: Path,
) -> None:
    path, own = settings / "notebooks" / "01_one.ipynb", {"PYTHONPATH": os.environ["PYTHONPATH"]}
    write_notebook(
        path,
        "from matplotlib import pyplot as plt\nfrom lenet_study.style import show\n"
        "_ = plt.plot([1, 2]); show(plt.gcf(), 'A line')",
        "import sys, lenet_study; print(sys.executable, lenet_study.__path__[0], end='')",
        "from lenet_keras.backend import keras, ops; limits = keras.config\n"
        "print(ops.ones(1).dtype.name, limits.max_epochs(), limits.max_steps_per_epoch(), end='')",
        "from lenet_study import style\n_ = style.save(plt.figure(), f'{figures_dir}/drawn')",
        parameters='figures_dir = "../figures"',
    )
    answer = call(settings, *LENET, "notebooks", "--in-place", "--quiet", **own)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    _, figure, code, computing, _ = nbformat.read(path, as_version=4).cells
    (drawn,) = figure.outputs
    assert (described_in(drawn.data) or "").startswith("A line.")
    assert [o.text for o in code.outputs] == [f"{sys.executable} {ROOT / 'lenet_study'}"]
    assert [o.text for o in computing.outputs] == ["float32 None None"]

    # The guard: it says the same, whatever kernel the notebook was saved with, and writes nothing.
    content = nbformat.read(path, as_version=4)
    content.metadata["kernelspec"]["name"] = "somebodys"
    del content.cells[3]  # TensorFlow is dear to import, and what it finds has been seen
    nbformat.write(content, path)
    (path.parent / "conftest.py").write_bytes((ROOT / "notebooks" / "conftest.py").read_bytes())
    before, guard = files(settings), ("-m", "pytest", "--nbval", "-p", "no:cacheprovider")
    answer = call(settings, *guard, "notebooks", **own)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert files(settings) == before


# The wrong code runs unnoticed


def test_a_command_refuses_notebooks_that_belong_to_another_copy_of_the_package(
    tmp_path: Path,
) -> None:
    write_notebook(tmp_path / "notebooks" / "01_one.ipynb")
    (tmp_path / "lenet_study").mkdir()
    with pytest.raises(InputError, match=r"belongs to the package in .*lenet_study, but this"):
        notebooks.find(tmp_path / "notebooks")


def test_a_notebook_imports_the_package_beside_it_wherever_another_is_installed(
    tmp_path: Path,
) -> None:
    beside = tmp_path / "lenet_keras" / "__init__.py"
    beside.parent.mkdir()
    beside.touch()
    (tmp_path / "configs").mkdir()
    path = tmp_path / "notebooks" / "01_one.ipynb"
    write_notebook(path, notebooks.SET_UP, "import lenet_keras; print(lenet_keras.__file__)")
    arguments = ("-m", "papermill", "notebooks/01_one.ipynb", "out.ipynb", "-k", "python3")
    answer = call(tmp_path, *arguments, **cut_off(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert written(tmp_path / "out.ipynb").strip() == str(beside)


# Success that overwrites, and success without content


@pytest.mark.parametrize("out", ["notebooks", "./configs/../notebooks", "linked", "."])
def test_what_is_read_is_never_overwritten(
    tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_notebook(tmp_path / "notebooks" / "01_one.ipynb", parameters='figures_dir = "../figures"')
    (tmp_path / "configs").mkdir()
    (tmp_path / "linked").symlink_to("notebooks", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    with pytest.raises(InputError, match=f"-o {re.escape(str(Path(out)))}: .*Choose another"):
        list(notebooks.execute(notebooks.find("notebooks"), Path(out), progress=False))
    assert files(tmp_path) == before


def test_a_notebook_that_somebody_wrote_in_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_notebook(tmp_path / "notebooks" / "01_one.ipynb")
    write_notebook(tmp_path / "exercises" / "01_one.ipynb", "my = 'answer'")
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    with pytest.raises(InputError, match="is no executed copy, so somebody may have written"):
        list(notebooks.execute(notebooks.find("notebooks"), Path("exercises"), progress=False))
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "command"),
    [("<<<<<<< HEAD\n{}", "exercises"), ("", "links"), ("null", "notebooks --in-place")],
)
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: str, command: str) -> None:
    write_notebook(tmp_path / "notebooks" / "01_one.ipynb", notebooks.SET_UP)
    (tmp_path / "notebooks" / "02_two.ipynb").write_text(content)
    (tmp_path / "CITATION.cff").write_text("title: x\n")
    (tmp_path / "README.md").write_text("# Title\n\ntext\n")
    before = files(tmp_path)
    answer = invoke(tmp_path, cli.main, *command.split())
    assert answer.returncode == 2
    assert "02_two.ipynb: is no notebook" in answer.stderr
    assert files(tmp_path) == before


def test_links_change_no_notebook_of_one_s_own(tmp_path: Path) -> None:
    own = tmp_path / "notebooks" / "95_mine.ipynb"
    write_notebook(own, "my = 'code'")
    (tmp_path / "README.md").write_text("# Title\n\ntext\n")
    (tmp_path / "CITATION.cff").write_text("")  # which says no address
    before = files(tmp_path)
    assert invoke(tmp_path, cli.main, "links").returncode == 0
    assert files(tmp_path) == before
    (tmp_path / "CITATION.cff").write_text("title: [x")
    answer = invoke(tmp_path, cli.main, "links")
    assert (answer.returncode, "CITATION.cff, line 1: cannot be read" in answer.stderr) == (2, True)


def test_a_technique_in_a_notebook_of_another_name_has_one() -> None:
    asked = ["schedule", "factorial", "leave_one_out", "summary"]
    chosen = notebooks.about(notebooks.find(ROOT / "notebooks"), asked)
    names = [path.stem for path in chosen]
    assert names == ["07_schedule", "08_together", "90_ladder", "99_summary"]


def test_a_notebook_that_ends_before_its_end_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "notebooks" / "01_one.ipynb"
    write_notebook(path, "import sys; sys.exit()", "# the results\nprint(seeds)")
    (outcome,) = notebooks.execute([path], tmp_path / "out", progress=False)
    assert (outcome.error or "").startswith("as it ended before its cell '# the results'")


def test_a_notebook_that_lost_a_figure_is_a_failure_and_is_not_stored(tmp_path: Path) -> None:
    path = tmp_path / "notebooks" / "01_one.ipynb"
    table = "# a figure\nfrom IPython.display import HTML\nHTML('a table')"
    write_notebook(path, "print(seeds)", table)
    content = nbformat.read(path, as_version=4)
    content.cells[2].outputs = [new_output("display_data", {HTML: html_image(b"", "A line.")})]
    nbformat.write(content, path)
    before = path.read_bytes()
    lost = "in cell [3], '# a figure': it showed a figure, and no longer does"
    (outcome,) = notebooks.refresh([path], progress=False)
    assert (outcome.error or "").startswith(lost)

    copy = tmp_path / "out" / path.name
    copy.parent.mkdir()
    copy.symlink_to(path)  # which must not be followed
    (outcome,) = notebooks.execute([path], copy.parent, progress=False)
    assert outcome.error == lost
    assert path.read_bytes() == before
    (outcome,) = notebooks.execute([path], copy.parent, {"seeds": 2}, progress=False)
    assert (outcome.error, written(copy)) == (None, "2\n")  # another question may lack a figure


def test_a_folder_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "home")
    monkeypatch.setenv("USERPROFILE", "home")
    given = notebooks.parse_parameters([("results_dir", "~/results"), ("seeds", "3")])
    assert given == {"results_dir": str(Path("home/results")), "seeds": 3}


def test_a_kernel_that_cannot_start_is_a_failure_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notebooks" / "01_one.ipynb"
    write_notebook(path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ipykernel_launcher.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    (outcome,) = notebooks.execute([path], tmp_path / "out", progress=False)
    assert (outcome.error or "").startswith("as no kernel could be started (Kernel died")


def test_an_empty_folder_gives_way_where_none_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where a folder takes no name that exists."""
    posix = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if target.exists():
            raise FileExistsError(target)
        return posix(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    (tmp_path / "run").mkdir()
    with whole_folder(tmp_path / "run", overwrite=False) as new:
        (new / "model.keras").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model.keras"]
    with pytest.raises(FileExistsError), whole_folder(tmp_path / "run", overwrite=False):
        pass
    assert (tmp_path / "run" / "model.keras").exists()
