"""The command line over all of it: one run, a study, its records, the notebooks, everything.

What a person typed is checked before TensorFlow is imported, so that a slip is answered at once;
for the same reason the commands import the rooms below them only where they need them.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from lenet_keras.recipe import DatasetName, InputError, Recipe, nearest, read_recipe, read_yaml

if TYPE_CHECKING:
    import pandas as pd

    from lenet_keras.data import Dataset
    from lenet_keras.run import Run, Scores
    from lenet_study.study import Study
    from lenet_study.summary import Overview

MODEL, RECORD, CURVES, CONFUSION = "model.keras", "run.json", "curves.png", "confusion.png"
BASELINE = Path("configs/baseline.yaml")
TECHNIQUES, NOTEBOOKS = Path("configs"), Path("notebooks")
RESULTS, FIGURES, README = Path("results"), Path("figures"), Path("README.md")
CITATION = Path("CITATION.cff")
VERIFIED = 3  # records that are trained again where no run was lacking
LARGEST_SEED = 2**31 - 1  # that TensorFlow takes as a 32-bit integer
AGREEMENT = 1e-6  # largest difference between a recorded score and the same score computed again


class _Failed(click.ClickException):
    """The computer could not do it, or a result is not what it was: exit code 1."""


class _Refused(click.ClickException):
    """The person can put it right: exit code 2, as for click's own usage errors."""

    exit_code = 2


class _Interrupted(click.ClickException):
    """Ctrl-C: exit code 130, as shells give it."""

    exit_code = 130


class _Command(click.Command):
    """Answers with a message and an exit code where Python would print a traceback.

    Args:
        stopped: what a person who stopped the command, or whose disk is full, finds and can do.
    """

    def __init__(self, *arguments: Any, stopped: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.stopped = stopped

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise _Refused(str(error)) from None
        except KeyboardInterrupt:
            raise _Interrupted(f"interrupted. {self.stopped}") from None
        except BrokenPipeError:  # the reader of our output left, as in `| head`; click ends quietly
            raise
        except OSError as error:
            if error.errno is None:  # no answer of the operating system but a library's own mistake
                raise
            place = f"{error.filename}: " if error.filename else ""
            raise _Failed(
                f"{place}{error.strerror}. {self.stopped} Make room or name another folder first."
            ) from None


_data_dir = click.option(
    "--data-dir",
    type=click.Path(exists=True, path_type=Path),  # a slip must not start a download
    metavar="DIR",
    help="Where CIFAR-10 lies; else LENET_DATA says it.",
)
_results = click.option(
    "--results",
    type=Path,
    default=RESULTS,
    show_default=True,
    metavar="DIR",
    help="Folder of the records.",
)
_dataset = click.option(
    "--dataset",
    type=click.Choice([*get_args(DatasetName), "auto"]),
    help="Instead of the file's; auto: CIFAR-10 where it can be had, else the digits.",
)


@click.group()
def main() -> None:
    """What each modern technique adds to LeNet-5 on CIFAR-10, with evidence."""


@main.command(cls=_Command, stopped="Nothing was written. The same command begins again.")
@click.argument("config", type=Path, required=False)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the recipe; repeat it for several.",
)
@click.option("--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), help="The same as --set epochs=…")
@click.option(
    "--out",
    type=Path,
    metavar="DIR",
    help="Folder of the run; by default runs/<config>-<key of the recipe>-seed-<seed>.",
)
@_data_dir
@_dataset
@click.option("--overwrite", is_flag=True, help="Replace the run that --out holds, at the end.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
@click.option("--tensorboard", type=Path, metavar="DIR", help="Write TensorBoard's logs there.")
def train(
    config: Path | None,
    assignments: tuple[str, ...],
    seed: int,
    epochs: int | None,
    out: Path | None,
    data_dir: Path | None,
    dataset: str | None,
    overwrite: bool,
    quiet: bool,
    tensorboard: Path | None,
) -> None:
    """Train one network; write its model, its record and its curves.

    CONFIG is a YAML file of recipe fields: configs/baseline.yaml where there is one, else the same
    recipe as built in.
    """
    if config is None and BASELINE.is_file():
        config = BASELINE
    recipe = _recipe(config, assignments, epochs, dataset)
    if out:
        _refuse_if_taken(out, overwrite, tensorboard)

    data = _data(dataset or recipe.dataset, data_dir, quiet)
    recipe = recipe.replace(dataset=data.name)
    if not out:
        out = Path("runs") / f"{config.stem if config else 'baseline'}-{recipe.key}-seed-{seed}"
        _refuse_if_taken(out, overwrite, tensorboard)

    from lenet_keras import model, training
    from lenet_study import records

    fit = training.train
    if training.beyond_keras(recipe):
        from lenet_study.training import train_alone as fit
    network = model.lenet5(recipe, seed)
    run = fit(recipe, seed, data, model=network, verbose=0 if quiet else 1, tensorboard=tensorboard)
    try:
        with _whole_folder(out, overwrite) as folder:
            network.save(folder / MODEL)
            records.write(run, folder / RECORD)
            _draw_curves(run, folder / CURVES)
    except (InputError, OSError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise _Failed(
            f"{out}: the run cannot be written ({reason}). No half of it was left. "
            "Make room or name another folder with --out, then train again."
        ) from None

    if run.status == "diverged":
        click.echo(f"The run diverged in epoch {len(run.history.loss)}: its loss is not finite.")
    assert run.test is not None  # only tuning runs have no test score
    for name, scores in (("Test", run.test), ("Validation", run.validation)):
        click.echo(f"{name + ' accuracy':<20}{_percent(scores.accuracy)}")
    for name, file in (("Model", MODEL), ("Record", RECORD), ("Curves", CURVES)):
        click.echo(f"{name:<20}{out / file}")


@main.command(cls=_Command, stopped="The run is as it was. The same command begins again.")
@click.argument("run_dir", type=Path)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@_data_dir
def evaluate(run_dir: Path, as_json: bool, data_dir: Path | None) -> None:
    """Score the model in RUN_DIR on the test set again and compare with its record.

    Prints accuracy, loss, calibration error and a table of the classes, and draws the confusion
    matrix into RUN_DIR. Ends with exit code 1 if accuracy or loss are not as recorded.
    """
    for name in (RECORD, MODEL):
        if not (run_dir / name).is_file():
            raise InputError(
                f"{run_dir}: holds no {name}. Name a folder that train.py wrote; it holds "
                f"{MODEL} and {RECORD}."
            )

    from lenet_keras.data import load_data
    from lenet_study import records

    run = records.read(run_dir / RECORD)
    data = load_data(run.recipe.dataset, data_dir, progress=not as_json)
    if data.fingerprint != run.provenance.dataset_fingerprint:
        raise InputError(
            f"{run_dir / RECORD}: the run saw another {data.name} (fingerprint "
            f"{run.provenance.dataset_fingerprint}) than there is here ({data.fingerprint}), so "
            "its scores cannot be compared. Train it again with this version."
        )

    from lenet_keras import evaluation

    network = _read_model(run_dir / MODEL, len(data.class_names))
    logits = evaluation.predict(network, data.test, data)
    scores = evaluation.score(logits, data.test.labels)
    matrix = evaluation.confusion(logits, data.test.labels, len(data.class_names))
    classes = _class_table(matrix, data.class_names)
    _draw_confusion(matrix, run, run_dir / CONFUSION)

    differences = _differences(scores, run.test)
    if as_json:
        answer = {
            "run": str(run_dir),
            "dataset": data.name,
            "seed": run.seed,
            "test": scores.model_dump(),
            "recorded": run.test.model_dump() if run.test else None,
            "as_recorded": not differences,
            "classes": classes.to_dict(orient="index"),
            "confusion_matrix": matrix,
            "figure": str(run_dir / CONFUSION),
        }
        click.echo(json.dumps(answer, indent=2))
    else:
        click.echo(f"{len(data.test)} test images of {data.name}, seed {run.seed}")
        click.echo(f"{'Accuracy':<20}{_percent(scores.accuracy)}")
        click.echo(f"{'Loss (nats)':<20}{_number(scores.loss)}")
        click.echo(f"{'Calibration error':<20}{_percent(scores.calibration_error)}")
        if not differences:
            click.echo("Accuracy and loss are as recorded.")
        shares = classes[["accuracy", "precision"]].map(_percent)
        click.echo(f"\n{classes.assign(**shares).to_string()}\n")
        click.echo(f"{'Confusion matrix':<20}{run_dir / CONFUSION}")
    if differences:
        raise _Failed(f"{run_dir}: not as recorded: {'; '.join(differences)}.")


@main.command(
    cls=_Command,
    stopped="Finished runs are recorded; the same command goes on where this one ended.",
)
@click.argument("file", type=Path)
@click.option("--seeds", type=click.IntRange(min=2), help="Instead of the file's; 0 to N - 1.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the file's.")
@click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="WHO",
    help="Who trains: local, processes:N or dask://host:port.",
)
@_results
@_dataset
@_data_dir
@click.option("--variants", metavar="A,B,…", help="Only these; the file's names.")
@click.option("--quiet", is_flag=True, help="No progress line.")
def study(
    file: Path,
    seeds: int | None,
    epochs: int | None,
    executor: str,
    results: Path,
    dataset: str | None,
    data_dir: Path | None,
    variants: str | None,
    quiet: bool,
) -> None:
    """Train what the records lack of the technique in FILE, and compare its variants."""
    from lenet_study.runner import run_study
    from lenet_study.study import Study

    chosen = [name.strip() for name in variants.split(",")] if variants else None
    plan = Study.from_yaml(file).resized(seeds, epochs, None if dataset == "auto" else dataset)
    if dataset == "auto":
        plan = plan.resized(dataset=_data("auto", data_dir, quiet).name)
    else:
        click.echo(f"Dataset: {plan.dataset}")
    runs = run_study(
        plan, results, executor=executor, data_dir=data_dir, variants=chosen, progress=not quiet
    )
    click.echo(f"{plan.title}: {plan.question}\n")
    click.echo(_comparison(runs[runs["purpose"] == "final"], plan.baseline).to_string(index=False))
    if chosen:
        click.echo("\np is corrected for the variants shown; the technique may have more.")
    if grown := plan.edges(results):
        click.echo("\n" + "\n".join(grown))
    click.echo(f"\n{'Records':<20}{results / plan.name}")


@main.command(
    cls=_Command,
    stopped="Finished runs are recorded; the same command goes on where this one ended.",
)
@click.argument("file", type=Path)
@click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="WHO",
    help="Who trains: local, processes:N or dask://host:port.",
)
@_results
@_data_dir
@click.option("--quiet", is_flag=True, help="No progress line.")
def search(file: Path, executor: str, results: Path, data_dir: Path | None, quiet: bool) -> None:
    """Look for the best recipe in the space of FILE, on validation images, and print it."""
    import yaml

    from lenet_study.search import Search

    plan = Search.from_yaml(file)
    click.echo(f"Dataset: {plan.dataset}")
    trials = plan.run(results, executor=executor, data_dir=data_dir, progress=not quiet)
    winner = plan.winner(results)
    last = trials[(trials["stage"] == len(plan.stages)) & (trials["key"] == winner.key)]
    click.echo(
        f"{len(trials)} trials, {trials['spent'].iloc[-1]:.0f} epochs; the best has "
        f"{_percent(last['val_accuracy'].mean())} of the validation images right:\n"
    )
    click.echo(yaml.safe_dump(winner.changes(), sort_keys=False).rstrip())


@main.command("records", cls=_Command, stopped="No record was touched.")
@click.option("--study", "study_name", metavar="NAME", help="Only this technique file's runs.")
@click.option("--variant", metavar="NAME", help="Only this variant's runs.")
@click.option("--purpose", type=click.Choice(["final", "tuning"]), help="Only these runs.")
@click.option("--csv", "csv_file", type=Path, metavar="FILE", help="Write all columns there.")
@_results
def list_records(
    study_name: str | None,
    variant: str | None,
    purpose: Any,
    csv_file: Path | None,
    results: Path,
) -> None:
    """List the recorded runs, or write them as a CSV file."""
    from lenet_study import records

    runs = records.table(results, purpose=purpose)
    for column, name in (("study", study_name), ("variant", variant)):
        if name is not None:
            known = sorted(set(runs[column]))
            if name not in known:
                hint = nearest(name, known) if known else " There are no runs."
                raise InputError(f"--{column} {name}: no such runs in {results}.{hint}")
            runs = runs[runs[column] == name]
    if csv_file:
        if not csv_file.parent.is_dir():
            raise InputError(
                f"--csv {csv_file}: there is no folder {csv_file.parent}. Make it first."
            )
        with _whole_file(csv_file) as temporary:
            runs.to_csv(temporary, index=False)
        click.echo(f"{len(runs)} runs written to {csv_file}")
        return
    columns = ["study", "variant", "purpose", "seed", "key", "status", "dataset", "epochs_run"]
    shown = runs[[*columns, "learning_rate", "val_accuracy", "test_accuracy"]]
    if len(shown):
        click.echo(shown.to_string(index=False, na_rep="", float_format="{:.4g}".format))
    click.echo(f"{len(runs)} runs in {results}")


@main.command(cls=_Command, stopped="Records are only read; the same command begins again.")
@click.option("--sample", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the drawing of the sample.",
)
@click.option("--study", "study_name", metavar="NAME", help="Only this technique file's runs.")
@_results
@_data_dir
@click.option("--quiet", is_flag=True, help="No progress bar.")
def reproduce(
    sample: int,
    seed: int,
    study_name: str | None,
    results: Path,
    data_dir: Path | None,
    quiet: bool,
) -> None:
    """Train recorded runs again and compare; exit code 1 if a result has changed."""
    from lenet_study import reproduce as again

    compared = again.reproduce(
        results, sample, seed, study_name, data_dir=data_dir, progress=not quiet
    )
    for comparison in compared:
        click.echo(str(comparison))
    changed = sum(not comparison.held for comparison in compared)
    if changed:
        raise _Failed(f"{changed} of {len(compared)} runs came out otherwise than recorded.")


@main.command(
    "notebooks",
    cls=_Command,
    stopped="Notebooks that had ended are kept. The same command begins again.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="TECHNIQUE",
    help="Only this notebook, as optimization or summary; repeat it for several.",
)
@click.option(
    "-p",
    "pairs",
    type=(str, str),
    multiple=True,
    metavar="NAME VALUE",
    help="Change a parameter, as -p seeds 3; paths start in the notebooks' folder.",
)
@click.option(
    "-o",
    "--out",
    type=Path,
    default=Path("runs/notebooks"),
    show_default=True,
    metavar="DIR",
    help="Folder of the executed copies and their HTML pages.",
)
@click.option("--in-place", is_flag=True, help="Store the outputs in the notebooks themselves.")
@_data_dir
@click.option("--quiet", is_flag=True, help="No progress bars.")
def run_notebooks(
    only: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
    out: Path,
    in_place: bool,
    data_dir: Path | None,
    quiet: bool,
) -> None:
    """Execute the notebooks, the summary last; exit code 1 if one of them failed."""
    from lenet_study import notebooks

    if in_place and pairs:
        raise InputError("--in-place: stores what the notebooks say as they are, without -p.")
    chosen = notebooks.find(NOTEBOOKS, only)
    with _data_at(data_dir):
        if in_place:
            outcomes = notebooks.refresh(chosen, progress=not quiet)
        else:
            parameters = notebooks.parse_parameters(pairs)
            outcomes = notebooks.execute(chosen, out, parameters, progress=not quiet)
        failed = 0
        for outcome in outcomes:
            click.echo(str(outcome))
            failed += bool(outcome.error)
    if failed:
        raise _Failed(f"{failed} of {len(chosen)} notebooks failed.")


@main.command(cls=_Command, stopped="The same command begins again.")
@_results
def report(results: Path) -> None:
    """Draw the figures and fill in the README's results, from the records of the study."""
    from lenet_study import summary

    overview = summary.read(TECHNIQUES, results)
    click.echo(summary.scope(overview))
    _redraw(overview, FIGURES, README)


@main.command(cls=_Command, stopped="The same command begins again.")
def links() -> None:
    """Write CITATION.cff's repository-code into notebooks and badges; none: take them out."""
    from lenet_study import notebooks

    chosen = notebooks.find(NOTEBOOKS)
    address = notebooks.repository(CITATION)
    click.echo(f"{'Repository':<20}{address or 'no public address'}")
    for path in notebooks.link(chosen, README, address):
        click.echo(f"{'Changed':<20}{path}")


@main.command(
    cls=_Command,
    stopped="Finished runs are recorded; the same command goes on where this one ended.",
)
@click.option("--seeds", type=click.IntRange(min=2), help="Instead of the technique files'.")
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the technique files'.")
@click.option(
    "--dataset",
    type=click.Choice([*get_args(DatasetName), "auto"]),
    default="auto",
    show_default=True,
    help="auto: CIFAR-10 where it can be had, else the digits.",
)
@click.option(
    "--only", multiple=True, metavar="TECHNIQUE", help="Only this technique; repeat it for several."
)
@click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="WHO",
    help="Who trains: local, processes:N or dask://host:port.",
)
@_data_dir
@click.option("--quiet", is_flag=True, help="No progress bars.")
def everything(
    seeds: int | None,
    epochs: int | None,
    dataset: str,
    only: tuple[str, ...],
    executor: str,
    data_dir: Path | None,
    quiet: bool,
) -> None:
    """Train what the records lack, execute the notebooks, redraw figures and README.

    The techniques are those of the summary; another has to be asked for with --only. Where no run
    was lacking, some of them are trained again and compared. Another size than the technique
    files', or other data, is a rehearsal: all that it writes is under runs/rehearsal.
    """
    from lenet_study import notebooks, summary
    from lenet_study.reproduce import reproduce
    from lenet_study.study import Study

    data = _data(dataset, data_dir, quiet)
    planned = [Study.from_yaml(file) for file in summary.technique_files(TECHNIQUES)]
    names = [plan.name for plan in planned]
    for name in only:
        if name not in names:
            raise InputError(f"--only {name}: there is no such technique.{nearest(name, names)}")
    resized = [plan.resized(seeds, epochs, data.name) for plan in planned]
    rehearsal = resized != planned or data.name != "cifar10"
    out = Path("runs/rehearsal" if rehearsal else "runs/study")
    results, figures = (out / "results", out / "figures") if rehearsal else (RESULTS, FIGURES)
    if rehearsal:
        click.echo(f"A rehearsal, not the study: all it writes is under {out}.")

    wanted = [plan for plan in resized if (plan.name in only if only else plan.in_summary)]
    trained = sum(_train_lacking(plan, results, executor, data_dir, quiet) for plan in wanted)
    changed = 0
    if not trained:
        click.echo(f"No run was lacking. {VERIFIED} of them, drawn by chance, are trained again:")
        drawn = reproduce(results, VERIFIED, data_dir=data_dir, progress=not quiet)
        click.echo("\n".join(map(str, drawn)))
        changed = sum(not comparison.held for comparison in drawn)

    chosen = [
        path
        for path in notebooks.find(NOTEBOOKS)
        if not only or notebooks.technique(path) in (*only, "summary")
    ]
    size = {"seeds": seeds, "epochs": epochs, "dataset": data.name if rehearsal else None}
    parameters = {name: value for name, value in size.items() if value is not None} | {
        "results_dir": os.path.relpath(results, NOTEBOOKS),
        "figures_dir": os.path.relpath(figures, NOTEBOOKS),
        "executor": executor,
    }
    with _data_at(data_dir):
        outcomes = notebooks.execute(chosen, out / "notebooks", parameters, progress=not quiet)
        failed, page = 0, None
        for outcome in outcomes:
            click.echo(str(outcome))
            failed, page = failed + bool(outcome.error), outcome.page
    overview = summary.read(TECHNIQUES, results, seeds=seeds, epochs=epochs, dataset=data.name)
    _redraw(overview, figures, None if rehearsal else README)
    click.echo(f"{'Summary':<20}{page}")
    if changed or failed:
        raise _Failed(
            f"{changed} runs came out otherwise than recorded and {failed} notebooks failed; "
            "see above."
        )


def _recipe(
    config: Path | None, assignments: tuple[str, ...], epochs: int | None, dataset: str | None
) -> Recipe:
    """The recipe that the arguments of `train` describe; --epochs and --dataset win over --set."""
    if config and "variants" in read_yaml(config):
        raise InputError(
            f"{config}: describes several variants. Train them with: "
            f"python -m lenet_study study {config}"
        )
    options = [f"epochs={epochs}"] if epochs else []
    if dataset and dataset != "auto":
        options.append(f"dataset={dataset}")
    return read_recipe(config, [*assignments, *options])


def _data(asked: str, data_dir: Path | None, quiet: bool) -> "Dataset":
    """The dataset of that name or what "auto" finds; says which it is, in one line."""
    from lenet_keras.data import load_data

    data = load_data(asked, data_dir, progress=not quiet)
    why = ""
    if asked == "auto" and data.name != "cifar10":
        why = "; CIFAR-10 is not on this machine and could not be downloaded"
    sizes = ", ".join(
        f"{len(split):,} {name}"
        for name, split in (
            ("training", data.train),
            ("validation", data.validation),
            ("test", data.test),
        )
    )
    click.echo(f"Dataset: {data.name} ({sizes} images{why})")
    return data


def _train_lacking(
    plan: "Study", results: Path, executor: str, data_dir: Path | None, quiet: bool
) -> int:
    """Train what the records lack of one study, say so, and give the number of runs."""
    from lenet_study.runner import run_study

    before = len(plan.table(results))
    runs = run_study(plan, results, executor=executor, data_dir=data_dir, progress=not quiet)
    click.echo(f"{plan.title}: {len(runs)} runs, {len(runs) - before} of them trained now")
    return len(runs) - before


@contextlib.contextmanager
def _data_at(data_dir: Path | None) -> Iterator[None]:
    """For the length of a `with` block, where notebooks find CIFAR-10."""
    if data_dir is None:
        yield
        return
    from lenet_study.executors import environment

    with environment(LENET_DATA=str(data_dir.resolve())):
        yield


def _redraw(overview: "Overview", figures: Path, readme: Path | None) -> None:
    """Write the summary's figures, and the README's results where one is given."""
    import matplotlib

    from lenet_study import summary

    matplotlib.use("Agg")  # a window is of no use here, and there may be no screen
    for path in summary.write_figures(overview, figures):
        click.echo(f"{'Figure':<20}{path}")
    if readme:
        changed = summary.write_readme(readme, summary.readme_section(overview))
        click.echo(f"{'README':<20}{'results filled in' if changed else 'as it was'}")


def _refuse_if_taken(folder: Path, overwrite: bool, tensorboard: Path | None) -> None:
    """Refuse, before anything is trained, what the run could not write in the end."""
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "--tensorboard: the package tensorboard is not installed: uv sync --extra tensorboard, "
            "or pip install 'lenet-keras[tensorboard]'."
        )
    if tensorboard and any(path.is_file() for path in (tensorboard, *tensorboard.parents)):
        raise InputError(
            f"--tensorboard {tensorboard}: is a file, or lies below one. Name a folder."
        )
    if tensorboard and tensorboard.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"--tensorboard {tensorboard}: lies in {folder}, which appears only when the run is "
            "complete. Choose a folder beside it."
        )
    existing = folder.resolve()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"--out {folder}: {existing} is a file. Choose another folder.")
    if not os.access(existing.parent if folder.exists() else existing, os.W_OK | os.X_OK):
        raise InputError(f"--out {folder}: {existing} cannot be written. Choose another folder.")
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()}
    foreign = sorted(found - {MODEL, RECORD, CURVES, CONFUSION})
    if foreign or (found and RECORD not in found):
        raise InputError(
            f"--out {folder}: holds {', '.join(foreign or sorted(found))}, so it is no folder "
            "that train.py wrote and will not be replaced. Choose another folder."
        )
    if found and not overwrite:
        raise InputError(
            f"--out {folder}: holds a run. Choose another folder, or replace that run with "
            "--overwrite."
        )


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """A file to write, which becomes `path` when all went well and else disappears."""
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _whole_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to write into, which becomes `folder` when all went well and else disappears.

    Raises:
        OSError: `folder` has been filled in the meantime, or cannot be written.
    """
    folder = folder.resolve()
    new = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    old = folder.with_name(f"{new.name}.old")
    try:
        new.mkdir(parents=True)
        yield new
        if overwrite and folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _draw_curves(run: "Run", path: Path) -> None:
    """The curves of one run as a PNG."""
    import matplotlib

    from lenet_study import plots

    matplotlib.use("Agg")  # a window is of no use here, and there may be no screen
    plots.use_style()
    panels = plots.history(run)
    panels[0].get_figure(root=True).savefig(path, metadata={"Software": None})


def _draw_confusion(matrix: tuple[tuple[int, ...], ...], run: "Run", path: Path) -> None:
    """The confusion matrix as a PNG that appears whole."""
    import matplotlib

    from lenet_study import plots

    matplotlib.use("Agg")
    plots.use_style()
    axes = plots.confusion_matrix(matrix, run.class_names)
    axes.set_title(f"{run.recipe.dataset}, test images, seed {run.seed}")
    figure = axes.get_figure(root=True)
    assert figure is not None
    with _whole_file(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _read_model(path: Path, classes: int) -> Any:
    """The Keras model in a file, from 32×32×3 images to logits.

    Raises:
        InputError: Keras cannot read the file, or it holds another kind of model.
    """
    import lenet_keras.model  # registers the layers and functions that a model may hold
    from lenet_keras.backend import keras

    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # what Keras raises on a foreign file depends on the file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: is no model that Keras can read ({reason}).") from None
    expected = (None, *lenet_keras.model.IMAGE_SHAPE), (None, classes)
    if (model.input_shape, model.output_shape) != expected:
        raise InputError(
            f"{path}: holds a model from {model.input_shape} to {model.output_shape}; expected "
            f"{expected[0]} to {expected[1]}."
        )
    return model


def _class_table(
    matrix: tuple[tuple[int, ...], ...], class_names: tuple[str, ...]
) -> "pd.DataFrame":
    """A row a class: test images of it, the share recognised, and the share of its name right."""
    import numpy as np
    import pandas as pd

    counts = np.array(matrix)
    right, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    return pd.DataFrame(
        {
            "images": true,
            "accuracy": right / np.maximum(true, 1),
            "precision": right / np.maximum(predicted, 1),
        },
        index=pd.Index(class_names),
    )


def _comparison(runs: "pd.DataFrame", baseline: str) -> "pd.DataFrame":
    """The final runs as a person reads them: a row a variant, against the baseline if it is there.

    A choice of variants without the baseline, as for one machine of several, has only its means.
    """
    import pandas as pd

    from lenet_study import stats

    groups = {str(name): group for name, group in runs.groupby("variant", observed=True)}
    if baseline in groups:
        table = stats.compare(runs, baseline)
    else:
        means = {name: stats.mean_interval(g["test_accuracy"]) for name, g in groups.items()}
        table = pd.DataFrame([{"variant": n, **mean._asdict()} for n, mean in means.items()])
    shown = []
    for row in table.to_dict("records"):
        group = groups[row["variant"]]
        line = {
            "variant": row["variant"],
            "learning rate": f"{group['learning_rate'].iloc[0]:g}",
            "seeds": row["n"],
            "diverged": (group["status"] == "diverged").sum(),
            "test accuracy [95 % interval], %": _interval(row["mean"], row["low"], row["high"]),
        }
        if baseline in groups:
            difference = (row[name] for name in ("difference", "difference_low", "difference_high"))
            is_baseline = row["variant"] == baseline
            against = f"difference from {baseline} [95 % interval], points"
            line[against] = "baseline" if is_baseline else _interval(*difference, signed=True)
            line["p (Holm)"] = "" if is_baseline else f"{row['p_holm']:.3f}"
        shown.append(line)
    return pd.DataFrame(shown)


def _interval(middle: float, low: float, high: float, *, signed: bool = False) -> str:
    """Fractions in percent."""
    sign = "+" if signed else ""
    return f"{100 * middle:{sign}.2f} [{100 * low:{sign}.2f}, {100 * high:{sign}.2f}]"


def _differences(scores: "Scores", recorded: "Scores | None") -> list[str]:
    """In words, what is not as recorded: accuracy or loss."""
    if recorded is None:
        return ["the record holds no test scores"]
    texts = []
    for name in ("accuracy", "loss"):
        now, then = getattr(scores, name), getattr(recorded, name)
        not_finite = now is None or then is None
        if now is not then if not_finite else abs(now - then) > AGREEMENT:
            texts.append(f"{name} recorded {_number(then)}, now {_number(now)}")
    return texts


def _percent(share: float | None) -> str:
    return "not finite" if share is None else f"{share * 100:.2f} %"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.6f}"
