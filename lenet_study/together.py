"""What the factorial says of all techniques together, on one scale: table, sentences, figure."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lenet_keras.recipe import read_yaml
from lenet_study import factorial, factorial_plots, report, style
from lenet_study.report import LEVEL, listed, p_value, points
from lenet_study.study import Study
from lenet_study.style import Drawing, count


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


def read(
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


def table(together: Together) -> str:
    """One row a technique of the factorial, the one that adds most on top; bold: significant."""
    rows = []
    mains = together.effects.loc[list(together.names)].sort_values("effect", ascending=False)
    for letter, line in mains.to_dict("index").items():
        adds = points(line["effect"], line["low"], line["high"])
        row = {"technique": together.names[str(letter)]}
        row["adds, points [95 %]"] = f"**{adds}**" if line["p_holm"] < LEVEL else adds
        rows.append(row | {"p (Holm)": p_value(line["p_holm"])})
    return report.markdown(rows)


def sentences(together: Together) -> list[str]:
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
    without = [next(iter(factor.levels)) for factor in design.factors.values()]
    base = [name for name in without if name != "none"]
    return [
        f"{len(names)} techniques over one base ({listed(base)}), each there or not: "
        f"{len(design.fraction())} of the {2 ** len(names)} combinations, "
        f"{count(study.seeds, 'paired seed')} and {count(study.epochs, 'epoch')} each, on "
        f"{listed(together.devices)}. What a technique adds is its test accuracy with "
        "it minus without it, averaged over the presence and "
        f"absence of all others; 95 % intervals on {lone['df'].iloc[0]:.0f} degrees of freedom, "
        f"the widest ±{50 * (lone['high'] - lone['low']).max():.2f} points, hold the scatter of "
        "seeds and of combinations. A choice of 10,000 test images adds a standard error of its "
        f"own, {images:.2f} points at most.",
        report.adding_up(way, together.bottom),
        f"Of {math.comb(len(names), 2)} pairs, {len(pairs)} interact significantly (points that "
        f"each adds more, or less, where the other is there than on average): {listed(told)}.",
    ]


def figure(together: Together) -> Drawing:
    """The headline: what each technique adds, on one scale."""
    drawn = factorial_plots.effects(together.effects, together.names)
    study = together.study
    style.label_source(drawn, study.dataset, study.epochs, study.seeds)
    return drawn
