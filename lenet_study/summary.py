"""What the records say about all techniques together: tables, figures and sentences.

A technique takes part once every run that its file plans is recorded. The others are named: half a
technique would change its p-values, and its best variant, with every run that comes in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from scipy import stats as scipy_stats

from lenet_keras.recipe import InputError, read_yaml
from lenet_study import controls, plots, report, stats, style, together
from lenet_study.report import LEVEL, at_edge, listed, p_value, percent, points, signed
from lenet_study.study import Study
from lenet_study.style import Colours, Drawing, count
from lenet_study.together import Together

TARGETS = (0.5, 0.55)  # validation accuracies
CONVERGENCE = TARGETS[-1]  # the one that figures and sentences speak of


@dataclass(frozen=True)
class Overview:
    """All techniques at one size and on one dataset.

    Attributes:
        files: every technique in the size of its file.
        studies: the same at this size, recorded or not.
        table: the columns of `stats.summary` for the techniques that are completely recorded, and
            `baseline` (bool), `learning_rate` and `at_edge` (whether it is the smallest or largest
            of its grid). `study` holds the technique's title.
        quoted: of each of them the baseline and the variant that is best on validation images, from
            `controls.winner`; `study` and `baseline` as in the table, `seeds`: what
            they chose, as text.
        control: from `controls.against_itself`, with `study`.
        recipes: different ones among the table's variants, which techniques share.
        runs: recorded runs behind the table, with those that tuned, each counted once.
        devices: that they were trained on.
        together: what each technique adds among all others, if that is completely recorded.
        top: what the top rung of the ladder reaches, and at what price, as a paragraph in
            Markdown; empty where that is not recorded.
    """

    files: tuple[Study, ...]
    studies: tuple[Study, ...]
    table: pd.DataFrame
    quoted: pd.DataFrame
    control: pd.DataFrame
    recipes: int
    runs: int
    devices: tuple[str, ...]
    together: Together | None
    top: str

    @property
    def rehearsal(self) -> bool:
        """Whether this is another size or dataset than the technique files'."""
        return self.studies != self.files or any(s.dataset != "cifar10" for s in self.studies)

    @property
    def missing(self) -> list[str]:
        """Titles of the techniques that are not completely recorded."""
        return [s.title for s in self.studies if s.title not in set(self.table["study"])]

    @property
    def baselines(self) -> dict[str, str]:
        """The baseline of each technique in the table, by title."""
        rows = self.table[self.table["baseline"]]
        return dict(zip(rows["study"], rows["variant"], strict=True))


def technique_files(folder: Path | str) -> list[Path]:
    """The YAML files of a folder that describe a technique, in the order of their notebooks.

    Those without a notebook in the folder beside it come last, by name.

    Raises:
        InputError: there are none, or a file cannot be read.
    """
    folder = Path(folder)
    notebooks = sorted((folder.parent / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    places = {path.stem[3:]: path.name for path in notebooks}
    files = sorted(folder.glob("*.yaml"), key=lambda path: (places.get(path.stem, "a"), path))
    files = [path for path in files if {"variants", "factors"} & read_yaml(path).keys()]
    if not files:
        raise InputError(f"{folder}: no technique files. Call this in the repository's folder.")
    return files


def read(
    configs_dir: Path | str,
    results_dir: Path | str,
    *,
    seeds: int | None = None,
    epochs: int | None = None,
    dataset: str | None = None,
) -> Overview:
    """The techniques of a folder, as far as they are recorded.

    Args:
        configs_dir: folder of the technique files.
        results_dir: folder of the records; it may be missing.
        seeds, epochs, dataset: instead of the files'.

    Raises:
        InputError: a technique file or a record that cannot be used.
    """
    known = [Study.from_yaml(path) for path in technique_files(configs_dir)]
    files = tuple(study for study in known if study.in_summary)
    studies = tuple(study.resized(seeds, epochs, dataset) for study in files)
    tables, quoted, control, runs = [], [], [], []
    for study in studies:
        of_study = study.table(results_dir)
        if len(of_study) == study.planned_runs(results_dir=results_dir):
            tables.append(_technique(study, of_study, study.epoch_table(results_dir)))
            quoted.append(_quoted(study, of_study))
            control.append(controls.against_itself(of_study).assign(study=study.title))
            runs.append(of_study[of_study["purpose"] != "again"])
    once = pd.concat(runs).drop_duplicates(["key", "purpose", "seed"]) if runs else pd.DataFrame()
    empty = pd.DataFrame(columns=["study", "variant", "baseline"]).astype({"baseline": bool})
    table, pairs, twice = (
        pd.concat(parts, ignore_index=True) if parts else empty
        for parts in (tables, quoted, control)
    )
    return Overview(
        files=files,
        studies=studies,
        table=table,
        quoted=pairs,
        control=twice,
        recipes=once.loc[once["purpose"] == "final", "key"].nunique() if runs else 0,
        runs=len(once),
        devices=tuple(sorted(once["device"].unique())) if runs else (),
        together=together.read(Path(configs_dir), results_dir, (seeds, epochs, dataset)),
        top="\n\n".join(_top(study, results_dir) for study in known if study.ladder),
    )


def _top(ladder: Study, results_dir: Path | str) -> str:
    """A paragraph on the last rung of a ladder; empty where it is not recorded."""
    *_, rung = ladder.variants
    runs = ladder.table(results_dir, variants=[rung])
    final = runs[runs["purpose"] == "final"]
    if len(final) < ladder.seeds_of(rung):
        return ""
    from lenet_keras.model import count_parameters

    recipe = ladder.recipe(rung, final["learning_rate"].iloc[0])
    _, mean, low, high = stats.mean_interval(final["test_accuracy"])
    mirrored = final["test_mirrored_accuracy"].mean()
    trick = f" ({percent(mirrored)} where its mirror image is shown too)"
    timed = final[final["threads"] == final["threads"].mode().iloc[0]]  # not all had as many
    taught = f", those of its {recipe.teachers} teachers included," if recipe.teachers else ""
    chosen = " Now that all is chosen, it trains on the validation images too."
    joined = "" if recipe.validates else chosen
    return (
        f"**The best LeNet-5 so far** recognises **{percent(mean)}** of the test images: mean of "
        f"{count(len(final), 'seed')}, 95 % interval {percent(low)} to {percent(high)}, each "
        f"image shown once{trick if np.isfinite(mirrored) else ''}. It has "
        f"{count_parameters(recipe):,} parameters, those of the normalisation included. A "
        "search on validation images found its recipe (`configs/search_teachers.yaml`), and a "
        "screening on a GPU its rates (`screening/rates.json`, by the script of commit "
        f"`d72aeec`).{joined} "
        f"`python train.py configs/best.yaml` trains it: {count(recipe.epochs, 'epoch')} in "
        f"{timed['wall_seconds'].median() / 60:.1f} minutes{taught} on "
        f"{count(timed['threads'].iloc[0], 'thread')} of {timed['device'].iloc[0]}."
    )


def _technique(study: Study, runs: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """One technique's part of the overview's table."""
    table = stats.summary(runs, epochs, study.baseline, TARGETS, study.paired)
    table = table.assign(study=study.title)
    final = runs[runs["purpose"] == "final"].groupby("variant", observed=True)
    names = table["variant"]
    tuned = set(runs.loc[runs["purpose"] == "tuning", "variant"])  # none where grids have one rate
    edge = {}
    if tuned:
        edge = stats.learning_rate_sensitivity(runs).set_index("variant")["at_edge"].to_dict()
    return table.assign(
        baseline=names == study.baseline,
        learning_rate=names.map(final["learning_rate"].first().to_dict()),
        at_edge=[bool(edge.get(name)) for name in names],
    )


def _quoted(study: Study, runs: pd.DataFrame) -> pd.DataFrame:
    """One technique's part of what is quoted."""
    pair = controls.winner(runs, study.baseline, study.paired)
    fresh = bool(pair["fresh"].all())
    return pair.assign(
        study=study.title,
        baseline=pair["variant"] == study.baseline,
        seeds=f"that chose {'nothing' if fresh else 'it too'}",
    )


def best(overview: Overview) -> pd.DataFrame:
    """The variant of each technique, other than its baseline, that is best on validation images.

    To choose by test accuracy would flatter what is chosen.

    Returns:
        Those rows of `quoted`.
    """
    return overview.quoted[~overview.quoted["baseline"]]


# Tables, in Markdown, which a light and a dark page both can show


def table(overview: Overview) -> str:
    """Every variant of every technique in the overview, the best of each technique on top."""
    rows = []
    for _, part in overview.table.groupby("study", sort=False):
        best_first = part.sort_values("mean", ascending=False).to_dict("records")
        for rank, line in enumerate(best_first):
            row = {
                "technique": "" if rank else line["study"],  # named once, above its variants
                "variant": line["variant"],
                "rate": f"{line['learning_rate']:g}",
                "test accuracy, % [95 %]": _accuracy(line),
                "difference, points [95 %]": _difference(line),
                "p (Holm)": _p(line),
                "gap, points": points(line["gap"]),
            }
            for target in TARGETS:
                row[f"epochs to {100 * target:g} %"] = _epochs(line, target)
            row["s / epoch"] = f"{line['seconds']:.2f}"
            if overview.table["diverged"].any():
                row["diverged"] = str(line["diverged"])
            rows.append(row)
    return report.markdown(rows)


def best_table(overview: Overview) -> str:
    """One row a technique: its baseline, and its best variant on validation images."""
    of_baseline = overview.quoted[overview.quoted["baseline"]].set_index("study")
    rows = []
    for line in best(overview).to_dict("records"):
        base = of_baseline.loc[line["study"]]
        rows.append(
            {
                "technique": line["study"],
                "baseline": base["variant"],
                "its test accuracy, %": _accuracy(base),
                "best variant": line["variant"],
                "its test accuracy, % ": _accuracy(line),
                "difference, points": _difference(line),
                "p (Holm)": _p(line),
                "seeds": f"{line['n']} {line['seeds']}",
            }
        )
    return report.markdown(rows)


def _accuracy(line: "Mapping[Any, Any] | pd.Series[Any]") -> str:
    """A mean with its interval, in percent."""
    mean, low, high = (100 * line[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]".replace("-", "\N{MINUS SIGN}")


def _difference(line: Mapping[Any, Any]) -> str:
    """A difference with its interval, in points; bold where it is significant."""
    if line["baseline"]:
        return "baseline"
    text = points(line["difference"], line["difference_low"], line["difference_high"])
    return f"**{text}**" if line["p_holm"] < LEVEL else text


def _epochs(line: Mapping[Any, Any], target: float) -> str:
    """Median epochs to a target, and how many runs reached it where that is not all."""
    name = f"{100 * target:g}"
    median, reached = line[f"epochs_to_{name}"], line[f"reached_{name}"]
    text = f"{median:g}" if np.isfinite(median) else "never"
    return text if reached in (0, line["n"]) else f"{text} ({reached:g} of {line['n']})"


def _p(line: Mapping[Any, Any]) -> str:
    if line["baseline"]:
        return ""
    return "unknown" if np.isnan(line["p_holm"]) else p_value(line["p_holm"])


# Sentences


def scope(overview: Overview) -> str:
    """What the overview speaks of, and what it cannot speak of yet."""
    seeds, epochs = _sizes(overview)
    size = f"{count(seeds, 'seed')}, {count(epochs, 'epoch')}"
    there = len(overview.baselines)
    if not there:
        text = f"No technique is completely recorded on {dataset(overview)} ({size}) yet."
    else:
        variants = len(overview.table)
        shared = f" of {overview.recipes} different recipes" * (overview.recipes < variants)
        text = (
            f"{there} of {count(len(overview.studies), 'technique')} completely recorded on "
            f"{dataset(overview)}: {count(variants, 'variant')}{shared}, each with {size}, and "
            f"{count(overview.runs, 'run')} with those that tuned the learning rates."
        )
    if overview.missing:
        text += f" Not recorded, or not completely: {listed(overview.missing)}."
    if overview.rehearsal:
        text += " This is a rehearsal, not the study."
    return text


def pairing(overview: Overview) -> str:
    """How differences are taken, by the technique files' choice."""
    unpaired = [f"*{study.title}*" for study in overview.studies if not study.paired]
    where = f", except in {listed(unpaired)}, where first weights differ" if unpaired else ""
    return f"paired by seed{where}"


def findings(overview: Overview) -> list[str]:
    """What helps and what does not, technique by technique, in Markdown; empty without a table."""
    sentences = []
    for title, part in overview.table.groupby("study", sort=False):
        base = part[part["baseline"]].iloc[0]
        others = part[~part["baseline"]].sort_values("difference", ascending=False)
        helps, hurts, unclear = _verdicts(others)
        groups = {"better": helps, "worse": hurts[::-1], "not told apart": unclear}
        told = [f"{name} {listed(_with_difference(g))}" for name, g in groups.items() if len(g)]
        against = f"`{base['variant']}` ({percent(base['mean'])})"
        sentences.append(f"**{title}**, in points against {against}: {'; '.join(told)}.")
    return sentences


def conclusions(overview: Overview) -> list[str]:
    """What the whole table says: sizes, convergence, generalisation, and how far to trust it."""
    if overview.table.empty:
        return []
    full = overview.table
    others = full[~full["baseline"]]
    helps, hurts, unclear = _verdicts(others)
    first = overview.quoted.nlargest(1, "val_accuracy").iloc[0]
    sentences = [
        "Compared with the baseline of their technique, with "
        f"{count(_sizes(overview)[0], 'seed')}: {len(helps)} of {count(len(others), 'variant')} "
        f"significantly better, {len(hurts)} significantly worse, {len(unclear)} not told apart.",
        f"Of all, `{first['variant']}` ({first['study']}) is best on the validation images; it "
        f"recognises {percent(first['mean'])} of the test images, 95 % interval "
        f"{percent(first['low'])} to {percent(first['high'])}, over the "
        f"{first['n']} seeds {first['seeds']}.",
    ]
    sentences += _convergence(full)
    sentences += _related(full, "gap", "Is what has a smaller gap between training and validation")
    return sentences + _reservations(overview)


def _convergence(full: pd.DataFrame) -> list[str]:
    """How many get to the target, who is first, and whether that also ends high."""
    name = f"{100 * CONVERGENCE:g}"
    epochs = full[f"epochs_to_{name}"].astype(float)
    reached = full[np.isfinite(epochs)]
    text = (
        f"{len(reached)} of {count(len(full), 'variant')} reach {name} % validation accuracy in "
        "at least half of their runs"
    )
    if reached.empty:
        return [f"{text}."]
    fastest = epochs[reached.index].min()
    names = _names(full[epochs == fastest])
    number = f"{len(names)} variants" if len(names) > 3 else listed(names)
    first = f"{text}; the fastest in {count(f'{fastest:g}', 'epoch')}: {number}."
    return [first, *_related(full, f"epochs_to_{name}", f"Is what reaches {name} % sooner")]


def _related(full: pd.DataFrame, column: str, what: str) -> list[str]:
    """How the least of a column goes with the final accuracy, technique by technique: each has a
    base network of its own, and a correlation over all would compare those, too."""
    found = {
        str(study): correlation
        for study, part in full.groupby("study", sort=False)
        if (correlation := _rank_correlation(part[column], part["mean"])) is not None
    }
    if not found:
        return []
    told = listed(f"{study} {signed(correlation)}" for study, correlation in found.items())
    differ = min(found.values()) < 0 < max(found.values())
    return [
        f"{what} also more accurate in the end? Rank correlations of the two over each technique's "
        f"variants (−1: always; +1: the reverse): {told}."
        + " Their signs differ, so there is no one answer."
        * differ
    ]


def _reservations(overview: Overview) -> list[str]:
    """What limits the conclusions, as far as the table shows it."""
    full = overview.table
    sentences = [
        "Differences, intervals and p-values compare variants of one technique on the same seeds; "
        "Holm's correction counts the tests of one technique. " + _corrected_once(full)
    ]
    edge = full[full["at_edge"].astype(bool)]
    if len(edge):
        sentences.append(at_edge(_names(edge)))
    diverged = full[full["diverged"] > 0]
    if len(diverged):
        sentences.append(
            f"{count(int(diverged['diverged'].sum()), 'run')} of {listed(_names(diverged))} "
            "diverged and count with the accuracy they had."
        )
    sentences.append(
        "Seconds are wall time for one epoch and one network, several of which may have trained "
        f"side by side, on {listed(overview.devices)}."
    )
    return sentences


def _corrected_once(full: pd.DataFrame) -> str:
    """Which verdicts would not stand with the tests of all techniques as one family."""
    others = full[~full["baseline"] & full["p"].notna()]
    stands = stats.holm(others["p"].astype(float)) < LEVEL
    lost = others[~stands & (others["p_holm"].astype(float) < LEVEL)]
    text = f"Over the {count(len(others), 'test')} of all techniques at once it leaves "
    if lost.empty:
        return f"{text}every verdict as it is."
    return f"{text}undecided what one technique by itself decides for {listed(_names(lost))}."


def _verdicts(others: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The rows that are significantly better than their baseline, worse, and neither."""
    decided = others["p_holm"].astype(float) < LEVEL
    better = others["difference"].astype(float) > 0
    return others[decided & better], others[decided & ~better], others[~decided]


def _with_difference(rows: pd.DataFrame) -> list[str]:
    return [
        f"`{variant}` ({points(difference)})"
        for variant, difference in zip(rows["variant"], rows["difference"], strict=True)
    ]


def _names(rows: pd.DataFrame) -> list[str]:
    return [
        f"`{variant}` ({study})"
        for variant, study in zip(rows["variant"], rows["study"], strict=True)
    ]


def _rank_correlation(first: "pd.Series[float]", second: "pd.Series[float]") -> float | None:
    """Spearman's correlation; None where one of the two does not vary."""
    if len(first) < 3 or first.nunique() < 2 or second.nunique() < 2:
        return None
    return float(scipy_stats.spearmanr(first.astype(float), second.astype(float)).statistic)


def dataset(overview: Overview) -> str:
    """What the techniques of an overview were trained on."""
    names = {study.dataset.replace("cifar10", "CIFAR-10") for study in overview.studies}
    return listed(sorted(names))


def _sizes(overview: Overview) -> tuple[str, str]:
    """Seeds and epochs of the techniques, as "5" or, where they differ, "5 to 10"."""
    sizes = []
    for name in ("seeds", "epochs"):
        values = [getattr(study, name) for study in overview.studies]
        low, high = min(values), max(values)
        sizes.append(f"{low}" if low == high else f"{low} to {high}")
    return sizes[0], sizes[1]


# Figures


def forest(overview: Overview, *, only_best: bool = False) -> Drawing:
    """Every variant's difference, or only those of `best`, under its technique's name; below them
    what was trained twice, against itself."""
    table = overview.quoted if only_best else overview.table
    sizes = table["difference"].astype(float).abs()
    # A hopeless variant, as zeros for weights, would squeeze all others into a line.
    limit = 2.5 * float(sizes.quantile(0.75))
    drawn = plots.forests(
        table,
        overview.baselines,
        limit=100 * limit if 0 < limit < sizes.max() else None,
        colours=_colours(overview),
        control=overview.control,
    )
    return _labelled(drawn, overview, [*table["n"], *overview.control["n"]])


def convergence(overview: Overview) -> Drawing:
    """Final test accuracy against the epochs to the target of convergence."""
    drawn = plots.accuracy_against_convergence(
        overview.table, CONVERGENCE, overview.baselines, colours=_colours(overview)
    )
    return _labelled(drawn, overview, overview.table["n"])


def _colours(overview: Overview) -> Colours:
    """One look for each technique, recorded or not."""
    return style.colours([study.title for study in overview.studies])


def _labelled(drawn: Drawing, overview: Overview, of_rows: Iterable[int]) -> Drawing:
    """The figure with its source under it: how many seeds each of its rows has."""
    epochs = min(study.epochs for study in overview.studies)
    seeds = [int(n) for n in of_rows]
    style.label_source(
        drawn,
        overview.studies[0].dataset,
        epochs,
        min(seeds),
        most_seeds=max(seeds),
        study_epochs=epochs,
        study_seeds=min(seeds) + overview.rehearsal,  # a study of another size has too few
    )
    return drawn


def write_figures(overview: Overview, folder: Path | str) -> list[Path]:
    """Write the summary figures as PNG and SVG: same records, same bytes.

    Args:
        overview: without a recorded technique nothing is written.
        folder: made if missing.

    Returns:
        The files.

    Raises:
        InputError: the folder cannot be written.
    """
    if overview.table.empty:
        return []
    written: list[Path] = []
    with mpl.rc_context():  # the project's style, and no other setting of the caller's
        mpl.rcdefaults()
        style.use_style()
        drawn = {
            "techniques": forest(overview, only_best=True),
            "variants": forest(overview),
            "convergence": convergence(overview),
        }
        if overview.together:
            drawn["together-effects"] = together.figure(overview.together)
        for name, drawing in drawn.items():
            written += style.save(drawing, Path(folder) / name)
            plt.close(style.whole_figure(drawing))
    return written
