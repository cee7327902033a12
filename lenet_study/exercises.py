"""The notebooks as a reader gets them who writes the answers: the same, without the solutions."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat

from lenet_keras.recipe import InputError
from lenet_study.files import whole_file

TAG = "exercise"  # of a cell that holds an answer
SOLUTION = re.compile(r"( *)### BEGIN SOLUTION\n(.*?) *### END SOLUTION\n?", re.DOTALL)
STUB = r'\1raise NotImplementedError("your turn")' + "\n"
# How to answer, in a notebook and in its copy.
FOLDED = re.compile(r"Below each task stands a solution, folded away.*?before such commands\.\)")
OPEN = (
    "Below each task a cell waits for your function, and below that stands one that checks: run "
    "both, and no message means that yours is right. The text of the task has a solution, folded."
)


def write(notebooks: Sequence[Path], folder: Path) -> Iterator[Path]:
    """Write copies of the notebooks that have exercises, their answers empty.

    Args:
        notebooks: with solutions between the marks of nbgrader.
        folder: beside `configs`, which a notebook looks for there; made if missing.

    Yields:
        Each copy, as soon as it is written. What was folded is open where it is written in; the
        solutions in the text of a task stay folded.

    Raises:
        InputError: the folder is not beside `configs`, no notebook has an exercise, or a copy is
            there already, in which somebody may have written.
    """
    if not (folder.resolve().parent / "configs").is_dir():
        raise InputError(f"{folder}: a notebook needs ../configs. Name a folder beside configs.")
    copies = {folder / path.name: nbformat.read(path, as_version=4) for path in notebooks}
    copies = {path: copy for path, copy in copies.items() if any(map(_is_answer, copy.cells))}
    if not copies:
        raise InputError(f"no cell of the {len(notebooks)} notebooks is tagged '{TAG}'.")
    if taken := [path for path in copies if path.exists()]:
        raise InputError(
            f"{taken[0]}: is there already, and may hold somebody's answers. Nothing was written. "
            "Move it away or choose another folder."
        )
    folder.mkdir(exist_ok=True)
    for path, copy in copies.items():
        for cell in copy.cells:
            if cell.cell_type == "markdown":
                cell.source = FOLDED.sub(OPEN, cell.source)
        for cell in filter(_is_answer, copy.cells):
            cell.source, cell.outputs = emptied(cell.source), []
            cell.metadata = nbformat.from_dict({"tags": [TAG]})  # open: it is written in
        with whole_file(path) as temporary:
            nbformat.write(copy, temporary)
        yield path


def emptied(answer: str) -> str:
    """The source of a cell without its solutions; to run it says that it is the reader's turn."""
    return SOLUTION.sub(STUB, answer)


def _is_answer(cell: nbformat.NotebookNode) -> bool:
    return TAG in cell.metadata.get("tags", [])
