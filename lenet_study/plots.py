"""Every figure, from tidy tables: data in, axes out.

Call `use_style` once, and `colours` once with all variants of a study: then a variant looks the
same in every figure. Tables hold accuracies as fractions, figures show percent; intervals are
95 % t-intervals over the seeds. Throughout,

- `axes` is what to draw on (a new figure without it) and what comes back;
- `colours` comes from the function of that name (without it the order of the variants decides);
- a table with a column `purpose` gives its final runs, to `learning_rate_sensitivity` its tuning
  runs; one that lacks a column, has no rows or holds a run twice raises `InputError`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from lenet_keras.recipe import InputError, nearest
from lenet_keras.run import Run
from lenet_study import stats

# Okabe & Ito (2008), "Color Universal Design", in an order that keeps neighbours apart. Their
# yellow cannot be read on white; Tol's wine (SRON technical note EPS/TN/09-002) stands in for it.
_BLUE, _ORANGE, _GREEN, _PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
_BLACK, _SKY, _AMBER, _WINE = "#000000", "#56B4E9", "#E69F00", "#882255"
_PALETTE = (_BLUE, _ORANGE, _GREEN, _PINK, _BLACK, _SKY, _AMBER, _WINE)
_LINESTYLES = ("-", "--", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
_INK, _GREY, _SHADE = "#222222", "#6b6b6b", "#eeeeee"

STYLE: dict[Any, Any] = {
    # White and opaque, so that dark text is readable in a dark notebook theme too.
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "axes.facecolor": "white",
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=_PALETTE),
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.titlesize": 11,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
    "errorbar.capsize": 3,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.title_fontsize": 9,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",  # a reader without DejaVu Sans sees the same picture
    "svg.hashsalt": "lenet_keras",
}

_METRICS = {  # column: (axis label, unit)
    "loss": ("Training loss, as minimised", "nats"),
    "accuracy": ("Accuracy on training batches", "%"),
    "val_loss": ("Validation loss", "nats"),
    "val_accuracy": ("Validation accuracy", "%"),
    "val_calibration_error": ("Validation calibration error", "%"),
    "train_loss": ("Training loss", "nats"),
    "train_accuracy": ("Training accuracy", "%"),
    "train_calibration_error": ("Training calibration error", "%"),
    "test_loss": ("Test loss", "nats"),
    "test_accuracy": ("Test accuracy", "%"),
    "test_calibration_error": ("Test calibration error", "%"),
    "learning_rate": ("Learning rate", ""),
    "seconds": ("Time per epoch", "seconds"),
}
_DATASETS = {"cifar10": "CIFAR-10", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}


class Look(TypedDict):
    """How one variant is drawn, as keywords of matplotlib's `Axes.plot`."""

    color: str
    linestyle: Any
    marker: str


Colours = Mapping[str, Look]


def use_style() -> None:
    """Set the one style of all figures, for this process."""
    mpl.rcParams.update(STYLE)


def colours(variants: Sequence[str]) -> dict[str, Look]:
    """One look per variant, fixed by its place in `variants`; the first 24 differ.

    Eight colours that colour-blind readers can tell apart, then the same with dashed lines, then
    with dash-dotted ones; markers differ too, for figures without lines.
    """
    looks: dict[str, Look] = {}
    for place, variant in enumerate(dict.fromkeys(variants)):
        turn, colour = divmod(place, len(_PALETTE))
        looks[variant] = {
            "color": _PALETTE[colour],
            "linestyle": _LINESTYLES[turn % len(_LINESTYLES)],
            "marker": _MARKERS[(colour + turn) % len(_MARKERS)],
        }
    return looks


def label_source(
    drawing: Axes | Figure,
    dataset: str,
    epochs: int | None = None,
    seeds: int | None = None,
    *,
    longest: int | None = None,
    study_epochs: int = 20,
    study_seeds: int = 5,
) -> None:
    """Write under a figure what it was drawn from, and whether that is a rehearsal.

    Args:
        drawing: the figure, or any of its axes.
        dataset: name of the dataset; any but "cifar10" makes a rehearsal.
        epochs: that each run trained for; None where nothing was trained.
        seeds: runs of each variant; None as before.
        longest: epochs of the longest run, where some train for longer than `epochs`.
        study_epochs: another number makes a rehearsal.
        study_seeds: fewer make a rehearsal; more are more evidence.
    """
    parts = [_DATASETS.get(dataset, dataset)]
    if epochs is not None:
        last = max(epochs, longest or 0)
        parts.append((f"{epochs} to " if last > epochs else "") + _count(last, "epoch"))
    if seeds is not None:
        parts.append(_count(seeds, "seed"))
    text = ", ".join(parts)
    other = epochs not in (None, study_epochs) or (seeds is not None and seeds < study_seeds)
    if dataset != "cifar10" or other:
        text += ": a rehearsal, not the study"
    # A figure's x label is the one line of text that constrained layout keeps room for.
    _figure(drawing).supxlabel(text, x=0.995, ha="right", fontsize=8, color=_GREY)


def save(drawing: Axes | Figure, path: Path | str) -> tuple[Path, Path]:
    """Write a figure as `<path>.png` and `<path>.svg`, without dates: same figure, same bytes.

    Args:
        drawing: the figure, or any of its axes.
        path: file name without suffix; missing folders are made.

    Returns:
        The two files.

    Raises:
        InputError: the folder cannot be written to.
    """
    figure, png, svg = _figure(drawing), Path(f"{path}.png"), Path(f"{path}.svg")
    try:
        png.parent.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context({name: STYLE[name] for name in ("svg.fonttype", "svg.hashsalt")}):
            figure.savefig(png, dpi=STYLE["savefig.dpi"], metadata={"Software": None})
            figure.savefig(svg, metadata={"Date": None})
    except OSError as error:
        raise InputError(f"{png.parent}: figures cannot be written ({error.strerror}).") from None
    return png, svg


def learning_curves(
    epochs: pd.DataFrame,
    metric: str = "val_accuracy",
    axes: Axes | None = None,
    colours: Colours | None = None,
) -> Axes:
    """Mean over the seeds per epoch with its interval as a band; one line a variant.

    Line and band end where the first seed ends (early stopping) or has a loss that is no finite
    number (divergence); from there on a dotted line is the mean of the seeds that are left.

    Args:
        epochs: epoch table: columns variant, seed, epoch and `metric`.
        metric: "val_accuracy", "accuracy", "val_loss", "loss", "learning_rate" or "seconds".
    """
    label, factor, _ = _metric(metric)
    epochs = _rows(epochs, ["variant", "seed", "epoch"], [metric], "learning_curves")
    looks = _looks(epochs, colours)
    axes = axes or _new_axes(8.4, 4.6)
    lines: dict[Line2D, float] = {}
    note = _seeds_note(epochs, "95 % t-interval")
    for variant, rows in _by_variant(epochs):
        look = looks[variant]
        sound = rows.assign(**{metric: rows[metric].astype(float).mask(_broken(rows))})
        wide = sound.pivot(index="epoch", columns="seed", values=metric) * factor
        wide = wide.where(np.isfinite(wide))
        mean = wide.mean(axis=1)
        everyone = wide.notna().all(axis=1)
        name = f"{variant}{_diverged(rows)}"
        (line,) = axes.plot(wide.index, mean.where(everyone), label=name, **look)
        intervals = [_interval(values) for values in wide.to_numpy()]
        if everyone.sum() == 1:  # one point makes neither line nor band
            axes.errorbar(
                wide.index[0],
                mean.iloc[0],
                yerr=_bars(*intervals[0]),
                color=look["color"],
                marker=look["marker"],
            )
        else:
            line.set_marker("")
            _, low, high = zip(*intervals, strict=True)
            axes.fill_between(wide.index, low, high, color=look["color"], alpha=0.15, linewidth=0)
        if (mean.notna() & ~everyone).any():
            # From the last point of the solid line, so that the two join.
            rest = ~everyone | (~everyone).shift(-1, fill_value=False)
            axes.plot(wide.index, mean.where(rest), ":", color=look["color"], linewidth=1)
            if "dotted" not in note:
                note += "\ndotted: not all seeds are left"
        lines[line] = mean.dropna().iloc[-1] if mean.notna().any() else -np.inf
    _epoch_axis(axes, int(epochs["epoch"].max()))
    axes.set_ylabel(label)
    if metric == "learning_rate":
        axes.set_yscale("log")
    _legend_beside(axes, sorted(lines, key=lambda line: -lines[line]), note)
    return axes


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
    label, factor, _ = _metric(metric)
    runs = _rows(runs, ["variant", "seed"], [metric], "accuracy_points")
    looks = _looks(runs, colours)
    seeds = {name: rows[metric].to_numpy(float) * factor for name, rows in _by_variant(runs)}
    means = pd.Series({name: np.mean(values) for name, values in seeds.items()})
    order = means.sort_values(ascending=not metric.endswith("accuracy"), kind="stable").index
    axes = axes or _new_axes(8, _rows_height(len(order)))
    for row, variant in enumerate(order):
        colour = looks[variant]["color"]
        # The seeds lie a little apart, and below their mean: equal points stay visible.
        places = row + np.linspace(0.1, 0.34, len(seeds[variant]))
        axes.plot(seeds[variant], places, "o", color=colour, alpha=0.55, markersize=4)
        mean, low, high = _interval(seeds[variant])
        axes.errorbar(mean, row - 0.1, xerr=_bars(mean, low, high), color=colour, marker="D")
    _name_rows(axes, [f"{name}{_diverged(runs[runs['variant'] == name])}" for name in order])
    axes.set_xlabel(label)
    several = max(len(values) for values in seeds.values()) > 1
    _legend_above(
        axes,
        {
            "one seed": _marker(_GREY, "o", markersize=4, alpha=0.55),
            "mean, 95 % t-interval" if several else "mean (one seed: no interval)": Line2D(
                [], [], color=_GREY, marker="D"
            ),
        },
    )
    return axes


def forest(
    comparison: pd.DataFrame,
    baseline: str | Mapping[str, str],
    metric: str = "test_accuracy",
    limit: float | None = None,
    axes: Axes | None = None,
    colours: Colours | None = None,
) -> Axes:
    """Differences from the baseline with their intervals, the largest on top.

    A filled marker says that the difference is significant at 5 % after Holm's correction. With a
    column study that holds several, the variants stand under the name of their technique, and
    colours, where given, belong to the techniques.

    Args:
        comparison: from `stats.compare` or `stats.summary`: columns variant, mean, difference,
            difference_low, difference_high and p_holm. The baseline's own row gives its mean. A
            column pairs of zeros makes a technique's differences unpaired.
        baseline: the variant that all are compared with, or one for each technique.
        metric: what was compared.
        limit: where the axis ends on either side, in the axis' unit; a difference beyond it is an
            arrow at the edge, so that one hopeless variant does not squeeze all others together.
    """
    columns = ["mean", "difference", "difference_low", "difference_high", "p_holm"]
    several = "study" in comparison and comparison["study"].nunique() > 1
    identity = ["study", "variant"] if several else ["variant"]
    table = _rows(comparison, identity, columns, "forest")
    table = table.assign(study=table["study"].astype(str) if several else "")
    looks = _looks(table, colours, column="study" if several else "variant")
    label, factor, unit = _metric(metric)
    places = 1 if unit == "%" else 3
    lines: list[Any] = []  # a heading is a string, a difference a row of the table
    headings: dict[str, str] = {}
    unpaired: list[bool] = []
    for study, part in table.groupby("study", sort=False):
        name = baseline if isinstance(baseline, str) else baseline.get(str(study), "")
        if name not in set(part["variant"]):
            raise InputError(
                f"forest: baseline '{name}' is no variant{f' of {study}' if several else ''}."
                + nearest(str(name), [str(variant) for variant in part["variant"]])
            )
        level = float(part.loc[part["variant"] == name, "mean"].iloc[0]) * factor
        headings[str(study)] = f"{name} ({level:.{places}f} {unit})"
        unpaired.append("pairs" in part and not part["pairs"].any())
        headings[str(study)] += ", unpaired" if several and unpaired[-1] else ""
        lines += [str(study)] if several else []
        others = part[part["variant"] != name]
        lines += list(others.sort_values("difference", ascending=False).itertuples())
    axes = axes or _new_axes(9, _rows_height(len(lines), each=0.3 if several else 0.4))
    beyond = False
    for row, line in enumerate(lines):
        if isinstance(line, str):
            text = f"against {headings[line]}"
            place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center"}
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the zero line
            axes.text(0.01, row, text, fontsize=8.5, bbox=box, **place)
            continue
        colour = looks[line.study if several else line.variant]["color"]
        middle, low, high = (
            float(value) * factor
            for value in (line.difference, line.difference_low, line.difference_high)
        )
        face = colour if line.p_holm < 0.05 else "white"
        dot: dict[str, Any] = {"markerfacecolor": face, "markeredgewidth": 1.5, "color": colour}
        if limit and abs(middle) > limit:
            beyond = True
            axes.plot(np.copysign(limit, middle), row, "<" if middle < 0 else ">", **dot)
        else:
            axes.errorbar(middle, row, xerr=_bars(middle, low, high), marker="o", **dot)
        _write_beside(axes, row, _difference(middle, low, high, places))
    axes.axvline(0, color=_INK, linewidth=1, zorder=1)
    if limit:
        axes.set_xlim(-1.05 * limit, 1.05 * limit)
    _name_rows(axes, [line if isinstance(line, str) else str(line.variant) for line in lines])
    for line, tick in zip(lines, axes.get_yticklabels(), strict=True):
        tick.set_fontweight("bold" if isinstance(line, str) else "normal")
    against = "that of the technique's baseline" if several else f"that of {headings['']}"
    what, points = label.partition(" (")[0], "percentage points" if unit == "%" else unit
    axes.set_xlabel(f"{what} minus {against}, in {points}")
    unknown = any(np.isnan(line.p_holm) for line in lines if not isinstance(line, str))
    edge: dict[str, Any] = {"markeredgewidth": 1.5}
    open_label = f"p ≥ 0.05{' or unknown' if unknown else ''}"
    pairing = "unpaired" if all(unpaired) else "paired by seed"
    pairing = "paired unless noted" if len(set(unpaired)) > 1 else pairing
    keys = {
        f"95 % t-interval, {pairing}": Line2D([], [], color=_GREY),
        "p < 0.05 (Holm-corrected)": _marker(_GREY, "o", **edge),
        open_label: _marker(_GREY, "o", markerfacecolor="white", **edge),
    }
    if beyond:
        keys["beyond the axis"] = _marker(_GREY, "<", **edge)
    _legend_above(axes, keys)
    return axes


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
    columns = ["mean", "low", "high", "difference", "difference_low", "difference_high", "p_holm"]
    table = _rows(steps, ["variant"], columns, "ladder")
    label, factor, unit = _metric(metric)
    names = [str(name) for name in table["variant"]]
    axes = axes or _new_axes(9, _rows_height(len(names), each=0.33))
    lines = table[columns].astype(float).to_numpy() * [*[factor] * 6, 1]
    axes.plot(lines[:, 0], range(len(names)), color=_GREY, linewidth=0.8, zorder=1)
    for row, (mean, low, high, step, step_low, step_high, p) in enumerate(lines):
        colour = _BLUE if row else _GREY
        filled = colour if p < 0.05 or row == 0 else "white"
        look: dict[str, Any] = {"color": colour, "markerfacecolor": filled, "markeredgewidth": 1.5}
        axes.errorbar(mean, row, xerr=_bars(mean, low, high), marker="o", **look)
        text = f"{mean:.1f}"
        if np.isfinite(step):
            text += f"   {step:+.1f}"
        if np.isfinite(step_high - step_low):
            text += f"  [{step_low:+.1f}, {step_high:+.1f}]"
        _write_beside(axes, row, text.replace("-", "\N{MINUS SIGN}"))
    dated = [f"{years[name]}  {name}" if years and name in years else name for name in names]
    _name_rows(axes, dated)
    axes.invert_yaxis()  # one climbs a ladder from below
    axes.set_xlabel(label)
    edge: dict[str, Any] = {"markeredgewidth": 1.5}
    _legend_above(
        axes,
        {
            "95 % t-interval": Line2D([], [], color=_BLUE),
            "step: p < 0.05 (Holm)": _marker(_BLUE, "o", **edge),
            "p ≥ 0.05": _marker(_BLUE, "o", markerfacecolor="white", **edge),
            "start": _marker(_GREY, "o", **edge),
        },
    )
    beside = f"{unit}   step in points" if unit == "%" else "value and step"
    place: dict[str, Any] = {"transform": axes.transAxes, "va": "bottom", "color": _GREY}
    axes.text(1.01, 1.0, beside, fontsize=8.5, **place)
    return axes


def search_progress(trials: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Validation accuracy of every trial of a search, against the epochs spent so far.

    Args:
        trials: from `Search.table`: columns stage, spent, epochs, val_accuracy and best.
    """
    columns = ["stage", "epochs", "val_accuracy", "best"]
    table = _rows(trials, ["spent"], columns, "search_progress", purpose="tuning")
    axes = axes or _new_axes(8, 4)
    keys = []
    for place, (stage, rows) in enumerate(table.groupby("stage")):
        colour, shape = _PALETTE[place], _MARKERS[place]
        label = f"stage {stage}: {len(rows)} of {_count(int(rows['epochs'].iloc[0]), 'epoch')}"
        look: dict[str, Any] = {"color": colour, "marker": shape, "alpha": 0.7}
        axes.plot(rows["spent"], 100 * rows["val_accuracy"], linestyle="", **look)
        keys.append(_marker(colour, shape, alpha=0.7, label=label))
    axes.step(table["spent"], 100 * table["best"], where="post", color=_INK, linewidth=1.2)
    keys.append(Line2D([], [], color=_INK, linewidth=1.2, label="best so far"))
    middle = 100 * table["val_accuracy"].quantile([0.1, 1.0]).to_numpy()
    axes.set_ylim(middle[0] - 2, middle[1] + 1)  # what failed altogether would squeeze the rest
    axes.set_xlabel("Epochs of training spent")
    axes.set_ylabel("Validation accuracy (%)")
    _legend_beside(axes, keys, "trials")
    return axes


def epochs_to_target(
    table: pd.DataFrame,
    arrivals: pd.DataFrame | None = None,
    axes: Axes | None = None,
    colours: Colours | None = None,
) -> Axes:
    """Median epochs to each target accuracy; one row a variant, the fastest on top.

    A target that fewer than half of a variant's runs reach has no median: its marker stands, empty,
    in the grey strip at the right. Beside the row: how many runs reach each target.

    Args:
        table: from `stats.median_epochs_to`, for one target or several put together: columns
            variant, target (fraction), median (epochs; NaN or infinite: not reached by half),
            reached and n (runs).
        arrivals: from `stats.epochs_to`: columns variant, target, epoch and reached; draws a small
            dot for every run that arrives.
    """
    table = _rows(table, ["variant", "target"], ["median", "reached", "n"], "epochs_to_target")
    looks = _looks(table, colours)
    targets = sorted(table["target"].unique())
    shapes = {target: _MARKERS[i % len(_MARKERS)] for i, target in enumerate(targets)}
    medians = table.set_index(["variant", "target"])["median"].astype(float).fillna(np.inf)
    wide = medians.unstack().reindex(columns=targets)
    order = wide.sort_values(targets[::-1], kind="stable").index
    longest = medians[np.isfinite(medians)].max() if np.isfinite(medians).any() else 1.0
    if arrivals is not None:
        longest = max(longest, float(arrivals["epoch"].max()))
    edge = longest * 1.04 + 0.5  # where the strip for what is never reached begins
    slot = edge * 0.05
    axes = axes or _new_axes(8.4, _rows_height(len(order)))
    for row, variant in enumerate(order):
        colour = looks[variant]["color"]
        for place, target in enumerate(targets):
            median = wide.loc[variant, target]
            never = np.isinf(median)
            axes.plot(
                edge + slot * (place + 0.7) if never else median,
                row,
                linestyle="",
                marker=shapes[target],
                color=colour,
                markersize=7,
                markerfacecolor="white" if never else colour,
            )
            if arrivals is not None:
                own = (arrivals["variant"] == variant) & (arrivals["target"] == target)
                arrived = np.sort(arrivals.loc[own & arrivals["reached"], "epoch"])
                heights = row + np.linspace(0.2, 0.38, len(arrived))
                axes.plot(arrived, heights, ".", color=colour, alpha=0.55, markersize=4)
        own_rows = table[table["variant"] == variant].sort_values("target")
        counts = [f"{int(line.reached)} of {int(line.n)}" for line in own_rows.itertuples()]
        _write_beside(axes, row, " · ".join(counts))
    _name_rows(axes, list(order))
    end = edge + slot * (len(targets) + 0.4) if np.isinf(medians).any() else edge
    axes.set_xlim(0, end)
    axes.axvspan(edge, end, color=_SHADE, linewidth=0, zorder=0)
    ticks = MaxNLocator(integer=True).tick_values(0, longest)
    axes.set_xticks([tick for tick in ticks if 0 <= tick <= edge])
    axes.set_xlabel("Epochs until validation accuracy reaches the target (median of the runs)")
    below: dict[str, Any] = {"transform": axes.transAxes, "va": "top", "color": _GREY}
    axes.text(1.01, -0.01, "runs that\nreach it", fontsize=8.5, **below)
    keys = {f"{target * 100:g} %": _marker(_GREY, shapes[target]) for target in targets}
    if np.isinf(medians).any():
        keys["empty: not reached by half"] = _marker(_GREY, "o", markerfacecolor="white")
    if arrivals is not None:
        keys["one run"] = _marker(_GREY, ".", markersize=4, alpha=0.55)
    _legend_above(axes, keys)
    return axes


def gap_against_accuracy(
    runs: pd.DataFrame, axes: Axes | None = None, colours: Colours | None = None
) -> Axes:
    """Generalisation gap against test accuracy: means over the seeds with their intervals.

    Args:
        runs: run table: columns variant, seed, train_accuracy, val_accuracy and test_accuracy.
    """
    columns = ["train_accuracy", "val_accuracy", "test_accuracy"]
    runs = _rows(runs, ["variant", "seed"], columns, "gap_against_accuracy")
    looks = _looks(runs, colours)
    axes = axes or _new_axes(8.4, 5)
    keys = []
    for variant, rows in _by_variant(runs):
        colour, shape = looks[variant]["color"], looks[variant]["marker"]
        accuracy = rows["test_accuracy"].to_numpy(float) * 100
        gap = stats.generalization_gap(rows).to_numpy(float) * 100
        axes.plot(accuracy, gap, ".", color=colour, alpha=0.4, markersize=5)
        x, y = _interval(accuracy), _interval(gap)
        marker: dict[str, Any] = {"marker": shape, "markersize": 8, "markeredgecolor": "white"}
        axes.errorbar(
            x[0], y[0], yerr=_bars(*y), xerr=_bars(*x), color=colour, elinewidth=1, **marker
        )
        keys.append(_marker(colour, shape, markersize=8, label=f"{variant}{_diverged(rows)}"))
    axes.axhline(0, color=_GREY, linewidth=1, zorder=1)
    axes.set_xlabel("Test accuracy (%)")
    axes.set_ylabel("Training minus validation accuracy\n(percentage points)")
    _legend_beside(axes, keys, _seeds_note(runs, "95 % t-intervals,\nsmall dots: single seeds"))
    return axes


def learning_rate_sensitivity(
    tuning_runs: pd.DataFrame, axes: Axes | None = None, colours: Colours | None = None
) -> Axes:
    """Validation accuracy against the learning rate; a ring marks each variant's best.

    Args:
        tuning_runs: run table: columns variant, seed, learning_rate and val_accuracy; with a
            column status, learning rates at which a run diverged are crossed out.
    """
    identity = ["variant", "seed", "learning_rate"]
    what = "learning_rate_sensitivity"
    runs = _rows(tuning_runs, identity, ["val_accuracy"], what, purpose="tuning")
    looks = _looks(runs, colours)
    curves = stats.learning_rate_curve(runs)
    axes = axes or _new_axes(8.4, 4.6)
    keys = []
    crossed = False
    for variant, rows in _by_variant(runs):
        look = looks[variant]
        curve = curves[curves["variant"] == variant].set_index("learning_rate")
        mean = curve["val_accuracy"] * 100
        spread = [
            _bars(*_interval(rows.loc[rows["learning_rate"] == rate, "val_accuracy"] * 100))
            for rate in mean.index
        ]
        for rate, bars in zip(mean.index, spread, strict=True):
            axes.errorbar(rate, mean[rate], yerr=bars, color=look["color"])
        axes.plot(mean.index, mean, **look)
        keys.append(Line2D([], [], label=variant, **look))
        ring: dict[str, Any] = {"markersize": 13, "markerfacecolor": "none", "markeredgewidth": 1.5}
        axes.plot(mean[curve["best"]].index, mean[curve["best"]], "o", color=look["color"], **ring)
        if "status" in rows:
            lost = mean[mean.index.isin(rows.loc[rows["status"] == "diverged", "learning_rate"])]
            axes.plot(lost.index, lost, "x", color=_INK, markersize=9, markeredgewidth=1.5)
            crossed = crossed or len(lost) > 0
    axes.set_xscale("log")
    axes.set_xlabel("Learning rate")
    axes.set_ylabel("Validation accuracy (%)")
    keys.append(_marker(_GREY, "o", markersize=11, markerfacecolor="none", label="best"))
    if crossed:
        keys.append(_marker(_INK, "x", markersize=9, label="a run diverged"))
    _legend_beside(axes, keys, _seeds_note(runs, "95 % t-interval"))
    return axes


def confusion_matrix(
    matrix: Sequence[Sequence[int]] | np.ndarray,
    class_names: Sequence[str],
    axes: Axes | None = None,
) -> Axes:
    """Which share of each true class's images was given each class, in percent.

    Args:
        matrix: counts, shape (classes, classes); row: true class, column: predicted class.
        class_names: in the order of rows and columns.

    Raises:
        InputError: the matrix is not square, or its size differs from the number of names.
    """
    import seaborn as sns

    counts = np.asarray(matrix, dtype=float)
    if counts.shape != (len(class_names), len(class_names)):
        raise InputError(
            f"confusion_matrix: found a matrix of shape {counts.shape} and {len(class_names)} "
            "class names; expected as many rows and columns as names."
        )
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes = axes or _new_axes(7.2, 6)
    sns.heatmap(
        percent,
        annot=True,
        fmt=".0f",
        cmap="Blues",
        vmin=0,
        vmax=100,
        square=True,
        linewidths=0.5,
        xticklabels=list(class_names),
        yticklabels=list(class_names),
        cbar_kws={"label": "Share of the true class's images (%)"},
        ax=axes,
    )
    _bare(axes)
    axes.tick_params(axis="y", rotation=0)
    for tick in axes.get_xticklabels():
        tick.set(rotation=45, horizontalalignment="right", rotation_mode="anchor")
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    return axes


def effects(table: pd.DataFrame, names: Mapping[str, str], axes: Axes | None = None) -> Axes:
    """What each technique adds, averaged over the presence and absence of all others.

    Args:
        table: from `factorial.effects`.
        names: of the factors, by letter.
    """
    rows = table.loc[list(names)].sort_values("effect", ascending=False)
    axes = axes or _new_axes(9, _rows_height(len(rows)))
    for row, (_, line) in enumerate(rows.iterrows()):
        middle, low, high = 100 * line[["effect", "low", "high"]].to_numpy(float)
        colour = _BLUE if middle > 0 else _ORANGE
        fill = colour if line["p_holm"] < 0.05 else "white"
        axes.barh(row, middle, height=0.62, color=fill, edgecolor=colour, linewidth=1.5)
        axes.errorbar(middle, row, xerr=_bars(middle, low, high), color=_INK)
        _write_beside(axes, row, _difference(middle, low, high))
    axes.axvline(0, color=_INK, linewidth=1)
    _name_rows(axes, [names[str(letter)] for letter in rows.index])
    axes.set_title("What each technique adds to LeNet-5", pad=26)
    axes.set_xlabel("Test accuracy with it minus without it, in percentage points")
    keys = {
        "significant (Holm, p < 0.05)": Patch(color=_GREY),
        "not told from 0": Patch(facecolor="white", edgecolor=_GREY, linewidth=1.5),
        "95 % interval": Line2D([], [], color=_INK),
    }
    _legend_above(axes, keys)
    return axes


def interactions(table: pd.DataFrame, names: Mapping[str, str], axes: Axes | None = None) -> Axes:
    """How much more, or less, two techniques add where both are there: every pair.

    Args:
        table: from `factorial.effects`; a frame and bold digits mark what is significant.
        names: of the factors, by letter.
    """
    import seaborn as sns

    letters = list(names)
    axes = axes or _new_axes(8.6, 6)
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
            frame = Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, fill=False, linewidth=1.8)
            axes.add_patch(frame)
    _bare(axes)
    axes.set_xticklabels([names[letter] for letter in letters[:-1]], rotation=35, ha="right")
    axes.set_yticklabels([names[letter] for letter in letters[1:]], rotation=0)
    axes.text(1, 1, "framed: significant (Holm, p < 0.05)", ha="right", transform=axes.transAxes)
    return axes


def four_means(
    means: Mapping[str, pd.DataFrame], names: Mapping[str, str], axes: Any = None
) -> np.ndarray:
    """A panel for each pair of techniques: the first along, a line with and without the second.

    Args:
        means: from `factorial.four_means`, by pair of letters.
        names: of the factors, by letter.
    """
    panels = _panels(axes, len(means), "four_means")
    all_of_them = 100 * pd.concat(means.values())
    for panel, (pair, table) in zip(panels, means.items(), strict=True):
        for there, colour, marker in ((False, _GREY, "s"), (True, _BLUE, "o")):
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


def foretold(table: pd.DataFrame, axes: Axes | None = None) -> Axes:
    """Every cell's measured accuracy against the one that the effects foretell.

    Args:
        table: from `factorial.predicted`.
    """
    axes = axes or _new_axes(7, 5.4)
    rows = 100 * table.drop(columns="left_out")
    ends = [rows["predicted"].min() - 1, rows["predicted"].max() + 1]
    axes.plot(ends, ends, color=_GREY, linewidth=1, zorder=1)
    sorts = ((False, _SKY, "o", "the effects come from it"), (True, _ORANGE, "D", "left out"))
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
        names: of the factors, by letter.
    """
    steps = 100 * table.loc[list(names), "effect"].sort_values(ascending=False)
    ends, start = 100 * way, 100 * bottom
    axes = axes or _new_axes(9, _rows_height(len(steps) + 3))
    reached = start
    for row, step in enumerate(steps.to_list(), start=1):
        axes.barh(row, step, left=reached, color=_BLUE if step > 0 else _ORANGE, height=0.62)
        reached += step
        axes.plot([reached] * 2, [row - 0.31, row + 1.31], color=_GREY, linewidth=0.8)
        _write_beside(axes, row, _difference(step, np.nan, np.nan))
    last = len(steps) + 1
    for row, name, marker in ((0, "", "D"), (last, "sum", "o"), (last + 1, "measured", "o")):
        middle, low, high = map(float, ends.loc[name]) if name else (0.0, np.nan, np.nan)
        bars = _bars(middle, low, high)
        axes.errorbar(start + middle, row, xerr=bars, color=_INK, marker=marker)
        _write_beside(axes, row, f"{start + middle:.1f} %")
    ends_of_it = ("none: measured", "all: the sum", "all: measured")
    _name_rows(axes, [ends_of_it[0], *(names[str(x)] for x in steps.index), *ends_of_it[1:]])
    axes.set_xlim(left=start - 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Test accuracy (%)")
    return axes


def first_layer_kernels(kernels: np.ndarray, axes: Axes | None = None) -> Axes:
    """C1's kernels: as colour pictures, then channel by channel on a scale symmetric about 0.

    Args:
        kernels: float, shape (height, width, 3, kernels), as Keras keeps them: (5, 5, 3, 6).

    Raises:
        InputError: another shape.
    """
    kernels = np.asarray(kernels, dtype=float)
    if kernels.ndim != 4 or kernels.shape[2] != 3:
        raise InputError(
            f"first_layer_kernels: found shape {kernels.shape}; "
            "expected (height, width, 3, kernels), as C1's kernel in Keras."
        )
    largest = float(np.abs(kernels).max()) or 1.0
    scale, signed = Normalize(-largest, largest), mpl.colormaps["PuOr"]
    by_kernel = np.moveaxis(kernels, -1, 0)
    by_channel = signed(scale(np.moveaxis(kernels, 2, 0)))[
        ..., :3
    ]  # (3, height, width, kernels, 3)
    tiles = [np.asarray(scale(by_kernel)), *np.moveaxis(by_channel, 3, 1)]
    # A kernel's pixel is drawn as eight by eight, so that the gap can be finer than a pixel.
    magnified = [np.kron(row, np.ones((1, 8, 8, 1))) for row in tiles]
    axes = axes or _new_axes(8, 5.2)
    rows, columns = _draw_mosaic(axes, magnified, gap=6)
    axes.set_xticks(columns, [str(number + 1) for number in range(len(by_kernel))])
    axes.set_yticks(rows, ["as colours\n(grey: 0)", "red", "green", "blue"])
    axes.set_xlabel("Kernel of C1")
    mappable = ScalarMappable(scale, signed)
    bar = _figure(axes).colorbar(mappable, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label(f"Weight in one channel (±{largest:.2g}: the largest of all)")
    bar.outline.set_visible(False)
    return axes


def images(
    pictures: np.ndarray,
    labels: Sequence[Any] | np.ndarray,
    class_names: Sequence[str] | None = None,
    columns: int = 10,
    axes: Axes | None = None,
) -> Axes:
    """The first pictures of each label, a row for each: of each class, or of each augmentation.

    Args:
        pictures: shape (n, height, width, 3), uint8 0 to 255, or float 0 to 1.
        labels: n class numbers where class names are given, else n names.
        class_names: by class number; gives the rows' order. Without them a row comes where its
            name first comes.
        columns: pictures of one label at most.

    Raises:
        InputError: no pictures, another shape, or another number of labels.
    """
    pictures, labels = np.asarray(pictures), np.asarray(labels)
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or not 0 < len(pictures) == len(labels):
        raise InputError(
            f"images: found pictures of shape {pictures.shape} and {len(labels)} labels; "
            "expected (n, height, width, 3) and n labels."
        )
    rows = labels if class_names is None else np.asarray(class_names)[labels]
    names = list(dict.fromkeys(rows.tolist())) if class_names is None else list(class_names)
    chosen = [pictures[rows == name][:columns] for name in names]
    widest = max(len(row) for row in chosen)
    axes = axes or _new_axes(0.62 * widest + 1.2, 0.62 * len(names) + 0.2)
    places, _ = _draw_mosaic(axes, chosen, gap=max(1, pictures.shape[2] // 16))
    axes.set_xticks([])
    axes.set_yticks(places, names)
    return axes


def activation_scale(
    table: pd.DataFrame, axes: Axes | None = None, colours: Colours | None = None
) -> Axes:
    """Standard deviation of each layer's activations; one line a variant.

    Args:
        table: columns layer (rows in the network's order), variant and value (0 or more).
    """
    label = "Standard deviation of the activations"
    return _layer_scale(table, label, "activation_scale", axes, colours)


def gradient_scale(
    table: pd.DataFrame, axes: Axes | None = None, colours: Colours | None = None
) -> Axes:
    """Standard deviation of the loss gradient in each layer; one line a variant.

    Args:
        table: columns layer (rows in the network's order), variant and value (0 or more).
    """
    label = "Standard deviation of the gradient"
    return _layer_scale(table, label, "gradient_scale", axes, colours)


def _layer_scale(
    table: pd.DataFrame, label: str, what: str, axes: Axes | None, colours: Colours | None
) -> Axes:
    """A value per layer on a logarithmic axis that has a place for 0 where there is one."""
    table = _rows(table, ["layer", "variant"], ["value"], what)
    looks = _looks(table, colours)
    layers = list(dict.fromkeys(table["layer"]))
    values = table["value"].to_numpy(float)
    axes = axes or _new_axes(8.4, 4.6)
    lines: dict[Line2D, float] = {}
    for variant, rows in _by_variant(table):
        known = rows.set_index("layer")["value"].reindex(layers).astype(float)
        (line,) = axes.plot(range(len(layers)), known, label=variant, **looks[variant])
        lines[line] = known.dropna().iloc[-1] if known.notna().any() else -np.inf
    if (values == 0).any():
        smallest = values[values > 0].min() if (values > 0).any() else 1.0
        decade = 10.0 ** np.floor(np.log10(smallest))
        axes.set_yscale("symlog", linthresh=decade, linscale=0.5)
        axes.set_ylim(bottom=-0.1 * decade)
    else:
        axes.set_yscale("log")
    axes.set_xticks(range(len(layers)), layers)
    axes.set_xlabel("Layer, from input to output")
    axes.set_ylabel(label)
    _legend_beside(axes, sorted(lines, key=lambda line: -lines[line]), "")
    return axes


def kernel_histograms(
    quantiles: Mapping[str, Mapping[str, Sequence[float | None]]],
    axes: Sequence[Axes] | np.ndarray | None = None,
    colours: Colours | None = None,
) -> np.ndarray:
    """Density of each layer's kernel weights, as implied by their quantiles; a panel a layer.

    Between two neighbouring quantiles the density is taken as constant.

    Args:
        quantiles: variant, then layer, to evenly spaced quantiles from the least weight to the
            largest: `{name: run.kernel_quantiles}`. A layer with None, of a diverged run, is left
            out and the legend says so.
        axes: one a layer.

    Returns:
        The axes, shape (layers,).

    Raises:
        InputError: nothing to draw, or another number of axes than of layers.
    """
    layers = list(dict.fromkeys(layer for of_run in quantiles.values() for layer in of_run))
    if not layers:
        raise InputError("kernel_histograms: there are no quantiles to draw.")
    looks = _looks(pd.DataFrame({"variant": list(quantiles)}), colours)
    panels = _panels(axes, len(layers), "kernel_histograms")
    finite: dict[str, dict[str, np.ndarray]] = {}
    for name, of_run in quantiles.items():
        numbers = {layer: np.array(values, dtype=float) for layer, values in of_run.items()}
        finite[name] = {layer: q for layer, q in numbers.items() if np.isfinite(q).all()}
    for panel, layer in zip(panels, layers, strict=True):
        of_layer = {name: known[layer] for name, known in finite.items() if layer in known}
        largest = max((np.abs(values).max() for values in of_layer.values()), default=0.0) or 1.0
        # An odd number of bins keeps 0, where L1 gathers the weights, in the middle of one.
        edges = np.linspace(-largest, largest, 62)
        for variant, values in of_layer.items():
            line = {"color": looks[variant]["color"], "linestyle": looks[variant]["linestyle"]}
            panel.stairs(_implied_density(values, edges), edges, linewidth=1.4, **line)
        panel.set_yscale("log")
        panel.set_title(layer)
        panel.set_xlabel("Weight")
        panel.set_ylabel("Density")
    keys = []
    for name, of_run in quantiles.items():
        label = name if len(finite[name]) == len(of_run) else f"{name} (diverged)"
        line = {"color": looks[name]["color"], "linestyle": looks[name]["linestyle"]}
        keys.append(Line2D([], [], label=label, **line))
    _figure(panels[0]).legend(handles=keys, loc="outside right upper")
    return panels


def history(run: Run, axes: Sequence[Axes] | np.ndarray | None = None) -> np.ndarray:
    """Loss and accuracy of one run, epoch by epoch, on training and validation images.

    Args:
        run: as recorded.
        axes: two: for the loss, for the accuracy.

    Returns:
        The axes, shape (2,).
    """
    panels = _panels(axes, 2, "history")
    past = run.history
    epochs = np.arange(1, len(past.val_accuracy) + 1)
    curves = (
        ("Loss (nats)", past.loss, past.val_loss, 1.0),
        ("Accuracy (%)", past.accuracy, past.val_accuracy, 100.0),
    )
    for panel, (label, training, validation, factor) in zip(panels, curves, strict=True):
        single = "o" if len(epochs) == 1 else None  # one point makes no line
        for values, name, colour, style in (
            (training, "training batches", _BLUE, "--"),
            (validation, "validation", _ORANGE, "-"),
        ):
            numbers = np.array(values, dtype=float) * factor
            panel.plot(epochs, numbers, style, color=colour, marker=single, label=name)
        if run.status == "stopped_early":
            panel.axvline(run.best_epoch, color=_GREY, linestyle=":", label="best epoch: scored")
        if run.status == "diverged":
            panel.plot([], [], " ", label=f"diverged in epoch {len(epochs)}")
        _epoch_axis(panel, len(epochs))
        panel.set_ylabel(label)
        panel.legend()
    dataset = _DATASETS.get(run.recipe.dataset, run.recipe.dataset)
    title = f"{dataset}, seed {run.seed}, {_count(len(epochs), 'epoch')}"
    if run.test is not None:
        title += f": test accuracy {run.test.accuracy * 100:.1f} %"
    _figure(panels[0]).suptitle(title)
    return panels


def accuracy_against_convergence(
    summary: pd.DataFrame,
    target: float,
    axes: Axes | None = None,
    colours: Colours | None = None,
) -> Axes:
    """Final test accuracy, with its interval, against the epochs to a target accuracy.

    What does not reach the target stands in the grey strip at the right; what is hopelessly low
    stands at its foot, below the axis, so that the others do not become one heap. With a column
    study that holds several, colour and marker belong to the technique.

    Args:
        summary: from `stats.summary`: columns variant, mean, low, high and, for a target of 0.55,
            epochs_to_55.
        target: validation accuracy, a fraction.
    """
    column = f"epochs_to_{100 * target:g}"
    several = "study" in summary and summary["study"].nunique() > 1
    identity, by = (["study", "variant"], "study") if several else (["variant"], "variant")
    columns = ["mean", "low", "high", column]
    table = _rows(summary, identity, columns, "accuracy_against_convergence")
    looks = _looks(table, colours, column=by)
    medians = table[column].astype(float).fillna(np.inf)
    longest = medians[np.isfinite(medians)].max() if np.isfinite(medians).any() else 1.0
    edge = longest * 1.04 + 0.5
    unreached = int(np.isinf(medians).sum())
    end = edge * (1.08 + min(0.012 * unreached, 0.3))
    inside = iter(np.linspace(edge, end, unreached + 2)[1:-1])  # side by side in the strip
    axes = axes or _new_axes(8.4, 5)
    # Whole epochs are shared by many: side by side, within 0.6 of an epoch, all are seen.
    shared = medians.groupby(medians)
    places = medians + (shared.cumcount() + 0.5) / shared.transform("count") * 0.6 - 0.3
    foot = _foot(table[np.isfinite(medians)], table)
    for line, median in zip(table.to_dict("records"), places, strict=True):
        look = looks[line[by]]
        middle, low, high = (float(line[name]) * 100 for name in ("mean", "low", "high"))
        axes.errorbar(
            next(inside) if np.isinf(median) else median,
            max(middle, foot),
            yerr=_bars(middle, low, high) if middle > foot else None,
            color=look["color"],
            marker=look["marker"],
            markersize=8,
            markeredgecolor="white",
            elinewidth=1,
        )
    axes.set_xlim(0, end)
    if unreached:
        axes.axvspan(edge, end, color=_SHADE, linewidth=0, zorder=0)
        axes.text(
            (edge + end) / 2,
            1.01,
            "not reached\nby half",
            transform=axes.get_xaxis_transform(),
            ha="center",
            fontsize=8,
        )
    below = table.loc[table["mean"] * 100 < foot, "mean"] * 100
    if len(below):
        axes.set_ylim(bottom=foot)
        for points in axes.containers:
            points[0].set_clip_on(False)  # the markers on the edge are drawn whole
        text = f"below the axis:\n{below.min():.0f} to {below.max():.0f} %"
        place = axes.get_xaxis_transform()
        axes.text((edge + end) / 2, 0.04, text, transform=place, ha="center", fontsize=8)
    ticks = MaxNLocator(integer=True).tick_values(0, longest)
    axes.set_xticks([tick for tick in ticks if 0 <= tick <= edge])
    axes.set_xlabel(f"Epochs to {target * 100:g} % validation accuracy (median of the runs)")
    axes.set_ylabel("Final test accuracy (%)")
    keys = [
        _marker(looks[name]["color"], looks[name]["marker"], markersize=8, label=str(name))
        for name in dict.fromkeys(table[by])
    ]
    _legend_beside(axes, keys, "mean, 95 % t-interval")
    return axes


def _foot(reached: pd.DataFrame, table: pd.DataFrame) -> float:
    """Where an axis of accuracies (%) starts that shows what reached the target; minus infinity
    where nothing is so far below that it would squeeze the others."""
    if reached.empty:
        return -np.inf
    low, high = 100 * reached["low"].min(), 100 * reached["high"].max()
    foot = float(low - 0.1 * (high - low))
    return foot if 100 * table["mean"].min() < foot - (high - low) else -np.inf


def _new_axes(width: float, height: float) -> Axes:
    """Axes on a figure of their own; width and height in inches."""
    import matplotlib.pyplot as plt  # here, so that importing this module touches no display

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def _panels(axes: Sequence[Axes] | np.ndarray | None, number: int, what: str) -> np.ndarray:
    """`number` axes in one row of an array: those given, or new ones, at most 3 side by side."""
    import matplotlib.pyplot as plt

    if axes is not None:
        panels = np.ravel(np.asarray(axes, dtype=object))
        if len(panels) != number:
            raise InputError(f"{what}: found {len(panels)} axes; expected {number}.")
        return panels
    columns = min(3, number)
    rows = -(-number // columns)
    size = ((9 if columns > 2 else 8) + 0.4, 2.5 * rows + 0.8)
    _, panels = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for spare in panels.flat[number:]:
        spare.remove()
    return panels.ravel()[:number]


def _rows_height(rows: int, each: float = 0.4) -> float:
    """Inches for a figure with a line of text per row."""
    return 1.3 + each * max(rows, 2)


def _figure(drawing: Axes | Figure) -> Figure:
    """The whole figure that `drawing` is, or belongs to."""
    figure = drawing.get_figure(root=True)
    assert figure is not None  # axes are made by a figure
    return figure


def _metric(name: str) -> tuple[str, float, str]:
    """A column's axis label with unit, the factor that gives that unit, and the unit."""
    if name not in _METRICS:
        raise InputError(f"metric '{name}': no such column.{nearest(name, list(_METRICS))}")
    label, unit = _METRICS[name]
    return f"{label} ({unit})" if unit else label, 100.0 if unit == "%" else 1.0, unit


def _rows(
    table: pd.DataFrame,
    identity: Sequence[str],
    values: Sequence[str],
    what: str,
    purpose: str = "final",
) -> pd.DataFrame:
    """The rows to draw; `identity` names the columns in which no two of them may agree."""
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


def _looks(table: pd.DataFrame, given: Colours | None, column: str = "variant") -> Colours:
    """The look of every value of a column."""
    names = [str(name) for name in table[column].unique()]
    if given is None:
        if isinstance(table[column].dtype, pd.CategoricalDtype):
            names = [str(name) for name in table[column].cat.categories]
        return colours(names)
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(
            f"colours: none for {', '.join(missing)}; there are some for {', '.join(given)}."
        )
    return given


def _by_variant(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Every variant's rows, in the order of the table."""
    return [(str(name), table[table["variant"] == name]) for name in table["variant"].unique()]


def _interval(values: np.ndarray | pd.Series) -> tuple[float, float, float]:
    """Mean, low and high; without an interval (NaN) where there are fewer than two seeds."""
    if len(values) < 2:
        return float(np.mean(values)), np.nan, np.nan
    _, mean, low, high = stats.mean_interval(values)
    return mean, low, high


def _bars(middle: float, low: float, high: float) -> list[list[float]] | None:
    """Lengths of an error bar to both sides, or None where there is no interval."""
    return [[middle - low], [high - middle]] if np.isfinite(high - low) else None


def _broken(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows are a diverged run, or in an epoch table an epoch after its divergence."""
    if "status" in rows and "epoch" not in rows:
        return rows["status"] == "diverged"
    losses = rows[[name for name in ("loss", "val_loss") if name in rows]].astype(float)
    return ~losses.map(np.isfinite).all(axis=1)


def _diverged(rows: pd.DataFrame) -> str:
    """A variant's " (2 of 5 diverged)", or nothing."""
    number = rows.loc[_broken(rows), "seed"].nunique()
    return f" ({number} of {rows['seed'].nunique()} diverged)" if number else ""


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _seeds_note(table: pd.DataFrame, interval: str) -> str:
    """What a mean and its interval are of, for the head of a legend."""
    seeds = table.groupby("variant", observed=True)["seed"].nunique()
    if seeds.max() == 1:
        return "one seed: no interval"
    number = f"{seeds.max()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    return f"mean of {number} seeds,\n{interval}"


def _marker(colour: str, shape: str, **look: Any) -> Line2D:
    """A legend's key without a line."""
    return Line2D([], [], linestyle="", color=colour, marker=shape, **look)


def _legend_beside(axes: Axes, keys: Sequence[Line2D], title: str) -> None:
    """A legend at the right of the axes, where it hides nothing."""
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.02)}
    axes.legend(handles=list(keys), title=title, alignment="left", handlelength=2.6, **place)


def _legend_above(axes: Axes, keys: Mapping[str, Any]) -> None:
    """A legend in one line above the axes, where it hides nothing."""
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    axes.legend(list(keys.values()), list(keys), ncols=len(keys), columnspacing=1.6, **place)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """One name per row, from the top."""
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def _epoch_axis(axes: Axes, last: int) -> None:
    """Whole epochs from 1 to `last`."""
    axes.set_xlabel("Epoch")
    axes.set_xlim(0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _write_beside(axes: Axes, row: float, text: str) -> None:
    """Text at the right of a row, outside the axes."""
    transform = axes.get_yaxis_transform()
    axes.text(1.01, row, text, transform=transform, va="center", fontsize=8.5)


def _difference(middle: float, low: float, high: float, places: int = 1) -> str:
    """A signed difference, with its interval where it has one."""
    text = f"{middle:+.{places}f}"
    if np.isfinite(high - low):
        text += f"  [{low:+.{places}f}, {high:+.{places}f}]"
    return text.replace("-", "\N{MINUS SIGN}")


def _bare(axes: Axes) -> None:
    """No grid, frame or tick marks: the axes hold a picture."""
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_mosaic(axes: Axes, rows: Sequence[np.ndarray], gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of pictures, each of shape (n, height, width, 3), as one picture with white gaps.

    Returns:
        The middles of the rows and of the columns, in the axes' coordinates.
    """
    height, width = rows[0].shape[1:3]
    widest = max(len(row) for row in rows)
    white = 255 if rows[0].dtype == np.uint8 else 1
    size = (len(rows) * (height + gap) - gap, widest * (width + gap) - gap, 3)
    canvas = np.full(size, white, rows[0].dtype)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            y, x = i * (height + gap), j * (width + gap)
            canvas[y : y + height, x : x + width] = picture
    axes.imshow(canvas, interpolation="nearest")
    _bare(axes)
    middles_y = np.arange(len(rows)) * (height + gap) + (height - 1) / 2
    return middles_y, np.arange(widest) * (width + gap) + (width - 1) / 2


def _implied_density(quantiles: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Density per bin of the distribution with these evenly spaced quantiles.

    Args:
        quantiles: shape (q,), rising, from the least value to the largest.
        edges: shape (bins + 1,), rising, from no more than the least to no less than the largest.

    Returns:
        float, shape (bins,); integrates to 1.
    """
    below = np.interp(edges, quantiles, np.linspace(0, 1, len(quantiles)))
    below[0], below[-1] = 0, 1  # also where all that is least, or largest, lies on the edge itself
    return np.diff(below) / np.diff(edges)
