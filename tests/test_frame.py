"""The files around the code agree with each other, and imports run one way."""

import ast
import graphlib
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import click
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = [
    f"3.{minor}"
    for minor in range(8, 30)
    if SpecifierSet(PROJECT["requires-python"]).contains(f"3.{minor}.0")
]
DIRECT = sorted(
    {*PROJECT["dependencies"], *(r for e in PROJECT["optional-dependencies"].values() for r in e)}
)


def pinned() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]


def test_every_requirement_is_an_exact_version() -> None:
    assert len(pinned()) > 50
    assert [str(pin) for pin in pinned() if not re.fullmatch(r"==[^*,]+", str(pin.specifier))] == []


@pytest.mark.parametrize("python", PYTHONS)
def test_requirements_pin_each_direct_dependency_within_its_range(python: str) -> None:
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    versions: dict[str, list[str]] = {}
    for pin in pinned():
        if pin.marker is None or pin.marker.evaluate(environment):
            version = str(pin.specifier).removeprefix("==")
            versions.setdefault(canonicalize_name(pin.name), []).append(version)
    for dependency in map(Requirement, DIRECT):
        found = versions.get(canonicalize_name(dependency.name), [])
        assert len(found) == 1, f"{dependency} on Python {python}: pinned {found}"
        assert dependency.specifier.contains(found[0]), f"{dependency}, but pinned {found[0]}"


def test_conda_installs_the_same_set() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = dependencies.pop()["pip"]
    assert pip == ["-r requirements.txt", "-e ."]
    python, only_pip = map(Requirement, dependencies)  # all else comes from requirements.txt
    assert (python.name, only_pip.name) == ("python", "pip")
    assert python.specifier == SpecifierSet(PROJECT["requires-python"])


def test_the_python_versions_agree_everywhere() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert tools["mypy"]["python_version"] == PYTHONS[0]
    assert tools["ruff"]["target-version"] == "py" + PYTHONS[0].replace(".", "")
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]
    assert any("make test" in step.get("run", "") for step in workflow["jobs"]["test"]["steps"])
    low, high = (python.replace(".", ", ") for python in (PYTHONS[0], PYTHONS[-1]))
    assert f"({low}) <= sys.version_info[:2] <= ({high})" in (ROOT / "Makefile").read_text()


FLOORS = [
    {"recipe"},
    {
        "fused",
        "backend",
        "data",
        "records",
        "lenet_1998",
        "model",
        "optimizer",
        "pipeline",
        "shards",
    },
    {"stack", "curvature"},
    {"training", "stats", "plots", "report", "signals"},
    {"study", "executors"},
    {"notebooks", "summary", "search"},
    {"cli"},
    {"__main__"},
]


def imported_rooms(source: str) -> set[str]:
    """The rooms of lenet_keras that a module's source imports, anywhere in it."""
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
            if package == "lenet_keras" and room:
                rooms.add(room.partition(".")[0])
    return rooms & {room for floor in FLOORS for room in floor}


def test_imports_run_down_the_floors() -> None:
    height = {room: level for level, floor in enumerate(FLOORS) for room in floor}
    modules = {path.stem: path for path in (ROOT / "lenet_keras").glob("*.py")}
    del modules["__init__"]
    assert set(modules) <= set(height), "a module that stands on no floor"
    graph = {room: imported_rooms(path.read_text()) for room, path in modules.items()}
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
    from lenet_keras.study import Study
"""
    assert imported_rooms(source) == {"data", "recipe", "study"}


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


def test_make_lists_every_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert commands is not None
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^make (\S+)", listed, re.MULTILINE) == commands[1].split()


def readme_commands() -> list[str]:
    blocks = re.findall(
        r"^```(?:bash|sh)\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S
    )
    lines = (line for block in blocks for line in block.splitlines())
    return [
        line for line in lines if re.match(r"python (train\.py|evaluate\.py|-m lenet_keras)", line)
    ]


def test_the_commands_of_the_readme_have_the_options_it_names() -> None:
    from lenet_keras import cli

    commands = readme_commands()
    assert len(commands) >= 4
    for line in commands:
        program, *arguments = shlex.split(line.removeprefix("python "), comments=True)
        if program == "-m":
            arguments.remove("lenet_keras")
        else:
            arguments.insert(0, program.removesuffix(".py"))
        name, command, rest = cli.main.resolve_command(click.Context(cli.main), arguments)
        assert command is not None
        command.make_context(name, rest)  # raises click.UsageError, runs nothing


def test_the_paths_of_the_readme_exist() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    paths = [path for row in rows for path in re.findall(r"`([^`]+)`", row)]
    assert len(paths) >= 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
