"""Several techniques at once: two-level factors, a fraction of their combinations, its cells.

Letters are factors, as in textbooks (Box, Hunter & Hunter 2005, "Statistics for Experimenters",
chapters 5 and 6). A cell is called after the factors that are at their second level in it, in
small letters: `abg` has the techniques A, B and G, `none` has none of them.

With k factors in 2^(k - p) cells, p factors are generated: G = ABCD says that G is at its second
level where the product of the signs of A, B, C and D is +1. Then ABCDG is +1 in every cell, a word
of the defining relation; the shortest word's length is the design's resolution. From V on no main
effect and no effect of two factors is confounded with another of these.

An effect is a difference of two means over the cells of the fraction: of a factor, with it minus
without it; of two factors, the cells where both are at the same level minus those where they
differ, so that each adds its effect plus this where the other is there, and minus this where it is
not. Two things make it uncertain. Seeds scatter within a cell; and cells scatter about what the
effects foretell, as each is tuned once for all its seeds, and as three factors may do together what
no two of them do. The second scatter holds the first, so intervals here are of the cells, unless
they are named after the seeds.
"""

import functools
import itertools
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import stats as scipy_stats

from lenet_keras.recipe import InputError, Recipe, nearest
from lenet_study import stats

NONE = "none"  # the cell without any of the techniques
ENTRIES = ("factors", "generators", "overrides", "also")  # of a technique file, for a design
OF_A_LEVEL = (*Recipe.model_fields, "learning_rates")

Letter = Annotated[str, Field(pattern=r"^[A-Z]$")]
Letters = Annotated[str, Field(pattern=r"^[A-Z]+$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Factor(_Frozen):
    """One technique: what stands there without it, and with it."""

    name: str
    levels: dict[str, dict[str, Any]]  # two, without and with; the fields that each one sets


class Design(_Frozen):
    """Factors, and which of their combinations are trained."""

    factors: dict[Letter, Factor] = Field(min_length=1)
    generators: dict[Letter, Letters] = {}
    # Fields of the cells in which all of these factors are at their second level.
    overrides: dict[Letters, dict[str, Any]] = {}
    also: tuple[str, ...] = ()  # cells beside the fraction: no effect is computed from them

    @model_validator(mode="after")
    def _parts_that_need_each_other(self) -> "Design":
        owner: dict[str, str] = {}
        for letter, factor in self.factors.items():
            if len(factor.levels) != 2:
                raise ValueError(
                    f"factors.{letter}: {len(factor.levels)} levels "
                    f"({', '.join(factor.levels) or 'none'}); a factor has two: what is there "
                    "without the technique, and what is there with it"
                )
            for level, fields in factor.levels.items():
                _check_fields(f"factors.{letter}.levels.{level}", fields)
            for field in sorted(set().union(*factor.levels.values())):
                if field in owner:
                    raise ValueError(
                        f"factors.{letter}: sets '{field}', and so does factors.{owner[field]}; "
                        "what two factors decide together stands under overrides"
                    )
                owner[field] = letter
        for word in (*self.generators, *self.generators.values(), *self.overrides):
            if len(set(word)) < len(word):
                raise ValueError(f"generators and overrides: {word} names a factor twice")
            for letter in word:
                if letter not in self.factors:
                    raise ValueError(
                        f"generators and overrides: no factor '{letter}'. "
                        f"Allowed: {', '.join(self.factors)}."
                    )
        for letter, word in self.generators.items():
            if generated := set(word).intersection(self.generators):
                raise ValueError(
                    f"generators.{letter}: {word} holds {min(generated)}, which is generated too"
                )
        for letters, fields in self.overrides.items():
            _check_fields(f"overrides.{letters}", fields)
        if len(shortest := min(self.words(), key=len, default="ABC")) < 3:
            raise ValueError(
                f"generators: they confound the main effects of {' and '.join(shortest)}, which "
                "stand at the same level in every cell or at opposite ones; give one of them "
                "another generator"
            )
        cells = self.fraction()
        for cell in self.also:
            if cell != NONE and cell != name_of(cell.upper()):
                raise ValueError(
                    f"also: '{cell}' is no cell; write '{NONE}', or the letters of its factors in "
                    "the order of the alphabet"
                )
            if cell in cells:
                raise ValueError(f"also: '{cell}' is in the fraction already")
            if unknown := set(cell.upper()) - set(self.factors) if cell != NONE else None:
                raise ValueError(f"also: '{cell}': no factor '{min(unknown)}'")
        if len(set(self.also)) < len(self.also):
            raise ValueError("also: a cell is given twice")
        return self

    def words(self) -> list[str]:
        """The words of the defining relation, each sorted; none in a full factorial."""
        given = [frozenset(letter + word) for letter, word in self.generators.items()]
        chosen = itertools.chain.from_iterable(
            itertools.combinations(given, count) for count in range(1, len(given) + 1)
        )
        products = (functools.reduce(frozenset.symmetric_difference, words) for words in chosen)
        return ["".join(sorted(word)) for word in products]

    @property
    def resolution(self) -> float:
        """The length of the shortest word, infinite in a full factorial."""
        return min(map(len, self.words()), default=math.inf)

    def fraction(self) -> list[str]:
        """The cells from which effects are computed, in the order of Yates: A changes fastest."""
        basic = [letter for letter in self.factors if letter not in self.generators]
        cells = []
        for signs in itertools.product((-1, 1), repeat=len(basic)):
            sign = dict(zip(basic, reversed(signs), strict=True))
            sign |= {
                letter: math.prod(sign[one] for one in word)
                for letter, word in self.generators.items()
            }
            cells.append(name_of(letter for letter in self.factors if sign[letter] > 0))
        return cells

    def cells(self) -> list[str]:
        """All cells that are trained: those of `also` first, the first of them the base."""
        return [*self.also, *self.fraction()]

    def signs(self, cells: Iterable[str] | None = None) -> pd.DataFrame:
        """Each factor's level in each cell: -1 without the technique, 1 with it.

        Args:
            cells: those of the fraction without it.

        Returns:
            int, a row for each cell, by name, and a column for each factor, by letter.
        """
        names = self.fraction() if cells is None else list(cells)
        present = [set() if name == NONE else set(name.upper()) for name in names]
        return pd.DataFrame(
            [[1 if letter in letters else -1 for letter in self.factors] for letters in present],
            index=pd.Index(names, name="variant"),
            columns=list(self.factors),
        )

    def fields(self, cell: str) -> dict[str, Any]:
        """What a cell sets over the base: fields of its recipe, and perhaps learning rates."""
        present = set() if cell == NONE else set(cell.upper())
        fields: dict[str, Any] = {}
        for letter, factor in self.factors.items():
            without, with_it = factor.levels.values()
            fields |= with_it if letter in present else without
        for letters, values in self.overrides.items():
            if present.issuperset(letters):
                fields |= values
        return fields


def name_of(letters: Iterable[str]) -> str:
    """The name of the cell in which these factors are at their second level."""
    return "".join(sorted(letters)).lower() or NONE


def _check_fields(where: str, fields: Collection[str]) -> None:
    for field in fields:
        if field not in OF_A_LEVEL:
            raise ValueError(f"{where}: {field}: no such field.{nearest(field, OF_A_LEVEL)}")


def expanded(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a technique file with its design in one place; without factors as it is."""
    if "factors" not in content:
        return dict(content)
    rest = {name: value for name, value in content.items() if name not in ENTRIES}
    return {**rest, "design": {name: content[name] for name in ENTRIES if name in content}}


# What the cells say: a table of accuracies, cells by seeds, in; tables of effects out


class LackOfFit(NamedTuple):
    """Whether cells scatter about what the effects foretell by more than their seeds explain."""

    f: float
    df: int  # of the cells about the effects
    df_runs: int  # of the runs about their cells, after the seeds' own means
    p: float
    cells: float  # standard deviation of a cell that its seeds do not explain, 0 if there is none
    runs: float  # standard deviation of a run within its cell


def by_cell(runs: pd.DataFrame, metric: str = "test_accuracy") -> pd.DataFrame:
    """The final runs' accuracies, a row for each cell and a column for each seed.

    Raises:
        InputError: a cell that lacks a seed, or a value that is not finite.
    """
    final = runs[runs["purpose"] == "final"] if "purpose" in runs else runs
    table = final.astype({"variant": str}).pivot(index="variant", columns="seed", values=metric)
    bad = [str(cell) for cell, values in table.iterrows() if not np.isfinite(values).all()]
    if table.empty or bad:
        raise InputError(f"effects need every seed of every cell; lacking in: {', '.join(bad)}.")
    return table.astype(float)


def effect_columns(design: Design, cells: Iterable[str], order: int = 2) -> pd.DataFrame:
    """A column of halves for each effect, +1/2 where it counts and -1/2 where it is taken off."""
    signs = design.signs(cells)
    words = [w for k in range(1, order + 1) for w in itertools.combinations(design.factors, k)]
    return pd.DataFrame({"".join(word): signs[list(word)].prod(axis=1) / 2 for word in words})


def _fit(design: Design, accuracy: pd.DataFrame, order: int) -> Any:
    """Least squares over the cells' means: each cell is one observation, whatever its seeds."""
    import statsmodels.api as sm  # here, as it takes a second

    cells = design.fraction()
    if missing := [cell for cell in cells if cell not in accuracy.index]:
        raise InputError(f"effects need all cells of the fraction; not recorded: {missing[0]}.")
    columns = sm.add_constant(effect_columns(design, cells, order))
    return sm.OLS(accuracy.loc[cells].mean(axis=1), columns).fit()


def _fit_of_runs(design: Design, accuracy: pd.DataFrame, order: int) -> Any:
    """Least squares over all runs, each seed a block with a mean of its own."""
    import statsmodels.api as sm

    runs = accuracy.loc[design.fraction()].melt(ignore_index=False, var_name="seed")
    columns = effect_columns(design, runs.index, order)
    blocks = pd.get_dummies(runs["seed"].astype(str), dtype=float)
    return sm.OLS(runs["value"], pd.concat([blocks, columns], axis=1)).fit()


def effects(design: Design, accuracy: pd.DataFrame, order: int = 2) -> pd.DataFrame:
    """The effect of each factor, and of each two together, with 95 % intervals.

    Source: Box, Hunter & Hunter 2005, chapters 5 and 6; seeds as blocks: Montgomery 2013, "Design
    and analysis of experiments", section 7.2.

    Args:
        accuracy: from `by_cell`.
        order: 1 for the factors alone.

    Returns:
        Indexed by letters, in the units of `accuracy`: `effect`; `low`, `high`, `p` and `p_holm`
        (corrected over all rows), from the scatter of the cells, with `df` degrees of freedom, NaN
        where there are as many effects as cells; `seeds_low`, `seeds_high` and `seeds_p`, from that
        of the runs, with `seeds_df`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        cells, runs = _fit(design, accuracy, order), _fit_of_runs(design, accuracy, order)
        names = cells.params.index[1:]
        table = pd.DataFrame({"effect": cells.params[names]})
        for prefix, fit in (("", cells), ("seeds_", runs)):
            table[[f"{prefix}low", f"{prefix}high"]] = fit.conf_int().loc[names]
            table[f"{prefix}p"] = fit.pvalues[names]
            table[f"{prefix}df"] = fit.df_resid
    return table.assign(p_holm=stats.holm(table["p"])).rename_axis("factors")


def lack_of_fit(design: Design, accuracy: pd.DataFrame, order: int = 2) -> LackOfFit:
    """Whether cells differ by more than the effects and the seeds' scatter.

    Source: Draper & Smith 1998, "Applied regression analysis", chapter 2; pure error is that of
    the runs within their cells.
    """
    table = accuracy.loc[design.fraction()].to_numpy()
    fit = _fit(design, accuracy, order)
    within = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    df = int(fit.df_resid), (table.shape[0] - 1) * (table.shape[1] - 1)
    pure = float((within**2).sum()) / df[1]
    f = fit.scale * table.shape[1] / pure
    more = max(0.0, fit.scale - pure / table.shape[1])
    return LackOfFit(float(f), *df, float(scipy_stats.f.sf(f, *df)), more**0.5, pure**0.5)


def predicted(design: Design, accuracy: pd.DataFrame, order: int = 2) -> pd.DataFrame:
    """What the effects foretell of each cell, beside what was measured in it.

    Returns:
        Indexed by cell: `predicted`; `low` and `high`, where 95 % of cells like it are measured;
        `measured`, the mean over its seeds; `left_out`, whether no effect was computed from it.
    """
    columns = effect_columns(
        design, [cell for cell in design.cells() if cell in accuracy.index], order
    )
    fit = _fit(design, accuracy, order)
    frame = fit.get_prediction(columns.assign(const=1.0)[fit.params.index]).summary_frame()
    frame.index = columns.index
    return pd.DataFrame(
        {
            "predicted": frame["mean"],
            "low": frame["obs_ci_lower"],
            "high": frame["obs_ci_upper"],
            "measured": accuracy.loc[columns.index].mean(axis=1),
            "left_out": [cell in design.also for cell in columns.index],
        }
    )


def four_means(design: Design, accuracy: pd.DataFrame, pair: str) -> pd.DataFrame:
    """The mean over the cells without two factors, with one, with the other and with both.

    Returns:
        Indexed by `first` and `second`, whether each is there: `mean`, `low`, `high`.
    """
    fit = _fit(design, accuracy, 2)
    both = pair.lower()
    columns = effect_columns(design, [NONE, both[0], both[1], both], 2).assign(const=1.0)
    kept = ["const", *pair, pair]
    columns = columns[kept].reindex(columns=fit.params.index, fill_value=0.0)
    frame = fit.get_prediction(columns).summary_frame()
    frame.index = pd.MultiIndex.from_tuples(
        [(False, False), (True, False), (False, True), (True, True)], names=["first", "second"]
    )
    names = {"mean": "mean", "mean_ci_lower": "low", "mean_ci_upper": "high"}
    return frame[list(names)].rename(columns=names)


def additivity(design: Design, accuracy: pd.DataFrame, order: int = 2) -> pd.DataFrame:
    """Whether the factors' effects add up to the way from no technique to all of them.

    Effects of two factors cancel on this way: what is missing is of three factors or more, or the
    scatter of the two cells at its ends.

    Returns:
        Rows `sum` (of the factors' effects), `measured` (all techniques minus none, its interval
        paired by seed: of these two cells) and `missing` (measured minus sum), columns `estimate`,
        `low` and `high`.
    """
    ends = [name_of(design.factors), NONE]
    top, bottom = accuracy.loc[ends].to_numpy()
    fit = _fit(design, accuracy, order)
    way = np.array([float(name in design.factors) for name in fit.params.index])
    total = fit.t_test(way)
    measured = stats.paired_difference(top, bottom)
    # The variance of a difference; an end that is a cell of the fraction had a part in the sum.
    at_ends = effect_columns(design, ends, order).assign(const=1.0)[fit.params.index].to_numpy()
    part = np.array([1, -1]) * [end in design.fraction() for end in ends] @ at_ends
    spread = 2 + way @ fit.normalized_cov_params @ (way - 2 * part)
    missing = measured.difference - total.effect[0]
    half = scipy_stats.t.ppf(0.975, fit.df_resid) * (fit.scale * spread) ** 0.5
    return pd.DataFrame(
        {
            "sum": [total.effect[0], *total.conf_int()[0]],
            "measured": measured[1:4],
            "missing": [missing, missing - half, missing + half],
        },
        index=["estimate", "low", "high"],
    ).T


def image_error(first: float, second: float, images: int = 10_000) -> float:
    """The largest standard error that the choice of images can give a difference of two accuracies.

    It is this for recipes that are right independently of each other. The same images are easy
    for both, so a difference has less; how much less, only a record of each image could say.
    """
    return float(((first * (1 - first) + second * (1 - second)) / images) ** 0.5)
