"""The site's settings for Sphinx, whose source folder is the repository: `uv run poe site`."""

import itertools
import re
from pathlib import Path

import nbformat
from sphinx.application import Sphinx

from lenet_study.images import described_in

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
autodoc_preserve_defaults = True  # as written: no path of the machine that builds
autodoc_default_options = {"exclude-members": "model_config"}
html_static_path = ["static"]
html_css_files = ["wide.css"]


def pictures() -> list[tuple[str, str, str]]:
    """Every picture that is stored in a notebook and saved: the notebook's stem, the picture in
    words, and the name it is saved under."""
    found = []
    for notebook in NOTEBOOKS:
        for cell in nbformat.read(notebook, as_version=4).cells:
            saved = [name for name in re.findall(r'([\w-]+)"', cell.source) if _is_saved(name)]
            shown = [described_in(output.get("data", {})) for output in cell.get("outputs", [])]
            words = [told for told in shown if told is not None]
            found += [(notebook.stem, *pair) for pair in zip(words, saved, strict=False)]
    return found


def _is_saved(name: str) -> bool:
    return (ROOT / "figures" / f"{name}.svg").is_file()


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Add all figures to the gallery, and all modules to the reference."""
    if page == "site/gallery":
        for notebook, drawn in itertools.groupby(pictures(), key=lambda picture: picture[0]):
            source[0] += f"\n## [](../notebooks/{notebook}.ipynb)\n"
            for _, words, name in drawn:
                source[0] += f"\n![{words}](../figures/{name}.svg)\n"
    if page == "site/reference":
        for module in MODULES:
            source[0] += f"\n## {module}\n\n```{{eval-rst}}\n"
            source[0] += f".. automodule:: lenet_keras.{module}\n   :members:\n```\n"


def setup(app: Sphinx) -> None:
    """Connect what is ours to Sphinx."""
    app.connect("source-read", fill_in)
