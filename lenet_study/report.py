"""What a reader is told of a study: its results as a table to read, and its verdicts as sentences.

Every number comes from the tables that are handed in, so no sentence outlives its records.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lenet_keras.recipe import Recipe
from lenet_study import controls, stats

LEVEL = 0.05  # of significance, after Holm's correction
ENOUGH_SEEDS = 5  # for a verdict; an interval over fewer spans more than what a technique changes
_NO_BREAK = "\N{NO-BREAK SPACE}"  # a number and its interval stay on one line of a narrow cell


def results(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    baseline: str,
    targets: Sequence[float] = (),
    paired: bool = True,
    right: controls.Right | None = None,
) -> pd.DataFrame:
    """A study's results as text, the most accurate variant first.

    Args:
        runs: run table of one study.
        epochs: epoch table of the same runs.
        baseline: the variant that differences are measured against.
        targets: validation accuracies, fractions, whose epochs are of interest.
        paired: whether differences are taken seed by seed, as the technique file says.
        right: which test images the runs had right, from `records.right`.

    Returns:
        Indexed by variant, columns of strings: learning rate, test accuracy with 95 % interval (%),
        difference with 95 % interval (percentage points), the interval for seeds and images
        together where `right` tells any and seeds are enough, Holm-corrected p, gap (training
        minus validation accuracy, percentage points), median epochs to each target, and seconds an
        epoch, by the quickest run.

    Raises:
        InputError: see `stats.summary`.
    """
    summary = stats.summary(runs, epochs, baseline, targets, paired).set_index("variant")
    final = runs[runs["purpose"] == "final"] if "purpose" in runs else runs
    rates = final.groupby(final["variant"].astype(str))["learning_rate"].first()
    none = np.nan, np.nan
    told = right if right and summary["n"].max() >= ENOUGH_SEEDS else {}
    both = controls.with_images(summary.reset_index(), told, baseline)
    rows = {}
    for name, row in summary.sort_values("mean", ascending=False, kind="stable").iterrows():
        low, high = _possible(row["low"], row["high"])
        accuracy = f"{row['mean']:.1%} [{low:.1%}, {high:.1%}]"
        accuracy = accuracy.replace("%", "").replace(" ", _NO_BREAK)
        difference = points(row["difference"], row["difference_low"], row["difference_high"])
        medians = {
            f"epochs to {target:.0%}": (
                f"{row[f'epochs_to_{100 * target:g}']:g}"
                if np.isfinite(row[f"epochs_to_{100 * target:g}"])
                else "not reached"
            )
            for target in targets
        }
        rows[name] = {
            "learning rate": f"{rates[str(name)]:g}",
            "test accuracy (%)": accuracy,
            "difference (points)": "" if name == baseline else difference,
            **({"seeds and images": _ends(*both.get(str(name), none))} if both else {}),
            "p (Holm)": _verdict(row, p_value(row["p_holm"])),
            "gap (points)": f"{100 * row['gap']:.1f}",
            **medians,
            "s/epoch": f"{row['seconds']:.1f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def effects(table: pd.DataFrame, names: Mapping[str, str], together: int = 1) -> pd.DataFrame:
    """Effects of a factorial as text, the largest first.

    Args:
        table: from `factorial.effects`.
        names: of the factors, by letter.
        together: 1 for the techniques, 2 for every two of them.

    Returns:
        Indexed by technique; what it adds with its 95 % interval (percentage points), Holm-
        corrected p, and how wide the interval would be if each run counted as an observation.
    """
    rows = table[table.index.str.len() == together]
    rows = rows.sort_values("effect", ascending=False, key=np.abs if together > 1 else None)
    return pd.DataFrame(
        {
            "adds (points)": [points(*line) for line in rows[["effect", "low", "high"]].to_numpy()],
            "p (Holm)": [p_value(p) for p in rows["p_holm"]],
            "run by run": [f"±{50 * x:.2f}" for x in rows["seeds_high"] - rows["seeds_low"]],
        },
        index=pd.Index([" × ".join(names[x] for x in w) for w in rows.index], name="technique"),
    )


def adding_up(way: pd.DataFrame, bottom: float) -> str:
    """Whether the effects of a factorial add up, in words.

    Args:
        way: from `factorial.additivity`.
        bottom: accuracy without any technique, a fraction.
    """
    total, measured, missing = (points(*way.loc[row]) for row in ("sum", "measured", "missing"))
    top = bottom + float(way["estimate"]["measured"])
    return (
        f"The effects of the techniques add up to {total} points. From none of them "
        f"({percent(bottom)}) to all of them ({percent(top)}) "
        f"it is {measured} points, measured with the same seeds. Measured minus the sum: {missing}."
    )


def first_change(base: Recipe, recipe: Recipe) -> str:
    """The first field in which a recipe is not as another, as "pooling: max → average", and what
    other fields go with it."""
    first, *others = [
        name for name in Recipe.model_fields if getattr(base, name) != getattr(recipe, name)
    ] or [""]
    if not first:
        return "nothing"
    change = f"{first}: {_plain(getattr(base, first))} → {_plain(getattr(recipe, first))}"
    return change + (f", with {listed(others)} to suit" if others else "")


def _plain(value: Any) -> str:
    """A recipe's value for a reader: (), 0.0 and ("flip", "shift") as none, 0 and flip, shift."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def comparison(runs: pd.DataFrame, baseline: str, paired: bool = True) -> pd.DataFrame:
    """Final runs as the command line prints them: a row a variant, against the baseline if it is
    there; a choice of variants without it, as for one machine of several, has only its means, and
    a single seed no interval."""
    groups = {str(name): group for name, group in runs.groupby("variant", observed=True)}
    compared = baseline in groups and all(len(group) > 1 for group in groups.values())
    if compared:
        table = stats.compare(runs, baseline, paired=paired)
    else:
        means = {
            name: stats.mean_interval(accuracy)
            if len(accuracy) > 1
            else stats.Interval(1, accuracy.iloc[0], np.nan, np.nan)
            for name, accuracy in ((name, g["test_accuracy"]) for name, g in groups.items())
        }
        table = pd.DataFrame([{"variant": n, **mean._asdict()} for n, mean in means.items()])
    lines = []
    for row in table.to_dict("records"):
        group = groups[row["variant"]]
        line = {
            "variant": row["variant"],
            "learning rate": f"{group['learning_rate'].iloc[0]:g}",
            "seeds": row["n"],
            "diverged": (group["status"] == "diverged").sum(),
            "test accuracy [95 % interval], %": _interval(
                row["mean"], *_possible(row["low"], row["high"])
            ),
        }
        if compared:
            is_baseline = row["variant"] == baseline
            middle, low, high = (row[f"difference{end}"] for end in ("", "_low", "_high"))
            line[f"difference from {baseline} [95 % interval], points"] = (
                "baseline" if is_baseline else _interval(middle, low, high, sign="+")
            )
            line["p (Holm)"] = "" if is_baseline else _verdict(row, f"{row['p_holm']:.3f}")
        lines.append(line)
    return pd.DataFrame(lines)


def _possible(low: float, high: float) -> tuple[float, float]:
    """An accuracy's interval as far as an accuracy can be: over two seeds it may reach beyond."""
    return max(low, 0.0), min(high, 1.0)


def _verdict(row: Any, p: str) -> str:
    """`p` as it is shown; where there is none, or where it stands on too few seeds, nothing."""
    return "" if np.isnan(row["p_holm"]) or row["n"] < ENOUGH_SEEDS else p


def _interval(middle: float, low: float, high: float, sign: str = "") -> str:
    """Fractions in percent, as a terminal shows them."""
    if np.isnan(low):
        return f"{100 * middle:{sign}.2f}"
    return f"{100 * middle:{sign}.2f} [{100 * low:{sign}.2f}, {100 * high:{sign}.2f}]"


def classes(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> pd.DataFrame:
    """A row a class: test images of it, the share recognised, and the share of its name right;
    None where there are no such images."""
    counts = np.array(matrix)
    right, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    shares = [
        [int(hit) / int(of) if of else None for hit, of in zip(right, total, strict=True)]
        for total in (true, predicted)
    ]
    columns = {"images": true, "accuracy": shares[0], "precision": shares[1]}
    return pd.DataFrame(columns, index=pd.Index(names), dtype=object)


def verdicts(comparison: pd.DataFrame, baseline: str) -> str:
    """Which variants are better than the baseline, which worse, and which cannot be told apart.

    Args:
        comparison: from `stats.compare` or `stats.summary`, of a score where more is better.
        baseline: the variant that all were compared with.

    Returns:
        A Markdown list. A variant is better or worse where Holm's corrected p is below 0.05.
    """
    others = comparison[comparison["variant"] != baseline]
    others = others.sort_values("difference", ascending=False, kind="stable")
    sure, sign = others["p_holm"] < LEVEL, others["difference"] > 0
    groups = {
        f"Better than `{baseline}`": others[sure & sign],
        f"Worse than `{baseline}`": others[sure & ~sign],
        "Not told apart from it by these seeds": others[~sure],
    }
    lines = []
    for title, rows in groups.items():
        columns = ["variant", "difference", "difference_low", "difference_high"]
        differences = [
            f"{name} ({points(*map(float, d))})" for name, *d in rows[columns].to_numpy()
        ]
        lines.append(f"- **{title}:** {listed(differences or ['no variant'])}.")
    return "\n".join(lines)


def chosen(pair: pd.DataFrame, seeds: Sequence[int], baseline: str) -> str:
    """What a study's best variant is worth, in a sentence that says which seeds it stands on.

    Args:
        pair: from `controls.winner`.
        seeds: that it is quoted on.
        baseline: the variant that it was compared with.
    """
    (row,) = pair[pair["variant"] != baseline].to_dict("records")
    gain = points(row["difference"], row["difference_low"], row["difference_high"])
    who = f"- **Best on the validation images:** {row['variant']}"
    if row["fresh"]:
        first = controls.CHOOSING - 1
        return (
            f"{who}, by seeds 0 to {first}. On seeds {first + 1} to {seeds[-1]}, which chose "
            f"nothing, it is {gain} points from `{baseline}`. The lines above stand on more seeds, "
            "which tell more."
        )
    return (
        f"{who}: {gain} points from `{baseline}`. The same {len(seeds)} seeds chose it, which "
        "flatters what is chosen a little."
    )


def points(middle: float, low: float = np.nan, high: float = np.nan) -> str:
    """A difference of fractions in percentage points, with its interval where it has one."""
    if not np.isfinite(middle):
        return "unknown"
    ends = _ends(low, high)
    return f"{100 * middle:+.1f}".replace("-", "−") + (ends and f"{_NO_BREAK}{ends}")


def _ends(low: float, high: float) -> str:
    """An interval of fractions in percentage points; nothing where there is none."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    return f"[{100 * low:+.1f},{_NO_BREAK}{100 * high:+.1f}]".replace("-", "−")


def percent(share: float, digits: int = 1) -> str:
    """A fraction in percent, as "57.1 %"."""
    return f"{100 * share:.{digits}f}{_NO_BREAK}%"


def common_mistake(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """Which class is most often taken for which, as a share of its images, and the other way round.

    Args:
        confusion: counts (classes, classes), a row a true class, with images in every row.
        classes: their names.
    """
    shares = confusion / confusion.sum(axis=1, keepdims=True)
    mistakes = shares * (1 - np.eye(len(shares)))
    true, said = np.unravel_index(mistakes.argmax(), mistakes.shape)
    return (
        f"The most common mistake: {percent(shares[true, said])} of the images of class "
        f"*{classes[true]}* are taken for *{classes[said]}*; the other way round it is "
        f"{percent(shares[said, true])}."
    )


def signed(value: float) -> str:
    """A number with its sign and two digits after the point."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table in Markdown, its numbers to the right; empty without rows."""
    if not rows:
        return ""
    words = ("technique", "variant", "baseline", "best variant", "seeds")
    lines = [
        list(rows[0]),
        ["---" if name in words else "---:" for name in rows[0]],
        *(list(row.values()) for row in rows),
    ]
    # An interval that breaks into two lines would double the length of the table.
    lines[2:] = [[cell.replace(", ", f",{_NO_BREAK}") for cell in line] for line in lines[2:]]
    lines[2:] = [[cell.replace(" [", f"{_NO_BREAK}[") for cell in line] for line in lines[2:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def at_edge(variants: Iterable[object]) -> str:
    """What the reader must know of variants whose best learning rate ends their grid."""
    return (
        "The chosen learning rate is the smallest or largest of its grid for "
        f"{listed(variants)}: a better one may lie outside."
    )


def rates_apart(runs: pd.DataFrame, variant: str, other: str) -> str:
    """What tuning says of two variants at equal learning rates, where they were trained at others.

    Their difference then includes that of the rates, so it does not say what the variant does.

    Args:
        runs: run table of one study, its tuning runs included.
        variant, other: names of variants.

    Returns:
        Two sentences; nothing where both were trained at one rate.
    """
    curve = stats.learning_rate_curve(runs)
    best = curve[curve["best"]].set_index("variant")["learning_rate"]
    if best[variant] == best[other]:
        return ""
    rates = sorted({best[variant], best[other]})
    table = curve.pivot(index="learning_rate", columns="variant", values="val_accuracy")
    equal = table.loc[rates, [variant, other]].dropna()
    told = [
        f"{100 * one:.1f} and {percent(two)} at {rate:g}" for rate, one, two in equal.itertuples()
    ]
    return f"`{variant}` was trained at {best[variant]:g}, `{other}` at {best[other]:g}. " + (
        f"At equal rates, in tuning, {listed(told)} of the validation images were right."
        if told
        else "They share no rate."
    )


def gaps(gap: "pd.Series[float]", baseline: str) -> str:
    """The gap between training and validation accuracy without a technique and with each variant.

    Args:
        gap: fractions by variant, in the order of the study.
        baseline: the variant that goes without.
    """
    others = [f"{100 * gap[variant]:.1f} with {variant}" for variant in gap.index.drop(baseline)]
    return f"The gap is {100 * gap[baseline]:.1f} points without, and {listed(others)}."


def p_value(p: float) -> str:
    """A p-value with three digits after the point, as statisticians print it."""
    return f"<{_NO_BREAK}0.001" if p < 0.001 else f"{p:.3f}"


def listed(names: Iterable[object]) -> str:
    """Names as in a sentence: "a", "a and b", "a, b and c"; "none" without any."""
    *first, last = [str(name) for name in names] or ["none"]
    return f"{', '.join(first)} and {last}" if first else last
