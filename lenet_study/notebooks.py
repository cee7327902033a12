"""Executes the notebooks with papermill, techniques first and the summary last.

A notebook's name is a number and what it is about, as 02_optimization.ipynb. Its first code cell is
tagged `parameters`. Notebooks run in their own folder, so a relative path in a parameter starts
there.
"""

import ast
import contextlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_keras.recipe import InputError, expanded, nearest, parse_yaml, read_yaml
from lenet_study.executors import environment
from lenet_study.images import described_in
from lenet_study.widgets import WIDGET, keep_pictures

try:
    import nbclient.exceptions
    import nbconvert
    import nbformat
    import papermill

    from lenet_study import kernels
except ModuleNotFoundError as missing:
    raise InputError(
        f"notebooks: the package {missing.name} is not installed: uv sync, "
        "or pip install 'lenet-keras[notebooks]'."
    ) from None

PAGE = Path(__file__).with_name("page.html.j2")  # nbconvert's template of an executed notebook
PARAMETERS = "parameters"  # the tag of the cell that declares them
# The cell behind the parameters, the same in all notebooks; the address is CITATION.cff's.
SET_UP = """\
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

if Path("notebooks").is_dir():  # papermill was called in the repository's folder
    os.chdir("notebooks")
if not Path("../configs").is_dir():  # opened alone, as in Colab: fetch the rest
    address = os.environ.get("LENET_REPOSITORY", "ADDRESS")
    if not address:
        raise SystemExit(
            "This notebook needs the repository around it, which has no public address yet. "
            "Open it in a clone, or set LENET_REPOSITORY to the address of one."
        )
    if not Path("lenet-keras").is_dir():
        subprocess.run(["git", "clone", "--quiet", "--depth=1", address, "lenet-keras"], check=True)
    os.chdir("lenet-keras/notebooks")
if importlib.util.find_spec("lenet_keras") is None:  # keeps the TensorFlow that a service has
    %pip install --quiet --editable ..
sys.path.insert(0, str(Path("..").resolve()))  # the package beside this notebook, and no other
%matplotlib inline"""
BADGES = re.compile(r"^\[!\[Open in Colab\].*\n\n", re.MULTILINE)
OWN_RECORDS = ("dataset", "epochs")  # a change of these asks for runs that the study does not have
# Metadata that differ between two executions: times, durations, paths, and progress bars' states.
MARKS_OF_PAPERMILL = ("papermill", "execution", "widgets")
# Of a notebook that was saved with a kernel of another name, which only that machine knows.
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
INJECTED = "injected-parameters"  # the tag of the cell that papermill adds
OF_NO_CONTENT = {"figures_dir", "executor"}  # parameters under which a notebook shows the same


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook."""

    notebook: Path  # the executed copy
    page: Path | None  # the same as HTML; None where none was asked for
    error: str | None  # the cell and what it raised; None: it ran to its end

    def __str__(self) -> str:
        """One line, or several if it failed."""
        if self.error:
            return f"{self.notebook.stem}: FAILED {self.error}"
        return f"{self.notebook.stem}: {self.page or self.notebook}"


def technique(notebook: Path) -> str:
    """What a notebook is about, which is also the name of its technique file, if it has one."""
    return notebook.stem.partition("_")[2]


def about(notebooks: Sequence[Path], techniques: Collection[str]) -> list[Path]:
    """Those of the notebooks that are about these techniques: of that name or, for a technique
    without one, as the ladder's counterpart, those that open it."""
    named = {technique(path) for path in notebooks}
    chosen = []
    for path in notebooks:
        source = "\n".join(cell.source for cell in read(path).cells)
        opened = {*re.findall(r'open_technique\(\s*"(\w+)"', source)} - named
        if {technique(path), *opened} & {*techniques}:
            chosen.append(path)
    return chosen


def find(folder: Path | str, only: Collection[str] = ()) -> list[Path]:
    """The notebooks of a folder by their number, so the summary comes last.

    Args:
        folder: where they lie.
        only: techniques, as "optimization"; all without any.

    Raises:
        InputError: there are none, none of that name, or one that is no notebook; or the package
            beside them is another than this one, so that what they import would not be what runs
            them.
    """
    folder = Path(folder)
    beside = folder.resolve().parent / kernels.PACKAGE.name
    if beside.is_dir() and not beside.samefile(kernels.PACKAGE):
        raise InputError(
            f"{folder}: belongs to the package in {beside}, but this command is that of "
            f"{kernels.PACKAGE}. Call `python -m lenet_study` in {beside.parent}, without "
            "PYTHONSAFEPATH or -P, or install that package: uv sync, or pip install --editable ."
        )
    found = [path for path in folder.glob("*.ipynb") if re.match(r"\d+_", path.name)]
    found.sort(key=lambda path: (int(path.name.partition("_")[0]), path.name))
    if not found:
        raise InputError(f"{folder}: holds no notebooks. Call this in the repository's folder.")
    names = [technique(path) for path in found]
    for name in only:
        if name not in names:
            raise InputError(f"--only {name}: there is no such notebook.{nearest(name, names)}")
    chosen = [path for path, name in zip(found, names, strict=True) if not only or name in only]
    for path in chosen:  # a merge conflict, as in one, is told before any is executed or changed
        read(path)
    return chosen


def read(notebook: Path) -> Any:
    """The content of a notebook.

    Raises:
        InputError: the file is no notebook.
    """
    try:
        return nbformat.read(notebook, as_version=4)
    except (OSError, AttributeError, TypeError, ValueError, nbformat.ValidationError) as error:
        raise InputError(f"{notebook}: is no notebook ({error}).") from None


def parse_parameters(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """`[("seeds", "3")]` as a mapping; values are read as YAML, `~` in a folder is a home.

    Raises:
        InputError: a value that is no YAML, or no such home.
    """
    return {
        name: str(expanded(value))
        if name.endswith("_dir")
        else parse_yaml(value, f"-p {name} {value}")
        for name, value in pairs
    }


def declared(notebook: Path) -> dict[str, Any]:
    """The parameters that a notebook declares, with their default values.

    Raises:
        InputError: the file is no notebook, or declares no plain values in a tagged cell.
    """
    for cell in read(notebook).cells:
        if cell.cell_type == "code" and PARAMETERS in cell.metadata.get("tags", []):
            return dict(_assignments(cell.source, notebook))
    raise InputError(f"{notebook}: has no cell tagged '{PARAMETERS}'.")


def _assignments(source: str, notebook: Path) -> Iterator[tuple[str, Any]]:
    """The names and values of lines like `seeds = 5`."""
    try:
        lines = ast.parse(source).body
    except SyntaxError as error:
        raise InputError(
            f"{notebook}: the cell tagged '{PARAMETERS}' is no Python ({error.msg})."
        ) from None
    for line in lines:
        try:
            match line:
                case ast.Assign([ast.Name(name)], value):
                    yield name, ast.literal_eval(value)
                case _:
                    raise ValueError
        except ValueError:
            raise InputError(
                f"{notebook}: the cell tagged '{PARAMETERS}' holds {ast.unparse(line)!r}; expected "
                "lines like seeds = 5."
            ) from None


def check(notebooks: Sequence[Path], parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter that no notebook declares, or of another type than its default.

    Papermill itself only warns, and the notebook runs as if nothing had been asked for.

    Raises:
        InputError: says which parameter, what was found and what is allowed.
    """
    defaults = {notebook.name: declared(notebook) for notebook in notebooks}
    known = list(dict.fromkeys(name for names in defaults.values() for name in names))
    for name, value in parameters.items():
        if name not in known:
            raise InputError(f"-p {name}: no notebook has this parameter.{nearest(name, known)}")
        for notebook, of_notebook in defaults.items():
            default = of_notebook.get(name, value)
            default = 2 if default is None else default  # seeds: as many as a technique file says
            if type(value) is not type(default):
                raise InputError(
                    f"-p {name}: found {value!r}; {notebook} expects a value of type "
                    f"{type(default).__name__}, as {default!r}."
                )


def execute(
    notebooks: Sequence[Path],
    out: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    results: Path | None = None,
    figures: Path | None = None,
    data_dir: Path | None = None,
    progress: bool = True,
) -> Iterator[Outcome]:
    """Execute notebooks one after the other; keep each with its outputs, and as an HTML page.

    One that fails keeps what it had, and the others go on. Unless told otherwise, figures go to
    `out`/figures, and other data or epochs than the study's are recorded in `out`/results, so that
    no rehearsal touches what is committed.

    Args:
        notebooks: as from `find`.
        out: folder of the executed copies; made if missing, older copies are replaced.
        parameters: by name, for all of them; see `check`.
        results, figures: folders of the records and the figures, seen from here; as parameters,
            `results_dir` and `figures_dir`, they start in the notebooks' folder.
        data_dir: where CIFAR-10 lies; LENET_DATA without it.
        progress: whether a bar over the cells is drawn.

    Yields:
        What became of each, as soon as it is known.

    Raises:
        InputError: as `check`, before anything runs; or `out` cannot be written, or is where the
            notebooks lie, where figures and records of the study would be written into, or holds
            a notebook of one's own by the name of a copy.
    """
    parameters = dict(parameters or {})
    check(notebooks, parameters)
    folders = {"figures_dir": figures or out / "figures"}
    if results or set(OWN_RECORDS) & set(parameters):
        folders["results_dir"] = results or out / "results"
    chosen_here = {n: f for n, f in folders.items() if f.parent == out and n not in parameters}
    for notebook in notebooks:
        _refuse_sources(notebook, out, chosen_here)
        _refuse_what_a_person_wrote(out / notebook.name)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise InputError(f"{out}: cannot be written ({reason.strerror}).") from None
    for notebook in notebooks:
        known = declared(notebook)
        given = {name: _seen_from(notebook.parent, folder) for name, folder in folders.items()}
        given = {name: value for name, value in (given | parameters).items() if name in known}
        executed = out / notebook.name
        for old in (executed, executed.with_suffix(".html")):
            old.unlink(missing_ok=True)  # else it would be taken for new, or a link be followed
        with _own_settings(data_dir):
            error = _execute(notebook, executed, given, progress)
            page = _page(executed) if executed.exists() else None
        if all(known[name] == value for name, value in given.items() if name not in OF_NO_CONTENT):
            error = error or _lost(notebook, executed)
        yield Outcome(executed, page, error)


def _refuse_sources(notebook: Path, out: Path, folders: Mapping[str, Path]) -> None:
    """Refuse an `out` where a copy would be the notebook, or where the study keeps its own.

    Raises:
        InputError: says what would be overwritten.
    """
    if out.exists() and out.samefile(notebook.parent):
        raise InputError(
            f"-o {out}: holds the notebooks themselves, which their copies would overwrite. "
            "Choose another folder, or store outputs in them with --in-place."
        )
    defaults = declared(notebook)
    for name, folder in folders.items():
        if name in defaults and folder.resolve() == (notebook.parent / defaults[name]).resolve():
            raise InputError(
                f"-o {out}: {folder} is where the study keeps its own, and would be written into. "
                "Choose another folder."
            )


def _refuse_what_a_person_wrote(copy: Path) -> None:
    """Refuse to replace a notebook that papermill did not write, as one with a student's answers.

    Raises:
        InputError: names it.
    """
    if not copy.is_file() or copy.is_symlink():  # a link is replaced, not what it leads to
        return
    try:
        metadata = read(copy).metadata
    except InputError:  # half a file, as a batch that was killed leaves it
        return
    if "papermill" not in metadata:
        raise InputError(
            f"{copy}: is no executed copy, so somebody may have written in it, and it is not "
            "replaced. Choose another folder with -o, or move it away."
        )


def refresh(
    notebooks: Sequence[Path], *, data_dir: Path | None = None, progress: bool = True
) -> Iterator[Outcome]:
    """Execute notebooks as they are and store the outputs in the notebooks themselves.

    What papermill notes about the machine and the time is left out. A notebook that fails stays as
    it was, and so does one of which a cell no longer shows what it showed, as a figure.

    Args:
        notebooks: as from `find`.
        data_dir: where CIFAR-10 lies; LENET_DATA without it.
        progress: whether a bar over the cells is drawn.

    Yields:
        What became of each, as soon as it is known.
    """
    for notebook in notebooks:
        with tempfile.TemporaryDirectory(dir=notebook.parent, prefix=".") as folder:
            executed = Path(folder) / notebook.name
            with _own_settings(data_dir):
                error = _execute(notebook, executed, {}, progress)
            if not error and (lost := _lost(notebook, executed)):
                error = f"{lost}; the notebook is as it was. If that is meant, clear its outputs"
            if not error:
                _remove_marks(executed)
                executed.replace(notebook)
        yield Outcome(notebook, None, error)


def repository(citation: Path) -> str:
    """The public address of this project as CITATION.cff says it; "" while there is none.

    Raises:
        InputError: no such file, or an address that Colab and Binder cannot open.
    """
    address = read_yaml(citation).get("repository-code") or ""
    if address and not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", str(address)):
        raise InputError(
            f"{citation}: repository-code: found {address!r}; allowed: an address that Colab and "
            "Binder can open, as https://github.com/NAME/REPOSITORY. Leave the line out while "
            "there is none."
        )
    return address


def link(notebooks: Sequence[Path], readme: Path, address: str) -> list[Path]:
    """Write the project's address into the notebooks' set-up cells, and badges that open them.

    Args:
        notebooks: as from `find`; the README's badges open the first.
        readme: gets badges under its title, as each notebook does.
        address: as from `repository`; without one there are no badges, and a notebook that is
            opened alone says so.

    Returns:
        The files that changed.
    """
    new = {readme: _with_badges(readme.read_text(encoding="utf-8"), notebooks[0], address)}
    for notebook in notebooks:
        content, begin = read(notebook), SET_UP.partition("\n")[0]
        set_up = next((cell for cell in content.cells if cell.source.startswith(begin)), None)
        if set_up is None:  # somebody's own
            continue
        content.cells[0].source = _with_badges(content.cells[0].source, notebook, address)
        set_up.source = SET_UP.replace("ADDRESS", address)
        new[notebook] = nbformat.writes(content) + "\n"
    changed = [path for path, text in new.items() if path.read_text(encoding="utf-8") != text]
    for path in changed:
        path.write_text(new[path], encoding="utf-8", newline="\n")
    return changed


def _with_badges(text: str, notebook: Path, address: str) -> str:
    """A text with or without badges under its title, as there is an address or not."""
    title, _, rest = BADGES.sub("", text).partition("\n\n")
    if not address:
        return f"{title}\n\n{rest}"
    name, path = address.removeprefix("https://github.com/"), f"notebooks/{notebook.name}"
    colab, binder = "https://colab.research.google.com", "https://mybinder.org"
    badges = (
        f"[![Open in Colab]({colab}/assets/colab-badge.svg)]"
        f"({colab}/github/{name}/blob/main/{path}) "
        f"[![Open in Binder]({binder}/badge_logo.svg)]"
        f"({binder}/v2/gh/{name}/HEAD?urlpath=lab/tree/{path})"
    )
    return f"{title}\n\n{badges}\n\n{rest}"


@contextlib.contextmanager
def _own_settings(data_dir: Path | None) -> Iterator[None]:
    """What kernels and pages are made with, for the length of a `with` block."""
    with (
        tempfile.TemporaryDirectory(prefix="lenet-", ignore_cleanup_errors=True) as folder,
        environment(**kernels.settings(Path(folder), data_dir)),
    ):
        yield


def _execute(
    notebook: Path, executed: Path, parameters: Mapping[str, Any], progress: bool
) -> str | None:
    """Execute one notebook; in words what went wrong, if anything."""
    bar: bool | dict[str, str] = {"desc": notebook.stem} if progress else False
    try:
        papermill.execute_notebook(
            notebook.resolve(),
            executed.resolve(),
            parameters=dict(parameters),
            kernel_name="python3",  # this Python, whatever a notebook was last opened with
            language="python",
            cwd=notebook.parent.resolve(),
            progress_bar=bar,
            extra_arguments=["--IPKernelApp.log_level=ERROR"],  # its warnings are no news here
        )
    except papermill.PapermillExecutionError as error:
        (line, *_) = error.source.strip().splitlines() or [""]
        return f"in cell [{error.exec_count}], {line!r}: {error.ename}: {error.evalue}"
    except nbclient.exceptions.DeadKernelError:
        return "as its kernel died; it may have run out of memory"
    except RuntimeError as error:  # Jupyter's, with no class of its own
        return f"as no kernel could be started ({error})"
    return _cut_short(executed)


def _cut_short(executed: Path) -> str | None:
    """In words, where an executed notebook ended before its end, which is no error to papermill if
    a cell called sys.exit()."""
    for cell in _code_cells(executed):
        if cell.source.strip() and cell.execution_count is None:
            (line, *_) = cell.source.strip().splitlines()
            return f"as it ended before its cell {line!r}: a cell above called sys.exit()"
    return None


def _lost(before: Path, after: Path) -> str | None:
    """In words, the first cell that showed something, as a figure or a table, and does not now."""
    for old, new in zip(_code_cells(before), _code_cells(after), strict=True):
        if missing := _kinds(old) - _kinds(new):
            (line, *_) = old.source.strip().splitlines() or [""]
            kinds = " and ".join(sorted(missing))
            return (
                f"in cell [{new.execution_count}], {line!r}: it showed {kinds}, and no longer does"
            )
    return None


def _code_cells(notebook: Path) -> list[Any]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [
        cell
        for cell in cells
        if cell.cell_type == "code" and INJECTED not in cell.metadata.get("tags", [])
    ]


def _kinds(cell: Any) -> set[str]:
    """What a cell shows: figures, and else kinds of data; progress bars do not count."""
    shown = [output.get("data", {}) for output in cell.outputs]
    figures = [data for data in shown if described_in(data) is not None]
    others = [data for data in shown if data not in figures and WIDGET not in data]
    return {kind for data in others for kind in data} | {"a figure" for _ in figures}


def _page(notebook: Path) -> Path:
    """Write an executed notebook as an HTML page beside it, its figures with their words."""
    content = nbformat.read(notebook, as_version=4)
    keep_pictures(content)
    exporter = nbconvert.HTMLExporter(template_file=str(PAGE))
    body, _ = exporter.from_notebook_node(content, {"metadata": {"name": notebook.stem}})
    page = notebook.with_suffix(".html")
    page.write_text(body, encoding="utf-8")
    return page


def _remove_marks(notebook: Path) -> None:
    """Remove what differs between two executions with the same outputs."""
    content = nbformat.read(notebook, as_version=4)
    keep_pictures(content)
    content.metadata["kernelspec"] = dict(KERNEL)
    for metadata in (content.metadata, *(cell.metadata for cell in content.cells)):
        for name in MARKS_OF_PAPERMILL:
            metadata.pop(name, None)
    nbformat.write(content, notebook)


def _seen_from(folder: Path, path: Path) -> str:
    """`path` as a relative one that starts in `folder`, where there is a way: not to another of
    Windows' drives."""
    try:
        return os.path.relpath(path.resolve(), folder.resolve())
    except ValueError:
        return str(path.resolve())
