"""Comparisons of variants, drawn from tidy tables: data in, axes out.

Tables hold accuracies as fractions, figures show percent; intervals are 95 % t-intervals over the
seeds. Throughout,

- `axes` is what to draw on (a new figure without it) and what comes back;
- `colours` comes from `style.colours` (without it the order of the variants decides);
- `baseline`, where there are panels, is drawn in grey in each of them;
- a table with a column `purpose` gives its final runs, to `learning_rate_sensitivity` its tuning
  runs; one that lacks a column, has no rows or holds a run twice raises `InputError`.
"""

import functools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lenet_keras.recipe import InputError, nearest
from lenet_study import panels as shared
from lenet_study import stats
from lenet_study.style import (
    BLUE,
    GREY,
    INK,
    MARKERS,
    SHADE,
    TRAINING,
    VALIDATION,
    Colours,
    described,
)

_FADED = "#bbbbbb"  # what is there to compare with
_ROLES: dict[str, dict[str, Any]] = {
    "most accurate": {"linestyle": "", "marker": "*", "markersize": 11},
    "fastest": {"linestyle": "", "marker": "^", "markersize": 7},
    "baseline": {"linestyle": "", "marker": "o", "markersize": 7, "markerfacecolor": "white"},
}
# A row's name in lines of 28 letters at most, so that a long one leaves the axes their room.
_wrapped = functools.partial(textwrap.fill, width=28, break_on_hyphens=False)


@described
def learning_curves(
    epochs: pd.DataFrame,
    metrics: str | Sequence[str] = "val_accuracy",
    baseline: str | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
    colours: Colours | None = None,
) -> np.ndarray:
    """Learning curves by variant: the mean over the seeds, with its interval as a band.

    Line and band end where the first seed ends (early stopping) or has a loss that is no finite
    number (divergence); from there on a dotted line is the mean of the seeds that are left.

    Args:
        epochs: epoch table: columns variant, seed, epoch and the metrics.
        metrics: "val_accuracy", "accuracy", "val_loss" or "loss"; of two that share their
            unit the first is dashed, as the one of training.
        baseline: a variant.

    Returns:
        The axes, shape (variants,).
    """
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    labels, factors, units = zip(*map(shared.metric, names), strict=True)
    epochs = shared.checked(epochs, ["variant", "seed", "epoch"], names, "learning_curves")
    variants = shared.by_variant(epochs)
    looks = shared.looks_of(epochs, colours, baseline)
    panels = shared.variant_panels(axes, variants, baseline, "learning_curves")
    pairs = (TRAINING, VALIDATION) if len(names) > 1 else ({"linestyle": "-"},)
    alone = len(variants) == 1 and len(names) > 1
    ended = False
    for panel, drawn in zip(panels, shared.against(variants, baseline, looks), strict=True):
        for rows, colour in drawn:
            for name, factor, pair in zip(names, factors, pairs, strict=True):
                look = pair if alone else {**pair, "color": colour}
                ended |= _curve(panel, rows, rows[name].astype(float) * factor, look)
        shared.epoch_axis(panel, int(epochs["epoch"].max()))
    if units[0] == "%":
        shared.within_percent(panels)
    kind = "Accuracy" if names[0].endswith("accuracy") else "Loss"
    shared.label_outside(panels, "Epoch", labels[0] if len(names) == 1 else f"{kind} ({units[0]})")
    keys: dict[str, Any] = {}
    if len(names) > 1:
        for name, pair in zip(("training batches", "validation images"), pairs, strict=True):
            keys[name] = Line2D([], [], **(pair if alone else {**pair, "color": INK}))
    if baseline:
        keys[f"{baseline}: the baseline"] = Line2D([], [], color=GREY)
    keys[shared.seeds_note(epochs)] = Patch(facecolor=GREY, alpha=0.3)
    if ended:
        keys["not all seeds are left"] = Line2D([], [], color=INK, linestyle=":", linewidth=1)
    shared.legend_over(panels, keys)
    return panels


def _curve(
    panel: Axes, rows: pd.DataFrame, values: "pd.Series[float]", look: Mapping[str, Any]
) -> bool:
    """One variant's curve; whether some seeds end before others."""
    values = values.where(np.isfinite(values) & ~shared.broken(rows))
    known = rows.assign(value=values).dropna(subset="value")
    last = int(rows["epoch"].max())
    left = known.groupby("epoch").size().reindex(range(1, last + 1), fill_value=0)
    short = left.index[left < rows["seed"].nunique()]
    end = int(short.min()) - 1 if len(short) else last
    whole, rest = known[known["epoch"] <= end], known[known["epoch"] >= end]
    if len(whole):
        one: dict[str, Any] = {"err_kws": {"alpha": 0.2, "linewidth": 0}}
        if end == 1:  # a point makes neither line nor band
            one = {"marker": "o", "err_style": "bars"}
        sns.lineplot(whole, x="epoch", y="value", errorbar=shared.ends, ax=panel, **one, **look)
    if rest["epoch"].nunique() > 1:  # from the last point of the line, so that the two join
        dotted = {**look, "linestyle": ":", "linewidth": 1, "errorbar": None}
        sns.lineplot(rest, x="epoch", y="value", ax=panel, **dotted)
    return bool(len(short))


@described
def accuracy_points(
    runs: pd.DataFrame,
    metric: str = "test_accuracy",
    axes: Axes | None = None,
    colours: Colours | None = None,
) -> Axes:
    """A point per seed, and the mean with its interval; one row a variant, the best on top.

    Args:
        runs: run table: columns variant, seed and `metric`; with a column status, diverged runs
            are counted.
        metric: a score of a finished run, such as "test_accuracy" or "val_accuracy".
    """
    label, factor, _ = shared.metric(metric)
    runs = shared.checked(runs, ["variant", "seed"], [metric], "accuracy_points")
    looks = shared.looks_of(runs, colours)
    runs = runs.assign(variant=runs["variant"].astype(str), value=runs[metric] * factor)
    means = runs.groupby("variant", sort=False)["value"].mean()
    order = list(means.sort_values(ascending=not metric.endswith("accuracy"), kind="stable").index)
    axes = shared.rows_axes(axes, len(order), width=8)
    where: dict[str, Any] = {"x": "value", "y": "variant", "hue": "variant", "order": order}
    where |= {"palette": {name: looks[name]["color"] for name in order}, "legend": False}
    sns.stripplot(runs, jitter=False, alpha=0.55, size=4, ax=axes, **where)
    for dots in axes.collections:  # seeds below their mean: equal points stay visible
        dots.set_offsets(np.add(dots.get_offsets(), [0, 0.25]))
    sns.pointplot(
        runs,
        errorbar=shared.ends,
        capsize=0.15,
        markers="D",
        markersize=5,
        linewidth=1.6,
        ax=axes,
        **where,
    )
    lost = {name: shared.diverged(rows) for name, rows in shared.by_variant(runs).items()}
    shared.name_rows(axes, [f"{name}{lost[name]}" for name in order])
    axes.set(xlabel=label, ylabel="")
    several = runs.groupby("variant")["seed"].nunique().max() > 1
    mean = "mean, 95 % t-interval" if several else "mean (one seed: no interval)"
    keys = {
        "one seed": shared.marker(GREY, "o", markersize=4, alpha=0.55),
        mean: Line2D([], [], color=GREY, marker="D"),
    }
    shared.legend_above(axes, keys)
    return axes


@described
def forest(
    comparison: pd.DataFrame,
    baseline: str,
    metric: str = "test_accuracy",
    limit: float | None = None,
    axes: Axes | None = None,
    colours: Colours | None = None,
    names: Mapping[str, str] | None = None,
    control: pd.DataFrame | None = None,
) -> Axes:
    """Differences from the baseline with their intervals, the largest on top.

    A filled marker says that the difference is significant at 5 % after Holm's correction.

    Args:
        comparison: from `stats.compare` or `stats.summary`: columns variant, mean, difference,
            difference_low, difference_high and p_holm. The baseline's own row gives its mean. A
            column pairs of zeros makes the differences unpaired.
        baseline: the variant that all are compared with.
        metric: what was compared.
        limit: where the axis ends on either side, in the axis' unit; a difference beyond it is an
            arrow at the edge, so that one hopeless variant does not squeeze all others together.
        names: what a variant's row is called, where that is not the variant's name.
        control: from `controls.against_itself`: recipes against themselves, grey rows below.
    """
    table = shared.checked(comparison, ["variant"], ["mean", *_DIFFERENCE], "forest")
    looks = shared.looks_of(table, colours)
    label, factor, unit = shared.metric(metric)
    places = 1 if unit == "%" else 3
    if baseline not in set(table["variant"]):
        raise InputError(
            f"forest: baseline '{baseline}' is no variant."
            + nearest(baseline, [str(variant) for variant in table["variant"]])
        )
    level = float(table.loc[table["variant"] == baseline, "mean"].iloc[0]) * factor
    others = table[table["variant"] != baseline].sort_values("difference", ascending=False)
    again = pd.DataFrame(columns=["variant", *_DIFFERENCE]) if control is None else control
    axes = shared.rows_axes(axes, len(others) + len(again))
    variants = [str(variant) for variant in others["variant"]]
    numbers = others[_DIFFERENCE].to_numpy(float)
    for row, (variant, (*of_row, p)) in enumerate(zip(variants, numbers, strict=True)):
        middle, low, high = (factor * number for number in of_row)
        _interval_row(axes, row, (middle, low, high), looks[variant]["color"], p < 0.05, limit)
        shared.write_beside(axes, row, shared.difference(middle, low, high, places))
    ends = again[_DIFFERENCE[:3]].to_numpy(float) * factor
    for row, (middle, low, high) in enumerate(ends, len(others)):
        bars = shared.bars(middle, low, high)
        axes.errorbar(middle, row, xerr=bars, color=GREY, marker="D", markersize=4.5)
        shared.write_beside(axes, row, shared.difference(middle, low, high, places))
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    if limit:
        axes.set_xlim(-1.05 * limit, 1.05 * limit)
    called = [(names or {}).get(name, name) for name in (*variants, *map(str, again["variant"]))]
    called[len(others) :] = [_wrapped(f"{name} against itself") for name in called[len(others) :]]
    shared.name_rows(axes, called)
    points = "percentage points" if unit == "%" else unit
    what = label.partition(" (")[0]
    axes.set_xlabel(f"{what} minus that of {baseline} ({level:.{places}f} {unit}), in {points}")
    shared.legend_above(axes, _forest_keys(others, limit and limit / factor))
    return axes


def forests(
    comparison: pd.DataFrame,
    baselines: Mapping[str, str],
    limit: float | None = None,
    colours: Colours | None = None,
    control: pd.DataFrame | None = None,
) -> np.ndarray:
    """As `forest` of test accuracy, for several techniques one below the other.

    Args:
        comparison: as there, with a column study.
        baselines: the variant that all of a technique are compared with, by technique.
        limit: as there.
        colours: of the techniques.
        control: as there, with a column study.

    Returns:
        The axes, shape (techniques,).
    """
    again = {} if control is None else shared.by_variant(control, "study")
    studies = shared.by_variant(comparison, "study")
    looks = shared.looks_of(comparison, colours, column="study")
    # One row of each holds its heading.
    rows = [len(part) + len(again.get(study, ())) for study, part in studies.items()]
    how: dict[str, Any] = {"sharex": True, "squeeze": False, "height_ratios": rows}
    panels = plt.subplots(len(rows), 1, figsize=(9, 1.1 + 0.3 * sum(rows)), **how)[1].ravel()
    for panel, (study, part) in zip(panels, studies.items(), strict=True):
        own = dict.fromkeys(map(str, part["variant"]), looks[study])
        itself = again.get(study)
        forest(part, baselines[study], limit=limit, axes=panel, colours=own, control=itself)
        panel.get_legend().remove()
        against = panel.get_xlabel().partition("that of ")[2].partition(", in ")[0]
        note = ", unpaired" if _pairing(part) == "unpaired" else ""
        shared.title(panel, f"{study}: against {against}{note}")
        panel.set_xlabel("")
    what = "Test accuracy minus that of the technique's baseline, in percentage points"
    panels[-1].set_xlabel(what)
    shared.legend_over(panels, _forest_keys(comparison, limit and limit / 100))
    return panels


_DIFFERENCE = ["difference", "difference_low", "difference_high", "p_holm"]


def _interval_row(
    axes: Axes,
    row: float,
    numbers: Sequence[float],
    colour: str,
    filled: bool,
    limit: float | None = None,
) -> None:
    """A value with its interval; an arrow at the edge where it is beyond the limit."""
    middle, low, high = numbers
    face = colour if filled else "white"
    look: dict[str, Any] = {"color": colour, "markerfacecolor": face, "markeredgewidth": 1.5}
    if limit and abs(middle) > limit:
        axes.plot(np.copysign(limit, middle), row, "<" if middle < 0 else ">", **look)
    else:
        axes.errorbar(middle, row, xerr=shared.bars(middle, low, high), marker="o", **look)


def _pairing(part: pd.DataFrame) -> str:
    """How the differences of a table are taken."""
    return "unpaired" if "pairs" in part and not part["pairs"].any() else "paired by seed"


def _forest_keys(table: pd.DataFrame, limit: float | None) -> dict[str, Any]:
    """What the markers of a forest say; the limit is a fraction, as the table's differences."""
    parts = [part for _, part in table.groupby("study")] if "study" in table else [table]
    pairing = {_pairing(part) for part in parts}
    compared = table[table["difference"].notna()]
    of_all = pairing.pop() if len(pairing) == 1 else "paired unless noted"
    keys = {f"95 % t-interval, {of_all}": Line2D([], [], color=GREY)}
    keys |= shared.decided(unknown=bool(compared["p_holm"].isna().any()))
    if limit and (compared["difference"].abs() > limit).any():
        keys["beyond the axis"] = shared.marker(GREY, "<")
    return keys


@described
def ladder(
    steps: pd.DataFrame,
    years: Mapping[str, int] | None = None,
    metric: str = "test_accuracy",
    axes: Axes | None = None,
) -> Axes:
    """Rung by rung from below: the accuracy with its interval, and what the last change added.

    A filled marker says that the step is significant at 5 % after Holm's correction; the lowest
    rung, which has no step, is grey.

    Args:
        steps: from `stats.steps`: columns variant, mean, low, high, difference, difference_low,
            difference_high and p_holm, in the order of the rungs.
        years: when each rung's idea was published, written before its name.
        metric: what was compared.
    """
    columns = ["mean", "low", "high", *_DIFFERENCE]
    table = shared.checked(steps, ["variant"], columns, "ladder")
    label, factor, unit = shared.metric(metric)
    names = [str(name) for name in table["variant"]]
    axes = shared.rows_axes(axes, len(names), each=0.33)
    lines = table[columns].astype(float).to_numpy() * [*[factor] * 6, 1]
    axes.plot(lines[:, 0], range(len(names)), color=GREY, linewidth=0.8, zorder=1)
    for row, (*level, step, low, high, p) in enumerate(lines):
        _interval_row(axes, row, level, BLUE if row else GREY, p < 0.05 or row == 0)
        shared.write_beside(axes, row, f"{level[0]:.1f}   {shared.difference(step, low, high)}")
    dated = [f"{years[name]}  {name}" if years and name in years else name for name in names]
    shared.name_rows(axes, dated)
    axes.invert_yaxis()  # one climbs a ladder from below
    axes.set_xlabel(label)
    keys = {
        "95 % t-interval": Line2D([], [], color=BLUE),
        **shared.decided(BLUE, "step: p < 0.05 (Holm)"),
        "start": shared.marker(GREY, "o"),
    }
    shared.legend_above(axes, keys)
    beside = f"{unit}   step in points" if unit == "%" else "value and step"
    place: dict[str, Any] = {"transform": axes.transAxes, "va": "bottom", "color": GREY}
    axes.text(1.01, 1.0, beside, fontsize=8.5, **place)
    return axes


@described
def epochs_to_target(
    table: pd.DataFrame,
    arrivals: pd.DataFrame | None = None,
    axes: Axes | None = None,
    colours: Colours | None = None,
) -> Axes:
    """Median epochs to each target accuracy; one row a variant, the fastest on top.

    Every target has its marker and its height: large for the median, small for each run that
    arrives, empty and in the grey strip where fewer than half of the runs do. Beside the row: how
    many reach each target.

    Args:
        table: from `stats.median_epochs_to`, for one target or several put together: columns
            variant, target (fraction), median (epochs; NaN or infinite: not reached by half),
            reached and n (runs).
        arrivals: from `stats.epochs_to`: columns variant, target, epoch and reached.
    """
    columns = ["median", "reached", "n"]
    table = shared.checked(table, ["variant", "target"], columns, "epochs_to_target")
    looks = shared.looks_of(table, colours)
    targets = sorted(table["target"].unique())
    medians = table.set_index(["variant", "target"])["median"].astype(float).fillna(np.inf)
    order = medians.unstack().sort_values(targets[::-1], kind="stable").index
    known = [*medians[np.isfinite(medians)], *([] if arrivals is None else arrivals["epoch"])]
    edge = max(known, default=1.0) * 1.04 + 0.5  # where the strip for what is never reached begins
    end = edge * (1.06 if np.isinf(medians).any() else 1)
    axes = shared.rows_axes(axes, len(order), 8.4, 0.52)
    heights = np.linspace(-0.28, 0.12, len(targets)) if len(targets) > 1 else [0.0]
    for place, target in enumerate(targets):
        shape = MARKERS[place]
        for row, variant in enumerate(order):
            median, height = medians[variant, target], row + heights[place]
            colour, never = looks[variant]["color"], np.isinf(median)
            face = "white" if never else colour
            if arrivals is not None:
                own = arrivals[(arrivals["variant"] == variant) & (arrivals["target"] == target)]
                _dots(axes, own.loc[own["reached"], "epoch"], height + 0.17, colour, shape)
            x = (edge + end) / 2 if never else median
            axes.plot(x, height, shape, color=colour, markerfacecolor=face, markersize=7)
    for row, variant in enumerate(order):
        own = table[table["variant"] == variant].sort_values("target")
        counts = [f"{int(line.reached)} of {int(line.n)}" for line in own.itertuples()]
        shared.write_beside(axes, row, " · ".join(counts))
    shared.name_rows(axes, list(order))
    axes.axvspan(edge, end, color=SHADE, linewidth=0, zorder=0)
    axes.set(xlim=(0, end), xticks=np.arange(0, edge, 1 + edge // 10))
    axes.set_xlabel("Epochs until validation accuracy reaches the target")
    shared.write_beside(axes, len(order) - 0.25, "runs that reach it")
    keys = {
        f"{target * 100:g} %: median of the runs": shared.marker(GREY, MARKERS[place], markersize=7)
        for place, target in enumerate(targets)
    }
    if np.isinf(medians).any():
        keys["empty: not reached by half"] = shared.marker(GREY, "o", markerfacecolor="white")
    if arrivals is not None:
        small = shared.marker(GREY, MARKERS[0], markersize=3, alpha=0.5)
        keys["small: one run each, side by side"] = small
    shared.legend_over(np.array([axes]), keys)
    return axes


def _dots(axes: Axes, epochs: "pd.Series[float]", height: float, colour: str, shape: str) -> None:
    """A small marker for each run; those that arrive in the same epoch stand side by side."""
    at = epochs.value_counts().items()
    xs = [float(str(x)) + 0.1 * (i - (n - 1) / 2) for x, n in at for i in range(n)]
    small: dict[str, Any] = {"color": colour, "alpha": 0.5, "markersize": 3}
    axes.plot(xs, [height] * len(xs), linestyle="", marker=shape, **small)


@described
def gap_against_accuracy(
    runs: pd.DataFrame, axes: Axes | None = None, colours: Colours | None = None
) -> Axes:
    """Generalisation gap against test accuracy: means over the seeds with their intervals.

    Args:
        runs: run table: columns variant, seed, train_accuracy, val_accuracy and test_accuracy.
    """
    columns = ["train_accuracy", "val_accuracy", "test_accuracy"]
    runs = shared.checked(runs, ["variant", "seed"], columns, "gap_against_accuracy")
    looks = shared.looks_of(runs, colours)
    axes = axes or shared.new_axes(8.4, 5)
    keys = []
    for variant, rows in shared.by_variant(runs).items():
        colour, shape = looks[variant]["color"], looks[variant]["marker"]
        accuracy = rows["test_accuracy"].to_numpy(float) * 100
        gap = stats.generalization_gap(rows).to_numpy(float) * 100
        axes.plot(accuracy, gap, ".", color=colour, alpha=0.4, markersize=5)
        x, y = shared.interval(accuracy), shared.interval(gap)
        look: dict[str, Any] = {"marker": shape, "markersize": 8, "markeredgecolor": "white"}
        look |= {"xerr": shared.bars(*x), "yerr": shared.bars(*y), "elinewidth": 1}
        axes.errorbar(x[0], y[0], color=colour, **look)
        label = f"{variant}{shared.diverged(rows)}"
        keys.append(shared.marker(colour, shape, markersize=8, label=label))
    axes.axhline(0, color=GREY, linewidth=1, zorder=1)
    axes.set_xlabel("Test accuracy (%)")
    axes.set_ylabel("Training minus validation accuracy\n(percentage points)")
    note = f"{shared.seeds_note(runs)},\nsmall dots: single seeds".replace(", 95", ",\n95")
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)}
    axes.legend(handles=keys, title=note, alignment="left", **place)
    return axes


@described
def learning_rate_sensitivity(
    tuning_runs: pd.DataFrame,
    baseline: str | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
    colours: Colours | None = None,
) -> np.ndarray:
    """Validation accuracy against the learning rate, by variant; a ring marks its best.

    Args:
        tuning_runs: run table: columns variant, seed, learning_rate and val_accuracy; with a
            column status, learning rates at which a run diverged are crossed out.
        baseline: a variant.

    Returns:
        The axes, shape (variants,).
    """
    identity, what = ["variant", "seed", "learning_rate"], "learning_rate_sensitivity"
    runs = shared.checked(tuning_runs, identity, ["val_accuracy"], what, purpose="tuning")
    looks = shared.looks_of(runs, colours, baseline)
    variants = shared.by_variant(runs.assign(accuracy=100 * runs["val_accuracy"]))
    curves = stats.learning_rate_curve(runs).set_index(["variant", "learning_rate"])
    panels = shared.variant_panels(axes, variants, baseline, what, lost=False)
    where: dict[str, Any] = {"x": "learning_rate", "y": "accuracy", "marker": "o", "markersize": 5}
    crossed = False
    several = shared.against(variants, baseline, looks)
    for panel, variant, drawn in zip(panels, variants, several, strict=True):
        for rows, colour in drawn:
            bars = {"errorbar": shared.ends, "err_style": "bars", "color": colour}
            sns.lineplot(rows, ax=panel, **where, **bars)
        curve = curves.loc[variant]
        best = 100 * curve.loc[curve["best"], "val_accuracy"]
        ring: dict[str, Any] = {"markersize": 12, "markerfacecolor": "none", "markeredgewidth": 1.5}
        panel.plot(best.index, best, "o", color=colour, clip_on=False, **ring)
        lost = rows[shared.broken(rows)] if "status" in rows else rows.iloc[:0]
        panel.plot(lost["learning_rate"], lost["accuracy"], "x", color=INK, markersize=9)
        crossed |= len(lost) > 0
        panel.set_xscale("log")
    shared.label_outside(panels, "Learning rate", "Validation accuracy (%)")
    keys = {"best": shared.marker(INK, "o", markersize=11, markerfacecolor="none")}
    if crossed:
        keys["a run diverged"] = shared.marker(INK, "x", markersize=9)
    if baseline:
        keys[f"{baseline}: the baseline"] = Line2D([], [], color=GREY, marker="o", markersize=5)
    keys[shared.seeds_note(runs)] = Line2D([], [], color=INK, marker="o", markersize=5)
    shared.legend_over(panels, keys)
    return panels


@described
def accuracy_against_convergence(
    summary: pd.DataFrame,
    target: float,
    baselines: Mapping[str, str],
    axes: Sequence[Axes] | np.ndarray | None = None,
    colours: Colours | None = None,
) -> np.ndarray:
    """Final test accuracy against the epochs to a target accuracy, one panel for each technique.

    Its most accurate variant, its fastest (of equals the most accurate) and its baseline have
    markers of their own and are named in the panel; the variants of all others are grey. Those that
    never reach the target are counted.

    Args:
        summary: from `stats.summary`: columns study, variant, mean and, for a target of 0.55,
            epochs_to_55.
        target: validation accuracy, a fraction.
        baselines: of each technique.

    Returns:
        The axes, shape (techniques,).
    """
    column, what = f"epochs_to_{100 * target:g}", "accuracy_against_convergence"
    table = shared.checked(summary, ["study", "variant"], ["mean", column], what)
    looks = shared.looks_of(table, colours, column="study")
    table = table.assign(x=table[column].astype(float), y=100 * table["mean"])
    reached = table[np.isfinite(table["x"])]
    studies = shared.by_variant(table, "study")
    panels = shared.grid(axes, len(studies), what, each=(2.6, 2.7), sharex=True, sharey=True)
    for panel, (study, own) in zip(panels, studies.items(), strict=True):
        there = own[np.isfinite(own["x"])]
        shared.title(panel, study)
        panel.plot(reached["x"], reached["y"], "o", color=_FADED, markersize=4)
        panel.plot(there["x"], there["y"], "o", color=looks[study]["color"], markersize=5)
        if len(there):
            _point_out(panel, there.set_index("variant"), baselines[study], looks[study]["color"])
        if never := len(own) - len(there):
            place: dict[str, Any] = {"transform": panel.transAxes, "ha": "left", "va": "bottom"}
            panel.text(0.03, 0.03, f"{never} of {len(own)} never\nget there", fontsize=8, **place)
        if len(reached):
            panel.set_xlim(0, 1.05 * reached["x"].max())
        panel.margins(y=0.15)
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(low, high + 0.3 * (high - low))  # the names stand on top
    across = f"Epochs to {target * 100:g} % validation\naccuracy (median of the runs)"
    shared.label_outside(panels, across, "Test accuracy (%)")
    keys = {"a variant of the technique": shared.marker(INK, "o", markersize=5)}
    keys |= {f"the {role}": Line2D([], [], color=INK, **look) for role, look in _ROLES.items()}
    keys["other techniques"] = shared.marker(_FADED, "o", markersize=4)
    shared.legend_over(panels, keys)
    return panels


def _point_out(panel: Axes, points: pd.DataFrame, baseline: str, colour: str) -> None:
    """Give a technique's most accurate, fastest and baseline their markers, and name them."""
    best = str(points["y"].idxmax())
    fastest = str(points.sort_values(["x", "y"], ascending=[True, False]).index[0])
    named: dict[str, Line2D] = {}
    for role, name in zip(_ROLES, (best, fastest, baseline), strict=True):
        if name in points.index and name not in named:
            (named[name],) = panel.plot(
                *points.loc[name, ["x", "y"]], color=colour, **_ROLES[role], zorder=4
            )
    panel.legend(
        named.values(),
        [f"{name} (both)" if name == best == fastest else name for name in named],
        loc="upper right",
        fontsize=8,
        handletextpad=0.1,
        borderpad=0.2,
        framealpha=0.8,
    )
