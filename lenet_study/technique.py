"""What a technique's notebook opens: its study, card, runs, colours, and how a figure is shown.

technique = open_technique("optimization", dataset, seeds, epochs, results_dir, figures_dir)
technique.show(plots.learning_curves(technique.history()), "optimization-curves")
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from lenet_keras.recipe import InputError, Recipe, expanded
from lenet_study import controls, records, report, style
from lenet_study.grouping import group_for_stacking
from lenet_study.runner import run_study
from lenet_study.study import Study

# As seen from the notebooks' folder:
CONFIGS = Path("../configs")
RESULTS, FIGURES = "../results", "../figures"
REHEARSAL = "../runs/rehearsal/results"
OF_AN_AUGMENTATION = {"shift_pixels": "shift", "cutout_size": "cutout", "mixup_alpha": "mixup"}
OF_ALL_RUNS = {"dataset", "epochs", "learning_rate"}  # fields that tell no two networks apart


@dataclass(frozen=True)
class Technique:
    """A technique file, the study of a notebook's size that it makes, and where both are kept.

    Study, tables, captions and what is saved come from this one object, so that a figure of a
    rehearsal is never called that of the study.
    """

    file: Study
    study: Study
    results_dir: str
    figures_dir: str
    executor: str
    variants: tuple[str, ...]  # that are trained: all, but in a quick rehearsal
    own: bool = False  # whether the file is a reader's own

    @property
    def recorded(self) -> bool:
        """Whether this is the study of the file, and no rehearsal of it."""
        return self.study == self.file

    @functools.cached_property
    def colours(self) -> Mapping[str, style.Look]:
        """One look a variant, in all figures; the baseline is grey."""
        return style.colours(list(self.study.variants), self.study.baseline)

    def runs(self, variants: Sequence[str] | None = None) -> pd.DataFrame:
        """The run table of some variants, or of all; what is not recorded is trained now."""
        names = self.variants if variants is None else variants
        return run_study(self.study, self.results_dir, executor=self.executor, variants=names)

    def history(self, variants: Sequence[str] | None = None) -> pd.DataFrame:
        """The epoch table of the recorded runs of some variants, or of all."""
        names = self.variants if variants is None else variants
        return self.study.epoch_table(self.results_dir, variants=names)

    def trained(self, *variants: str) -> bool:
        """Whether this study has all of these variants, and they are trained here: a quick
        rehearsal and a reader's own file may have others."""
        return set(variants) <= {*self.variants}

    def card(self) -> str:
        """What this notebook changes, holds and costs, as Markdown; nothing is trained for it."""
        study = self.study
        recipes = [study.recipe(variant, 1.0) for variant in self.variants]
        held = {k: v for k, v in difference(recipes[0]).items() if k in _common(recipes)}
        rows = {
            "Compared with": f"`{study.baseline}`, which is {_as_difference(study)}",
            "What varies": f"{len(recipes)} variants: {_varying(recipes)}",
            "What is held": (
                f"{_entries(held) + '; ' if held else ''}all else is as in 00. Data: "
                f"{study.dataset.replace('cifar10', 'CIFAR-10')}; {study.epochs} epochs, "
                f"{study.seeds} seeds, the same for all variants"
            ),
            "Learning rate": self._tuned(),
            "What it costs": self._price(),
        }
        lines = [f"| **{name}** | {text} |" for name, text in rows.items()]
        return "\n".join([*self.banner(), "| | |", "| --- | --- |", *lines])

    def _tuned(self) -> str:
        tuning, grids = self.study.tuning, [self.study.grid(name) for name in self.variants]
        rates = [rate for grid in grids for rate in grid]
        own = ", in grids of their own" if len(set(grids)) > 1 else ""
        grows = (
            "; where the best rate is at the edge of the grid, the grid is extended, unless "
            "nothing was learned"
        )
        further = grows * tuning.interior
        return (
            f"each variant has the best of {len(tuning.learning_rates)} rates, "
            f"{_plain(min(rates))} to {_plain(max(rates))}{own}: by validation accuracy after "
            f"{tuning.epochs} epochs, with seed "
            f"{report.listed(tuning.seeds)}, which is not used again{further}"
        )

    def banner(self) -> list[str]:
        """Blocks of Markdown, each ended by an empty line, where this is not the study of one of
        the project's files."""
        study = self.study
        own = f"> **{study.title}**: a study of your own. {study.question}\n"
        few = f" {self._too_few()}" if study.seeds < report.ENOUGH_SEEDS else ""
        some = (
            f" Of {len(study.variants)} variants it has {len(self.variants)}."
            if len(self.variants) < len(study.variants)
            else ""
        )
        rehearsal = (
            "> **A rehearsal, not the study.** Its numbers are its own, and none of its figures is "
            f"kept.{some}{few} Where the text gives a reason for a number, it speaks of the "
            "study's.\n"
        )
        return [own] * self.own + [rehearsal] * (not self.recorded)

    def _too_few(self) -> str:
        return (
            f"With {self.study.seeds} seeds there is no verdict: they say too little about how far "
            f"seeds differ. A verdict takes at least {report.ENOUGH_SEEDS}."
        )

    def verdicts(self, summary: pd.DataFrame, runs: pd.DataFrame) -> str:
        """Which variants are better than the baseline and which worse, and what the best is worth,
        as Markdown; below `report.ENOUGH_SEEDS` that there is no verdict.

        Args:
            summary: from `stats.summary`, of this study.
            runs: its run table.
        """
        if self.study.seeds < report.ENOUGH_SEEDS:
            return f"- {self._too_few()}"
        baseline, (seeds, _) = self.study.baseline, controls.quoted_seeds(runs)
        best = controls.winner(runs, baseline, self.study.paired)
        told = [report.chosen(best, seeds, baseline)] if len(best) > 1 else []
        return "\n".join([report.verdicts(summary, baseline), *told])

    def right(self, runs: pd.DataFrame) -> controls.Right:
        """Which test images the final runs had right, as far as their records say it."""
        return records.right(runs[runs["purpose"] == "final"], self.results_dir)

    def cost(
        self, variants: int | None = None, epochs: int | None = None, tuned: bool = True
    ) -> str:
        """What it would take to train the study of the file, or a part of it, whatever rehearsal
        this is: "about 12 minutes", by the recorded runs.

        Args:
            variants: how many; None: all.
            epochs: of a final run, and of one that tunes if those are longer; None: the study's.
            tuned: whether learning rates are tuned too.
        """
        study = self.file if epochs is None else self.file.resized(epochs=epochs)
        count = len(study.variants) if variants is None else variants
        twice = len(study.twice) if variants is None else 0
        return self._time(study, count if tuned else 0, count + twice)

    def _time(self, study: Study, tuning: int, final: int) -> str:
        """What so many variants take: those whose rates are tuned, and those trained finally."""
        seconds = self._seconds(study)
        if seconds.empty:
            return "an unknown time (nothing of this size is recorded)"
        trials = len(study.tuning.learning_rates) * len(study.tuning.seeds)
        of_tuning = tuning * trials * min(study.epochs, study.tuning.epochs)
        epochs = of_tuning + final * study.seeds * study.epochs
        return f"about {_duration(epochs * float(seconds.mean()))}"

    def _seconds(self, study: Study) -> "pd.Series[float]":
        """The fewest seconds a model and epoch took, by variant, as where nothing else ran: in the
        records of a study or, where there are none, in those of the file on the same data."""
        for folder in (self.results_dir, RESULTS):
            for known in (study, self.file):
                if known.dataset == study.dataset:
                    runs = known.table(folder)
                    final = runs[runs["purpose"] == "final"]
                    least = final.groupby("variant", observed=True)["seconds"].min().dropna()
                    if len(least):
                        return least
        return pd.Series(dtype=float)

    def _price(self) -> str:
        study, count = self.study, len(self.variants)
        whole = count == len(study.variants)
        runs = study.planned_runs(self.variants, self.results_dir)
        took, seconds = self._time(study, count, count + whole * len(study.twice)), ""
        if len(least := self._seconds(study)):
            fastest, slowest = f"{least.min():.1f}", f"{least.max():.1f}"
            span = fastest if fastest == slowest else f"{fastest} to {slowest}"
            recipes = [study.recipe(variant, 1.0) for variant in self.variants]
            alone = len(group_for_stacking(recipes)) == count
            side = "" if alone else ", trained side by side (one by itself takes longer)"
            seconds = f"{span} seconds a model and epoch, by the quickest records{side}; all "
        elif study.dataset == "digits":
            took = "a few seconds each: the images are few"
        return f"{seconds}{runs} runs take {took}. What is recorded is read in seconds"

    def show(
        self,
        drawing: style.Drawing,
        name: str | None = None,
        of: Literal["final", "first seed", "tuning", "no run"] = "final",
        longest: int | None = None,
    ) -> None:
        """Label a figure and show it, with a description in words.

        It is saved under `name`, unless this is a rehearsal.

        Args:
            drawing: the figure, any of its axes, or an array of them.
            name: of the file in the figures' folder, without suffix; None: shown and not saved.
            of, longest: see `label`.
        """
        self.label(drawing, of, longest)
        if name and self.recorded:
            style.save(drawing, f"{self.figures_dir}/{name}")
        style.show(drawing)

    def label(
        self,
        drawing: style.Drawing,
        of: Literal["final", "first seed", "tuning", "no run"] = "final",
        longest: int | None = None,
    ) -> None:
        """Write under a figure what it was drawn from.

        Args:
            drawing: the figure, any of its axes, or an array of them.
            of: which runs are drawn: the final ones, those of the first seed, those that tune, or
                none, as where a recipe's first step is computed.
            longest: epochs of the longest run, where some train for longer than the study's.
        """
        source, wanted = self.study, self.file
        title = source.title if self.own else None
        label = functools.partial(
            style.label_source, drawing, source.dataset, title=title, study_dataset=wanted.dataset
        )
        if of == "no run":
            label()
        elif of == "tuning":
            label(
                source.tuning.epochs,
                len(source.tuning.seeds),
                study_epochs=wanted.tuning.epochs,
                study_seeds=len(wanted.tuning.seeds),
            )
        else:
            seeds, least = (
                [1] if of == "first seed" else [study.seeds_of(name) for name in study.variants]
                for study in (source, wanted)
            )
            label(
                source.epochs,
                min(seeds),
                longest=longest,
                most_seeds=max(seeds),
                study_epochs=wanted.epochs,
                study_seeds=min(seeds) + (max(seeds) < max(least)),
            )


def open_technique(
    name: str,
    dataset: str | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    results_dir: str = RESULTS,
    figures_dir: str = FIGURES,
    executor: str = "local",
    quick: bool = False,
    config: str = "",
) -> Technique:
    """Open a technique file in a notebook, and draw in this project's style from here on.

    Args:
        name: of `configs/<name>.yaml`; or the path of a file of one's own, as "runs/mine.yaml",
            from the notebook's folder or the repository's. Runs and figures of one's own go to
            `runs/mine/`.
        dataset, seeds, epochs: another size than the file's is a rehearsal; None: the file's.
        results_dir: folder of the records. A rehearsal that would add to those of the studies has
            `REHEARSAL` for its own.
        figures_dir: where figures are saved.
        executor: see `open_executor`.
        quick: a rehearsal of seconds, whatever size is given: see `Study.quickly`.
        config: a file of one's own to open in place of `name`'s. A dataset or number of epochs that
            is still that of `name`'s file is not asked of it: it has its own.

    Raises:
        InputError: no such file, or it says what is not allowed.
    """
    style.use_style()
    own = bool(config) or name.endswith((".yaml", ".yml"))
    if config:
        usual = Study.from_yaml(CONFIGS / f"{name}.yaml")
        dataset = None if dataset == usual.dataset else dataset
        epochs = None if epochs == usual.epochs else epochs
        name = config
    file = Study.from_yaml(_of_a_reader(name) if own else CONFIGS / f"{name}.yaml")
    if quick:
        study, variants = file.quickly()
    else:
        study = file.resized(seeds, epochs, dataset)
        variants = list(study.variants)
    if own and results_dir == RESULTS:
        results_dir = f"../runs/{file.name}/results"
    if own and figures_dir == FIGURES:
        figures_dir = f"../runs/{file.name}/figures"
    if study != file and results_dir == RESULTS:
        planned = study.planned_runs(variants, RESULTS)
        if len(study.recorded(RESULTS, variants)) < planned:
            results_dir = REHEARSAL
    return Technique(file, study, results_dir, figures_dir, executor, tuple(variants), own)


def _of_a_reader(name: str) -> Path:
    """A file of the reader's own, seen from the notebooks' folder or from the one above.

    Raises:
        InputError: it is in neither, or is one of `configs`, whose records are the study's.
    """
    places = [expanded(name), Path("..") / name]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise InputError(
            f"{name}: there is no such file here or in the folder above. Copy a file of `configs` "
            "to `runs/mine.yaml`, change it, and open that."
        )
    if CONFIGS.exists() and found.resolve().parent.samefile(CONFIGS):
        raise InputError(
            f"{name}: is one of the project's own. Open it by its name, {found.stem!r}, or a copy "
            "of it, as `runs/mine.yaml`."
        )
    return found


def difference(recipe: Recipe) -> dict[str, object]:
    """The fields in which a network and its training differ from those of notebook 00."""
    changes = {name: getattr(recipe, name) for name in recipe.changes()}
    return {name: value for name, value in changes.items() if name not in OF_ALL_RUNS}


def bases(studies: Iterable[Study]) -> str:
    """What each technique is compared with, as a table in Markdown."""
    lines = [
        f"| {study.title} | `{study.baseline}` | {_as_difference(study)} |" for study in studies
    ]
    return "\n".join(["| technique | baseline | which is |", "| --- | --- | --- |", *lines])


def _as_difference(study: Study) -> str:
    changes = difference(study.recipe(study.baseline, 1.0))
    network = "the network of [00](00_baseline.ipynb)"
    return f"{network} with {_entries(changes)}" if changes else f"{network} itself"


def _common(recipes: Sequence[Recipe]) -> set[str]:
    """The fields that are the same in all recipes."""
    first = recipes[0]
    return {
        name
        for name in Recipe.model_fields
        if all(getattr(recipe, name) == getattr(first, name) for recipe in recipes)
    }


def _varying(recipes: Sequence[Recipe]) -> str:
    """The fields that differ, each with its values in the order of the recipes."""
    names = [name for name in Recipe.model_fields if name not in _common(recipes)]
    values = {
        name: dict.fromkeys(
            _plain(getattr(recipe, name))
            for recipe in recipes
            if OF_AN_AUGMENTATION.get(name) in (None, *recipe.augmentation)
        )
        for name in names
    }
    return "; ".join(f"`{name}` ({', '.join(found)})" for name, found in values.items())


def _entries(fields: Mapping[str, object]) -> str:
    """Fields and values as a technique file has them."""
    return report.listed(f"`{name}: {_plain(value)}`" for name, value in fields.items())


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return " + ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0").rstrip(".")
    return str(value).lower()


def _duration(seconds: float) -> str:
    """As one says it: the unit that leaves a small number."""
    if seconds < 90:
        return f"{max(10, 10 * round(seconds / 10))} seconds"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
