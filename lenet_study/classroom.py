"""A class as the experiment: everybody trains seeds of their own, and the interval shrinks.

    python -m lenet_study study configs/optimization.yaml --seeds 7..9 --results class/ana

`class/ana`, `class/ben` and so on are folders of records. One folder after the other, in the order
of their names, is added to those before it; a run that two of them have counts once.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from lenet_keras.recipe import InputError
from lenet_study import panels, records, stats
from lenet_study.study import Study
from lenet_study.style import GREY, Colours, count, described


def read(study: Study, folder: Path | str, variants: Sequence[str] | None = None) -> pd.DataFrame:
    """The final runs of a study in all folders of a class, with any seed.

    Args:
        study: at the size and on the dataset that the class has trained.
        folder: that holds a folder of records for each of the class.
        variants: only these; all without it.

    Returns:
        Run table (see `records.table`) with a column `student`, ordered by it. Of a variant that
        was trained at several learning rates, as after a tuning of one's own, the rate that most
        runs have.

    Raises:
        InputError: no such folder, or a record that cannot be trusted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder. Put the class's folders into it.")
    names = study.chosen(variants)
    tables = [
        records.table(
            student, study.name, "final", dataset=study.dataset, epochs=study.epochs
        ).assign(student=student.name)
        for student in sorted(path for path in folder.iterdir() if path.is_dir())
    ]
    empty = records.table_of([]).assign(student="")
    runs = pd.concat([table for table in tables if len(table)] or [empty], ignore_index=True)
    runs = runs[runs["variant"].isin(names)].drop_duplicates(["key", "seed"])
    asked = runs[["variant", "learning_rate"]].itertuples(index=False)
    runs = runs[runs["key"] == [study.recipe(*which).key for which in asked]]
    most = runs.groupby("variant")["key"].agg(lambda keys: keys.mode().iloc[0])
    return runs[runs["key"] == runs["variant"].map(most)].reset_index(drop=True)


def arrivals(runs: pd.DataFrame, baseline: str, paired: bool = True) -> pd.DataFrame:
    """What is known of each variant after each folder came in.

    Args:
        runs: from `read`.
        baseline: the variant that differences are measured against.
        paired: whether differences are taken seed by seed, as the technique file says.

    Returns:
        Columns `student` (the last to come in), `variant`, `seeds` (of the variant so far),
        `difference`, `low` and `high` (95 % interval), fractions. A row where there are two seeds
        or more of variant and baseline (paired: in common).
    """
    rows = []
    students = list(dict.fromkeys(runs["student"]))
    for number, student in enumerate(students, start=1):
        so_far = runs[runs["student"].isin(students[:number])]
        seeds = {str(name): {*group["seed"]} for name, group in so_far.groupby("variant")}
        of_baseline = seeds.get(baseline, set())
        enough = [
            name
            for name, own in seeds.items()
            if len(own & of_baseline if paired else own) > 1 and len(of_baseline) > 1
        ]
        if len(enough) < 2:
            continue
        table = stats.compare(so_far[so_far["variant"].isin(enough)], baseline, paired=paired)
        for row in table[table["variant"] != baseline].itertuples():
            span = (row.difference, row.difference_low, row.difference_high)
            rows.append([student, row.variant, row.n, *span])
    return pd.DataFrame(rows, columns=["student", "variant", "seeds", "difference", "low", "high"])


@described
def shrinking(table: pd.DataFrame, baseline: str, colours: Colours | None = None) -> np.ndarray:
    """How the 95 % interval of each variant's difference shrinks as the class's runs come in.

    Args:
        table: from `arrivals`.
        baseline: what the differences are taken from.
        colours: look of each variant.

    Returns:
        Array of axes, one a variant, sharing both.
    """
    variants = panels.by_variant(table)
    looks = panels.looks_of(table, colours)
    axes = panels.variant_panels(None, variants, None, "shrinking", lost=False)
    for panel, (name, rows) in zip(axes, variants.items(), strict=True):
        colour = looks[name]["color"]
        panel.axhline(0, color=GREY, linewidth=0.8)
        panel.fill_between(
            rows["seeds"], 100 * rows["low"], 100 * rows["high"], color=colour, alpha=0.2
        )
        panel.plot(rows["seeds"], 100 * rows["difference"], color=colour, marker="o", markersize=4)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels.label_outside(axes, "Seeds so far", f"Points over {baseline}")
    return axes


def told(table: pd.DataFrame) -> str:
    """The interval of each variant after the first and after the last arrival, as Markdown."""
    if table.empty:
        return "Not yet two seeds of a variant and of the baseline: there is no interval so far."
    lines = []
    for variant, rows in table.groupby("variant", sort=False):
        first, last = rows.iloc[0], rows.iloc[-1]
        halves = [50 * (row["high"] - row["low"]) for row in (first, last)]
        lines.append(
            f"- **{variant}**: ±{halves[0]:.1f} points after {count(first['seeds'], 'seed')}, "
            f"±{halves[1]:.1f} after {count(last['seeds'], 'seed')}."
        )
    return "\n".join(lines)


def trained_by(folder: Path | str, studies: Iterable[Study]) -> list[Study]:
    """Those of the studies of which a folder of the class holds records."""
    names = {path.name for path in Path(folder).glob("*/*") if path.is_dir()}
    return [study for study in studies if study.name in names]
