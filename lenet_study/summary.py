"""What the records say about all techniques together: tables, figures and sentences.

A technique takes part once every run that its file plans is recorded. The others are named: half a
technique would change its p-values, and its best variant, with every run that comes in.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from scipy import stats as scipy_stats

from lenet_keras.recipe import InputError, read_yaml
from lenet_study import factorial, factorial_plots, plots, report, stats, style
from lenet_study.report import at_edge, listed, p_value, percent, points, signed
from lenet_study.study import Study
from lenet_study.style import Colours, Drawing, count

TARGETS = (0.5, 0.55)  # validation accuracies
CONVERGENCE = TARGETS[-1]  # the one that figures and sentences speak of
LEVEL = 0.05  # of significance, after Holm's correction
_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Together:
    """The factorial: every technique there or not, all over one base.

    Attributes:
        study: with a design.
        accuracy: from `factorial.by_cell`.
        devices: that it was trained on, and the backend there.
    """

    study: Study
    accuracy: pd.DataFrame
    devices: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, runs: pd.DataFrame) -> "Together":
        """From the run table of the study."""
        final = runs[runs["purpose"] == "final"]
        backends = final["backend"].replace({"jax": "JAX", "tensorflow": "TensorFlow"})
        devices = final["device"] + " with Keras on " + backends
        return cls(study, factorial.by_cell(final), tuple(sorted(set(devices))))

    @property
    def design(self) -> factorial.Design:
        """Its factors and cells."""
        assert self.study.design is not None
        return self.study.design

    @property
    def names(self) -> dict[str, str]:
        """What its factors are called, by letter."""
        return {letter: factor.name for letter, factor in self.design.factors.items()}

    @property
    def effects(self) -> pd.DataFrame:
        """From `factorial.effects`."""
        return factorial.effects(self.design, self.accuracy)

    @property
    def bottom(self) -> float:
        """Accuracy without any of the techniques."""
        return float(self.accuracy.mean(axis=1)[factorial.NONE])


@dataclass(frozen=True)
class Overview:
    """All techniques at one size and on one dataset.

    Attributes:
        studies: every technique, recorded or not, at this size.
        table: the columns of `stats.summary` for the techniques that are completely recorded, and
            `baseline` (bool), `val_accuracy` (mean), `learning_rate` and `at_edge` (whether it is
            the smallest or largest of its grid). `study` holds the technique's title.
        runs: recorded runs behind the table, with those that tuned.
        devices: that they were trained on.
        rehearsal: whether this is another size or dataset than the technique files'.
        together: what each technique adds among all others, if that is completely recorded.
        best: what the top rung of the ladder reaches, and at what price, as a paragraph in
            Markdown; empty where that is not recorded.
    """

    studies: tuple[Study, ...]
    table: pd.DataFrame
    runs: int
    devices: tuple[str, ...]
    rehearsal: bool
    together: "Together | None"
    best: str

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
    files = [path for path in files if "variants" in read_yaml(path)]
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
    planned = [study for study in known if study.in_summary]
    studies = [study.resized(seeds, epochs, dataset) for study in planned]
    tables, runs = [], []
    for study in studies:
        of_study = study.table(results_dir)
        if len(of_study) == study.planned_runs(results_dir=results_dir):
            tables.append(_technique(study, of_study, study.epoch_table(results_dir)))
            runs.append(of_study)
    devices = {device for of_study in runs for device in of_study["device"]}
    empty = pd.DataFrame(columns=["study", "variant", "baseline"]).astype({"baseline": bool})
    return Overview(
        studies=tuple(studies),
        table=pd.concat(tables, ignore_index=True) if tables else empty,
        runs=sum(map(len, runs)),
        devices=tuple(sorted(devices)),
        rehearsal=studies != planned or any(study.dataset != "cifar10" for study in studies),
        together=_together(Path(configs_dir), results_dir, (seeds, epochs, dataset)),
        best="\n\n".join(_top(study, results_dir) for study in known if study.ladder),
    )


def _together(
    configs_dir: Path, results_dir: Path | str, size: tuple[int | None, int | None, str | None]
) -> Together | None:
    """The factorial of a folder; None where it has none that is completely recorded."""
    for path in sorted(configs_dir.glob("*.yaml")):
        if "factors" in read_yaml(path):
            study = Study.from_yaml(path).resized(*size)
            runs = study.table(results_dir)
            if len(runs) == study.planned_runs(results_dir=results_dir):
                return Together.of(study, runs)
    return None


def _top(ladder: Study, results_dir: Path | str) -> str:
    """A paragraph on the last rung of a ladder; empty where it is not recorded."""
    *_, rung = ladder.variants
    runs = ladder.table(results_dir, variants=[rung])
    final = runs[runs["purpose"] == "final"]
    if len(final) < ladder.seeds:
        return ""
    from lenet_keras.model import lenet5

    recipe = ladder.recipe(rung, final["learning_rate"].iloc[0])
    _, mean, low, high = stats.mean_interval(final["test_accuracy"])
    mirrored = final["test_mirrored_accuracy"].mean()
    trick = f" ({percent(mirrored)} where its mirror image is asked too)"
    timed = final[final["threads"] == final["threads"].mode().iloc[0]]  # not all had as many
    taught = f", those of its {recipe.teachers} teachers included," if recipe.teachers else ""
    return (
        f"**The best LeNet-5 so far** recognises **{percent(mean)}** of the test images: mean of "
        f"{count(len(final), 'seed')}, 95 % interval {percent(low)} to {percent(high)}, each "
        f"image asked once{trick if np.isfinite(mirrored) else ''}. It has "
        f"{lenet5(recipe).count_params():,} parameters, those of the normalisation included. A "
        "search on validation images found its recipe (`configs/search_teachers.yaml`), a "
        "screening on a GPU its rates (`screening/rates.json`, by the script of commit "
        "`d72aeec`), and "
        f"`python train.py configs/best.yaml` trains it: {count(recipe.epochs, 'epoch')} in "
        f"{timed['wall_seconds'].mean() / 60:.1f} minutes{taught} on "
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
        val_accuracy=names.map(final["val_accuracy"].mean().to_dict()),
        learning_rate=names.map(final["learning_rate"].first().to_dict()),
        at_edge=[bool(edge.get(name)) for name in names],
    )


def best(overview: Overview) -> pd.DataFrame:
    """The variant of each technique, other than its baseline, that is best on validation images.

    To choose by test accuracy would flatter what is chosen.

    Returns:
        Those rows of the overview's table, in its order.
    """
    others = overview.table[~overview.table["baseline"]]
    if others.empty:
        return others
    return others.loc[others.groupby("study", sort=False)["val_accuracy"].idxmax()]


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
    return _markdown(rows)


def effects_table(together: Together) -> str:
    """One row a technique of the factorial, the one that adds most on top; bold: significant."""
    rows = []
    mains = together.effects.loc[list(together.names)].sort_values("effect", ascending=False)
    for letter, line in mains.to_dict("index").items():
        adds = points(line["effect"], line["low"], line["high"])
        row = {"technique": together.names[str(letter)]}
        row["adds, points [95 %]"] = f"**{adds}**" if line["p_holm"] < LEVEL else adds
        rows.append(row | {"p (Holm)": p_value(line["p_holm"])})
    return _markdown(rows)


def best_table(overview: Overview) -> str:
    """One row a technique: its baseline, and its best variant on validation images."""
    of_baseline = overview.table[overview.table["baseline"]].set_index("study")
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
            }
        )
    return _markdown(rows)


def _markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table in Markdown, its numbers to the right; empty without rows."""
    if not rows:
        return ""
    names = [name for name in rows[0] if name not in ("technique", "variant", "baseline")]
    names = [name for name in names if name != "best variant"]
    lines = [
        list(rows[0]),
        ["---:" if name in names else "---" for name in rows[0]],
        *(list(row.values()) for row in rows),
    ]
    # An interval that breaks into two lines would double the length of the table.
    lines[2:] = [[cell.replace(", ", f",{_NO_BREAK}") for cell in line] for line in lines[2:]]
    lines[2:] = [[cell.replace(" [", f"{_NO_BREAK}[") for cell in line] for line in lines[2:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
        text = (
            f"{there} of {count(len(overview.studies), 'technique')} completely recorded on "
            f"{dataset(overview)}: {count(len(overview.table), 'variant')}, each with {size}, and "
            f"{count(overview.runs, 'run')} with those that tuned the learning rates."
        )
    if overview.missing:
        text += f" Not recorded, or not completely: {listed(overview.missing)}."
    if overview.rehearsal:
        text += " This is a rehearsal, not the study."
    return text


def pairing(overview: Overview) -> str:
    """How differences are taken, by the technique files' choice."""
    unpaired = [study.title for study in overview.studies if not study.paired]
    where = f", but not in {listed(unpaired)}, where first weights differ" if unpaired else ""
    return f"paired by seed{where}"


def on_one_scale(together: Together) -> list[str]:
    """What the techniques add among one another: what was trained, the sum, and what interacts."""
    design, effects, names = together.design, together.effects, together.names
    lone = effects[effects.index.str.len() == 1]
    pairs = effects[(effects.index.str.len() == 2) & (effects["p_holm"] < LEVEL)]
    order = pairs["effect"].abs().sort_values(ascending=False).index
    told = [
        f"{names[pair[0]]} with {names[pair[1]]} ({points(pairs.loc[pair, 'effect'])})"
        for pair in order
    ]
    way = factorial.additivity(design, together.accuracy)
    study = together.study
    share = float(together.accuracy.loc[design.fraction()].to_numpy().mean())
    images = 100 * factorial.image_error(share, share)
    return [
        f"{len(names)} techniques over one base, each there or not: {len(design.fraction())} of "
        f"the {2 ** len(names)} combinations, {count(study.seeds, 'paired seed')} and "
        f"{count(study.epochs, 'epoch')} each, on {listed(together.devices)}. What a technique "
        "adds is its test accuracy with it minus without it, averaged over the presence and "
        f"absence of all others; 95 % intervals on {lone['df'].iloc[0]:.0f} degrees of freedom, "
        f"the widest ±{50 * (lone['high'] - lone['low']).max():.2f} points, hold the scatter of "
        "seeds and of combinations. A choice of 10,000 test images adds a standard error of its "
        f"own, {images:.2f} points at most.",
        report.adding_up(way, together.bottom),
        f"Of {math.comb(len(names), 2)} pairs, {len(pairs)} interact significantly (points that "
        f"each adds more, or less, where the other is there than on average): {listed(told)}.",
    ]


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
    first = full.nlargest(1, "val_accuracy").iloc[0]
    sentences = [
        "Compared with the baseline of their technique, with "
        f"{count(_sizes(overview)[0], 'seed')}: {len(helps)} of {count(len(others), 'variant')} "
        f"significantly better, {len(hurts)} significantly worse, {len(unclear)} not told apart.",
        f"Of all, `{first['variant']}` ({first['study']}) is best on the validation images; it "
        f"recognises {percent(first['mean'])} of the test images, 95 % interval "
        f"{percent(first['low'])} to {percent(first['high'])}.",
    ]
    if len(helps):
        top = helps.nlargest(1, "difference").iloc[0]
        gain = points(top["difference"], top["difference_low"], top["difference_high"])
        sentences.append(
            f"The largest significant gain over a baseline is that of `{top['variant']}` "
            f"({top['study']}): {gain} points."
        )
    sentences += _convergence(full)
    sentences += _generalization(full)
    return sentences + _reservations(overview)


def _convergence(full: pd.DataFrame) -> list[str]:
    """Whether what converges fast also ends high."""
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
    sentences = [f"{text}; the fastest in {count(f'{fastest:g}', 'epoch')}: {number}."]
    if correlation := _rank_correlation(epochs, full["mean"]):
        end = "higher" if correlation[0] < 0 else "lower"
        sentences.append(
            f"Who gets there sooner ends {end}: the rank correlation between epochs to {name} % "
            "and final test accuracy, over the variants of all techniques, is "
            f"{signed(correlation[0])}."
            if correlation[1] < LEVEL
            else f"Whether epochs to {name} % foretell the final test accuracy cannot be told from "
            f"{count(len(full), 'variant')}: rank correlation {signed(correlation[0])}."
        )
    return sentences


def _generalization(full: pd.DataFrame) -> list[str]:
    """Whether a small gap between training and validation goes with a high test accuracy."""
    correlation = _rank_correlation(full["gap"], full["mean"])
    if not correlation:
        return []
    strength = signed(correlation[0])
    if correlation[1] >= LEVEL:
        text = "Whether a small gap between training and validation goes with a high test accuracy "
        text += f"cannot be told from {count(len(full), 'variant')}"
    else:
        text = f"A smaller gap goes with a {'higher' if correlation[0] < 0 else 'lower'} test "
        text += "accuracy, as it is also small where little was learned"
        if correlation[0] < 0:
            text = "A smaller gap between training and validation goes with a higher test accuracy"
    return [f"{text}: rank correlation {strength} over the variants of all techniques."]


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


def _rank_correlation(
    first: "pd.Series[float]", second: "pd.Series[float]"
) -> tuple[float, float] | None:
    """Spearman's correlation and its p-value; None where one of the two does not vary."""
    if len(first) < 3 or first.nunique() < 2 or second.nunique() < 2:
        return None
    correlation = scipy_stats.spearmanr(first.astype(float), second.astype(float))
    return float(correlation.statistic), float(correlation.pvalue)


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
    """Every variant's difference, or only those of `best`, under its technique's name."""
    table = overview.table
    if only_best:
        table = table[table["baseline"] | table.index.isin(best(overview).index)]
    sizes = table["difference"].astype(float).abs()
    # A hopeless variant, as zeros for weights, would squeeze all others into a line.
    limit = 2.5 * float(sizes.quantile(0.75))
    drawn = plots.forests(
        table,
        overview.baselines,
        limit=100 * limit if 0 < limit < sizes.max() else None,
        colours=_colours(overview),
    )
    return _labelled(drawn, overview.studies)


def effects(together: Together) -> Drawing:
    """The headline: what each technique adds, on one scale."""
    drawn = factorial_plots.effects(together.effects, together.names)
    return _labelled(drawn, [together.study])


def convergence(overview: Overview) -> Drawing:
    """Final test accuracy against the epochs to the target of convergence."""
    drawn = plots.accuracy_against_convergence(
        overview.table, CONVERGENCE, overview.baselines, colours=_colours(overview)
    )
    return _labelled(drawn, overview.studies)


def _colours(overview: Overview) -> Colours:
    """One look for each technique, recorded or not."""
    return style.colours([study.title for study in overview.studies])


def _labelled(drawn: Drawing, studies: Sequence[Study]) -> Drawing:
    """The figure with its source under it."""
    epochs, seeds = min(study.epochs for study in studies), min(study.seeds for study in studies)
    style.label_source(drawn, studies[0].dataset, epochs, seeds)
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
            drawn["together-effects"] = effects(overview.together)
        for name, drawing in drawn.items():
            written += style.save(drawing, Path(folder) / name)
            plt.close(style.whole_figure(drawing))
    return written
