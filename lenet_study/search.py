"""Looks for the best recipe: many for a few epochs, the better ones for longer.

    search = Search.from_yaml(Path("configs/search.yaml"))
    trials = search.run(Path("results"))
    recipe = search.winner(Path("results"))

Recipes are drawn at random (Bergstra & Bengio 2012) and pass through stages; the best of a stage on
validation images are trained anew for the next one's epochs (successive halving, Jamieson &
Talwalkar 2016). The test set is never scored. Recipes of one family train side by side.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, model_validator

from lenet_keras.recipe import (
    DatasetName,
    InputError,
    Recipe,
    describe_faults,
    make_recipe,
    read_yaml,
)
from lenet_study import records
from lenet_study.runner import ProgressLine, Trainer, trained_alone
from lenet_study.stats import LEARNED
from lenet_study.study import Planned

Count = Annotated[StrictInt, Field(ge=1)]
MOST_DRAWS = 100  # for each recipe, until the space counts as too small
DIGITS = 3  # significant ones of a drawn number: a recipe that a person can type


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Frozen):
    """Numbers drawn so that every factor is as likely as its inverse: uniform in the logarithm."""

    low: float = Field(gt=0, allow_inf_nan=False)
    high: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ascending(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        return self


class Stage(_Frozen):
    """How many recipes are trained, for how long, and with which seeds."""

    recipes: Annotated[Count, Field(le=1000)]  # a search draws 100 times as often at most
    epochs: Count
    seeds: Annotated[tuple[Annotated[StrictInt, Field(ge=0)], ...], Field(min_length=1)]


class Search(_Frozen):
    """A space of recipes and a budget, as a search file gives them."""

    name: str
    title: str
    question: str
    dataset: DatasetName = "cifar10"
    base: dict[str, Any] = {}  # fields of every recipe
    # What each recipe draws for itself.
    members: dict[str, Range | Annotated[list[Any], Field(min_length=1)]] = Field(min_length=1)
    # Fields that a family's recipes have in common, and ranges of its own instead of the members'.
    families: dict[str, dict[str, Range | Any]] = Field(min_length=1)
    drawing_seed: Annotated[StrictInt, Field(ge=0)] = 0
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _stages_narrow(self) -> "Search":
        sizes = [stage.recipes for stage in self.stages]
        if sizes != sorted(sizes, reverse=True):
            raise ValueError(f"stages: {sizes} recipes; a stage cannot have more than the last")
        for stage in self.stages:
            if len(set(stage.seeds)) < len(stage.seeds):
                raise ValueError(f"stages: {list(stage.seeds)}: a seed is given twice")
        return self

    @classmethod
    def from_yaml(cls, path: Path | str) -> "Search":
        """The search of a file, named after the file's stem.

        Raises:
            InputError: the file cannot be read, or something in it is unknown, missing or not
                allowed.
        """
        path = Path(path)
        content = {str(name): value for name, value in read_yaml(path).items()}
        if "name" in content:
            raise InputError(f"{path}: name: a search is called after its file; remove this line.")
        try:
            search = cls(**{**content, "name": path.stem})
        except ValidationError as error:
            names = [name for name in cls.model_fields if name != "name"]
            ends = list(Range.model_fields)
            known = {"": names, "members": ends, "families": ends}
            known["stages"] = list(Stage.model_fields)
            faults = describe_faults(error, known, "entry")
            raise InputError(f"{path}: this is not a valid search.\n{faults}") from None
        try:  # so that a fault in a recipe is told before anything is trained
            search.candidates()
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        return search

    def candidates(self) -> list[Recipe]:
        """The first stage's recipes, always the same; families take turns.

        Raises:
            InputError: a field is unknown or a value is not allowed.
        """
        return list(self._drawn())

    def _drawn(self) -> dict[Recipe, str]:
        """The first stage's recipes, and the family of each."""
        random = np.random.default_rng(self.drawing_seed)
        families = list(self.families.items())
        drawn: dict[Recipe, str] = {}
        wanted = self.stages[0].recipes
        for turn in range(wanted * MOST_DRAWS):
            if len(drawn) == wanted:
                return drawn
            name, family = families[turn % len(families)]
            fields = {
                field: _draw(values, random) if field in self.members else values
                for field, values in {**self.members, **self.base, **family}.items()
            }
            fields |= {"dataset": self.dataset, "epochs": self.stages[0].epochs}
            recipe = make_recipe(fields, where=f"families.{name} of the search")
            if not recipe.validates:
                raise InputError(
                    f"families.{name}: train_on '{recipe.train_on}' leaves no images to choose by; "
                    "search without, and train what was found on all images."
                )
            drawn.setdefault(recipe, name)
        raise InputError(
            f"stages: the first asks for {wanted} recipes, the space seems to hold {len(drawn)}: "
            "widen what `members` draws, or ask for fewer."
        )

    def run(
        self,
        results_dir: Path | str,
        *,
        executor: str = "local",
        data_dir: Path | str | None = None,
        progress: bool = True,
        trainer: Trainer | None = None,
    ) -> pd.DataFrame:
        """Train what the records lack, stage after stage, and give the table of all trials.

        Arguments and errors are those of `run_study`; so is what an interruption costs.

        Returns:
            See `table`.
        """
        results_dir = Path(results_dir)
        for number, stage in enumerate(self.stages):
            planned = self._planned(results_dir, number)
            recorded = [run for run in planned if run.exists(results_dir)]
            if len(recorded) < len(planned):
                line = ProgressLine(
                    f"{self.name}, stage {number + 1} of {len(self.stages)}",
                    runs=len(planned),
                    epochs=len(planned) * stage.epochs,
                    recorded=recorded,
                    shown=progress,
                )
                where = (results_dir, self.name, self.dataset, executor, data_dir, trainer)
                with line, trained_alone(*where, line) as train:
                    train(planned)
            self._best(results_dir, number, least=0.0)  # refuses to go on where all diverged
        return self.table(results_dir)

    def _planned(self, results_dir: Path, number: int) -> list[Planned]:
        """The runs of a stage; those of a later one need all records of the stage before."""
        stage = self.stages[number]
        if number == 0:
            recipes = self.candidates()
        else:
            ranked = self._ranked(results_dir, number - 1)
            recipes = [recipe.replace(epochs=stage.epochs) for recipe in ranked[: stage.recipes]]
        return [
            Planned(self.name, "tuning", f"stage-{number + 1}", recipe, seed)
            for seed in stage.seeds
            for recipe in recipes
        ]

    def _ranked(self, results_dir: Path, number: int) -> list[Recipe]:
        """The recipes of a stage, best first."""
        accuracy = self._accuracy(results_dir, number)
        return sorted(accuracy, key=lambda recipe: (-accuracy[recipe], recipe.key))

    def _accuracy(self, results_dir: Path, number: int) -> dict[Recipe, float]:
        """What each recipe of a stage is worth: validation accuracy at the end, mean over seeds;
        a run that diverged counts as -1."""
        accuracy: dict[Recipe, list[float]] = {}
        for planned in self._planned(results_dir, number):
            run = planned.read(results_dir)
            worth = run.validation.accuracy if run.status != "diverged" else -1.0
            accuracy.setdefault(planned.recipe, []).append(worth)
        return {recipe: float(np.mean(values)) for recipe, values in accuracy.items()}

    def _best(self, results_dir: Path, number: int, least: float) -> Recipe:
        """The best recipe of a stage.

        Raises:
            InputError: it is worth less than the `least`, and so is any other.
        """
        best = self._ranked(results_dir, number)[0]
        if self._accuracy(results_dir, number)[best] < least:
            raise InputError(
                f"{self.name}: none of the {self.stages[number].recipes} recipes of stage "
                f"{number + 1} learns: every run diverged or stayed at chance. They are recorded; "
                "give `members` or the families other ranges, learning rates above all."
            )
        return best

    def winner(self, results_dir: Path | str) -> Recipe:
        """The best recipe of the last stage.

        Raises:
            InputError: the search is not completely recorded, a record cannot be trusted, or no
                recipe learns.
        """
        return self._best(Path(results_dir), len(self.stages) - 1, LEARNED)

    def table(self, results_dir: Path | str) -> pd.DataFrame:
        """Every recorded trial, in the order in which the search takes them.

        Returns:
            The columns of `records.table`, and `stage` (1-based), `family`, `trial` (the key of the
            recipe in the first stage: the same in all stages) and `spent` (epochs of all trials up
            to and with this one, those of their teachers included).

        Raises:
            InputError: a record that cannot be trusted.
        """
        trials: list[Planned] = []
        stages: list[int] = []
        for number in range(len(self.stages)):
            planned = self._planned(Path(results_dir), number)
            recorded = [run for run in planned if run.exists(results_dir)]
            trials += recorded
            stages += [number + 1] * len(recorded)
            if len(recorded) < len(planned):
                break
        table = records.table_of(
            [run.path(results_dir) for run in trials], [run.location for run in trials]
        )
        drawn = [run.recipe.replace(epochs=self.stages[0].epochs) for run in trials]
        families = self._drawn()
        taught = table["teachers"] * table["teacher_epochs"] / table["stack_size"]
        return table.assign(
            stage=stages,
            family=[families[recipe] for recipe in drawn],
            trial=[recipe.key for recipe in drawn],
            spent=(table["epochs_run"] + taught).cumsum(),
        )


def _draw(values: Any, random: np.random.Generator) -> Any:
    """One value of a range or a list; what is neither is the value itself."""
    if isinstance(values, Range):
        number = np.exp(random.uniform(np.log(values.low), np.log(values.high)))
        return float(f"{number:.{DIGITS}g}")
    return values[int(random.integers(len(values)))] if isinstance(values, list) else values
