"""What the factorial says, drawn: effects, interactions, and how the effects add up.

Throughout, `names` are those of the factors, by letter; `axes` is what to draw on (a new figure
without it) and what comes back.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from lenet_study import panels as shared
from lenet_study.style import BLUE, GREY, INK, ORANGE, SKY, described


@described
def effects(table: pd.DataFrame, names: Mapping[str, str], axes: Axes | None = None) -> Axes:
    """What each technique adds, averaged over the presence and absence of all others.

    Args:
        table: from `factorial.effects`.
    """
    rows = table.loc[list(names)].sort_values("effect", ascending=False)
    axes = shared.rows_axes(axes, len(rows))
    for row, (_, line) in enumerate(rows.iterrows()):
        middle, low, high = 100 * line[["effect", "low", "high"]].to_numpy(float)
        colour = BLUE if middle > 0 else ORANGE
        fill = colour if line["p_holm"] < 0.05 else "white"
        axes.barh(row, middle, height=0.62, color=fill, edgecolor=colour, linewidth=1.5)
        axes.errorbar(middle, row, xerr=shared.bars(middle, low, high), color=INK)
        shared.write_beside(axes, row, shared.difference(middle, low, high))
    axes.axvline(0, color=INK, linewidth=1)
    shared.name_rows(axes, [names[str(letter)] for letter in rows.index])
    axes.set_title("What each technique adds to LeNet-5", pad=26)
    axes.set_xlabel("Test accuracy with it minus without it, in percentage points")
    keys = {
        "significant (Holm, p < 0.05)": Patch(color=GREY),
        "not told from 0": Patch(facecolor="white", edgecolor=GREY, linewidth=1.5),
        "95 % interval": Line2D([], [], color=INK),
    }
    shared.legend_above(axes, keys)
    return axes


@described
def interactions(table: pd.DataFrame, names: Mapping[str, str], axes: Axes | None = None) -> Axes:
    """How much more, or less, two techniques add where both are there: every pair.

    Args:
        table: from `factorial.effects`; a frame and bold digits mark what is significant.
    """
    letters = list(names)
    axes = axes or shared.new_axes(8.6, 6)
    found = 100 * table["effect"]
    values = [[found.get(x + y, np.nan) for x in letters[:-1]] for y in letters[1:]]
    matrix = pd.DataFrame(values, letters[1:], letters[:-1])
    written = matrix.map(lambda value: f"{value:+.1f}".replace("-", "\N{MINUS SIGN}"))
    largest = float(np.nanmax(np.abs(matrix)))
    scale = {"cmap": "PuOr", "vmin": -largest, "vmax": largest}
    bar = {"label": "Interaction (percentage points)", "shrink": 0.7}
    look: dict[str, Any] = {"fmt": "", "square": True, "linewidths": 1, "cbar_kws": bar, **scale}
    sns.heatmap(matrix, annot=written, mask=matrix.isna(), ax=axes, **look)
    places = [(y, x) for y, x in np.argwhere(matrix.notna().to_numpy())]
    for (y, x), text in zip(places, axes.texts, strict=True):
        if table.loc[letters[x] + letters[y + 1], "p_holm"] < 0.05:
            text.set_fontweight("bold")
            look_of_frame: dict[str, Any] = {"fill": False, "edgecolor": INK, "linewidth": 1.8}
            frame = Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, **look_of_frame)
            axes.add_patch(frame)
    shared.bare(axes)
    axes.set_xticklabels([names[letter] for letter in letters[:-1]], rotation=35, ha="right")
    axes.set_yticklabels([names[letter] for letter in letters[1:]], rotation=0)
    axes.text(1, 1, "framed: significant (Holm, p < 0.05)", ha="right", transform=axes.transAxes)
    return axes


@described
def four_means(
    means: Mapping[str, pd.DataFrame], names: Mapping[str, str], axes: Any = None
) -> np.ndarray:
    """A panel for each pair of techniques: the first along, a line with and without the second.

    Args:
        means: from `factorial.four_means`, by pair of letters.
    """
    panels = shared.grid(axes, len(means), "four_means", each=(2.9, 2.6), sharey=True)
    all_of_them = 100 * pd.concat(means.values())
    for panel, (pair, table) in zip(panels, means.items(), strict=True):
        for there, colour, marker in ((False, GREY, "s"), (True, BLUE, "o")):
            mean, low, high = 100 * table.xs(there, level="second").to_numpy().T
            label = f"{'with' if there else 'without'} {names[pair[1]]}"
            bars = [mean - low, high - mean]
            panel.errorbar([0, 1], mean, bars, color=colour, marker=marker, label=label)
        panel.set(xlim=(-0.3, 1.3), xlabel=names[pair[0]])
        panel.set_ylim(all_of_them["low"].min() - 0.3, all_of_them["high"].max() + 0.3)
        panel.set_xticks([0, 1], ["without", "with"])
        panel.legend(loc="lower left", bbox_to_anchor=(-0.04, 1))
    panels[0].set_ylabel("Mean test accuracy (%)")
    return panels


@described
def foretold(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Every cell's measured accuracy against the one that the effects foretell.

    Args:
        table: from `factorial.predicted`.
    """
    axes = axes or shared.new_axes(7, 5.4)
    rows = 100 * table.drop(columns="left_out")
    ends = [rows["predicted"].min() - 1, rows["predicted"].max() + 1]
    axes.plot(ends, ends, color=GREY, linewidth=1, zorder=1)
    sorts = ((False, SKY, "o", "the effects come from it"), (True, ORANGE, "D", "left out"))
    for left_out, colour, marker, label in sorts:
        part = rows[table["left_out"] == left_out]
        bars = np.abs(part[["low", "high"]].to_numpy().T - part["predicted"].to_numpy())
        look: dict[str, Any] = {"fmt": marker, "color": colour, "elinewidth": 1, "label": label}
        axes.errorbar(part["predicted"], part["measured"], xerr=bars if left_out else None, **look)
        if left_out:
            for cell, line in part.iterrows():
                axes.text(line["high"] + 0.2, line["measured"], str(cell), va="center", fontsize=9)
    axes.set_xlabel("Test accuracy that the effects foretell (%)")
    axes.set_ylabel("Measured test accuracy (%)")
    axes.legend(title="a combination of techniques", alignment="left")
    axes.set_aspect("equal")
    return axes


@described
def staircase(
    table: pd.DataFrame,
    way: pd.DataFrame,
    bottom: float,
    names: Mapping[str, str],
    axes: Axes | None = None,
) -> Axes:
    """From no technique to all of them, each step as high as the effect of one technique.

    Args:
        table: from `factorial.effects`.
        way: from `factorial.additivity`.
        bottom: accuracy without any technique, a fraction.
    """
    steps = 100 * table.loc[list(names), "effect"].sort_values(ascending=False)
    ends, start = 100 * way, 100 * bottom
    axes = shared.rows_axes(axes, len(steps) + 3)
    reached = start
    for row, step in enumerate(steps.to_list(), start=1):
        axes.barh(row, step, left=reached, color=BLUE if step > 0 else ORANGE, height=0.62)
        reached += step
        axes.plot([reached] * 2, [row - 0.31, row + 1.31], color=GREY, linewidth=0.8)
        shared.write_beside(axes, row, shared.difference(step))
    last = len(steps) + 1
    for row, name, marker in ((0, "", "D"), (last, "sum", "o"), (last + 1, "measured", "o")):
        middle, low, high = map(float, ends.loc[name]) if name else (0.0, np.nan, np.nan)
        bars = shared.bars(middle, low, high)
        axes.errorbar(start + middle, row, xerr=bars, color=INK, marker=marker)
        shared.write_beside(axes, row, f"{start + middle:.1f} %")
    ends_of_it = ("none: measured", "all: the sum", "all: measured")
    shared.name_rows(axes, [ends_of_it[0], *(names[str(x)] for x in steps.index), *ends_of_it[1:]])
    axes.set_xlim(left=start - 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Test accuracy (%)")
    return axes
