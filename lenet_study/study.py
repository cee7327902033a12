"""A technique file and its plan: which runs there are, and their tidy table.

    study = Study.from_yaml(Path("configs/optimization.yaml"))
    runs = study.table(Path("results"))

A study first trains every variant at every learning rate of its grid with seeds of their own, never
looking at the test set, and then trains each variant at its best rate with the paired seeds
0, 1, 2, … Whatever the records hold already is not trained again.

Where the file asks for it, a grid whose best rate is at its edge grows until it is not, the rate is
chosen between the grid's rates, and the variants are the cells of a design (see `factorial.py`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
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

from lenet_keras.recipe import (
    DatasetName,
    InputError,
    Recipe,
    describe_faults,
    make_recipe,
    nearest,
    read_yaml,
)
from lenet_keras.run import Run
from lenet_study import records
from lenet_study.factorial import ENTRIES, Design, expanded
from lenet_study.records import AGAIN, Location, Purpose
from lenet_study.stats import LEARNED

AT_THE_TOP = ("dataset", "epochs", "seeds")  # one value for all variants
OF_A_VARIANT = ("learning_rates", "epochs", "seeds", "year")  # what is no field of its recipe
SIZES = ("epochs", "seeds")  # which a ladder's rungs may have of their own
MOST_ADDED = 4  # rates to a grid, so that one that no rate suits comes to an end
QUICK: Mapping[str, Any] = {"seeds": 2, "epochs": 2, "dataset": "digits"}  # a rehearsal of seconds
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
    # Of a ladder's rungs only: at most so many from there on, where a rung is dear.
    seeds: Annotated[StrictInt, Field(ge=2)] | None = None
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
    paired: bool = True  # by seed; False where the variants' first weights differ
    ladder: bool = False  # every variant changes the one before it, not the base
    in_summary: bool = True  # whether the summary has it, and `make study` trains it unasked
    design: Design | None = None  # of which the variants are the cells, see `factorial.expanded`
    baseline: str  # the variant that differences are measured against
    variants: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")], Variant] = (
        Field(min_length=1)
    )
    quick: tuple[str, ...] = ()  # the variants of a quick rehearsal, beside the baseline
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
        sizes = [(n, s) for n, v in self.variants.items() for s in SIZES if getattr(v, s)]
        for name, size in () if self.ladder else sizes:
            raise ValueError(
                f"variants.{name}: '{size}' does not belong here: it is the same for all variants"
            )
        for entry, names in (("twice", self.twice), ("quick", self.quick)):
            for name in names:
                if name not in self.variants:
                    near = nearest(name, list(self.variants))
                    raise ValueError(f"{entry}: no variant '{name}'.{near}")
        if named := [name for name in self.variants if name.endswith(AGAIN)]:
            raise ValueError(
                f"variants.{named[0]}: '{AGAIN}' ends the names of recipes trained twice, see "
                "'twice'; call it otherwise"
            )
        if len(set(self.twice)) < len(self.twice):
            raise ValueError("twice: a variant is given twice")
        same: dict[Recipe, str] = {}
        for variant in self.variants:
            recipe = self.recipe(variant, 1.0)
            if recipe in same:
                raise ValueError(f"variants: '{same[recipe]}' and '{variant}' are the same recipe")
            same[recipe] = variant
            if not recipe.validates and (len(self.grid(variant)) > 1 or self.in_summary):
                raise ValueError(
                    f"variants.{variant}: train_on '{recipe.train_on}' leaves no images to choose "
                    "by; give a single learning rate that was found without, and say in_summary: "
                    "false"
                )
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
            names = [name for name in cls.model_fields if name not in ("name", "design")]
            known = {"": [*names, *ENTRIES], "tuning": list(Tuning.model_fields)}
            faults = describe_faults(error, known, "entry").replace("  design.", "  ")
            raise InputError(f"{where}: this is not a valid study.\n{faults}") from None

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
        if epochs == self.epochs:
            return resized
        tuning = self.tuning.model_copy(update={"epochs": min(epochs, self.tuning.epochs)})
        return resized.model_copy(update={"tuning": tuning})

    def quickly(self) -> tuple["Study", list[str]]:
        """A rehearsal of seconds: this study at the size of `QUICK`, and the variants to train.

        Those are the baseline and the two that the file names as `quick`, or else its first two
        others. Grids do not grow and nothing is trained twice. A design or a ladder says nothing
        without all its variants: it keeps its size, so that they are read from the records, and
        takes fewer seeds.
        """
        if self.design or self.ladder:
            return self.resized(seeds=QUICK["seeds"]), list(self.variants)
        study = self.resized(**QUICK)
        tuning = study.tuning.model_copy(update={"interior": False})
        study = study.model_copy(update={"tuning": tuning, "twice": ()})
        others = self.quick or [name for name in self.variants if name != self.baseline]
        return study, study.chosen([self.baseline, *others[:2]])

    def grid(
        self, variant: str, results_dir: Path | str | None = None, most_added: int = MOST_ADDED
    ) -> Grid:
        """The learning rates that a variant is tuned over, ascending.

        An interior grid grows while its best rate is at its edge. A variant that learns at none of
        its rates, as one whose first weights are all zero, keeps them: there is no best one.

        Args:
            variant: its name.
            results_dir: folder of the records, which may say that an interior grid has to grow; as
                the technique file gives it without.
            most_added: by how many rates it may grow.

        Raises:
            InputError: a record that cannot be trusted.
        """
        given = [v.learning_rates for v in self._steps_to(variant) if v.learning_rates]
        grid = start = given[-1] if given else self.tuning.learning_rates
        if results_dir is None or not self.tuning.interior or len(start) == 1:
            return grid
        while len(grid) < len(start) + most_added:
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
        planned = self.tuning_runs([variant], {variant: grid})
        found = [run.location.found(Path(results_dir)) for run in planned]
        accuracies = [records.validation(path) for path in found if path]
        if len(accuracies) < len(planned):
            return {}
        by_rate: dict[float, list[float]] = {rate: [] for rate in grid}
        for run, accuracy in zip(planned, accuracies, strict=True):
            by_rate[run.recipe.learning_rate].append(accuracy)
        return {rate: float(np.mean(values)) for rate, values in by_rate.items()}

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

    def seeds_of(self, variant: str) -> int:
        """How many seeds a variant's final runs have: the study's, or a ladder's rung's own."""
        return min([self.seeds, *(step.seeds for step in self._steps_to(variant) if step.seeds)])

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
                + (f"; at {' and '.join(failed)} nothing was learned" if failed else "")
            )
        return sentences

    def learning_rates(
        self, results_dir: Path | str, variants: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Each variant's chosen learning rate; a variant whose tuning is not done is left out.

        The rate with the highest validation accuracy at the end of tuning, mean over the tuning
        seeds; a rate at which a run diverged comes last; of equals the smaller. Of a smoothed
        tuning, what `smoothed` makes of the grid. A design's cell that learns at no rate is left
        out too, as effects cannot be computed from it.

        Raises:
            InputError: a record that cannot be trusted.
        """
        chosen = {}
        for variant in self.chosen(variants):
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
            runs come first, then those trained again, then tuning runs. Older runs of a variant
            that has changed since, or of another rehearsal, are not in it.

        Raises:
            InputError: a record that cannot be trusted.
        """
        study = self.resized(seeds, epochs, dataset)
        return study._in_order(records.table_of(*study._places(results_dir, variants)))

    def epoch_table(
        self,
        results_dir: Path | str,
        seeds: int | None = None,
        epochs: int | None = None,
        dataset: str | None = None,
        *,
        variants: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """The epoch table (see `records.epoch_table_of`) of the same runs as `table`."""
        study = self.resized(seeds, epochs, dataset)
        return study._in_order(records.epoch_table_of(*study._places(results_dir, variants)))

    def recorded(self, results_dir: Path | str, variants: Sequence[str] | None) -> list["Planned"]:
        """Those of the study's runs that have a record; of all variants where none is named."""
        rates = self.learning_rates(results_dir, variants)
        names = self.chosen(variants)
        planned = self.final_runs(rates) + self.tuning_runs(names, self.grids(names, results_dir))
        return [run for run in planned if run.exists(results_dir)]

    def _places(
        self, results_dir: Path | str, variants: Sequence[str] | None
    ) -> tuple[list[Path], list[Location]]:
        """Where the recorded runs lie and what this study calls them."""
        recorded = self.recorded(results_dir, variants)
        return [run.path(results_dir) for run in recorded], [run.location for run in recorded]

    def _in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        order = [*self.variants, *self.trained_twice(self.variants).values()]
        return table.assign(variant=pd.Categorical(table["variant"], order))

    def chosen(self, variants: Sequence[str] | None) -> list[str]:
        """The variants of these names, or all, in the technique file's order."""
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
        names = self.chosen(variants)
        finals = sum(self.seeds_of(name) for name in [*names, *self.trained_twice(names)])
        return len(self.tuning_runs(names, self.grids(names, results_dir))) + finals

    def grids(
        self,
        variants: Iterable[str],
        results_dir: Path | str | None,
        most_added: int = MOST_ADDED,
    ) -> dict[str, Grid]:
        """The grid of each of the variants."""
        return {variant: self.grid(variant, results_dir, most_added) for variant in variants}

    def trained_twice(self, variants: Iterable[str]) -> dict[str, str]:
        """What those of the variants that train twice are called the second time."""
        return {name: f"{name}{AGAIN}" for name in variants if name in self.twice}

    def tuning_runs(
        self, variants: Sequence[str], grids: Mapping[str, Grid] | None = None
    ) -> list["Planned"]:
        """The tuning runs over these grids; over those of the technique file without."""
        grids = self.grids(variants, None) if grids is None else grids
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

    def final_runs(
        self, learning_rates: Mapping[str, float], seeds: Sequence[int] | None = None
    ) -> list["Planned"]:
        """The final runs of these variants, each at its learning rate; then those trained twice.

        With the study's seeds; or with others, and nothing trained twice.

        Raises:
            InputError: one of the others has chosen the learning rates.
        """
        if taken := sorted({*(seeds or ())} & {*self.tuning.seeds}):
            raise InputError(
                f"{self.name}: seed {taken[0]} has chosen the learning rates, and says nothing new "
                "of them. Take other seeds."
            )
        recipes = {name: self.recipe(name, rate) for name, rate in learning_rates.items()}
        again = self.trained_twice(learning_rates) if seeds is None else {}
        return [
            Planned(self.name, "final", variant, recipe, seed)
            for variant, recipe in recipes.items()
            for seed in (range(self.seeds_of(variant)) if seeds is None else seeds)
        ] + [
            Planned(self.name, "again", variant, recipes[name], seed)
            for name, variant in again.items()
            for seed in range(self.seeds_of(name))
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


@dataclass(frozen=True)
class Planned:
    """A run that a study needs, whether it is recorded or not."""

    study: str
    purpose: Purpose
    variant: str
    recipe: Recipe
    seed: int

    @property
    def location(self) -> Location:
        """What it is called."""
        return Location(self.study, self.purpose, self.variant, self.recipe.key, self.seed)

    def path(self, results_dir: Path | str) -> Path:
        """Where its record lies, which may be another study's, or will lie."""
        folder = Path(results_dir)
        return self.location.found(folder) or self.location.path(folder)

    def exists(self, results_dir: Path | str) -> bool:
        """Whether there is a record."""
        return self.location.found(Path(results_dir)) is not None

    def read(self, results_dir: Path | str) -> Run:
        """Its record."""
        return records.read(self.path(results_dir))
