"""Several techniques at once: two-level factors, a fraction of their combinations, its cells.

Letters are factors, as in textbooks (Box, Hunter & Hunter 2005, "Statistics for Experimenters",
chapters 5 and 6). A cell is called after the factors that are at their second level in it, in
small letters: `abg` has the techniques A, B and G, `none` has none of them.

With k factors in 2^(k - p) cells, p factors are generated: G = ABCD says that G is at its second
level where the product of the signs of A, B, C and D is +1. Then ABCDG is +1 in every cell, a word
of the defining relation; the shortest word's length is the design's resolution. From V on no main
effect and no effect of two factors is confounded with another of these.
"""

import functools
import itertools
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lenet_keras.recipe import Recipe, nearest

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
