"""The exercises in the notebooks: what a reader is given, is shown and is checked by agree."""

import ast
import builtins
import dis
import re
from pathlib import Path
from types import CodeType
from typing import Any

import nbformat
import pytest
import yaml
from here import TECHNIQUE

from lenet_keras.recipe import InputError, read_yaml
from lenet_study import exercises
from lenet_study.study import Study

FOLDER = Path(__file__).parent.parent / "notebooks"
TECHNIQUES = sorted(p for p in FOLDER.glob("*.ipynb") if re.match(TECHNIQUE, p.name))
NOTEBOOKS = [FOLDER / "00_baseline.ipynb", *TECHNIQUES, FOLDER / "99_summary.ipynb"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def cells(request: pytest.FixtureRequest) -> list[nbformat.NotebookNode]:
    return nbformat.read(request.param, as_version=4).cells


@pytest.mark.parametrize("cells", TECHNIQUES, ids=lambda path: path.stem, indirect=True)
def test_a_notebook_begins_with_its_card(cells: list[nbformat.NotebookNode]) -> None:
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert code[3] == "Markdown(technique.card())"  # after parameters, set-up and imports


def test_an_exercise_shows_its_solution_and_checks_it(cells: list[nbformat.NotebookNode]) -> None:
    answers = [i for i, cell in enumerate(cells) if "exercise" in cell.metadata.get("tags", [])]
    assert len(answers) >= 2
    for place in answers:
        task, answer, check = cells[place - 1 : place + 2]
        assert re.match(r"### Exercise \d: .+\n\n\*.*(second|minute)", task.source)
        assert "<summary>Hint</summary>" in task.source
        (shown,) = re.findall(
            r"<summary>Solution</summary>\n\n```python\n(.*?)\n```", task.source, re.DOTALL
        )
        name, arguments = re.search(r"Your function: `(\w+)\((.*)\)`\. ", task.source).groups()
        assert f"def {name}({arguments})" == ast.unparse(ast.parse(shown)).partition(":")[0]
        assert shown == exercises.SOLUTION.sub(r"\2", answer.source).rstrip("\n")
        emptied = exercises.SOLUTION.sub(r"\1pass\n", answer.source)
        written = [n.name for n in ast.parse(emptied).body if isinstance(n, ast.FunctionDef)]
        assert emptied.count("pass\n") == len(written) >= 1
        assert all(name in check.source for name in written)
        assert "assert" in check.source


@pytest.mark.parametrize("cells", NOTEBOOKS, ids=lambda path: path.stem, indirect=True)
def test_a_solution_is_folded_away(cells: list[nbformat.NotebookNode]) -> None:
    answers = [cell.metadata for cell in cells if exercises.TAG in cell.metadata.get("tags", [])]
    assert answers
    for metadata in answers:
        assert metadata["jupyter"] == {"source_hidden": True}  # by JupyterLab
        assert "hide-input" in metadata["tags"]  # by the pages


@pytest.mark.parametrize("cells", TECHNIQUES, ids=lambda path: path.stem, indirect=True)
def test_three_exercises_each_with_what_it_costs(cells: list[nbformat.NotebookNode]) -> None:
    text = "\n".join(cell.source for cell in cells)
    assert len(re.findall(r"### Exercise \d: ", text)) >= 3
    assert "{technique.cost(" in text.partition("### Exercise 3: ")[2]


@pytest.mark.parametrize("notebook", TECHNIQUES, ids=lambda path: path.stem)
def test_the_file_that_an_exercise_asks_for_is_a_study(notebook: Path, tmp_path: Path) -> None:
    cells = nbformat.read(notebook, as_version=4).cells
    task = next(cell.source for cell in cells if "### Exercise 3" in cell.source)
    if not (copied := re.search(r"configs/\w+\.yaml", task)):
        return  # it changes a value in the first cell
    text = re.sub(r'"\n +f?"', "", task)
    content = read_yaml(FOLDER.parent / copied[0])
    asked = re.findall(r"`(\w+): ([^`]+)`", text)
    assert asked
    for name, value in asked:
        entry = yaml.safe_load(value)
        inside = {"interior": "tuning", "kernel_initializer": "base"}
        home = content["variants"] if isinstance(entry, dict) else content
        (content[inside[name]] if name in inside else home)[name] = entry
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    study = Study.from_yaml(tmp_path / "mine.yaml")
    if named := re.search(r"--variants ([\w,-]+)", text):
        baseline, *others = named[1].split(",")
        assert study.baseline == baseline
        assert set(others) <= set(study.variants)


def stored(code: CodeType) -> set[str]:
    """The names that a cell defines."""
    return {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_NAME"}


def loaded(code: CodeType) -> set[str]:
    """The names that a cell and the functions in it look up beyond their own."""
    steps = list(dis.get_instructions(code))
    inner = [step.argval for step in steps if isinstance(step.argval, CodeType)]
    names = {step.argval for step in steps if step.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return names.union(*map(loaded, inner))


def run(source: str, cells: list[nbformat.NotebookNode], known: dict[str, Any]) -> None:
    """Run a cell, and before it the last ones that define what it uses."""
    code = compile(source, "cell", "exec")
    used = loaded(code) - stored(code) - set(dir(builtins))
    for place, cell in reversed(list(enumerate(cells))):
        if cell.cell_type != "code" or cell.source.startswith("import importlib"):
            continue
        if (used & stored(compile(cell.source, "cell", "exec"))) - known.keys():
            run(cell.source, cells[:place], known)
    exec(code, known)


def test_a_check_takes_the_solution_and_nothing_less(
    cells: list[nbformat.NotebookNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    known: dict[str, Any] = {}
    for place, cell in enumerate(cells):
        if exercises.TAG not in cell.metadata.get("tags", []):
            continue
        check, before = cells[place + 1].source, cells[:place]
        before = [c for c in before if exercises.TAG not in c.metadata.get("tags", [])]
        run(exercises.emptied(cell.source), before, known)
        with pytest.raises(NotImplementedError, match="your turn"):
            run(check, before, known)
        run(cell.source, before, known)
        run(check, before, known)


def test_copies_for_a_class_are_empty_and_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    folder = tmp_path / "class"
    (copy,) = exercises.write([TECHNIQUES[0], FOLDER / "80_search.ipynb"], folder)
    text = copy.read_text(encoding="utf-8")
    assert "SOLUTION" not in text
    assert text.count("your turn") >= 2
    assert text.count(exercises.OPEN) == 1
    assert "press Esc" not in text
    answers = filter(exercises._is_answer, nbformat.read(copy, as_version=4).cells)
    assert all(cell.metadata == {"tags": [exercises.TAG]} for cell in answers)  # none is folded
    copy.write_text("answers")
    with pytest.raises(InputError, match="is there already"):
        list(exercises.write(NOTEBOOKS, folder))
    assert copy.read_text() == "answers"
    with pytest.raises(InputError, match="beside configs"):
        list(exercises.write(NOTEBOOKS, folder / "far"))
    with pytest.raises(InputError, match="no cell of the 1 notebooks is tagged 'exercise'"):
        list(exercises.write([NOTEBOOKS[0].parent / "80_search.ipynb"], tmp_path / "none"))
    assert not (tmp_path / "none").exists()
