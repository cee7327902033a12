"""How every figure looks, what is written under it, and how it is described, shown and saved.

Call `use_style` once, and `colours` once with all variants of a study: then a variant has one
colour in every figure, which no other has.
"""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypedDict, TypeVar

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from lenet_keras.recipe import InputError
from lenet_study.images import HTML, html_image

# Okabe & Ito (2008), "Color Universal Design", in an order that keeps neighbours apart. Their
# yellow cannot be read on white and black is ink; Tol's wine and olive (SRON technical note
# EPS/TN/09-002) stand in for them.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, WINE, OLIVE = "#56B4E9", "#E69F00", "#882255", "#999933"
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER, WINE, OLIVE)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
INK, GREY, SHADE = "#222222", "#6b6b6b", "#eeeeee"

# Of one network's two curves, in every notebook: dashed on training images, solid on validation.
TRAINING: dict[str, Any] = {"color": BLUE, "linestyle": "--"}
VALIDATION: dict[str, Any] = {"color": ORANGE, "linestyle": "-"}

STYLE: dict[str, Any] = {  # what seaborn's white grid leaves open, or has otherwise
    "savefig.facecolor": "white",  # opaque, so that a dark notebook theme leaves text readable
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "figure.titlesize": 11,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "errorbar.capsize": 3,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",  # a reader without DejaVu Sans sees the same picture
    "svg.hashsalt": "lenet_keras",
}
DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
}

Drawing = Axes | Figure | np.ndarray  # a figure, any of its axes, or an array of them
Arguments = ParamSpec("Arguments")
Drawn = TypeVar("Drawn")


class Look(TypedDict):
    """How one variant is drawn, as keywords of matplotlib's `Axes.plot`."""

    color: str
    marker: str


Colours = Mapping[str, Look]


def use_style() -> None:
    """Set the one style of all figures, for this process."""
    sns.set_theme(style="whitegrid", palette=PALETTE, rc=STYLE)


def colours(variants: Sequence[str], baseline: str | None = None) -> dict[str, Look]:
    """One look per variant, fixed by its place in `variants`; the first 24 differ in colour.

    Eight colours that colour-blind readers can tell apart, then their darker and lighter shades,
    so that the ninth goes with the first; the baseline, where there is one, is grey.
    """
    looks: dict[str, Look] = {}
    for place, variant in enumerate(dict.fromkeys(variants)):
        turn, hue = divmod(place, len(PALETTE))
        towards, share = ((0, 0.0), (0, 0.45), (1, 0.5))[turn % 3]
        red, green, blue = ((1 - share) * c + share * towards for c in to_rgb(PALETTE[hue]))
        colour = GREY if variant == baseline else to_hex((red, green, blue))
        looks[variant] = {"color": colour, "marker": MARKERS[(hue + turn) % len(MARKERS)]}
    return looks


def described(draw: Callable[Arguments, Drawn]) -> Callable[Arguments, Drawn]:
    """Say in the axes that a function draws what they show: the first line of its docstring."""

    @functools.wraps(draw)
    def drawn(*arguments: Arguments.args, **named: Arguments.kwargs) -> Drawn:
        result = draw(*arguments, **named)
        for axes in np.ravel(np.asarray(result, dtype=object)):
            axes.set_label((draw.__doc__ or "").partition("\n")[0])
        return result

    return drawn


def description(drawing: Drawing) -> str:
    """A figure in words, for who cannot see it: what it shows, its axes, panels, rows and source.

    Values are not among them: sentences and tables beside a figure have those.
    """
    figure = whole_figure(drawing)
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    rows = [tick.get_text() for tick in panels[0].get_yticklabels()] if len(panels) == 1 else []
    parts = {
        "": [str(axes.get_label()).rstrip(".") for axes in panels],
        "Title: ": [figure.get_suptitle()],
        "Panels: ": [axes.get_title(loc="left") for axes in panels],
        "Across: ": [axes.get_xlabel() for axes in panels],
        "Up: ": [figure.get_supylabel(), *(axes.get_ylabel() for axes in panels)],
        "Rows: ": rows if any(map(str.isalpha, "".join(rows))) else [],
        "Source: ": [figure.get_supxlabel()],
    }
    told = {
        name: ", ".join(" ".join(text.split()) for text in dict.fromkeys(texts) if text)
        for name, texts in parts.items()
    }
    return " ".join(f"{name}{text}." for name, text in told.items() if text)


def label_source(
    drawing: Drawing,
    dataset: str,
    epochs: int | None = None,
    seeds: int | None = None,
    *,
    longest: int | None = None,
    most_seeds: int | None = None,
    title: str | None = None,
    study_dataset: str = "cifar10",
    study_epochs: int = 20,
    study_seeds: int = 5,
) -> None:
    """Write under a figure what it was drawn from, and whether that is a rehearsal.

    Args:
        drawing: the figure, or any of its axes.
        dataset: name of the dataset.
        epochs: that each run trained for; None where nothing was trained.
        seeds: runs of each variant; None as before.
        longest: epochs of the longest run, where some train for longer than `epochs`.
        most_seeds: runs of the variant with the most, where some have more than `seeds`.
        title: of a study that is not one of the project's.
        study_dataset: any other makes a rehearsal.
        study_epochs: another number makes a rehearsal.
        study_seeds: fewer make a rehearsal; more are more evidence.
    """
    parts = [f"{title}: " * bool(title) + DATASETS.get(dataset, dataset)]
    if epochs is not None:
        last = max(epochs, longest or 0)
        parts.append((f"{epochs} to " if last > epochs else "") + count(last, "epoch"))
    if seeds is not None:
        most = max(seeds, most_seeds or 0)
        parts.append((f"{seeds} to " if most > seeds else "") + count(most, "seed"))
    text = ", ".join(parts)
    other = epochs not in (None, study_epochs) or (seeds is not None and seeds < study_seeds)
    if dataset != study_dataset or other:
        text += ": a rehearsal, not the study"
    # A figure's x label is the one line of text that constrained layout keeps room for.
    whole_figure(drawing).supxlabel(text, x=0.995, ha="right", fontsize=8, color=GREY)


def show(drawing: Drawing, shown: str = "") -> None:
    """Show a figure in its notebook now, with its description as alternative text; then close it.

    Where no notebook shows figures by itself nothing happens.

    Args:
        drawing: the figure, any of its axes, or an array of them.
        shown: what it shows, in words, where no function that is `described` drew it.
    """
    if "inline" not in mpl.get_backend():
        return
    from IPython.core.pylabtools import print_figure
    from IPython.display import display

    figure = whole_figure(drawing)
    words = f"{shown}. " * bool(shown) + description(figure)
    image = html_image(print_figure(figure, "png"), words)
    display({"text/plain": repr(figure), HTML: image}, raw=True)
    plt.close(figure)  # else it would be shown again at the end of the cell


def save(drawing: Drawing, path: Path | str) -> tuple[Path, Path]:
    """Write a figure as `<path>.png` and `<path>.svg`, described and without dates.

    The same figure gives the same bytes.

    Args:
        drawing: the figure, or any of its axes.
        path: file name without suffix; missing folders are made. In `os.devnull`, as if it were a
            folder, nothing is kept, and nothing drawn.

    Returns:
        The two files.

    Raises:
        InputError: the folder cannot be written to.
    """
    figure, png, svg = whole_figure(drawing), Path(f"{path}.png"), Path(f"{path}.svg")
    if png.parent == Path(os.devnull):
        return png, svg
    words, dpi = description(figure), figure.get_dpi()
    figure.set_dpi(STYLE["savefig.dpi"])  # room for letters as wide as they will be
    _round_layout(figure)
    figure.set_dpi(dpi)
    try:
        png.parent.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context({name: STYLE[name] for name in ("svg.fonttype", "svg.hashsalt")}):
            figure.savefig(
                png, dpi=STYLE["savefig.dpi"], metadata={"Description": words, "Software": None}
            )
            figure.savefig(svg, metadata={"Title": words, "Date": None})
    except OSError as error:
        raise InputError(f"{png.parent}: figures cannot be written ({error.strerror}).") from None
    return png, svg


def _round_layout(figure: Figure) -> None:
    """End the layout at places of six digits.

    The last digits of what its solver finds are not the same in every process, and an SVG's names
    are made from them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position(original=True).bounds, 6))
        axes.set_in_layout(True)  # which a place of its own ends


def whole_figure(drawing: Drawing) -> Figure:
    """The figure that a drawing is, or belongs to."""
    first = np.ravel(np.asarray(drawing, dtype=object))[0]
    figure = first.get_figure(root=True)
    assert isinstance(figure, Figure)  # axes are made by a figure
    return figure


def count(number: int | str, thing: str) -> str:
    """A number of things, as "1 seed" or "5 seeds"."""
    return f"{number} {thing}" if str(number) == "1" else f"{number} {thing}s"
