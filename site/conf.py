"""The site's settings for Sphinx, whose source folder is the repository: `uv run poe site`."""

import hashlib
import re
from base64 import b64decode
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MODULES = sorted(path.stem for path in (ROOT / "lenet_keras").glob("[!_]*.py"))

project = "LeNet-5 on CIFAR-10"
html_title = project
html_theme = "furo"
html_copy_source = False
html_extra_path = ["index.html"]  # leads from the top to site/index
html_show_copyright = False
root_doc = "site/index"
include_patterns = ["*.md", "benchmarks/*.md", "weights/*.md", "site/*.md", "notebooks/*.ipynb"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nb_execution_mode = "off"  # pages show the outputs that are stored
nb_code_prompt_show = nb_code_prompt_hide = "Code"
nb_render_markdown_format = "myst"  # tables in outputs too
myst_heading_anchors = 3
autodoc_typehints = "description"
autodoc_member_order = "bysource"


def figures() -> dict[str, list[tuple[str, str]]]:
    """The saved figures of each notebook, by its page: a file's name, and the figure in words."""
    found: dict[str, list[tuple[str, str]]] = {}
    for notebook in NOTEBOOKS:
        for cell in nbformat.read(notebook, as_version=4).cells:
            names = [n for n in re.findall(r'([\w-]+)"', cell.source) if _drawn(n).is_file()]
            for output in cell.get("outputs", []):
                words = output.get("metadata", {}).get("image/png", {}).get("alt")
                if names and words:
                    found.setdefault(notebook.stem, []).append((names.pop(0), words))
    return found


def _drawn(name: str) -> Path:
    return ROOT / "figures" / f"{name}.svg"


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Add all figures to the gallery, and all modules to the reference."""
    if page == "site/gallery":
        for notebook, drawn in figures().items():
            source[0] += f"\n## [](../notebooks/{notebook}.ipynb)\n"
            for name, words in drawn:
                source[0] += f"\n![{words}](../figures/{name}.svg)\n"
    if page == "site/reference":
        for module in MODULES:
            source[0] += f"\n## {module}\n\n```{{eval-rst}}\n"
            source[0] += f".. automodule:: lenet_keras.{module}\n   :members:\n```\n"


def describe(app: Sphinx, tree: nodes.document) -> None:
    """Give a notebook's figures the words that its outputs hold for those who cannot see them."""
    words = {}
    for notebook in NOTEBOOKS:
        for cell in nbformat.read(notebook, as_version=4).cells:
            for output in cell.get("outputs", []):
                if picture := output.get("data", {}).get("image/png"):
                    name = hashlib.sha256(b64decode(picture)).hexdigest()
                    words[name] = output["metadata"].get("image/png", {}).get("alt", "")
    for image in tree.findall(nodes.image):
        if found := words.get(Path(image["uri"]).stem):
            image["alt"] = found


def setup(app: Sphinx) -> None:
    """Connect what is ours to Sphinx."""
    app.connect("source-read", fill_in)
    app.connect("doctree-read", describe)
