"""How every command answers a person: a message and an exit code; and paths as they type them."""

import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lenet_keras import check_environment
from lenet_keras.recipe import InputError, expanded
from lenet_study.files import remedy
from lenet_study.process import prepare


class Failed(click.ClickException):
    """The computer could not do it, or a result is not what it was: exit code 1."""


class Refused(click.ClickException):
    """The person can put it right: exit code 2, as for click's own usage errors."""

    exit_code = 2


class Interrupted(click.ClickException):
    """Ctrl-C: exit code 130, as shells give it."""

    exit_code = 130


class _Helpful(click.Command):
    """Prints its help, or says why it cannot."""

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Read what a person typed; `--help` prints, perhaps into a file on a full disk."""
        try:
            return super().make_context(*arguments, **settings)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failed(f"{error.strerror}. {remedy(error)} first.") from None


class Commands(_Helpful, click.Group):
    """A command of commands."""


class Command(_Helpful):
    """Answers with a message and an exit code where Python would print a traceback.

    Args:
        stopped: what a person who stopped the command, or whose disk is full, finds and can do.
    """

    def __init__(self, *arguments: Any, stopped: str, **settings: Any) -> None:
        """Settings as click's."""
        super().__init__(*arguments, **settings)
        self.stopped = stopped

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function."""
        try:
            prepare()
            check_environment()
            if isinstance(sys.stdout, io.TextIOWrapper):  # which may not know a file's letters
                sys.stdout.reconfigure(errors="backslashreplace")
            if self.name not in ("notebooks", "everything"):  # whose kernels would inherit it
                os.environ["MPLBACKEND"] = "Agg"  # Keras imports matplotlib, which may refuse it
            return super().invoke(ctx)
        except InputError as error:
            raise Refused(str(error)) from None
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted. {self.stopped}") from None
        except BrokenPipeError:  # the reader of our output left, as in `| head`; click ends quietly
            raise
        except OSError as error:
            if error.errno is None:  # no answer of the operating system but a library's own mistake
                raise
            place = f"{error.filename}: " if error.filename else ""
            raise Failed(
                f"{place}{error.strerror}. {self.stopped} {remedy(error)} or name another folder "
                "first."
            ) from None


class _Path(click.Path):
    """A path as people type it: `~` is their home, also behind `=`, where shells leave it alone."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, without a `~`."""
        if not str(value):  # a shell's variable that is not set; a Path would be this folder
            self.fail("the path is empty", param, ctx)
        try:
            return super().convert(expanded(value), param, ctx)
        except InputError as error:
            self.fail(str(error), param, ctx)


PATH = _Path(path_type=Path)
EXISTING = _Path(exists=True, path_type=Path)  # a mistyped folder must start no download


LARGEST_SEED = 2**28 - 1  # of each, `lenet_keras.pipeline` makes eight 32-bit integers


class SeedsType(click.ParamType):
    """How many seeds, as 5 for 0 to 4; or from which to which, as 7..9 for 7, 8 and 9."""

    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | range:
        """An int of 2 or more, or a range of one seed or more."""
        if not isinstance(value, str):
            return value
        if ".." not in value:
            return int(click.IntRange(2)(value, param, ctx))
        ends = re.fullmatch(r"(\d+)\.\.(\d+)", value.strip(), re.ASCII)
        if not ends:
            self.fail(f"found {value!r}; expected a first and a last seed, as 7..9.", param, ctx)
        first, last = map(int, ends.groups())
        if last < first:
            self.fail(f"found {value}; the first seed comes first, as {last}..{first}.", param, ctx)
        if last > LARGEST_SEED:
            self.fail(f"found {value}; the largest seed is {LARGEST_SEED}.", param, ctx)
        return range(first, last + 1)


Maker = Callable[..., click.Parameter]  # told the name of a function's parameter and its default


def option(flags: str, help: str | None = None, **settings: Any) -> Maker:
    """An option of these flags, as "-o --out"; `settings` are click's."""
    return lambda name, **default: click.Option(
        [*flags.split(), name], help=help, show_default=True, **settings, **default
    )


def argument(**settings: Any) -> Maker:
    """An argument; `settings` are click's."""
    return lambda name, **default: click.Argument([name], **settings, **default)


def several(flag: str, help: str, **settings: Any) -> Maker:
    """An option that may be repeated."""
    return option(flag, f"{help}; repeat it for several.", multiple=True, **settings)


def folder(flags: str, help: str, kind: Any = PATH) -> Maker:
    """An option that takes a folder."""
    return option(flags, help, type=kind, metavar="DIR")


def number(flag: str, low: int, help: str | None = None, high: int | None = None) -> Maker:
    """An option that takes a whole number from `low` to `high`."""
    return option(flag, help, type=click.IntRange(low, high))
