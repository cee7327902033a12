"""What drawings share: tables that are checked, axes to draw on, rows, intervals and legends.

Tables hold accuracies as fractions, figures show percent; intervals are 95 % t-intervals over the
seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lenet_keras.recipe import InputError, nearest
from lenet_study import stats
from lenet_study.style import GREY, Colours, colours, whole_figure

METRICS = {  # column: (axis label, unit)
    "loss": ("Training loss, as minimised", "nats"),
    "accuracy": ("Accuracy on training batches", "%"),
    "val_loss": ("Validation loss", "nats"),
    "val_accuracy": ("Validation accuracy", "%"),
    "test_loss": ("Test loss", "nats"),
    "test_accuracy": ("Test accuracy", "%"),
}
_MOST_COLUMNS = 4


def metric(name: str) -> tuple[str, float, str]:
    """A column's axis label with unit, the factor that gives that unit, and the unit."""
    if name not in METRICS:
        raise InputError(f"metric '{name}': no such column.{nearest(name, list(METRICS))}")
    label, unit = METRICS[name]
    return f"{label} ({unit})", 100.0 if unit == "%" else 1.0, unit


# Tables


def checked(
    table: pd.DataFrame,
    identity: Sequence[str],
    values: Sequence[str],
    what: str,
    purpose: str = "final",
) -> pd.DataFrame:
    """The rows to draw: those of one purpose, where the table has several.

    Args:
        table: to be drawn.
        identity: columns in which no two rows may agree.
        values: the other columns that are needed.
        what: is drawn, for messages.
        purpose: of the runs.

    Raises:
        InputError: the table lacks a column, has no rows, or holds one twice.
    """
    missing = [name for name in (*identity, *values) if name not in table]
    if missing:
        raise InputError(
            f"{what}: the table lacks {', '.join(missing)}; it has {', '.join(map(str, table))}."
        )
    rows = table[table["purpose"] == purpose] if "purpose" in table else table
    if rows.empty:
        kind = f" {purpose}" if "purpose" in table else ""
        raise InputError(f"{what}: the table holds no{kind} rows, so there is nothing to draw.")
    twice = rows[rows.duplicated(list(identity))]
    if len(twice):
        first = ", ".join(f"{name} {twice.iloc[0][name]}" for name in identity)
        raise InputError(
            f"{what}: {first} comes more than once. Choose one study, and one recipe for each "
            "variant, before drawing."
        )
    return rows


def by_variant(table: pd.DataFrame, column: str = "variant") -> dict[str, pd.DataFrame]:
    """Every variant's rows, in the order of the table."""
    return {str(name): table[table[column] == name] for name in table[column].unique()}


def looks_of(
    table: pd.DataFrame, given: Colours | None, baseline: str | None = None, column: str = "variant"
) -> Colours:
    """The look of every value of a column; without given ones the order decides.

    Raises:
        InputError: a value has no colour, or the baseline is no value.
    """
    names = [str(name) for name in table[column].unique()]
    if given is None:
        if isinstance(table[column].dtype, pd.CategoricalDtype):
            names = [str(name) for name in table[column].cat.categories]
        return colours(names, baseline)
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(
            f"colours: none for {', '.join(missing)}; there are some for {', '.join(given)}."
        )
    return given


def broken(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows are a diverged run, or in an epoch table an epoch after its divergence."""
    if "status" in rows and "epoch" not in rows:
        return rows["status"] == "diverged"
    losses = rows[[name for name in ("loss", "val_loss") if name in rows]].astype(float)
    return ~losses.map(np.isfinite).all(axis=1)


def diverged(rows: pd.DataFrame) -> str:
    """A variant's " (2 of 5 diverged)", or nothing."""
    number = rows.loc[broken(rows), "seed"].nunique()
    return f" ({number} of {rows['seed'].nunique()} diverged)" if number else ""


# Intervals


def interval(values: Any) -> tuple[float, float, float]:
    """Mean, low and high; without an interval (NaN) where there are fewer than two seeds."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float(np.mean(values)), np.nan, np.nan
    return stats.mean_interval(values)[1:]


def ends(values: Any) -> tuple[float, float]:
    """Low and high of the interval, as seaborn's `errorbar` wants them."""
    return interval(values)[1:]


def bars(middle: float, low: float, high: float) -> list[list[float]] | None:
    """Lengths of an error bar to both sides, or None where there is no interval."""
    return [[middle - low], [high - middle]] if np.isfinite(high - low) else None


def seeds_note(table: pd.DataFrame) -> str:
    """What a mean and its interval are of, for a legend."""
    seeds = table.groupby("variant", observed=True)["seed"].nunique()
    if seeds.max() == 1:
        return "one seed: no interval"
    number = f"{seeds.max()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    return f"mean of {number} seeds, 95 % t-interval"


def difference(middle: float, low: float = np.nan, high: float = np.nan, places: int = 1) -> str:
    """A signed difference, with its interval where it has one; nothing where it is unknown."""
    if not np.isfinite(middle):
        return ""
    text = f"{middle:+.{places}f}"
    if np.isfinite(high - low):
        text += f"  [{low:+.{places}f}, {high:+.{places}f}]"
    return text.replace("-", "\N{MINUS SIGN}")


# Axes


def new_axes(width: float, height: float) -> Axes:
    """Axes on a figure of their own; width and height in inches."""
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def rows_axes(axes: Axes | None, rows: int, width: float = 9, each: float = 0.4) -> Axes:
    """The axes that are given, or new ones with room for a line of text per row."""
    return axes or new_axes(width, 1.3 + each * max(rows, 2))


def grid(
    axes: Sequence[Axes] | np.ndarray | None,
    number: int,
    what: str,
    columns: int | None = None,
    each: tuple[float, float] = (2.35, 1.75),
    **sharing: Any,
) -> np.ndarray:
    """As many axes in an array: those given, or new ones in rows of at most four.

    Raises:
        InputError: another number of axes is given.
    """
    if axes is not None:
        panels = np.ravel(np.asarray(axes, dtype=object))
        if len(panels) != number:
            raise InputError(f"{what}: found {len(panels)} axes; expected {number}.")
        return panels
    columns = columns or (number if number <= _MOST_COLUMNS else 3 if number in (5, 6, 9) else 4)
    rows = -(-number // columns)
    size = (max(each[0] * columns, 6) + 0.2, each[1] * rows + 0.9)
    _, panels = plt.subplots(rows, columns, figsize=size, squeeze=False, **sharing)
    for spare in panels.flat[number:]:
        spare.remove()
    return panels.ravel()[:number]


def variant_panels(
    axes: Sequence[Axes] | np.ndarray | None,
    variants: Mapping[str, pd.DataFrame],
    baseline: str | None,
    what: str,
    lost: bool = True,
) -> np.ndarray:
    """A panel for each variant under its name, all on equal axes.

    Args:
        axes: those given, if any.
        variants: the rows of each.
        baseline: one of them, if any.
        what: is drawn, for messages.
        lost: whether the title counts diverged runs.

    Raises:
        InputError: another number of axes is given, or the baseline is no variant.
    """
    if baseline is not None and baseline not in variants:
        raise InputError(
            f"{what}: baseline '{baseline}' is no variant." + nearest(baseline, list(variants))
        )
    one = {"each": (6.6, 3.4)} if len(variants) == 1 else {}
    panels = grid(axes, len(variants), what, sharex=True, sharey=True, **one)  # type: ignore[arg-type]
    for panel, (name, rows) in zip(panels, variants.items(), strict=True):
        title(panel, f"{name}{diverged(rows) if lost else ''}")
    return panels


def title(panel: Axes, text: str) -> None:
    """What a panel shows, over its left end."""
    panel.set_title(text, fontsize=9.5, loc="left")


def against(
    variants: Mapping[str, pd.DataFrame], baseline: str | None, looks: Colours
) -> Iterable[list[tuple[pd.DataFrame, str]]]:
    """For each variant's panel what is drawn there, and its colour: the baseline, then itself."""
    for name, rows in variants.items():
        below = [] if baseline in (None, name) else [(variants[str(baseline)], GREY)]
        yield [*below, (rows, looks[name]["color"])]


def label_outside(panels: np.ndarray, x: str, y: str) -> None:
    """Name the axes of panels once: `x` below the lowest of a column, `y` beside the first."""
    found = {axes: axes.get_subplotspec() for axes in whole_figure(panels).axes}
    columns = {axes: place.colspan.start for axes, place in found.items() if place}
    lowest = {column: axes for axes, column in columns.items()}  # rows come from the top
    first = min(columns[panel] for panel in panels)
    lines = y.replace(" ", "\n", 1) if len(panels) > 1 else y
    for panel in panels:
        below = lowest[columns[panel]] is panel
        panel.set_xlabel(x if below else "")
        panel.xaxis.label.set_visible(True)  # shared axes show those of the last row alone
        panel.tick_params(labelbottom=below)
        panel.set_ylabel(lines if columns[panel] == first else "")


def epoch_axis(axes: Axes, last: int) -> None:
    """Whole epochs from 1 to `last`."""
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def within_percent(panels: Iterable[Axes]) -> None:
    """No part of an axis beyond 0 and 100 %: over two seeds an interval may reach further."""
    for panel in panels:
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, 0), min(high, 100))


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """One name per row, from the top."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def write_beside(axes: Axes, row: float, text: str) -> None:
    """Text at the right of a row, outside the axes."""
    transform = axes.get_yaxis_transform()
    axes.text(1.01, row, text, transform=transform, va="center", fontsize=8.5)


def bare(axes: Axes) -> None:
    """No grid, frame or tick marks: the axes hold a picture."""
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


# Legends


def marker(colour: str, shape: str, **look: Any) -> Line2D:
    """A legend's key without a line."""
    return Line2D([], [], linestyle="", color=colour, marker=shape, **look)


def decided(
    colour: str = GREY, p: str = "p < 0.05 (Holm-corrected)", unknown: bool = False
) -> dict:
    """The keys of a filled and of an open marker."""
    edge: dict[str, Any] = {"markeredgewidth": 1.5}
    return {
        p: marker(colour, "o", **edge),
        f"p ≥ 0.05{' or unknown' if unknown else ''}": marker(
            colour, "o", markerfacecolor="white", **edge
        ),
    }


def legend_above(axes: Axes, keys: Mapping[str, Any]) -> None:
    """A legend in one line above the axes, where it hides nothing."""
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(list(keys.values()), list(keys), ncols=len(keys), columnspacing=1.6, **place)


def legend_over(panels: np.ndarray, keys: Mapping[str, Any]) -> None:
    """One legend over all panels of a figure, unless there is one."""
    figure = whole_figure(panels)
    if not figure.legends:
        columns = int(figure.get_figwidth() // 2.4)  # the longest key takes as many inches
        figure.legend(list(keys.values()), list(keys), loc="outside upper left", ncols=columns)
