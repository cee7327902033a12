"""A technique's grid: what is missing, who trains it, and the tidy table.

    study = Study.from_yaml(Path("configs/optimization.yaml"))
    runs = study.run(Path("results"), executor="processes:2")

A study first trains every variant at every learning rate of its grid with seeds of their own, never
looking at the test set, and then trains each variant at its best rate with the paired seeds
0, 1, 2, … Whatever the records hold already is not trained again.

Where the file asks for it, a grid whose best rate is at its edge grows until it is not, the rate is
chosen between the grid's rates, and the variants are the cells of a design (see `factorial.py`).
"""

import contextlib
import functools
import itertools
import math
import random
import textwrap
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)
from tqdm.auto import tqdm

from lenet_keras import available_threads, records
from lenet_keras.executors import Slots, environment, open_executor
from lenet_keras.factorial import ENTRIES, Design, expanded
from lenet_keras.recipe import DatasetName, InputError, Recipe, make_recipe, nearest, read_yaml
from lenet_keras.records import History, Location, Purpose, Run

if TYPE_CHECKING:
    from lenet_keras.data import Dataset

# Trains recipes side by side: recipes, seed, whether to score the test set, the data's folder.
Trainer = Callable[[Sequence[Recipe], int, bool, Path | str | None], list[Run]]
AT_THE_TOP = ("dataset", "epochs", "seeds")  # one value for all variants
OF_A_VARIANT = ("learning_rates", "epochs", "year")  # what is no field of its recipe
NEW_WORKERS_SECONDS = 5.0  # how often a growing cluster is asked for its size
BETWEEN_SEEDS = 0.05  # of 100 recorded pairs of seeds, 99 differ less in validation accuracy
AGAIN = "-again"  # the ending of a variant that is trained twice, the second time
LEARNED = 0.15  # of validation images right: with ten classes, chance has 0.1
MOST_ADDED = 4  # rates to a grid, so that one that no rate suits comes to an end
# A rate whose accuracy is so much lower weighs 1 / e in the choice: what seeds differ by.
TEMPERATURE = 0.01


def _number(value: Any) -> Any:
    # pydantic reads True as 1.0; in a configuration file that is a slip, not a number.
    if isinstance(value, bool):
        raise ValueError("Input should be a number")
    return value


def _ascending(rates: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(rates)) < len(rates):
        raise ValueError("a learning rate is given twice")
    return tuple(sorted(rates))


LearningRate = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
Grid = Annotated[tuple[LearningRate, ...], Field(min_length=1)]
Seed = Annotated[StrictInt, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tuning(_Frozen):
    """How every variant's learning rate is chosen, on validation accuracy."""

    learning_rates: Grid
    epochs: Annotated[StrictInt, Field(ge=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]  # not used again by final runs
    interior: bool = False  # whether a grid whose best rate is at its edge grows beyond it
    smoothed: bool = False  # whether the rate is chosen between the grid's rates, see `smoothed`

    _sorted = field_validator("learning_rates")(_ascending)


class Variant(_Frozen):
    """One contender: fields over the study's base, and a grid of its own if it needs one."""

    fields: dict[str, Any] = {}
    learning_rates: Grid | None = None
    epochs: Annotated[StrictInt, Field(ge=1)] | None = None  # of a ladder's rungs only
    year: StrictInt | None = None  # in which the idea was published

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, content: Any) -> Any:
        if content is None:  # "sgd:" with nothing behind it
            return {}
        if not isinstance(content, Mapping):
            return content
        fields = {str(name): value for name, value in content.items()}
        own = {name: fields.pop(name) for name in OF_A_VARIANT if name in fields}
        return {"fields": fields, **own}

    @field_validator("learning_rates")
    @classmethod
    def _sorted(cls, rates: Grid | None) -> Grid | None:
        return _ascending(rates) if rates else rates


class Study(_Frozen):
    """One technique's question, its contenders and its budget, as a technique file gives them."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    title: str
    question: str
    dataset: DatasetName = "cifar10"
    base: dict[str, Any] = {}
    ladder: bool = False  # every variant changes the one before it, not the base
    in_summary: bool = True  # whether the summary has it, and `make study` trains it unasked
    design: Design | None = None  # of which the variants are the cells, see `factorial.expanded`
    baseline: str  # the variant that differences are measured against
    variants: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")], Variant] = (
        Field(min_length=1)
    )
    twice: tuple[str, ...] = ()  # variants that train again by themselves: the same, but rounding
    tuning: Tuning
    seeds: Annotated[StrictInt, Field(ge=2)]  # final runs have seeds 0 to seeds - 1
    epochs: Annotated[StrictInt, Field(ge=1)]

    @model_validator(mode="before")
    @classmethod
    def _cells_of_the_design(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or not content.get("design"):
            return content
        design = Design.model_validate(content["design"])
        if "variants" in content and not isinstance(content["design"], Design):
            raise ValueError("variants: does not belong here: the factors give them")
        cells = {cell: design.fields(cell) for cell in design.cells()}
        return {"variants": cells, **content, "design": design}

    @field_validator("base", mode="before")
    @classmethod
    def _nothing_is_empty(cls, base: Any) -> Any:
        return {} if base is None else base

    @model_validator(mode="after")
    def _parts_that_need_each_other(self) -> "Study":
        if self.name == "tuning":  # results/<study>/tuning is where tuning runs lie
            raise ValueError("name: a study cannot be called 'tuning'; give the file another name")
        if self.baseline not in self.variants:
            raise ValueError(
                f"baseline: no variant '{self.baseline}'."
                f"{nearest(self.baseline, list(self.variants))}"
            )
        for where, fields in [("base", self.base), *_fields_of(self.variants)]:
            for name in {*AT_THE_TOP, "learning_rate"} & fields.keys():
                place = "learning_rates are tuned" if name == "learning_rate" else "it is the same"
                raise ValueError(
                    f"{where}: '{name}' does not belong here: {place} for all variants"
                )
        if not self.ladder and (own := [n for n, v in self.variants.items() if v.epochs]):
            raise ValueError(
                f"variants.{own[0]}: 'epochs' does not belong here: it is the same for all variants"
            )
        for name in self.twice:
            if name not in self.variants:
                raise ValueError(f"twice: no variant '{name}'.{nearest(name, list(self.variants))}")
            if f"{name}{AGAIN}" in self.variants:
                raise ValueError(f"twice: there is a variant '{name}{AGAIN}'; call it otherwise")
        if len(set(self.twice)) < len(self.twice):
            raise ValueError("twice: a variant is given twice")
        same: dict[Recipe, str] = {}
        for variant in self.variants:
            recipe = self.recipe(variant, 1.0)
            if recipe in same:
                raise ValueError(f"variants: '{same[recipe]}' and '{variant}' are the same recipe")
            same[recipe] = variant
            allowed = {len(self.tuning.learning_rates)} | ({1} if self.ladder else set())
            if len(self.grid(variant)) not in allowed:
                raise ValueError(
                    f"variants.{variant}.learning_rates: {len(self.grid(variant))} rates, where "
                    f"tuning has {len(self.tuning.learning_rates)}; every variant gets the same "
                    "budget, or in a ladder a single rate that was found elsewhere"
                )
        if again := [seed for seed in self.tuning.seeds if seed < self.seeds]:
            raise ValueError(
                f"tuning.seeds: {again[0]} is also a seed of the final runs (0 to "
                f"{self.seeds - 1}); tuning needs seeds of its own, as 1000"
            )
        if len(set(self.tuning.seeds)) < len(self.tuning.seeds):
            raise ValueError("tuning.seeds: a seed is given twice")
        return self

    @classmethod
    def from_yaml(cls, path: Path | str) -> "Study":
        """The study of a technique file, named after the file's stem.

        Raises:
            InputError: the file cannot be read, or something in it is unknown, missing, empty,
                doubled or not allowed.
        """
        path = Path(path)
        content = read_yaml(path)
        if "name" in content:
            raise InputError(f"{path}: name: a study is called after its file; remove this line.")
        return cls._validated({"name": path.stem, **expanded(content)}, where=str(path))

    @classmethod
    def _validated(cls, content: Mapping[str, Any], where: str) -> "Study":
        try:
            return cls(**{str(name): value for name, value in content.items()})
        except ValidationError as error:
            faults = "\n".join(_fault(dict(fault)) for fault in error.errors())
            raise InputError(
                f"{where}: this is not a valid study.\n{textwrap.indent(faults, '  ')}"
            ) from None

    def resized(
        self,
        seeds: int | None = None,
        epochs: int | None = None,
        dataset: str | None = None,
    ) -> "Study":
        """The same study with other seeds, epochs or data; None leaves a value as it is.

        A rehearsal tunes no longer than it trains: fewer epochs than tuning has shorten tuning too.

        Raises:
            InputError: a value that is not allowed.
        """
        epochs = self.epochs if epochs is None else epochs
        changes = {"seeds": seeds, "epochs": epochs, "dataset": dataset}
        # A ladder's longer rungs stay as many times as long.
        variants = {
            name: variant.model_copy(
                update={"epochs": max(1, round(variant.epochs * epochs / self.epochs))}
            )
            if variant.epochs
            else variant
            for name, variant in self.variants.items()
        }
        changes = {k: v for k, v in changes.items() if v is not None}
        resized = type(self)._validated(
            {**dict(self), **changes, "variants": variants}, where=self.name
        )
        tuning = self.tuning.model_copy(update={"epochs": min(epochs, self.tuning.epochs)})
        return resized.model_copy(update={"tuning": tuning})

    def grid(self, variant: str, results_dir: Path | str | None = None) -> Grid:
        """The learning rates that a variant is tuned over, ascending.

        An interior grid grows while its best rate is at its edge. A variant that learns at none of
        its rates, as one whose first weights are all zero, keeps them: there is no best one.

        Args:
            variant: its name.
            results_dir: folder of the records, which may say that an interior grid has to grow; as
                the technique file gives it without.

        Raises:
            InputError: a record that cannot be trusted.
        """
        given = [v.learning_rates for v in self._steps_to(variant) if v.learning_rates]
        grid = start = given[-1] if given else self.tuning.learning_rates
        if results_dir is None or not self.tuning.interior or len(start) == 1:
            return grid
        while len(grid) < len(start) + MOST_ADDED:
            accuracy = self._tuned(variant, grid, results_dir)
            if not accuracy or (not self.design and max(accuracy.values()) < LEARNED):
                break
            best = _highest(accuracy)
            if best == grid[-1]:
                grid = (*grid, beyond(grid))
            elif best == grid[0]:
                grid = (beyond(grid[::-1]), *grid)
            else:
                break
        return grid

    def _tuned(self, variant: str, grid: Grid, results_dir: Path | str) -> dict[float, float]:
        """Validation accuracy at the end of tuning by learning rate, mean over the tuning seeds;
        minus infinity where a run diverged. Nothing unless all of the grid is recorded."""
        planned = self._tuning_runs([variant], {variant: grid})
        runs = [run.read(results_dir) for run in planned if run.exists(results_dir)]
        if len(runs) < len(planned):
            return {}
        return {
            rate: float(
                np.mean(
                    [
                        -math.inf if run.status == "diverged" else run.validation.accuracy
                        for run in runs
                        if run.recipe.learning_rate == rate
                    ]
                )
            )
            for rate in grid
        }

    def _steps_to(self, variant: str) -> list[Variant]:
        """What makes a variant of the base: itself, in a ladder also every rung below it."""
        names = list(self.variants)
        first = 0 if self.ladder else names.index(variant)
        return [self.variants[name] for name in names[first : names.index(variant) + 1]]

    def recipe(self, variant: str, learning_rate: float, epochs: int | None = None) -> Recipe:
        """A variant's recipe at a learning rate, for as many epochs as its final runs have.

        Raises:
            InputError: a field of the base or the variant is unknown or not allowed.
        """
        fields = {**self.base, "epochs": self.epochs}
        for step in self._steps_to(variant):
            fields |= step.fields | ({"epochs": step.epochs} if step.epochs else {})
        fields |= {"dataset": self.dataset, "learning_rate": learning_rate}
        fields |= {"epochs": epochs} if epochs else {}
        return make_recipe(fields, where=f"variants.{variant} over the base")

    def run(
        self,
        results_dir: Path | str,
        seeds: int | None = None,
        epochs: int | None = None,
        dataset: str | None = None,
        *,
        executor: str = "local",
        data_dir: Path | str | None = None,
        variants: Sequence[str] | None = None,
        progress: bool = True,
        trainer: Trainer | None = None,
    ) -> pd.DataFrame:
        """Train what the records lack and give the study's table.

        Every run is recorded as soon as it is done, so whatever ends this call early loses the
        runs in flight and no other; the next call goes on.

        Args:
            results_dir: folder of the records; made if missing.
            seeds, epochs, dataset: see `resized`.
            executor: see `open_executor`.
            data_dir: where the dataset lies; see `load_data`.
            variants: only these are trained and tabled; all without it.
            progress: whether a progress line is drawn.
            trainer: what trains a group of recipes, `train_group` without it; a function that
                worker processes can import.

        Returns:
            Run table, see `table`.

        Raises:
            InputError: a value that is not allowed, a record that cannot be trusted, a folder that
                cannot be written, another study writing in it, or workers that are gone.
        """
        study = self.resized(seeds, epochs, dataset)
        names = study._chosen(variants)
        results_dir = Path(results_dir)
        folder = results_dir / study.name
        grids = study._grids(names, results_dir)
        tuning, planned = study._tuning_runs(names, grids), study.planned_runs(names, results_dir)
        recorded = study._recorded(results_dir, names)
        if len(recorded) < planned:
            with (
                alone_in(folder),
                open_executor(executor) as (pool, slots),
                ProgressLine(
                    study.name,
                    runs=planned,
                    epochs=len(tuning) * study.tuning.epochs
                    + study.seeds
                    * sum(
                        study.recipe(name, 1.0).epochs
                        for name in [*names, *study._trained_twice(names)]
                    ),
                    recorded=recorded,
                    shown=progress,
                ) as line,
            ):
                train = functools.partial(
                    train_missing, results_dir, trainer or train_group, data_dir, pool, slots, line
                )
                train(tuning)
                while (grown := study._grids(names, results_dir)) != grids:
                    added = [r for r in study._tuning_runs(names, grown) if r not in set(tuning)]
                    line.grow(len(added), len(added) * study.tuning.epochs)
                    tuning, grids = [*tuning, *added], grown
                    train(added)
                train(study._final_runs(study.learning_rates(results_dir, names)))
        elif records.leftovers(folder):
            # Complete, and perhaps read-only or at work elsewhere: to tidy up is no duty then.
            with contextlib.suppress(InputError), alone_in(folder):
                pass
        study._refuse_what_learns_nothing(results_dir, names)
        return study.table(results_dir, variants=variants)

    def _refuse_what_learns_nothing(self, results_dir: Path, names: Sequence[str]) -> None:
        learned = self.learning_rates(results_dir, names)
        if without := [name for name in names if name not in learned]:
            tried = "; ".join(
                f"{name} ({', '.join(f'{rate:g}' for rate in self.grid(name, results_dir))})"
                for name in without
            )
            raise InputError(
                f"{self.name}: no learning rate trains {tried}: every run diverged or stayed at "
                "chance. All other runs are recorded; give what is named here another grid in the "
                "technique file, or leave it out."
            )

    def edges(self, results_dir: Path | str) -> list[str]:
        """A sentence for each variant whose grid grew, of where its best rate now stands.

        Raises:
            InputError: a record that cannot be trusted.
        """
        sentences = []
        for variant in self.variants:
            start, grid = self.grid(variant), self.grid(variant, results_dir)
            accuracy = self._tuned(variant, grid, results_dir) if grid != start else {}
            if not accuracy:
                continue
            best = _highest(accuracy)
            failed = [f"{r:g}" for r in grid if r not in start and accuracy[r] < LEARNED]
            sentences.append(
                f"{variant}: the grid grew to {grid[0]:g} … {grid[-1]:g}; {best:g} is best"
                + (", still at the edge" if best in (grid[0], grid[-1]) else "")
                + (f"; {' and '.join(failed)} cannot be trained" if failed else "")
            )
        return sentences

    def learning_rates(
        self, results_dir: Path | str, variants: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Each variant's chosen learning rate; a variant whose tuning is not done is left out.

        The rate with the highest validation accuracy at the end of tuning, mean over the tuning
        seeds; a rate at which a run diverged comes last; of equals the smaller. Of a smoothed
        tuning, what `smoothed` makes of the grid. A design's cell that learns at no rate is left out
        too, as effects cannot be computed from it.

        Raises:
            InputError: a record that cannot be trusted.
        """
        chosen = {}
        for variant in self._chosen(variants):
            grid = self.grid(variant, results_dir)
            if len(grid) == 1:
                chosen[variant] = grid[0]
                continue
            accuracy = self._tuned(variant, grid, results_dir)
            if not accuracy or (self.design and max(accuracy.values()) < LEARNED):
                continue
            chosen[variant] = smoothed(accuracy) if self.tuning.smoothed else _highest(accuracy)
        return chosen

    def table(
        self,
        results_dir: Path | str,
        seeds: int | None = None,
        epochs: int | None = None,
        dataset: str | None = None,
        *,
        variants: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """The run table of exactly this study, of its size and dataset, as far as it is recorded.

        Returns:
            See `records.table`; `variant` is categorical, in the technique file's order. Final
            runs come first, then tuning runs. Older runs of a variant that has changed since, or
            of another rehearsal, are not in it.

        Raises:
            InputError: a record that cannot be trusted.
        """
        study = self.resized(seeds, epochs, dataset)
        paths = [run.path(results_dir) for run in study._recorded(results_dir, variants)]
        return study._in_order(records.table_of(paths))

    def epoch_table(
        self,
        results_dir: Path | str,
        seeds: int | None = None,
        epochs: int | None = None,
        dataset: str | None = None,
        *,
        variants: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """The epoch table (see `records.epoch_table`) of the same runs as `table`."""
        study = self.resized(seeds, epochs, dataset)
        paths = [run.path(results_dir) for run in study._recorded(results_dir, variants)]
        return study._in_order(records.epoch_table_of(paths))

    def _recorded(self, results_dir: Path | str, variants: Sequence[str] | None) -> list["Planned"]:
        rates = self.learning_rates(results_dir, variants)
        names = self._chosen(variants)
        planned = self._final_runs(rates) + self._tuning_runs(
            names, self._grids(names, results_dir)
        )
        return [run for run in planned if run.exists(results_dir)]

    def _in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        order = [*self.variants, *self._trained_twice(self.variants).values()]
        return table.assign(variant=pd.Categorical(table["variant"], order))

    def _chosen(self, variants: Sequence[str] | None) -> list[str]:
        for name in variants or ():
            if name not in self.variants:
                raise InputError(
                    f"{self.name}: no variant '{name}'.{nearest(name, list(self.variants))}"
                )
        return [name for name in self.variants if variants is None or name in variants]

    def planned_runs(
        self, variants: Sequence[str] | None = None, results_dir: Path | str | None = None
    ) -> int:
        """How many runs the study has, or some of its variants have, with those that tune.

        Grids that grow do so as the records in `results_dir` ask for; without it they stay.
        """
        names = self._chosen(variants)
        finals = len(names) + len(self._trained_twice(names))
        return len(self._tuning_runs(names, self._grids(names, results_dir))) + finals * self.seeds

    def _grids(self, variants: Iterable[str], results_dir: Path | str | None) -> dict[str, Grid]:
        return {variant: self.grid(variant, results_dir) for variant in variants}

    def _trained_twice(self, variants: Iterable[str]) -> dict[str, str]:
        """What those of the variants that train twice are called the second time."""
        return {name: f"{name}{AGAIN}" for name in variants if name in self.twice}

    def _tuning_runs(
        self, variants: Sequence[str], grids: Mapping[str, Grid] | None = None
    ) -> list["Planned"]:
        """The tuning runs over these grids; over those of the technique file without."""
        grids = self._grids(variants, None) if grids is None else grids
        # Rungs of a ladder that differ in epochs alone are tuned once, under the first one's name.
        first: dict[Recipe, str] = {}
        for variant in self.variants if self.ladder else variants:
            for rate in grids.get(variant, self.grid(variant)):
                first.setdefault(self.recipe(variant, rate, self.tuning.epochs), variant)
        planned = [
            Planned(self.name, "tuning", first[recipe], recipe, seed)
            for seed in self.tuning.seeds
            for variant in variants
            if len(grids[variant]) > 1  # else there is nothing to choose
            for rate in grids[variant]
            for recipe in [self.recipe(variant, rate, self.tuning.epochs)]
        ]
        return list(dict.fromkeys(planned))

    def _final_runs(self, learning_rates: Mapping[str, float]) -> list["Planned"]:
        recipes = {name: self.recipe(name, rate) for name, rate in learning_rates.items()}
        again = self._trained_twice(learning_rates)
        return [
            Planned(self.name, "final", variant, recipe, seed)
            for variant, recipe in recipes.items()
            for seed in range(self.seeds)
        ] + [
            Planned(self.name, "final", variant, recipes[name], seed, again=True)
            for name, variant in again.items()
            for seed in range(self.seeds)
        ]


def beyond(grid: Sequence[float]) -> float:
    """The rate that comes after a grid's last one, as the steps before it go on by turns.

    1, 3, 10, 30 goes on with 100: the ratio of two neighbours is that of two rates earlier.
    """
    *_, before, last = grid
    ratio = grid[-2] / grid[-3] if len(grid) > 2 else last / before
    return float(f"{last * ratio:.3g}")


def _highest(accuracy: Mapping[float, float]) -> float:
    """The rate with the highest accuracy; of equals the smaller."""
    return max(accuracy, key=lambda rate: (accuracy[rate], -rate))


def smoothed(accuracy: Mapping[float, float]) -> float:
    """A rate between those that did best, to two significant digits.

    The mean of the logarithms of the rates, each weighed by exp((its accuracy - the best one) /
    `TEMPERATURE`), as exponentially weighted averages are (Rigollet & Tsybakov 2012): what is
    within the noise of one seed counts together, and a rate that diverges not at all. On the 76
    recorded grids of this project with an interior best, each tried again with one point of noise,
    such a rate costs 0.10 points on average where the best single one costs 0.16 (95 of 100: below
    0.5 and 1.1).

    Args:
        accuracy: fractions, by learning rate; minus infinity where a run diverged.
    """
    if max(accuracy.values()) == -math.inf:
        return min(accuracy)
    rates, values = (np.array(list(v)) for v in (accuracy, accuracy.values()))
    weights = np.exp((values - values.max()) / TEMPERATURE)
    return float(f"{math.exp(np.average(np.log(rates), weights=weights)):.2g}")


def _fields_of(variants: Mapping[str, Variant]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"variants.{name}", variant.fields) for name, variant in variants.items()]


def _fault(fault: Mapping[str, Any]) -> str:
    """One line for one pydantic error."""
    message = str(fault["msg"]).removeprefix("Value error, ")
    place = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    place = place.removeprefix("design.")
    if not place:  # a fault between parts names them itself
        return message
    if fault["type"] == "missing":
        return f"{place}: is missing"
    if fault["type"] == "extra_forbidden":
        allowed = [name for name in Study.model_fields if name not in ("name", "design")]
        allowed += ENTRIES
        if place.startswith("tuning."):
            allowed = list(Tuning.model_fields)
        return f"{place}: no such entry.{nearest(str(fault['loc'][-1]), allowed)}"
    return f"{place}: found {fault['input']!r}; {message[0].lower()}{message[1:]}"


@dataclass(frozen=True)
class Planned:
    """A run that a study needs, whether it is recorded or not."""

    study: str
    purpose: Purpose
    variant: str
    recipe: Recipe
    seed: int
    again: bool = False  # the second of two runs of one recipe and seed, trained by itself

    def path(self, results_dir: Path | str) -> Path:
        """Where its record lies or will lie."""
        location = Location(self.study, self.purpose, self.variant, self.recipe.key, self.seed)
        return location.path(Path(results_dir))

    def exists(self, results_dir: Path | str) -> bool:
        """Whether there is a record."""
        return self.path(results_dir).exists()

    def read(self, results_dir: Path | str) -> Run:
        """Its record."""
        return records.read(self.path(results_dir))


@dataclass(frozen=True)
class _Job:
    """Recipes that train side by side with one seed."""

    recipes: tuple[Recipe, ...]
    seed: int
    score_test: bool
    wanted: Mapping[Recipe, Path]  # where to record; a stack may have members recorded before


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """The right to write in a study's folder, where nobody else does for so long.

    Raises:
        InputError: another study has it, or the folder cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another study is writing here. Wait until it ends, or choose another "
            "results folder and copy the records together later."
        ) from None
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}). Nothing was trained. Make it "
            "writable or choose another results folder."
        ) from None
    try:
        records.remove_leftovers(folder)
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps a file that is open
            (folder / ".lock").unlink()
        lock.release()


class ProgressLine:
    """One line over a whole study: runs done, running and left, and the time left.

    The bar counts epochs, as tuning runs are shorter than final ones.
    """

    def __init__(
        self, study: str, runs: int, epochs: int, recorded: Sequence[Planned], shown: bool
    ) -> None:
        """`runs` and `epochs` are those of the whole study, `recorded` what is there already."""
        self.study, self.runs, self.done = study, runs, len(recorded)
        self.bar = tqdm(
            desc=f"{study}: {runs} runs",
            total=epochs,
            initial=sum(run.recipe.epochs for run in recorded),
            disable=not shown,
            smoothing=0,  # stacks end all at once: only the mean speed says something
            bar_format="{desc} |{bar}| {percentage:3.0f} % [{elapsed}, {remaining} to go]",
        )

    def __enter__(self) -> "ProgressLine":
        """The line itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the line as it stands."""
        self.bar.close()

    def finished(self, recipe: Recipe) -> None:
        """A run of this recipe has just been recorded."""
        self.done += 1
        self.bar.update(recipe.epochs)

    def grow(self, runs: int, epochs: int) -> None:
        """The study has so many more runs than were known, of so many epochs together."""
        self.runs += runs
        self.bar.total = (self.bar.total or 0) + epochs

    def show(self, jobs: Collection[_Job]) -> None:
        """Draw the line while these jobs run."""
        running = sum(len(job.wanted) for job in jobs)
        left = self.runs - self.done - running
        self.bar.set_description_str(
            f"{self.study}: {self.done} runs done, {running} running, {left} left"
        )


def train_missing(
    results_dir: Path,
    trainer: Trainer,
    data_dir: Path | str | None,
    pool: Executor,
    slots: Slots,
    line: ProgressLine,
    planned: Sequence[Planned],
) -> None:
    """Train and record those of the planned runs that have no record."""
    waiting = deque(_jobs(planned, results_dir))
    running: dict[Future[list[Run]], _Job] = {}
    while waiting or running:
        while waiting and len(running) < slots():
            job = waiting.popleft()
            line.show([*running.values(), job])
            call = (job.recipes, job.seed, job.score_test, data_dir)
            running[pool.submit(trainer, *call)] = job
        wait(running, timeout=NEW_WORKERS_SECONDS, return_when=FIRST_COMPLETED)
        # What succeeded is recorded before an error ends everything.
        for future in sorted((future for future in running if future.done()), key=_failed):
            job = running.pop(future)
            for recipe, run in zip(job.recipes, future.result(), strict=True):
                if recipe in job.wanted:
                    with contextlib.suppress(records.RecordExistsError):  # copied here meanwhile
                        records.write(run, job.wanted[recipe])
                    line.finished(recipe)
            del future  # when a worker is lost, Dask trains again whatever somebody still refers to
        line.show(running.values())


def _failed(future: Future[list[Run]]) -> bool:
    return future.cancelled() or future.exception() is not None


def _jobs(planned: Sequence[Planned], results_dir: Path) -> list[_Job]:
    """What is to be trained for the runs that have no record, seed by seed."""
    jobs = []
    rounds = itertools.product(dict.fromkeys(run.seed for run in planned), (False, True))
    for seed, again in rounds:
        paired = [run for run in planned if (run.seed, run.again) == (seed, again)]
        missing = {
            run.recipe: run.path(results_dir) for run in paired if not run.exists(results_dir)
        }
        if not missing:
            continue
        recorded = [run.read(results_dir) for run in paired if run.recipe not in missing]
        jobs += [
            _Job(
                recipes=tuple(group),
                seed=seed,
                score_test=paired[0].purpose == "final",
                wanted={recipe: missing[recipe] for recipe in group if recipe in missing},
            )
            for group in _groups([run.recipe for run in paired], missing, recorded)
        ]
    return jobs


def _groups(
    planned: Sequence[Recipe], missing: Collection[Recipe], recorded: Sequence[Run]
) -> list[Sequence[Recipe]]:
    """Which missing recipes train side by side, so that an interruption changes no digit.

    A stack that was interrupted between two of its records trains again as it was. Groups that the
    plan gives and that miss every member train as planned; whatever else is missing, as after a
    variant was added, is grouped by itself.
    """
    from lenet_keras.stack import group_for_stacking  # brings TensorFlow: seconds, for readers too

    left = set(missing)
    interrupted = dict.fromkeys(run.provenance.stack for run in recorded)
    groups: list[Sequence[Recipe]] = []
    for stack in interrupted:
        if left.intersection(stack):
            groups.append(stack)
            left.difference_update(stack)
    for group in group_for_stacking(planned):
        if left.issuperset(group):
            groups.append(group)
            left.difference_update(group)
    return groups + group_for_stacking([recipe for recipe in planned if recipe in left])


_ONE_AT_A_TIME = threading.Lock()


def train_group(
    recipes: Sequence[Recipe], seed: int, score_test: bool, data_dir: Path | str | None
) -> list[Run]:
    """Train recipes side by side, or a single one by itself, in whatever process this runs.

    The dataset is loaded once a process.

    Args:
        recipes: of one dataset, from one group of `group_for_stacking`.
        seed: of all of them.
        score_test: whether the test set is evaluated.
        data_dir: see `load_data`.

    Returns:
        A run for each recipe, in order.
    """
    from lenet_keras.backend import keras  # here, not above, for the reason given in `_groups`
    from lenet_keras.training import train, train_stack

    # A Dask worker with several threads calls several at once; Keras' random state is one.
    with _ONE_AT_A_TIME:
        keras.utils.clear_session()  # else each training leaves some 10 MB behind
        data = _dataset(recipes[0].dataset, data_dir)
        if len(recipes) == 1:
            return [train(recipes[0], seed, data, score_test=score_test, verbose=0)]
        return train_stack(recipes, seed, data, score_test=score_test, verbose=0)


@functools.lru_cache(maxsize=1)
def _dataset(name: str, data_dir: Path | str | None) -> "Dataset":
    from lenet_keras.data import load_data

    return load_data(name, data_dir)


@dataclass(frozen=True)
class Comparison:
    """A recorded run beside the same run trained again."""

    path: Path
    same_machine: bool  # the record names this machine's kind
    held: bool
    rule: str  # by which it held or did not
    what: str  # the first value that did not hold, else the last that was compared
    recorded: float | str | None
    retrained: float | str | None

    def __str__(self) -> str:
        """One line with both numbers."""
        return (
            f"{self.path}: {'reproduced' if self.held else 'NOT reproduced'} {self.rule}; "
            f"{self.what}: recorded {self.recorded!r}, retrained {self.retrained!r}"
        )


def reproduce(
    results_dir: Path | str,
    sample: int = 3,
    seed: int = 0,
    study: str | None = None,
    *,
    data_dir: Path | str | None = None,
    progress: bool = True,
    trainer: Trainer | None = None,
) -> list[Comparison]:
    """Train recorded runs again and compare their histories; records are only read.

    On the machine kind that the record names (device, instruction set, oneDNN, threads, backend,
    versions, settings) every epoch must come out to the last digit. On another, or where an older
    record does not say all of it, the first epoch should be within 1e-6. But processors
    round some functions otherwise (1 / square root, with which normalisation and some optimizers
    divide), and a step multiplies what it finds of that: there, the run must end as near to the
    record as another seed would, within 0.05 of its validation accuracy. Times are not compared.
    A run that was trained in a stack is trained in the same stack, and with as many threads.

    Args:
        results_dir: folder of the records.
        sample: how many records to draw, see `draw`; all of them if there are fewer.
        seed: of the drawing.
        study: draw from this study's records only.
        data_dir: see `load_data`.
        progress: whether a progress bar is drawn.
        trainer: what trains a group of recipes, `train_group` without it.

    Raises:
        InputError: no record to draw from, or one that cannot be trusted.
    """
    if sample < 1:
        raise InputError(f"sample: found {sample}; at least one record is needed.")
    paths = records.find(Path(results_dir), study)
    if not paths:
        raise InputError(f"{results_dir}: no record{f' of {study}' if study else ''} to reproduce.")
    comparisons = []
    drawn = draw(paths, sample, seed)
    for path, recorded in tqdm(drawn, desc="reproduce", unit="run", disable=not progress):
        group = recorded.provenance.stack or (recorded.recipe,)
        again = _train_with_threads(
            recorded.provenance.threads,
            functools.partial(
                trainer or train_group, group, recorded.seed, recorded.test is not None, data_dir
            ),
        )
        comparisons.append(compare(path, recorded, again[group.index(recorded.recipe)]))
    return comparisons


def draw(paths: Iterable[Path], sample: int, seed: int) -> list[tuple[Path, Run]]:
    """Records drawn by chance without replacement, the dearer a run is to train again, the more
    seldom: its weight is one over the seconds its stack takes (Efraimidis and Spirakis 2006).

    An accelerator's seconds would say little of a processor's, so a network's epoch counts a
    second at the least.
    """
    chance = random.Random(seed)
    order: dict[Path, float] = {}
    runs = {path: records.read(path) for path in sorted(paths)}
    for path, run in runs.items():
        members = max(1, len(run.provenance.stack))
        seconds = members * max(run.provenance.wall_seconds, run.recipe.epochs)
        order[path] = seconds * math.log(1.0 - chance.random())
    drawn = sorted(runs, key=order.__getitem__, reverse=True)[:sample]
    return [(path, runs[path]) for path in sorted(drawn)]


def _train_with_threads(threads: int, train: Callable[[], list[Run]]) -> list[Run]:
    """Train with as many threads as the record had, which decide in what order sums are rounded.

    TensorFlow fixes their number when it starts; any other number needs a process of its own.
    """
    if threads == available_threads():
        return train()
    with environment(LENET_THREADS=str(threads)), open_executor("processes:1") as (pool, _):
        try:
            return pool.submit(train).result()
        except BrokenProcessPool:
            raise InputError(
                f"reproduce: the process that trained with {threads} threads, as the record did, "
                "ended without a word, perhaps for want of memory. Nothing was changed."
            ) from None


# What decides how a run's sums are rounded. An older record lacks some of it, and two processors of
# one name may differ in that.
_MACHINE_KIND = (
    "device",
    "instruction_set",
    "onednn",
    "threads",
    "backend",
    "versions",
    "settings",
)


def compare(path: Path, recorded: Run, retrained: Run) -> Comparison:
    """Compare the histories of one run trained twice, by the rule of `reproduce`."""
    old, new = recorded.provenance, retrained.provenance
    same_machine = all(getattr(old, name) == getattr(new, name) for name in _MACHINE_KIND)

    def history(epochs: int) -> list[tuple[str, Any, Any]]:
        return [
            (
                f"{name}, epoch {i + 1}",
                *(getattr(r.history, name)[i] for r in (recorded, retrained)),
            )
            for i in range(epochs)
            for name in History.model_fields
            if name != "seconds"
        ]

    given = [
        ("dataset_fingerprint", old.dataset_fingerprint, new.dataset_fingerprint),
        ("batches_digest", old.batches_digest, new.batches_digest),
    ]
    lengths = len(recorded.history.loss), len(retrained.history.loss)
    everything = [*given, ("epochs", *lengths), *history(min(lengths))]
    if recorded.test and retrained.test:
        everything.append(("test loss", recorded.test.loss, retrained.test.loss))
        everything.append(("test accuracy", recorded.test.accuracy, retrained.test.accuracy))
    different = [value for value in everything if value[1] != value[2]]
    if not different:
        return Comparison(path, same_machine, True, "to the last digit", *everything[-1])
    if same_machine or different[0] in given:
        return Comparison(path, same_machine, False, "to the last digit", *different[0])
    first = history(1)
    if all(before == after or _close(before, after) for _, before, after in first):
        return Comparison(path, False, True, "within 1e-6 after the first epoch", *first[-1])
    ends = recorded.validation.accuracy, retrained.validation.accuracy
    alike = abs(ends[0] - ends[1]) <= BETWEEN_SEEDS
    rule = "as nearly as another seed would be, for roundings differ here"
    return Comparison(path, False, alike, rule, "validation accuracy", *ends)


def _close(a: object, b: object) -> bool:
    numbers = isinstance(a, float) and isinstance(b, float)
    return numbers and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)  # type: ignore[arg-type]
