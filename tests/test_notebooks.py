"""The notebooks run, in a batch and alone, and what is stored in them is what the records say."""

import ast
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import nbconvert
import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from examples import MOMENTUM, make_run, run_quickly, write_yaml
from here import LENET, ROOT, TECHNIQUE, call, commit_all, cut_off, files, invoke
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lenet_keras.recipe import InputError, read_yaml
from lenet_study import notebooks, records
from lenet_study.cli import main
from lenet_study.images import HTML, described_in, html_image
from lenet_study.study import Study
from lenet_study.widgets import WIDGET

COMMITTED = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = {
    "dataset": "cifar10",
    "epochs": 20,
    "seeds": 5,
    "results_dir": "../results",
    "figures_dir": "../figures",
    "executor": "local",
    "quick": False,
}
REHEARSAL = ("-p", "dataset", "digits", "-p", "epochs", "1", "-p", "seeds", "2")


def write_notebook(path: Path, *sources: str, parameters: str = "seeds = 5") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[first, *map(new_code_cell, sources)]), path)


def written(path: Path) -> str:
    """Everything that the cells of an executed notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.get("text", "") for cell in cells for o in cell.get("outputs", []))


# The committed notebooks


@pytest.fixture(params=COMMITTED, ids=lambda path: path.stem)
def committed(request: pytest.FixtureRequest) -> Path:
    return request.param


def outputs(path: Path) -> list[dict[str, Any]]:
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells for output in cell.get("outputs", [])]


def readable(output: dict[str, Any]) -> list[str]:
    """The texts of one output, as far as a person or nbval reads them."""
    data = output.get("data", {})
    texts = [v for k, v in data.items() if k.startswith("text/") or k.endswith("json")]
    return [str(text) for text in (*texts, output.get("text", ""))]


def test_the_first_code_cell_declares_the_same_parameters_everywhere(committed: Path) -> None:
    cells = nbformat.read(committed, as_version=4).cells
    first = next(cell for cell in cells if cell.cell_type == "code")
    assert first.metadata["tags"] == ["parameters"]
    found = notebooks.declared(committed)
    config = {"config": ""} if re.match(TECHNIQUE, committed.name) else {}  # one technique's
    wanted = PARAMETERS | config
    assert list(found) == list(wanted)
    assert found in (wanted, wanted | {"seeds": None})  # None: the technique file's


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A copy of what the project's address is written into."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    for name in ("README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def link(folder: Path) -> list[str]:
    address = notebooks.repository(folder / "CITATION.cff")
    found = notebooks.find(folder / "notebooks")
    return [path.name for path in notebooks.link(found, folder / "README.md", address)]


def test_the_address_stands_everywhere_as_in_the_citation(linked: Path) -> None:
    assert link(linked) == [], "call `make links`"


def test_badges_and_the_fetch_come_and_go_with_the_address(linked: Path) -> None:
    citation = linked / "CITATION.cff"
    without = yaml.safe_load(citation.read_text())
    without.pop("repository-code", None)
    citation.write_text(yaml.safe_dump(without))
    link(linked)
    before = files(linked)
    address = "https://github.com/ada/lenet.keras"
    citation.write_text(yaml.safe_dump(without | {"repository-code": address}))
    assert link(linked) == ["README.md", *(path.name for path in COMMITTED)]
    for path in (linked / "notebooks").glob("*.ipynb"):
        first, *_ = nbformat.read(path, as_version=4).cells
        assert f"/github/ada/lenet.keras/blob/main/notebooks/{path.name})" in first.source
        assert (
            f"/v2/gh/ada/lenet.keras/HEAD?urlpath=lab/tree/notebooks/{path.name})" in first.source
        )
        assert f'os.environ.get(\\"LENET_REPOSITORY\\", \\"{address}\\")' in path.read_text()
    for none in (yaml.safe_dump(without), yaml.safe_dump(without) + "repository-code:\n"):
        citation.write_text(none)
        link(linked)
        assert files(linked) | {"CITATION.cff": b""} == before | {"CITATION.cff": b""}
    citation.write_text("repository-code: ftp://example.org/lenet")
    with pytest.raises(InputError, match=r"https://github\.com/NAME/REPOSITORY"):
        link(linked)


def test_a_notebook_opened_alone_fetches_the_rest_or_says_what_it_needs(tmp_path: Path) -> None:
    there, alone = tmp_path / "there", tmp_path / "alone"
    for name in ("configs/baseline.yaml", "notebooks/a file"):
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_text("")
    commit_all(there)
    twice = [notebooks.SET_UP.replace("ADDRESS", "")] * 2  # again, as after a restart
    write_notebook(
        alone / "1_a.ipynb", twice[0], "os.chdir('../..')", twice[1], "print(os.getcwd())"
    )

    arguments = ("-m", "papermill", "1_a.ipynb", "out.ipynb", "-k", "python3")
    refused = call(alone, *arguments, **cut_off(alone))
    assert refused.returncode != 0
    assert "set LENET_REPOSITORY" in refused.stderr
    fetched = call(alone, *arguments, **cut_off(alone), LENET_REPOSITORY=there.as_uri())
    assert fetched.returncode == 0, fetched.stderr
    assert written(alone / "out.ipynb").strip() == str(alone / "lenet-keras" / "notebooks")


def test_a_notebook_is_small(committed: Path) -> None:
    assert committed.stat().st_size < 700_000
    for output in outputs(committed):
        for text in readable(output):
            # The lines that a reader sees: of a table in HTML its rows.
            assert (text.count("<tr") or text.count("\n")) < 200, text[:200]


FORBIDDEN = {
    "machine path": r"(?<![\w.:/~<-])/(?:home|Users|root|work|tmp|usr|opt)/[\w.]|[A-Z]:\\\\?Users",
    "time stamp": r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d|\b\d\d:\d\d:\d\d\b",
    "warning": r"(?i)\bwarning\b|\bstderr\b",
    "address in memory": r" at 0x[0-9a-f]{6,}",
}


def test_no_output_names_a_machine_a_time_or_a_warning(committed: Path) -> None:
    for output in outputs(committed):
        assert output.get("name") != "stderr", output
        assert output["output_type"] != "error", output
        for text in readable(output):
            for what, pattern in FORBIDDEN.items():
                found = re.search(pattern, text)
                assert found is None, f"{what}: {text[max(0, found.start() - 80) :][:200]}"


def test_every_stored_picture_says_in_words_what_it_shows(committed: Path) -> None:
    for output in outputs(committed):
        data = output.get("data", {})
        assert not any(kind.startswith("image/") for kind in data), "an image without words"
        if "<img" in data.get(HTML, ""):
            words = described_in(data)
            assert words, data[HTML][:200]
            assert not re.match(r"Title|Panels|Across|Up|Rows|Source", words), words


def test_nothing_that_differs_between_two_executions_is_stored(committed: Path) -> None:
    content = nbformat.read(committed, as_version=4)
    for metadata in (content.metadata, *(cell.metadata for cell in content.cells)):
        assert not {"papermill", "execution", "widgets"} & set(metadata)
    assert not any(WIDGET in output.get("data", {}) for output in outputs(committed))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("/home/" + "ada/x.py", "machine path"),
        ("/ro" + "ot/.keras", "machine path"),
        ("2026-11-23 19:00", "time stamp"),
        ("UserWarning: x", None),
        ("a warning: x", "warning"),
        ("<Axes at 0x7f00aabbcc>", "address in memory"),
        ("https://example.org/home/x, </div>, ../results, 12:30 h", None),
    ],
)
def test_what_is_forbidden_is_recognised(text: str, what: str | None) -> None:
    found = [name for name, pattern in FORBIDDEN.items() if re.search(pattern, text)]
    assert found == ([what] if what else [])


def functions(path: Path) -> list[str]:
    """The functions that a notebook defines; lines for IPython alone are left out."""
    names = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            python = re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", cell.source)
            nodes = ast.walk(ast.parse(python))
            names += [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    return names


def test_no_helper_is_defined_twice() -> None:
    names = [name for path in COMMITTED for name in functions(path)]
    assert sorted(names) == sorted(set(names))


def test_each_technique_has_its_notebook_and_the_summary_is_last() -> None:
    names = [notebooks.technique(path) for path in notebooks.find(ROOT / "notebooks")]
    assert names[-1] == "summary"
    for name in set(names[1:-1]) - {"play"}:
        assert (ROOT / "configs" / f"{name.replace('together', 'factorial')}.yaml").exists()


# The batch


def test_a_failed_notebook_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    write_notebook(folder / "99_summary.ipynb", "print('last', seeds)")
    write_notebook(folder / "01_wrong.ipynb", "x = 1", "# of course\n1 / 0", "print('never')")
    write_notebook(folder / "02_dead.ipynb", "import os; os._exit(1)")
    write_notebook(folder / "10_right.ipynb", "print('here', seeds)")
    given = ("-p", "seeds", "3", "-o", "out/today", "--quiet")
    answer = call(tmp_path, *LENET, "notebooks", *given, **cut_off(tmp_path))
    assert answer.returncode == 1
    assert "3 of 4" not in answer.stderr
    assert "Error: 2 of 4 notebooks failed." in answer.stderr
    assert "Traceback" not in answer.stderr
    lines = answer.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        *["01_wrong", "02_dead", "10_right", "99_summary"]
    ]
    assert lines[0].endswith("in cell [4], '# of course': ZeroDivisionError: division by zero")
    assert "its kernel died" in lines[1]
    out = tmp_path / "out/today"
    assert written(out / "10_right.ipynb") == "here 3\n"
    assert written(out / "99_summary.ipynb") == "last 3\n"
    assert "division by zero" in (out / "01_wrong.html").read_text()
    assert "here 3" in (out / "10_right.html").read_text()


def test_a_batch_writes_beside_itself_unless_told_otherwise(tmp_path: Path) -> None:
    parameters = 'results_dir = "../results"\nfigures_dir = "../figures"\nepochs = 20\nseeds = 5'
    path = tmp_path / "notebooks" / "01_one.ipynb"
    write_notebook(path, "print(results_dir, figures_dir)", parameters=parameters)
    for given, results, figures in (
        ({"seeds": 3}, "../results", "../out/figures"),
        ({"epochs": 3}, "../out/results", "../out/figures"),
        ({"epochs": 3, "results_dir": "here", "figures_dir": "there"}, "here", "there"),
    ):
        (outcome,) = notebooks.execute([path], tmp_path / "out", given, progress=False)
        assert outcome.error is None
        assert written(outcome.notebook) == f"{results} {figures}\n"


def test_notebooks_run_in_their_own_folder_and_find_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notebooks" / "01_one.ipynb"
    write_notebook(path, "import os; print(os.getcwd(), os.environ['LENET_DATA'])")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENET_DATA", "data")
    (outcome,) = notebooks.execute([Path("notebooks/01_one.ipynb")], Path("out"), progress=False)
    assert outcome.error is None
    assert written(outcome.notebook) == f"{tmp_path / 'notebooks'} {tmp_path / 'data'}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "seed", "3"), "-p seed: no notebook has this parameter. Did you mean 'seeds'?"),
        (("-p", "seeds", "three"), "-p seeds: found 'three'; 01_one.ipynb expects a value of type"),
        (("-p", "seeds", "[3"), "-p seeds [3, line 1: cannot be read as YAML"),
        (("--only", "won"), "--only won: there is no such notebook. Did you mean 'one'?"),
        (("--in-place", "-p", "seeds", "3"), "--in-place: stores what the notebooks say"),
    ],
)
def test_a_slip_is_explained_and_nothing_runs(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    write_notebook(tmp_path / "notebooks" / "01_one.ipynb")
    before = files(tmp_path / "notebooks")
    answer = invoke(tmp_path, main, "notebooks", *arguments)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert not (tmp_path / "runs").exists()
    assert files(tmp_path / "notebooks") == before


def test_a_folder_without_notebooks_or_a_cell_of_parameters_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no notebooks"):
        notebooks.find(tmp_path)
    path = tmp_path / "01_one.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("seeds = 3")]), path)
    with pytest.raises(InputError, match="has no cell tagged 'parameters'"):
        notebooks.declared(path)
    write_notebook(path, parameters="seeds = 2 + len('x')")
    with pytest.raises(InputError, match="expected lines like seeds = 5"):
        notebooks.declared(path)
    write_notebook(path, parameters="epochs =")
    with pytest.raises(InputError, match="'parameters' is no Python"):
        notebooks.declared(path)
    for content in ("{", "[]"):
        path.write_text(content)
        with pytest.raises(InputError, match="is no notebook"):
            notebooks.declared(path)


def test_outputs_stored_in_place_hold_no_time_and_a_failure_changes_nothing(tmp_path: Path) -> None:
    good, bad = tmp_path / "01_good.ipynb", tmp_path / "02_bad.ipynb"
    write_notebook(good, "print('x', seeds)")
    write_notebook(bad, "1 / 0")
    before = bad.read_bytes()
    first, second = notebooks.refresh([good, bad], progress=False)
    assert (first.error, "ZeroDivisionError" in str(second.error)) == (None, True)
    assert written(good) == "x 5\n"
    assert bad.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [good.name, bad.name]
    test_nothing_that_differs_between_two_executions_is_stored(good)
    stored = good.read_bytes()
    list(notebooks.refresh([good], progress=False))
    assert good.read_bytes() == stored


# The guard


KEPT = {"99_summary.ipynb", "conftest.py"}
BOTH = '("../configs/normalization.yaml", "../configs/best.yaml")'
CELLS = [
    ("from lenet_keras.data import load_data; load_data('cifar10').name", "needs-images", ""),
    (f"import os; print(all(map(os.path.getsize, {BOTH})))", "", "True\n"),
    ("1 / 0", "nbval-skip", ""),
]


@pytest.fixture
def guarded(tmp_path: Path) -> Path:
    """The summary notebook with two recorded techniques, its outputs stored; that of one of them;
    and that of a study outside of the summary, neither recorded nor executed."""
    there, configs = tmp_path / "notebooks", tmp_path / "configs"
    shutil.copytree(ROOT / "notebooks", there, ignore=lambda _, names: {*names} - KEPT)
    summary = there / "99_summary.ipynb"
    content = nbformat.read(summary, as_version=4)
    # To draw takes longest, and what is drawn is told in words too.
    told = [c for c in content.cells if not re.search(r"style\.show|write_figures", c.source)]
    content.cells = told
    for cell in told:
        if cell.cell_type == "code":
            cell.outputs = []  # what it says of other techniques is not missed
    nbformat.write(content, summary)
    configs.mkdir()
    for name in ("normalization", "schedule"):
        shutil.copy(ROOT / "configs" / f"{name}.yaml", configs)
        run_quickly(Study.from_yaml(configs / f"{name}.yaml"), tmp_path)
    answer = call(tmp_path, *LENET, "notebooks", "--in-place", "--quiet", **cut_off(tmp_path))
    assert answer.returncode == 0, answer.stdout + answer.stderr

    shutil.copy(ROOT / "configs" / "best.yaml", configs)  # a recipe: no runs to lack
    sources, tags, printed = zip(*CELLS, strict=True)
    write_notebook(there / "05_normalization.ipynb", *sources, parameters=OF_RECORDS)
    mark_executed(there / "05_normalization.ipynb")
    content = nbformat.read(there / "05_normalization.ipynb", as_version=4)
    for cell, tag, text in zip(content.cells[1:], tags, printed, strict=True):
        cell.metadata["tags"] = [tag] if tag else []
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text else []
    nbformat.write(content, there / "05_normalization.ipynb")
    outside = {**read_yaml(configs / "schedule.yaml"), "in_summary": False}
    outside |= {"epochs": 3, "tuning": FEW}  # recipes that no other study has recorded
    write_yaml(configs / "ladder.yaml", outside)
    write_notebook(there / "90_tale.ipynb", 'path = "../configs/ladder.yaml"')
    return tmp_path


OF_RECORDS = 'results_dir = "../results"'
FEW = {"learning_rates": [0.03, 0.1], "epochs": 1, "seeds": [1000]}  # in place of a study's tuning


def mark_executed(path: Path) -> None:
    content = nbformat.read(path, as_version=4)
    for number, cell in enumerate(content.cells, start=1):
        cell.execution_count = number
    nbformat.write(content, path)


def nbval(project: Path) -> tuple[str, set[str]]:
    """What the guard says, and the notebooks that it finds wrong."""
    guard = ("-m", "pytest", "--nbval", "-rfEs", "-p", "no:cacheprovider", "notebooks")
    answer = call(project, *guard, **cut_off(project))
    red = set(re.findall(r"(?m)^(?:FAILED|ERROR) notebooks/(\w+)\.ipynb", answer.stdout))
    assert answer.returncode == bool(red), answer.stdout + answer.stderr
    return answer.stdout, red


def test_the_guard_holds_notebooks_to_the_records_and_never_trains(guarded: Path) -> None:
    said, red = nbval(guarded)
    assert red == set(), said
    assert re.search(r"SKIPPED \[1\].*needs images: CIFAR-10 is not on this machine", said)
    assert re.search(r"SKIPPED \[1\].*trains: another machine may give", said)
    assert re.search(r"SKIPPED \[2\].*no outputs to compare", said)

    # One altered record turns a notebook red; of a study outside of the summary every run counts.
    path = next((guarded / "results" / "schedule").glob("cosine-*/seed-3.json"))
    run = records.read(path)
    assert run.test is not None
    better = run.test.model_copy(update={"accuracy": run.test.accuracy + 0.005})
    path.unlink()
    records.write(run.model_copy(update={"test": better}), path)  # with a digest that fits
    mark_executed(guarded / "notebooks" / "90_tale.ipynb")
    ladder = Study.from_yaml(guarded / "configs" / "ladder.yaml")
    said, red = nbval(guarded)
    assert red == {"99_summary", "90_tale"}, said
    assert "Cell outputs differ" in said
    assert f"results lack {ladder.planned_runs()} of its runs" in said

    path.write_text(path.read_text().replace('"status": "completed"', '"status": "diverged"'))
    next((guarded / "results" / "normalization").glob("batch-*/seed-3.json")).unlink()
    said, red = nbval(guarded)
    assert red == {"99_summary", "90_tale", "05_normalization"}, said
    assert "was changed after it was written" in said
    assert "results lack 1 of its runs" in said


# Training in and for notebooks


def test_a_technique_trains_live_in_its_notebook_and_the_summary_tables_it(tmp_path: Path) -> None:
    only = ("--only", "schedule", "--only", "summary")
    copy_project(tmp_path, "schedule")
    file = tmp_path / "configs" / "schedule.yaml"
    smaller = {**read_yaml(file), "tuning": FEW, "twice": []}
    for name in ("step", "exponential", "one_cycle"):
        del smaller["variants"][name]
    write_yaml(file, smaller)
    given = (*only, *REHEARSAL, "-o", "out", "--quiet")
    answer = call(tmp_path, *LENET, "notebooks", *given, **cut_off(tmp_path))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    study = Study.from_yaml(file).resized(2, 1, "digits")
    runs = study.table(tmp_path / "out" / "results")
    assert len(runs[runs["purpose"] == "final"]) == 2 * len(study.variants)
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "figures").exists()
    page = (tmp_path / "out" / "99_summary.html").read_text()
    assert "This is a rehearsal, not the study." in page
    assert "1 of 1 technique completely recorded on digits" in page
    assert all(f"<td>{variant}</td>" in page for variant in study.variants)


def copy_project(folder: Path, *techniques: str) -> None:
    """The notebooks and technique files of these techniques, and the summary."""
    (folder / "notebooks").mkdir()
    (folder / "configs").mkdir()
    for path in notebooks.find(ROOT / "notebooks", (*techniques, "summary")):
        shutil.copy(path, folder / "notebooks")
    for name in techniques:
        shutil.copy(ROOT / "configs" / f"{name}.yaml", folder / "configs")
    shutil.copy(ROOT / "README.md", folder)


BASE = {"activation": "relu", "kernel_initializer": "he_normal"}
SMALL = {**MOMENTUM, "dataset": "cifar10", "base": BASE, "seeds": 3}
ALL = "\n".join(f"{name} = {value!r}" for name, value in PARAMETERS.items())
OWN_CELLS = (
    """
%matplotlib inline
from IPython.display import Markdown
from lenet_study import plots, report
from lenet_study.technique import open_technique
technique = open_technique(
    "momentum", dataset, seeds, epochs, results_dir, figures_dir, executor, quick, config
)
Markdown(technique.card())
""",
    """
runs, history = technique.runs(), technique.history()
report.results(runs, history, technique.study.baseline)
""",
    "dataset, epochs = 'cifar10', 9  # changed, and only the cell below runs again",
    "technique.show(plots.learning_curves(history), 'mine-curves')",
    "open_technique('runs/yours.yaml')",
)


def test_a_reader_opens_a_file_of_their_own_and_git_sees_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "configs").mkdir()
    write_yaml(tmp_path / "configs/momentum.yaml", {**SMALL, "epochs": 20})
    own = {**SMALL, "title": "Heavy or not", "dataset": "digits"}
    study = Study.from_yaml(write_yaml(tmp_path / "runs/mine.yaml", own))
    run_quickly(study, tmp_path / "runs/mine")
    parameters = f"{ALL}\nconfig = ''".replace("seeds = 5", "seeds = None")
    write_notebook(tmp_path / "notebooks/02_any.ipynb", *OWN_CELLS, parameters=parameters)
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text() + "ipy/\nkeras/\n")
    commit_all(tmp_path)

    given = ("-p", "config", "runs/mine.yaml", "-o", "runs/notebooks", "--quiet")
    answer = call(tmp_path, *LENET, "notebooks", *given, **cut_off(tmp_path))
    assert "InputError: runs/yours.yaml: there is no such file here or in the" in answer.stdout
    done = nbformat.read(tmp_path / "runs/notebooks/02_any.ipynb", as_version=4)
    shown = [cell.outputs for cell in done.cells if cell.cell_type == "code"]
    card, table, _, figure, wrong = shown[-5:]
    assert "**Heavy or not**: a study of your own." in card[0].data["text/markdown"]
    assert "rehearsal" not in card[0].data["text/markdown"]
    assert "heavy" in table[-1].data["text/html"]
    caption = (described_in(figure[0].data) or "").partition("Source: ")[2]
    assert caption == "Heavy or not: digits, 2 epochs, 3 seeds."
    assert len(wrong[0].traceback) == 1
    assert (tmp_path / "runs/notebooks/figures/mine-curves.svg").exists()  # a batch's place
    command = ["git", "status", "--porcelain"]
    changed = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert (changed.returncode, changed.stdout) == (0, b"")


# In place of the summary notebook: what it is told and what it finds in the records.
SCOPE = """
from lenet_study import summary
print(dataset, epochs, seeds, results_dir, figures_dir, executor)
size = {"seeds": seeds, "epochs": epochs, "dataset": dataset}
print(summary.scope(summary.read("../configs", results_dir, **size)))
"""


def test_everything_on_the_digits_is_a_rehearsal_that_touches_nothing(tmp_path: Path) -> None:
    copy_project(tmp_path)
    write_notebook(tmp_path / "notebooks" / "99_summary.ipynb", SCOPE, parameters=ALL)
    study = Study.from_yaml(write_yaml(tmp_path / "configs" / "momentum.yaml", SMALL))
    aside = {**SMALL, "title": "Aside", "in_summary": False}
    write_yaml(tmp_path / "configs" / "aside.yaml", aside)
    committed = study.recipe("plain", 0.1)
    records.write(
        make_run(committed), tmp_path / f"results/momentum/plain-{committed.key}/seed-0.json"
    )
    before = files(tmp_path)

    given = ("everything", "--seeds", "2", "--epochs", "1", "--quiet")
    alone: dict[str, str | None] = {**cut_off(tmp_path), "PYTHONPATH": str(ROOT)}
    answer = invoke(tmp_path, main, *given, **alone)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    first, second, *_, last = answer.stdout.splitlines()
    assert first.startswith("Dataset: digits")
    assert "A rehearsal, not the study" in second
    assert "Momentum: 8 runs, 8 of them trained now" in answer.stdout
    assert "Aside" not in answer.stdout
    page = tmp_path / "runs/rehearsal/notebooks/99_summary.html"
    assert (last.split()[0], tmp_path / last.split()[1]) == ("Summary", page)
    told, found = written(page.with_suffix(".ipynb")).strip().split("\n", 1)
    there = "../runs/rehearsal"
    assert told == f"digits 1 2 {there}/results {there}/figures local"
    assert "1 of 1 technique completely recorded on digits" in found
    assert found.splitlines()[-1] in page.read_text()
    assert (tmp_path / "runs/rehearsal/figures/variants.svg").exists()

    answer = invoke(tmp_path, main, *given, **alone)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "8 runs, 0 of them trained now" in answer.stdout
    assert answer.stdout.count(": reproduced to the last digit") == 8  # of three stacks
    after = {name: content for name, content in files(tmp_path).items() if name in before}
    assert after == before
    new = {name.split("/")[0] for name in set(files(tmp_path)) - set(before)}
    assert new <= {"runs", "ipy", "keras"}


def test_the_figures_and_the_readme_of_a_recorded_study_are_drawn_by_report(
    tmp_path: Path,
) -> None:
    copy_project(tmp_path)
    study = Study.from_yaml(write_yaml(tmp_path / "configs" / "momentum.yaml", SMALL))
    run_quickly(study, tmp_path)
    answer = invoke(tmp_path, main, "report")
    assert answer.returncode == 0, answer.stderr
    assert "results filled in" in answer.stdout
    drawn = files(tmp_path / "figures")
    assert sorted(drawn) == sorted(
        f"{name}.{kind}"
        for name in ("techniques", "variants", "convergence")
        for kind in ("png", "svg")
    )
    assert "| Momentum | plain |" in (tmp_path / "README.md").read_text()
    assert "as it was" in invoke(tmp_path, main, "report").stdout
    assert files(tmp_path / "figures") == drawn


def test_a_page_has_the_words_of_its_figures_and_folds_what_jupyterlab_folds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = 'Up: "a" < b'
    figure = nbformat.v4.new_output("display_data", {HTML: html_image(b"drawn", words)})
    sentence = nbformat.v4.new_code_cell("folded = 1", metadata={"tags": ["hide-input"]})
    drawn = nbformat.v4.new_code_cell("shown = 1", outputs=[figure])
    answer = nbformat.v4.new_code_cell("solved = 1", metadata={"tags": ["exercise", "hide-input"]})
    content = nbformat.v4.new_notebook(cells=[sentence, drawn, answer])
    nbformat.write(content, tmp_path / "drawn.ipynb")
    page = notebooks._page(tmp_path / "drawn.ipynb").read_text()
    for whole in (page, nbconvert.HTMLExporter().from_notebook_node(content)[0]):
        (image,) = BeautifulSoup(whole, "html.parser").select("main img")
        assert (image["alt"], image["src"]) == (words, "data:image/png;base64,ZHJhd24=")
    assert described_in(figure.data) == words
    assert not caplog.messages  # nbconvert warns of images without words
    tasks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["poe"]["tasks"]
    page_of_lab = tasks["lab"]["cmd"].partition("--HTMLExporter.template_file=")[2]
    assert ROOT / page_of_lab == notebooks.PAGE
    folds = re.findall(r"<details><summary>(\w+)</summary>(.*?)</details>", page, re.DOTALL)
    assert [name for name, _ in folds] == ["Code", "Solution"]
    assert "folded" in folds[0][1]
    assert "solved" in folds[1][1]
    assert all("shown" not in fold for _, fold in folds)
