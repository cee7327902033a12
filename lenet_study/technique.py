"""What a technique's notebook opens: its study, its runs, its colours, and how a figure is shown.

technique = open_technique("optimization", dataset, seeds, epochs, results_dir, figures_dir)
technique.show(plots.learning_curves(technique.history()), "optimization-curves")
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from lenet_study import style
from lenet_study.runner import run_study
from lenet_study.study import Study

CONFIGS = Path("../configs")  # as seen from the notebooks' folder


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
        return run_study(self.study, self.results_dir, executor=self.executor, variants=variants)

    def history(self, variants: Sequence[str] | None = None) -> pd.DataFrame:
        """The epoch table of the recorded runs of some variants, or of all."""
        return self.study.epoch_table(self.results_dir, variants=variants)

    def show(
        self,
        drawing: style.Drawing,
        name: str | None = None,
        of: Literal["final", "first seed", "tuning", "no run"] = "final",
        longest: int | None = None,
    ) -> None:
        """Write under a figure what it was drawn from, and show it, with a description in words.

        It is saved under `name`, unless this is a rehearsal.

        Args:
            drawing: the figure, any of its axes, or an array of them.
            name: of the file in the figures' folder, without suffix; None: shown and not saved.
            of: which runs are drawn: the final ones, those of the first seed, those that tune, or
                none, as where a recipe's first step is computed.
            longest: epochs of the longest run, where some train for longer than the study's.
        """
        source, wanted = self.study, self.file
        if of == "no run":
            style.label_source(drawing, source.dataset)
        elif of == "tuning":
            style.label_source(
                drawing,
                source.dataset,
                source.tuning.epochs,
                len(source.tuning.seeds),
                study_epochs=wanted.tuning.epochs,
                study_seeds=len(wanted.tuning.seeds),
            )
        else:
            first = of == "first seed"
            style.label_source(
                drawing,
                source.dataset,
                source.epochs,
                1 if first else source.seeds,
                longest=longest,
                study_epochs=wanted.epochs,
                study_seeds=1 if first else wanted.seeds,
            )
        if name and self.recorded:
            style.save(drawing, f"{self.figures_dir}/{name}")
        style.show(drawing)


def open_technique(
    name: str,
    dataset: str | None = None,
    seeds: int | None = None,
    epochs: int | None = None,
    results_dir: str = "../results",
    figures_dir: str = "../figures",
    executor: str = "local",
) -> Technique:
    """Open `configs/<name>.yaml` in a notebook, and draw in this project's style from here on.

    Args:
        name: of the technique file, without suffix.
        dataset, seeds, epochs: another size than the file's is a rehearsal; None: the file's.
        results_dir: folder of the records.
        figures_dir: where figures are saved.
        executor: see `open_executor`.

    Raises:
        InputError: no such file, or it says what is not allowed.
    """
    style.use_style()
    file = Study.from_yaml(CONFIGS / f"{name}.yaml")
    study = file.resized(seeds, epochs, dataset)
    return Technique(file, study, results_dir, figures_dir, executor)
