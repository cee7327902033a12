"""The story of a search in one figure: what was tried, what went on, and what came of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lenet_study import panels as shared
from lenet_study.style import BLUE, GREY, INK, ORANGE, SHADE, described

# Across, one trial takes 1.
_GROUP = 4  # the least that a group takes
_BETWEEN = 2.2  # stages
_BEHIND = 3  # points below the mean of its trial a run has fallen behind
_UNTAUGHT: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 5.5}
_TAUGHT: dict[str, Any] = {"color": ORANGE, "marker": "D", "markersize": 4.5}
_EMPTY: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.2}
_RUN: dict[str, Any] = {"color": GREY, "marker": ".", "markersize": 3.5, "linestyle": ""}
_NOTE: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8.5}
_QUIET: dict[str, Any] = {**_NOTE, "color": GREY, "va": "center"}


@described
def story(
    runs: pd.DataFrame, winners: Sequence[str], images: int, axes: Axes | None = None
) -> Axes:
    """Validation accuracy of every trial of a search, stage after stage from left to right.

    A trial that comes again in a later stage, or stands in the last one, is filled. One of several
    runs is their mean with its interval, and a small dot for each. Winners are numbered, and a line
    leads from each to the next.

    Args:
        runs: a row a run; stages and groups in the order in which they are drawn. Columns stage (a
            heading, and lines of what was done), group, trial, seed, val_accuracy and taught.
        winners: trials, in the order in which they were found.
        images: that an accuracy was counted on.
    """
    columns = ["group", "val_accuracy", "taught"]
    table = shared.checked(runs, ["stage", "trial", "seed"], columns, "story")
    trials = _placed(table)
    axes = axes or shared.new_axes(10, 6.2)
    axes.set(xlabel="What the trials of a group have in common", ylabel="Validation accuracy (%)")
    _name_stages(axes, trials)
    for _, rows in trials[~trials["trial"].isin(winners)].groupby("trial"):
        axes.plot(rows["x"], rows["mean"], color=GREY, linewidth=0.8, zorder=1)
    for trial in trials.to_dict("records"):
        _draw(axes, trial)
    _lead_on(axes, trials, winners)
    _explain(axes, trials, images)
    return axes


def _placed(table: pd.DataFrame) -> pd.DataFrame:
    """Every trial of every stage: its runs, their mean, its place and whether it went on."""
    trials = (
        table.assign(percent=100 * table["val_accuracy"])
        .groupby(["stage", "group", "trial"], sort=False)
        .agg(runs=("percent", list), mean=("percent", "mean"), taught=("taught", "first"))
        .reset_index()
    )
    groups = trials.groupby(["stage", "group"], sort=False)
    number = trials.groupby("stage", sort=False).ngroup()
    widths = (groups.size() + 0.8).clip(lower=_GROUP)
    middle = (widths.cumsum() - widths / 2).to_numpy()[groups.ngroup()] + _BETWEEN * number
    beside = groups.cumcount() - (groups["trial"].transform("size") - 1) / 2
    last = number.groupby(trials["trial"]).transform("max")
    went_on = (last > number) | (number == number.max())
    return trials.assign(number=number, middle=middle, x=middle + beside, went_on=went_on)


def _name_stages(axes: Axes, trials: pd.DataFrame) -> None:
    """A shaded field for each stage, its heading over it and its groups below."""
    for stage, rows in trials.groupby("stage", sort=False):
        left = min(rows["x"].min() - 1.4, rows["middle"].min() - _GROUP / 2)
        right = max(rows["x"].max() + 1.4, rows["middle"].max() + _GROUP / 2)
        axes.axvspan(left, right, color=SHADE, alpha=0.6, linewidth=0, zorder=0)
        heading, _, done = str(stage).partition("\n")
        above: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), **_NOTE}
        axes.annotate(done, (left, 1), (0, 4), color=GREY, **above)
        height = 6 + 11.3 * (done.count("\n") + 1)
        axes.annotate(heading, (left, 1), (0, height), fontweight="bold", **above)
    axes.set_xlim(trials["middle"].min() - 0.6 * _GROUP, right + 0.6)
    groups = trials.drop_duplicates("middle")
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(groups["middle"], groups["group"], fontsize=9, **slant)
    axes.grid(False, axis="x")


def _draw(axes: Axes, trial: dict[Any, Any]) -> None:
    """One trial, and its runs where there are several."""
    runs, x, mean = trial["runs"], trial["x"], trial["mean"]
    look = {**(_TAUGHT if trial["taught"] else _UNTAUGHT), "elinewidth": 0.9, "capsize": 0}
    if len(runs) > 1:
        axes.plot([x] * len(runs), runs, zorder=1.5, **_RUN)
    filled: dict[str, Any] = {} if trial["went_on"] else _EMPTY
    axes.errorbar(x, mean, shared.bars(*shared.interval(runs)), **filled, **look)
    if mean - min(runs) > _BEHIND:
        axes.annotate("fell behind", (x, min(runs)), (5, 0), **_QUIET)


def _lead_on(axes: Axes, trials: pd.DataFrame, winners: Sequence[str]) -> None:
    """The winners' numbers and means, and the line from each to the next."""
    numbers = trials["trial"].map({trial: number for number, trial in enumerate(winners, start=1)})
    found = trials.assign(winner=numbers).dropna(subset="winner")
    way = found.loc[found.groupby("number")["winner"].idxmax()]
    axes.plot(way["x"], way["mean"], color=INK, linewidth=1.8, zorder=2)
    bold: dict[str, Any] = {**_NOTE, "fontweight": "bold", "ha": "center"}
    for row in found.to_dict("records"):
        at = row["x"], row["mean"]
        axes.plot(*at, "o", color=INK, markersize=11, zorder=5)
        inside: dict[str, Any] = {"va": "center_baseline", "color": "white", "zorder": 6}
        axes.annotate(f"{row['winner']:.0f}", at, (0, 0), **inside, **bold)
        top = np.nanmax([*row["runs"], *shared.interval(row["runs"])])  # of what is drawn
        over = (0, 8 if top == row["mean"] else 3)
        axes.annotate(f"{row['mean']:.1f}", (row["x"], top), over, **bold)


def _explain(axes: Axes, trials: pd.DataFrame, images: int) -> None:
    """What the marks mean, and how far a single run can be trusted."""
    single = trials[trials["runs"].map(len) == 1]
    if len(single):
        last = single[single["number"] == single["number"].max()]
        share = last["mean"].mean() / 100
        half = 196 * np.sqrt(share * (1 - share) / images)
        at = last["x"].min(), axes.get_ylim()[0] + 0.5 + half
        axes.errorbar(*at, half, color=GREY)
        note = f"95 % interval of\none accuracy on\n{images:,} images:\n± {half:.1f} points"
        axes.annotate(note, at, (7, 0), **_QUIET)
    keys = {
        "winner, and the way there": Line2D([], [], color=INK, marker="o", markersize=9),
        "untaught": Line2D([], [], linestyle="", **_UNTAUGHT),
        "taught by an ensemble": Line2D([], [], linestyle="", **_TAUGHT),
        "empty: dropped": shared.marker(GREY, "o", markersize=5.5, **_EMPTY),
        "one run of several": Line2D([], [], **_RUN),
        "their mean, 95 % t-interval": Line2D([], [], color=GREY),
    }
    axes.legend(list(keys.values()), list(keys), loc="lower right", fontsize=8.5)
