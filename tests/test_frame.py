"""The files around the code agree with each other, and imports run one way."""

import ast
import graphlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import click
import click.testing
import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, UV, TASKS = SETTINGS["project"], SETTINGS["tool"]["uv"], SETTINGS["tool"]["poe"]["tasks"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
PYTHONS = [
    f"3.{minor}"
    for minor in range(8, 30)
    if SpecifierSet(PROJECT["requires-python"]).contains(f"3.{minor}.0")
]


def test_the_lock_takes_everything_from_pypi_and_says_what_it_must_be() -> None:
    packages = [package for package in LOCK["package"] if package["name"] != PROJECT["name"]]
    files = [
        file
        for package in packages
        for file in (*package.get("wheels", []), package.get("sdist"))
        if file
    ]
    assert len(packages) > 100
    assert {str(p["source"]) for p in packages} == {"{'registry': 'https://pypi.org/simple'}"}
    assert {urlsplit(file["url"]).hostname for file in files} == {"files.pythonhosted.org"}
    assert all(file["hash"].startswith("sha256:") for file in files)


def locked(*groups: str) -> set[str]:
    """What uv installs on x86-64 Linux: for a reader, and with the groups that are named."""
    packages = {package["name"]: package for package in LOCK["package"]}
    environment = {"sys_platform": "linux", "platform_machine": "x86_64", "os_name": "posix"}
    environment |= {"python_version": "3.11", "python_full_version": "3.11.9"}
    project = packages[PROJECT["name"]]
    waiting = list(project["dependencies"])
    for group in (*UV["default-groups"], *groups):
        waiting += project["dev-dependencies"][group]
    seen: set[tuple[str, str]] = set()
    while waiting:
        needed = waiting.pop()
        if "marker" in needed and not Marker(needed["marker"]).evaluate(environment):
            continue
        for part in ("", *needed.get("extra", [])):
            if (needed["name"], part) not in seen:
                seen.add((needed["name"], part))
                package = packages[needed["name"]]
                more = package.get("optional-dependencies", {})
                waiting += more[part] if part else package.get("dependencies", [])
    return {name for name, _ in seen}


def test_a_reader_installs_no_tools_of_developers() -> None:
    reader, developer = locked(), locked("dev", "lab")
    assert {"papermill", "ipywidgets", "tensorflow-cpu"} <= reader
    assert {"ruff", "jaxlib", "distributed", "jupyterlab"} <= developer - reader
    assert len(reader) <= 112  # of 183 that everybody installed before


def test_a_machine_that_only_trains_needs_no_notebooks() -> None:
    program = """
import sys
for name in ("IPython", "ipywidgets", "nbclient", "nbconvert", "nbformat", "papermill"):
    sys.modules[name] = None
from lenet_study import cli, runner
cli.main(["notebooks"])
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2, answer.stderr
    assert "pip install 'lenet-keras[notebooks]'" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_tensorboard_is_missed_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lenet_study import cli

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    arguments = ["train", "--out", str(tmp_path / "new"), "--tensorboard", str(tmp_path)]
    answer = click.testing.CliRunner().invoke(cli.main, arguments)
    assert answer.exit_code == 2
    assert "uv sync --extra tensorboard" in answer.output


def test_conda_brings_the_python_and_the_uv_that_are_needed() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python, uv = map(Requirement, dependencies)  # all else comes from uv.lock
    assert (python.name, uv.name) == ("python", "uv")
    assert python.specifier == SpecifierSet(PROJECT["requires-python"])
    assert uv.specifier == SpecifierSet(UV["required-version"])


def test_the_python_versions_agree_everywhere() -> None:
    tools = SETTINGS["tool"]
    assert tools["mypy"]["python_version"] == PYTHONS[0]
    assert tools["ruff"]["target-version"] == "py" + PYTHONS[0].replace(".", "")
    job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]
    assert ", ".join(PYTHONS[:-1]) + f" or {PYTHONS[-1]}" in (ROOT / "README.md").read_text()


def test_make_a_service_and_the_readme_call_tasks_that_there_are() -> None:
    for file in ("Makefile", ".github/workflows/test.yml", "README.md", "environment.yml"):
        called = re.findall(r"\brun poe ([a-z-]+)", (ROOT / file).read_text())
        assert called, file
        assert set(called) <= set(TASKS), file


FLOORS = [
    {"lenet_keras.recipe", "lenet_keras.backend"},
    {
        "lenet_keras.run",
        "lenet_keras.download",
        "lenet_keras.dataset",
        "lenet_keras.pictures",
        "lenet_keras.folders",
        "lenet_keras.data",
        "lenet_keras.lenet_1998",
        "lenet_keras.expansion",
        "lenet_keras.model",
        "lenet_keras.optimizer",
        "lenet_keras.pipeline",
    },
    {"lenet_keras.evaluation"},
    {"lenet_keras.training"},
    {
        "lenet_study.records",
        "lenet_study.cluster",
        "lenet_study.executors",
        "lenet_study.files",
        "lenet_study.grouping",
        "lenet_study.process",
        "lenet_study.fused",
        "lenet_study.scanned",
        "lenet_study.stack",
        "lenet_study.shards",
        "lenet_study.curvature",
    },
    {
        "lenet_study.members",
        "lenet_study.residual",
        "lenet_study.teachers",
        "lenet_study.training",
    },
    {
        "lenet_study.stats",
        "lenet_study.luck",
        "lenet_study.controls",
        "lenet_study.images",
        "lenet_study.style",
        "lenet_study.widgets",
        "lenet_study.panels",
        "lenet_study.plots",
        "lenet_study.factorial_plots",
        "lenet_study.network_plots",
        "lenet_study.search_plots",
        "lenet_study.report",
        "lenet_study.signals",
        "lenet_study.factorial",
    },
    {"lenet_study.kernels", "lenet_study.study", "lenet_study.runner"},
    {
        "lenet_study.reproduce",
        "lenet_study.run_folder",
        "lenet_study.demo",
        "lenet_study.model_card",
        "lenet_study.command",
        "lenet_study.search",
        "lenet_study.classroom",
        "lenet_study.exercises",
        "lenet_study.notebooks",
        "lenet_study.summary",
        "lenet_study.together",
        "lenet_study.readme",
        "lenet_study.technique",
    },
    {"lenet_study.cli"},
    {"lenet_study.__main__"},
]
PACKAGES = ("lenet_keras", "lenet_study")
MODULES = {
    f"{package}.{path.stem}": path
    for package in PACKAGES
    for path in (ROOT / package).glob("*.py")
    if path.stem != "__init__"
}


def imported_rooms(source: str) -> set[str]:
    """The packages of ours that a source imports anywhere in it, and their rooms."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            module = node.module or ""
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            package, _, room = name.partition(".")
            if package in PACKAGES:
                rooms |= {package, f"{package}.{room.partition('.')[0]}"}
    return rooms & {*PACKAGES, *(room for floor in FLOORS for room in floor)}


def test_the_helper_knows_nothing_of_the_machinery() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "lenet_keras").rglob("*.py")}
    assert len(sources) > 5
    assert [n for n, text in sources.items() if "lenet_study" in imported_rooms(text)] == []


def test_imports_run_down_the_floors() -> None:
    height = {room: level for level, floor in enumerate(FLOORS) for room in floor}
    assert set(MODULES) == set(height), "a module that stands on no floor"
    graph = {room: imported_rooms(path.read_text()) - {*PACKAGES} for room, path in MODULES.items()}
    upwards = [
        f"{room} imports {other}"
        for room, others in graph.items()
        for other in others
        if height[other] > height[room]
    ]
    assert upwards == []
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError for neighbours in a circle


def test_imported_rooms_sees_every_way_to_import() -> None:
    source = """
import lenet_keras.data as data
from lenet_keras import recipe, __version__
def late():
    from lenet_study.study import Study
"""
    rooms = {"lenet_keras.data", "lenet_keras.recipe", "lenet_study.study"}
    assert imported_rooms(source) == {*PACKAGES, *rooms}


def test_every_module_says_in_its_first_line_what_it_is_for() -> None:
    files = [*MODULES.values(), *(ROOT / package / "__init__.py" for package in PACKAGES)]
    assert [path.name for path in files if not path.read_text().startswith('"""')] == []


# A path below somebody's own folder; not a part of an address or of a longer relative path.
MACHINE_PATH = re.compile(rb"(?<![\w.:/~-])(?:/(?:home|Users)/\w|/(?:root|work)/|[A-Z]:\\Users\\)")


def test_no_committed_file_holds_a_machine_path() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout: which files are committed is not known")
    committed = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert ROOT / "Makefile" in committed
    found = {
        path.name: match[0]
        for path in committed
        if path.is_file() and (match := MACHINE_PATH.search(path.read_bytes()))
    }
    assert found == {}


@pytest.mark.parametrize("path", ["/home/" + "ada/x", "/ro" + "ot/.venv", "/Users/" + "ada"])
def test_a_machine_path_is_recognised(path: str) -> None:
    assert MACHINE_PATH.search(f'"{path}"'.encode())
    assert not MACHINE_PATH.search(f"https://example.org{path}".encode())


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_lists_every_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert commands is not None
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^make (\S+)", listed, re.MULTILINE) == commands[1].split()


def commands_of(page: str) -> list[str]:
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    lines = (line for block in blocks for line in block.splitlines())
    commands = (line.removeprefix("uv run ") for line in lines)
    return [
        c
        for c in commands
        if re.match(r"python (train\.py|evaluate\.py|predict\.py|-m lenet_study)", c)
    ]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "TEACHING.md"])
def test_the_commands_of_a_page_have_the_options_it_names(page: str) -> None:
    from lenet_study import cli

    commands = commands_of(page)
    assert len(commands) >= 4
    for line in commands:
        program, *arguments = shlex.split(line.removeprefix("python "), comments=True)
        if program == "-m":
            arguments.remove("lenet_study")
        else:
            arguments.insert(0, program.removesuffix(".py"))
        name, command, rest = cli.main.resolve_command(click.Context(cli.main), arguments)
        assert command is not None
        command.make_context(name, rest)  # raises click.UsageError, runs nothing


def test_the_technique_file_of_contributing_is_one_of_the_size_that_it_says(tmp_path: Path) -> None:
    from lenet_study.study import Study

    text = (ROOT / "CONTRIBUTING.md").read_text()
    (written,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "batch_size.yaml").write_text(written)
    study = Study.from_yaml(tmp_path / "batch_size.yaml")
    runs = study.tuning_runs([*study.variants], study.grids([*study.variants], tmp_path))
    runs += study.final_runs(dict.fromkeys(study.variants, 0.1))
    epochs = sum(run.recipe.epochs for run in runs)
    assert f"{epochs} epochs of one network here" in " ".join(text.split())


def paths_in_tables(page: str) -> list[str]:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / page).read_text(), re.MULTILINE)
    return [path for row in rows for path in re.findall(r"`([^`]+)`", row)]


def test_the_paths_of_the_readme_exist() -> None:
    paths = paths_in_tables("README.md")
    assert len(paths) >= 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_contributing_says_once_what_each_module_is_for() -> None:
    modules = [
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("lenet_*/*.py")
        if not path.name.startswith("__")
    ]
    named = [path for path in paths_in_tables("CONTRIBUTING.md") if path.endswith(".py")]
    assert sorted(named) == sorted(modules)


@pytest.mark.parametrize("path", sorted(ROOT.glob("lenet_*/*.py")), ids=lambda path: path.name)
def test_files_and_functions_stay_short_enough_to_read(path: Path) -> None:
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 60]
    assert len(text.splitlines()) <= 650
    assert not long
