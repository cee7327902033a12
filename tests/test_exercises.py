"""The exercises in the notebooks: what a reader is given, is shown and is checked by agree."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("0[1-7]_*.ipynb"))
MARKED = re.compile(r"( *)### BEGIN SOLUTION\n(.*?) *### END SOLUTION\n?", re.DOTALL)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def cells(request: pytest.FixtureRequest) -> list[nbformat.NotebookNode]:
    return nbformat.read(request.param, as_version=4).cells


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
        assert shown == MARKED.sub(r"\2", answer.source).rstrip("\n")
        emptied = MARKED.sub(r"\1pass\n", answer.source)
        written = [n.name for n in ast.parse(emptied).body if isinstance(n, ast.FunctionDef)]
        assert emptied.count("pass\n") == len(written) >= 1
        assert all(name in check.source for name in written)
        assert "assert" in check.source


def test_three_exercises_each_with_what_it_costs(cells: list[nbformat.NotebookNode]) -> None:
    text = "\n".join(cell.source for cell in cells)
    assert len(re.findall(r"### Exercise \d: ", text)) >= 3
    assert "{technique.cost(" in text.partition("### Exercise 3: ")[2]
