"""Figures that a reader changes in a notebook by controls, from records alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lenet_study.images import HTML, described_in, html_image

if TYPE_CHECKING:
    import nbformat

    from lenet_study.style import Drawing

WIDGET = "application/vnd.jupyter.widget-view+json"


def play(draw: "Callable[..., Drawing]", **controls: Any) -> None:
    """Show a figure below controls that draw it anew; where no kernel runs, as it was at first.

    Args:
        draw: gives axes of the figure for the controls' values; its docstring says what is drawn.
        controls: widgets of ipywidgets, by the names of what `draw` takes.
    """
    import ipywidgets
    from IPython.core.pylabtools import print_figure
    from IPython.display import display
    from matplotlib import pyplot as plt

    from lenet_study.style import described, description, whole_figure

    picture = ipywidgets.Image(format="png")

    def redraw(_: object = None) -> tuple[str, str]:
        values = {name: control.value for name, control in controls.items()}
        figure = whole_figure(described(draw)(**values))
        picture.value = print_figure(figure, "png")
        plt.close(figure)
        return repr(figure), description(figure)

    for control in controls.values():
        control.style.description_width = "initial"  # as wide as its words
        control.observe(redraw, names="value")
    text, words = redraw()
    box = ipywidgets.VBox([*controls.values(), picture])
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    # One output in three forms, of which JupyterLab shows the richest that it knows.
    forms = {"text/plain": text, HTML: html_image(picture.value, words), WIDGET: view}
    display(forms, raw=True)


def keep_pictures(notebook: "nbformat.NotebookNode") -> None:
    """Take the widget from every output that holds a picture too: it lives as long as its kernel,
    and whoever opens the notebook later would see an error in its place."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if described_in(output.get("data", {})) is not None:
                output["data"].pop(WIDGET, None)
