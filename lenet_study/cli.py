"""The command line over all of it: one run, a study, its records, the notebooks, everything.

What a person typed is checked before TensorFlow is imported, so that a slip is answered at once;
for the same reason the commands import the rooms below them only where they need them.
"""

import inspect
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import click

from lenet_keras.recipe import InputError, Recipe, nearest, read_recipe, read_yaml
from lenet_study import run_folder
from lenet_study.command import (
    EXISTING,
    LARGEST_SEED,
    PATH,
    Command,
    Commands,
    Failed,
    SeedsType,
    argument,
    folder,
    number,
    option,
    several,
)
from lenet_study.files import write_csv
from lenet_study.run_folder import CURVES, MODEL, RECORD, in_digits, in_percent

if TYPE_CHECKING:
    import pandas as pd

    from lenet_keras import data
    from lenet_keras.run import Scores
    from lenet_study.summary import Overview

T = TypeVar("T")

BASELINE = Path("configs/baseline.yaml")
TECHNIQUES, NOTEBOOKS = Path("configs"), Path("notebooks")
RESULTS, FIGURES, README = Path("results"), Path("figures"), Path("README.md")
CITATION, WEIGHTS = Path("CITATION.cff"), Path("weights")
VERIFIED = 3  # trainings that are done again where no run was lacking
AGAIN = "The same command begins again."
GOES_ON = "Finished runs are recorded; the same command goes on where this one ended."


@click.group(cls=Commands)
def main() -> None:
    """What each modern technique adds to LeNet-5 on CIFAR-10, with evidence."""


def _command(name: str, stopped: str = AGAIN) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function, each of whose parameters is annotated with its maker."""

    def decorate(function: Callable[..., None]) -> click.Command:
        parameters = [
            given.annotation.__metadata__[0](
                given.name, **({} if given.default is given.empty else {"default": given.default})
            )
            for given in inspect.signature(function).parameters.values()
        ]
        command = Command(
            name, callback=function, params=parameters, help=function.__doc__, stopped=stopped
        )
        main.add_command(command)
        return command

    return decorate


SEEDS = "0 to N - 1, N from 2, for the file's; or these, as 7..9, at the rates that are tuned."
AUTO = "auto: CIFAR-10 where it can be had, else the digits."
LENET_DATA = "Where CIFAR-10 or your own images lie; else LENET_DATA says it."
WHO = "Who trains: local, processes:N or dask://host:port."
OUT = "Folder of the run; by default runs/<config>-<key of the recipe>-seed-<seed>."

# What several commands are told.
AsJson = Annotated[bool, option("--json", "Print JSON, for machines.", is_flag=True)]
DataDir = Annotated[Path | None, folder("--data-dir", LENET_DATA, EXISTING)]
Dataset = Annotated[
    str | None, option("--dataset", f"Instead of the file's; {AUTO}", metavar="NAME")
]
Epochs = Annotated[int | None, number("--epochs", 1, "Instead of the file's.")]
Executor = Annotated[str, option("--executor", WHO, metavar="WHO")]
File = Annotated[Path, argument(type=PATH)]
Model = Annotated[
    Path | None, option("--model", "A run's folder or .keras file; by default weights.", type=PATH)
]
OfStudy = Annotated[
    str | None, option("--study", "Only this technique file's runs.", metavar="NAME")
]
Quiet = Annotated[bool, option("--quiet", "No progress bars.", is_flag=True)]
Results = Annotated[Path, folder("--results", "Folder of the records.")]
Seeds = Annotated[int | None, number("--seeds", 2, "Instead of the file's; 0 to N - 1.")]
OwnSeeds = Annotated[
    int | range | None, option("--seeds", SEEDS, type=SeedsType(), metavar="N|FIRST..LAST")
]

# What `train` alone is told.
Config = Annotated[Path | None, argument(type=PATH, required=False)]
Assignments = Annotated[
    tuple[str, ...], several("--set", "Change a field of the recipe", metavar="FIELD=VALUE")
]
Seed = Annotated[int, number("--seed", 0, high=LARGEST_SEED)]
OfRecipe = Annotated[int | None, number("--epochs", 1, "The same as --set epochs=…")]
Out = Annotated[Path | None, folder("--out", OUT)]
Overwrite = Annotated[
    bool, option("--overwrite", "Replace the run that --out holds, at the end.", is_flag=True)
]
TensorBoard = Annotated[Path | None, folder("--tensorboard", "Write TensorBoard's logs there.")]


@_command("train", stopped=f"Nothing was written. {AGAIN}")
def train(
    config: Config = None,
    assignments: Assignments = (),
    seed: Seed = 0,
    epochs: OfRecipe = None,
    out: Out = None,
    data_dir: DataDir = None,
    dataset: Dataset = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    tensorboard: TensorBoard = None,
) -> None:
    """Train one network; write its model, its record and its curves.

    CONFIG is a YAML file of recipe fields: configs/baseline.yaml where there is one, else the same
    recipe as built in.
    """
    if config is None and BASELINE.is_file():
        config = BASELINE
    recipe = _recipe(config, assignments, epochs, dataset)
    if out:
        run_folder.check_free(out, overwrite, tensorboard)
    data = _data(dataset or recipe.dataset, data_dir, quiet)
    recipe = recipe.replace(dataset=data.name)
    if not out:
        out = Path("runs") / f"{config.stem if config else 'baseline'}-{recipe.key}-seed-{seed}"
        run_folder.check_free(out, overwrite, tensorboard)

    from lenet_keras import model, training

    fit = training.train
    if training.beyond_keras(recipe):
        from lenet_study.training import train_alone as fit
    network = training.network_for(recipe, seed, data)
    run = fit(recipe, seed, data, model=network, verbose=0 if quiet else 1, tensorboard=tensorboard)
    try:
        missing = run_folder.write(run, model.for_pixels(network, data), out, overwrite)
    except (InputError, OSError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise Failed(
            f"{out}: the run cannot be written ({reason}). No half of it was left. "
            "Make room or name another folder with --out, then train again."
        ) from None
    if run.status == "diverged":
        click.echo(f"The run diverged in epoch {len(run.history.loss)}: its loss is not finite.")
    assert run.test is not None  # only tuning runs have no test score
    _echo_row("Test accuracy", in_percent(run.test.accuracy))
    if recipe.validates:
        _echo_row("Validation accuracy", in_percent(run.validation.accuracy))
    _echo_row("Model", out / MODEL)
    _echo_row("Record", out / RECORD)
    if missing:
        raise Failed(f"{out / CURVES}: could not be drawn ({missing}). All else is there.")
    _echo_row("Curves", out / CURVES)


@_command("evaluate", stopped=f"The run is as it was. {AGAIN}")
def evaluate(
    run_dir: File,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, folder("--out", "Folder of the confusion matrix; by default RUN_DIR.")
    ] = None,
) -> None:
    """Score the model in RUN_DIR on the test set again and compare with its record.

    Prints accuracy, loss, calibration error and a table of the classes, and draws the confusion
    matrix. Ends with exit code 1 if accuracy or loss are not as recorded, or it cannot be drawn.
    """
    run = run_folder.read(run_dir)

    from lenet_keras import evaluation
    from lenet_keras.data import load_data
    from lenet_study import report

    data = load_data(run.recipe.dataset, data_dir, progress=not as_json)
    if data.fingerprint != run.provenance.dataset_fingerprint:
        raise InputError(
            f"{run_dir / RECORD}: the run saw another {data.name} (fingerprint "
            f"{run.provenance.dataset_fingerprint}) than there is here ({data.fingerprint}), so "
            "its scores cannot be compared. Train it again with this version."
        )
    network = run_folder.read_model(run_dir / MODEL, len(data.class_names))
    logits = evaluation.by_batches(network.predict_on_batch, data.test.images)
    scores = evaluation.score(logits, data.test.labels)
    matrix = evaluation.confusion(logits, data.test.labels, len(data.class_names))
    classes = report.classes(matrix, data.class_names)
    figure, missing = run_folder.draw_confusion(matrix, run, out or run_dir)
    differences = run_folder.differences(scores, run.test)
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
            "figure": None if missing else str(figure),
        }
        click.echo(json.dumps(answer, indent=2))
    else:
        click.echo(f"{len(data.test)} test images of {data.name}, seed {run.seed}")
        _echo_scores(scores, classes, as_recorded=not differences)
        if not missing:
            _echo_row("Confusion matrix", figure)
    if differences:
        raise Failed(f"{run_dir}: not as recorded: {'; '.join(differences)}.")
    if missing:
        raise Failed(f"{figure}: could not be drawn ({missing}). --out names another folder.")


@_command("predict", stopped=AGAIN)
def predict(
    photographs: Annotated[tuple[Path, ...], argument(type=PATH, nargs=-1, required=True)],
    as_json: AsJson = False,
    model: Model = None,
) -> None:
    """Say what PHOTOGRAPHS show: the most probable classes of each, with probabilities.

    The network sees the square in the middle, at 32 × 32 pixels. A photograph that cannot be read
    is named, and the exit code is 2; the others are answered.
    """
    from lenet_keras.pictures import as_seen, open_picture

    file, run = run_folder.find(model)
    seen, faults = {}, {}
    for each in photographs:
        try:
            seen[each] = as_seen(open_picture(each))
        except InputError as error:
            faults[each] = str(error)
    answers: dict[Path, dict[str, float]] = {}
    if seen:
        import numpy as np

        network = run_folder.read_model(file, len(run.class_names))
        images = np.stack([*seen.values()])
        ranked = run_folder.ask(network, file, run.class_names, images)
        answers = dict(zip(seen, ranked, strict=True))
    if as_json:
        told = [
            {"file": str(each)}
            | ({"probabilities": answers[each]} if each in answers else {"error": faults[each]})
            for each in dict.fromkeys(photographs)
        ]
        click.echo(json.dumps({"model": str(file), "photographs": told}, indent=2))
    else:
        tables = [run_folder.ranking(str(name), shares) for name, shares in answers.items()]
        click.echo("\n\n".join(tables), nl=bool(tables))
    if faults:
        raise InputError("\n".join(faults.values()))


@_command("demo", stopped=AGAIN)
def demo(
    model: Model = None,
    port: Annotated[int, number("--port", 0, "0: any free one.", high=65535)] = 8000,
    no_browser: Annotated[bool, option("--no-browser", "Only say where.", is_flag=True)] = False,
) -> None:
    """Serve a page for pictures: what a network takes them for, and what its layers see.

    To this machine alone, until Ctrl-C.
    """
    file, run = run_folder.find(model)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whose gradients the page shows
    from lenet_study.demo import serve

    serve(file, run, port, browser=not no_browser)


@_command("study", stopped=GOES_ON)
def study(
    file: File,
    seeds: OwnSeeds = None,
    epochs: Epochs = None,
    executor: Executor = "local",
    results: Results = RESULTS,
    dataset: Dataset = None,
    data_dir: DataDir = None,
    variants: Annotated[
        str | None, option("--variants", "Only these; the file's names.", metavar="A,B,…")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train what the records lack of the technique in FILE, and compare its variants.

    With --seeds 7..9 only those final runs, at rates tuned in --results or else in results.
    """
    from lenet_study import report
    from lenet_study.runner import run_seeds, run_study
    from lenet_study.study import Study

    chosen = None if variants is None else [name.strip() for name in variants.split(",")]
    count = seeds if isinstance(seeds, int) else None
    plan = Study.from_yaml(file).resized(count, epochs, None if dataset == "auto" else dataset)
    if dataset == "auto":
        plan = plan.resized(dataset=_data("auto", data_dir, quiet).name)
    else:
        click.echo(f"Dataset: {plan.dataset}")
    how: dict[str, Any] = {"executor": executor, "data_dir": data_dir, "progress": not quiet}
    if isinstance(seeds, range):
        runs = run_seeds(plan, seeds, results, RESULTS, variants=chosen, **how)
    else:
        runs = run_study(plan, results, variants=chosen, **how)
    click.echo(f"{plan.title}: {plan.question}\n")
    table = report.comparison(runs[runs["purpose"] == "final"], plan.baseline, plan.paired)
    click.echo(table.to_string(index=False))
    if chosen and plan.baseline in chosen:
        click.echo("\np is corrected for the variants shown; the technique may have more.")
    elif chosen:
        click.echo(
            f"\nFor differences from {plan.baseline}, the baseline, call the same command with "
            f"--variants {','.join([plan.baseline, *chosen])}: it trains what is lacking of that."
        )
    if grown := plan.edges(results):
        click.echo("\n" + "\n".join(grown))
    click.echo()
    _echo_row("Records", results / plan.name)


@_command("search", stopped=GOES_ON)
def search(
    file: File,
    executor: Executor = "local",
    results: Results = RESULTS,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
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
        f"{in_percent(last['val_accuracy'].mean())} of the validation images right:\n"
    )
    click.echo(yaml.safe_dump(winner.changes(), sort_keys=False).rstrip())


@_command("records", stopped="No record was touched.")
def list_records(
    study_name: OfStudy = None,
    variant: Annotated[
        str | None, option("--variant", "Only this variant's runs.", metavar="NAME")
    ] = None,
    purpose: Annotated[
        Any,
        option("--purpose", "Only these runs.", type=click.Choice(["final", "again", "tuning"])),
    ] = None,
    csv_file: Annotated[
        Path | None, option("--csv", "Write all columns there.", type=PATH, metavar="FILE")
    ] = None,
    results: Results = RESULTS,
) -> None:
    """List the recorded runs, or write them as a CSV file.

    A run that several techniques use stands under the one that trained it.
    """
    from lenet_study import records

    runs = records.table(results, purpose=purpose)
    if runs.empty:
        kind = f" of purpose {purpose}" if purpose else ""
        raise InputError(
            f"{results}: no record{kind} lies in it. Records lie in "
            "<results>/<study>/<variant>-<key>/: name the folder above the studies' folders, or "
            "train with: python -m lenet_study study FILE"
        )
    for column, name in (("study", study_name), ("variant", variant)):
        if name is not None:
            known = sorted(set(runs[column]))
            if name not in known:
                raise InputError(
                    f"--{column} {name}: no such runs in {results}.{nearest(name, known)}"
                )
            runs = runs[runs[column] == name]
    if csv_file:
        write_csv(runs, csv_file)
        click.echo(f"{len(runs)} runs written to {csv_file}")
        return
    columns = ["study", "variant", "purpose", "seed", "key", "status", "dataset", "epochs_run"]
    table = runs[[*columns, "learning_rate", "val_accuracy", "test_accuracy"]]
    click.echo(table.to_string(index=False, na_rep="", float_format="{:.4g}".format))
    click.echo(f"{len(runs)} runs in {results}")


@_command("reproduce", stopped=f"Records are only read; {AGAIN[0].lower()}{AGAIN[1:]}")
def reproduce(
    sample: Annotated[int, number("--sample", 1, "Trainings to draw.")] = 3,
    seed: Annotated[int, number("--seed", 0, "Of the drawing of the sample.")] = 0,
    study_name: OfStudy = None,
    results: Results = RESULTS,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Train recorded runs again and compare; exit code 1 if a result has changed."""
    from lenet_study import reproduce as again

    compared = again.reproduce(
        results, sample, seed, study_name, data_dir=data_dir, progress=not quiet
    )
    if len(_echo_each(compared)) < sample:
        click.echo(f"These are all there are, fewer than the {sample} asked for.")
    if changed := sum(not comparison.held for comparison in compared):
        raise Failed(f"{changed} of {len(compared)} runs came out otherwise than recorded.")


@_command("notebooks", stopped=f"Notebooks that had ended are kept. {AGAIN}")
def run_notebooks(
    only: Annotated[
        tuple[str, ...],
        several("--only", "Only this notebook, as optimization or summary", metavar="TECHNIQUE"),
    ] = (),
    pairs: Annotated[
        tuple[tuple[str, str], ...],
        option(
            "-p",
            "Change a parameter, as -p seeds 3; paths start in the notebooks' folder.",
            type=(str, str),
            multiple=True,
            metavar="NAME VALUE",
        ),
    ] = (),
    out: Annotated[
        Path, folder("-o --out", "Folder of the executed copies and their HTML pages.")
    ] = Path("runs/notebooks"),
    in_place: Annotated[
        bool,
        option("--in-place", "Store the outputs in the notebooks themselves.", is_flag=True),
    ] = False,
    data_dir: DataDir = None,
    quick: Annotated[
        bool, option("--quick", "Rehearse each in a minute; as -p quick true.", is_flag=True)
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Execute the notebooks, the summary last; exit code 1 if one of them failed."""
    from lenet_study import notebooks

    if quick:
        pairs = (*pairs, ("quick", "true"))
    if in_place and pairs:
        raise InputError("--in-place: stores what the notebooks say, without -p or --quick.")
    chosen = notebooks.find(NOTEBOOKS, only)
    how: dict[str, Any] = {"data_dir": data_dir, "progress": not quiet}
    if in_place:
        outcomes = notebooks.refresh(chosen, **how)
    else:
        outcomes = notebooks.execute(chosen, out, notebooks.parse_parameters(pairs), **how)
    failed = sum(bool(outcome.error) for outcome in _echo_each(outcomes))
    if failed:
        raise Failed(f"{failed} of {len(chosen)} notebooks failed.")


@_command("report")
def report(results: Results = RESULTS) -> None:
    """Draw the figures and fill in the README's results, from the records of the study.

    Ends with exit code 1 if a technique is not completely recorded, so that they lack it.
    """
    from lenet_study import readme, summary

    overview = summary.read(TECHNIQUES, results)
    if overview.table.empty:
        raise InputError(
            f"{results}: {summary.scope(overview)} Figures and README stay as they are. "
            "Train a technique with: python -m lenet_study study FILE"
        )
    click.echo(summary.scope(overview))
    _redraw(overview, results, FIGURES, README)
    if lacking := readme.lacking(TECHNIQUES, results):
        raise Failed(
            f"not completely recorded, and so not in figures and README: {', '.join(lacking)}."
        )


@_command("exercises")
def write_exercises(
    out: Annotated[Path, folder("-o --out", "New folder, beside configs.")] = Path("exercises"),
) -> None:
    """Write the notebooks for a class: the same, but the answers to exercises are empty."""
    from lenet_study import exercises, notebooks

    _echo_each(exercises.write(notebooks.find(NOTEBOOKS), out))


@_command("links")
def links() -> None:
    """Write CITATION.cff's repository-code into notebooks and badges; none: take them out."""
    from lenet_study import notebooks

    chosen = notebooks.find(NOTEBOOKS)
    address = notebooks.repository(CITATION)
    _echo_row("Repository", address or "no public address")
    for path in notebooks.link(chosen, README, address):
        _echo_row("Changed", path)


@_command("everything", stopped=GOES_ON)
def everything(
    seeds: Seeds = None,
    epochs: Epochs = None,
    dataset: Annotated[str, option("--dataset", AUTO, metavar="NAME")] = "auto",
    only: Annotated[
        tuple[str, ...],
        several("--only", "Only this technique", metavar="TECHNIQUE"),
    ] = (),
    executor: Executor = "local",
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Train what the records lack, execute the notebooks, redraw figures and README.

    The techniques are those of the summary; another has to be asked for with --only. Where no run
    was lacking, some of them are trained again and compared. Another size than the technique
    files', or other data, is a rehearsal: all that it writes is under runs/rehearsal.
    """
    from lenet_study import notebooks, runner, summary
    from lenet_study.reproduce import reproduce

    data = _data(dataset, data_dir, quiet)
    known = summary.technique_files(TECHNIQUES)
    plan = runner.plan_everything(known, seeds, epochs, data.name, only)
    if plan.rehearsal:
        click.echo(f"A rehearsal, not the study: all it writes is under {plan.out}.")
    how: dict[str, Any] = {"data_dir": data_dir, "progress": not quiet}
    done = runner.train_lacking(plan.studies, plan.results, executor=executor, **how)
    trained = sum(study.trained for study in _echo_each(done))
    changed = 0
    if not trained:
        click.echo("No run was lacking. Some, drawn by chance, are trained again:")
        drawn = _echo_each(reproduce(plan.results, VERIFIED, **how))
        changed = sum(not comparison.held for comparison in drawn)

    chosen = notebooks.find(NOTEBOOKS)
    if only:
        chosen = notebooks.about(chosen, [*only, "summary"])
    parameters = {"seeds": seeds, "epochs": epochs, "executor": executor}
    if plan.rehearsal:
        parameters["dataset"] = data.name
    given = {name: value for name, value in parameters.items() if value is not None}
    outcomes = notebooks.execute(
        chosen, plan.out / "notebooks", given, results=plan.results, figures=plan.figures, **how
    )
    failed = sum(bool(outcome.error) for outcome in _echo_each(outcomes))
    overview = summary.read(TECHNIQUES, plan.results, seeds=seeds, epochs=epochs, dataset=data.name)
    _redraw(overview, plan.results, plan.figures, None if plan.rehearsal else README)
    _echo_row("Summary", (plan.out / "notebooks" / chosen[-1].name).with_suffix(".html"))
    if changed or failed:
        raise Failed(
            f"{changed} runs came out otherwise than recorded and {failed} notebooks failed; "
            "see above."
        )


def _recipe(
    config: Path | None, assignments: tuple[str, ...], epochs: int | None, dataset: str | None
) -> Recipe:
    """The recipe that the arguments of `train` describe; --epochs and --dataset win over --set."""
    commands = {"variants": "study", "factors": "study", "stages": "search"}
    for entry in commands.keys() & (read_yaml(config) if config else {}):
        how = f"python -m lenet_study {commands[entry]} {config}"
        raise InputError(f"{config}: describes several recipes. Train them with: {how}")
    options = [f"epochs={epochs}"] if epochs else []
    if dataset and dataset != "auto":
        options.append(f"dataset={dataset}")
    return read_recipe(config, [*assignments, *options])


def _data(asked: str, data_dir: Path | None, quiet: bool) -> "data.Dataset":
    """The dataset of that name or what "auto" finds; says which it is, in one line."""
    from lenet_keras.data import load_data

    found = load_data(asked, data_dir, progress=not quiet)
    why = ""
    if asked == "auto" and found.name != "cifar10":
        why = "; CIFAR-10 is not on this machine and could not be downloaded"
    splits = {"training": found.train, "validation": found.validation, "test": found.test}
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    click.echo(f"Dataset: {found.name} ({sizes} images{why})")
    return found


def _redraw(overview: "Overview", results: Path, figures: Path, readme: Path | None) -> None:
    """Write the summary's figures, and what README and model card say where README is given."""
    from lenet_study import model_card, summary
    from lenet_study.readme import section, write

    run_folder.without_screen()
    for path in summary.write_figures(overview, figures):
        _echo_row("Figure", path)
    if readme:
        changed = write(readme, section(overview))
        _echo_row("README", "results filled in" if changed else "as it was")
        if WEIGHTS.is_dir():
            changed = model_card.write(WEIGHTS, results)
            _echo_row("Model card", "written" if changed else "as it was")


def _echo_row(name: str, value: object) -> None:
    click.echo(f"{name:<20}{value}")


def _echo_scores(scores: "Scores", classes: "pd.DataFrame", as_recorded: bool) -> None:
    """Print a run's scores on the test set, and those of each class."""
    _echo_row("Accuracy", in_percent(scores.accuracy))
    _echo_row("Loss (nats)", in_digits(scores.loss))
    _echo_row("Calibration error", in_percent(scores.calibration_error))
    if as_recorded:
        click.echo("Accuracy and loss are as recorded.")
    shares = classes[["accuracy", "precision"]].map(lambda s: "–" if s is None else in_percent(s))
    click.echo(f"\n{classes.assign(**shares).to_string()}\n")


def _echo_each(things: Iterable[T]) -> list[T]:
    """Print a line for each as soon as it is there, and give them all."""
    told = []
    for thing in things:
        click.echo(str(thing))
        told.append(thing)
    return told
