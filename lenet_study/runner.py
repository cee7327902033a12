"""Missing runs → executor → records: trains what a study lacks and writes down every run.

study = Study.from_yaml(Path("configs/optimization.yaml"))
runs = run_study(study, Path("results"), executor="processes:2")
"""

import contextlib
import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from lenet_keras.recipe import DATASETS, InputError, Recipe, nearest
from lenet_keras.run import Run
from lenet_study import records
from lenet_study.executors import Slots, open_executor
from lenet_study.files import remedy
from lenet_study.grouping import group_for_stacking
from lenet_study.study import MOST_ADDED, Planned, Study

if TYPE_CHECKING:
    from lenet_keras.data import Dataset

# Trains recipes side by side: recipes, seed, whether to score the test set, the data's folder.
Trainer = Callable[[Sequence[Recipe], int, bool, Path | str | None], list[Run]]
TrainMissing = Callable[[Sequence[Planned]], None]  # those of the runs that have no record
NEW_WORKERS_SECONDS = 5.0  # how often a growing cluster is asked for its size


def run_study(
    study: Study,
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
        study: what is asked.
        results_dir: folder of the records; made if missing.
        seeds, epochs, dataset: see `Study.resized`.
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
    study = study.resized(seeds, epochs, dataset)
    names = study.chosen(variants)
    results_dir = Path(results_dir)
    recorded = study.recorded(results_dir, names)
    if len(recorded) < study.planned_runs(names, results_dir):
        line = _progress_line(study, names, results_dir, recorded, progress)
        where = (results_dir, study.name, study.dataset, executor, data_dir, trainer)
        with line, trained_alone(*where, line) as train:
            _train_in_order(study, names, results_dir, line, train)
    else:
        _tidy(results_dir / study.name)
    _refuse_what_learns_nothing(study, results_dir, names)
    table = study.table(results_dir, variants=variants)
    _refuse_fewer(len(table), study.planned_runs(names, results_dir), results_dir / study.name)
    return table


def run_seeds(
    study: Study,
    seeds: Sequence[int],
    results_dir: Path | str,
    tuned_in: Path | str,
    *,
    executor: str = "local",
    data_dir: Path | str | None = None,
    variants: Sequence[str] | None = None,
    progress: bool = True,
    trainer: Trainer | None = None,
) -> pd.DataFrame:
    """Train final runs with seeds of one's own, where the learning rates are tuned already.

    Nothing is tuned here: whoever shares a study trains the same recipes.

    Args:
        study: what is asked; its own number of seeds plays no part.
        seeds: of the runs.
        results_dir: where they are recorded.
        tuned_in: records that know the rates, for variants that are not tuned in `results_dir`.
        executor, data_dir, variants, progress, trainer: see `run_study`.

    Returns:
        Run table of these runs, see `table`.

    Raises:
        InputError: as `run_study`; or no rate of a variant is tuned, or a seed has tuned them.
    """
    names, results_dir = study.chosen(variants), Path(results_dir)
    rates = study.learning_rates(tuned_in, names) | study.learning_rates(results_dir, names)
    if without := [name for name in names if name not in rates]:
        raise InputError(
            f"{study.name}: no learning rate is tuned at this size for {', '.join(without)}, "
            f"neither in {results_dir} nor in {tuned_in}. Whoever leads the class trains the "
            f"study once without a range of seeds; copy its folder {study.name}/tuning into "
            f"{results_dir / study.name}."
        )
    planned = study.final_runs({name: rates[name] for name in names}, seeds)
    recorded = [run for run in planned if run.exists(results_dir)]
    if len(recorded) < len(planned):
        epochs = sum(run.recipe.epochs for run in planned)
        line = ProgressLine(study.name, len(planned), epochs, recorded, shown=progress)
        where = (results_dir, study.name, study.dataset, executor, data_dir, trainer)
        with line, trained_alone(*where, line) as train:
            train(planned)
    return records.table_of(
        [run.path(results_dir) for run in planned], [run.location for run in planned]
    )


def _progress_line(
    study: Study,
    names: Sequence[str],
    results_dir: Path,
    recorded: Sequence[Planned],
    shown: bool,
) -> "ProgressLine":
    tuning = study.tuning_runs(names, study.grids(names, results_dir))
    finals = [
        study.recipe(name, 1.0).epochs * study.seeds_of(name)
        for name in [*names, *study.trained_twice(names)]
    ]
    return ProgressLine(
        study.name,
        runs=study.planned_runs(names, results_dir),
        epochs=len(tuning) * study.tuning.epochs + sum(finals),
        recorded=recorded,
        shown=shown,
    )


def _train_in_order(
    study: Study,
    names: Sequence[str],
    results_dir: Path,
    line: "ProgressLine",
    train: "TrainMissing",
) -> None:
    """The runs that tune, those of grids that grow by what they found, and the final ones.

    All grids grow by one rate at a time, also after an interruption, so that the same runs train
    side by side.
    """
    known = set(study.tuning_runs(names, study.grids(names, results_dir)))
    tuning: dict[Planned, None] = {}
    for most_added in range(MOST_ADDED + 1):
        planned = study.tuning_runs(names, study.grids(names, results_dir, most_added))
        added = [run for run in planned if run not in tuning]
        new = len(set(added) - known)
        line.grow(new, new * study.tuning.epochs)
        train(added)
        tuning |= dict.fromkeys(added)
    train(study.final_runs(study.learning_rates(results_dir, names)))


def _tidy(folder: Path) -> None:
    """Delete what killed writers left in a study that is complete, perhaps read-only or at work
    elsewhere: it is no duty then."""
    if records.leftovers(folder):
        with contextlib.suppress(InputError), alone_in(folder):
            pass


def _refuse_fewer(recorded: int, planned: int, folder: Path) -> None:
    if recorded < planned:
        raise InputError(
            f"{folder}: {planned - recorded} of {planned} runs have no record although they were "
            "trained: somebody removes or renames files there. The same call trains them again."
        )


def _refuse_what_learns_nothing(study: Study, results_dir: Path, names: Sequence[str]) -> None:
    learned = study.learning_rates(results_dir, names)
    if without := [name for name in names if name not in learned]:
        tried = "; ".join(
            f"{name} ({', '.join(f'{rate:g}' for rate in study.grid(name, results_dir))})"
            for name in without
        )
        raise InputError(
            f"{study.name}: no learning rate trains {tried}: every run diverged or stayed at "
            "chance. All other runs are recorded; give what is named here another grid in the "
            "technique file, or leave it out."
        )


@dataclass(frozen=True)
class Everything:
    """What `everything` trains and where it writes.

    Attributes:
        studies: at the size and on the dataset that were asked for.
        rehearsal: whether either is another than the technique files'.
        out: folder of the executed notebooks, and of all else in a rehearsal.
        results: folder of the records.
        figures: folder of the figures.
    """

    studies: tuple[Study, ...]
    rehearsal: bool
    out: Path
    results: Path
    figures: Path


def plan_everything(
    files: Sequence[Path],
    seeds: int | None,
    epochs: int | None,
    dataset: str,
    only: Collection[str] = (),
) -> Everything:
    """Plan the techniques of the summary, or those that are named.

    Args:
        files: of all techniques.
        seeds, epochs, dataset: see `Study.resized`.
        only: names of techniques; without any, those of the summary.

    Raises:
        InputError: a file that cannot be used, a value that is not allowed, or no such technique.
    """
    given = [Study.from_yaml(file) for file in files]
    names = [study.name for study in given]
    for name in only:
        if name not in names:
            raise InputError(f"--only {name}: there is no such technique.{nearest(name, names)}")
    resized = [study.resized(seeds, epochs, dataset) for study in given]
    chosen = tuple(s for s in resized if (s.name in only if only else s.in_summary))
    rehearsal = resized != given or dataset != "cifar10"
    out = Path("runs/rehearsal" if rehearsal else "runs/study")
    root = out if rehearsal else Path()
    return Everything(chosen, rehearsal, out, root / "results", root / "figures")


@dataclass(frozen=True)
class Trained:
    """What became of one study: all its runs, and how many of them are new."""

    study: Study
    runs: int
    trained: int

    def __str__(self) -> str:
        """One line."""
        return f"{self.study.title}: {self.runs} runs, {self.trained} of them trained now"


def train_lacking(
    studies: Iterable[Study],
    results_dir: Path,
    *,
    executor: str,
    data_dir: Path | str | None = None,
    progress: bool = True,
) -> Iterator[Trained]:
    """Train what the records lack of several studies; the arguments are those of `run_study`.

    Yields:
        What became of each, as soon as it is known.
    """
    for study in studies:
        before = len(study.recorded(results_dir, None))
        runs = len(
            run_study(study, results_dir, executor=executor, data_dir=data_dir, progress=progress)
        )
        yield Trained(study, runs, runs - before)


@dataclass(frozen=True)
class _Job:
    """Recipes that train side by side with one seed."""

    recipes: tuple[Recipe, ...]
    seed: int
    score_test: bool
    wanted: Mapping[Recipe, Path]  # where to record; a stack may have members recorded before


@contextlib.contextmanager
def trained_alone(
    results_dir: Path,
    study: str,
    dataset: str,
    executor: str,
    data_dir: Path | str | None,
    trainer: Trainer | None,
    line: "ProgressLine",
) -> Iterator[TrainMissing]:
    """What trains and records a study's runs, while nobody else writes in its folder.

    The arguments are those of `run_study`; the names of the study and of its dataset.
    """
    # A worker may stand in another folder and have another home.
    data_dir = Path(data_dir).expanduser().absolute() if data_dir else None
    ready = functools.partial(_dataset, dataset, data_dir)
    if dataset not in DATASETS:
        _refuse_other_images(results_dir, dataset, data_dir)
    with open_executor(executor, ready) as (pool, slots), alone_in(results_dir / study):
        yield functools.partial(
            train_missing, results_dir, trainer or train_group, data_dir, pool, slots, line
        )


def _refuse_other_images(results_dir: Path, dataset: str, data_dir: Path | None) -> None:
    """Refuse to go on with one's own images where they have changed since the recorded runs.

    Raises:
        InputError: says which record saw other images of that name.
    """
    try:
        here = _dataset(dataset, data_dir).fingerprint
    except InputError:  # not on this machine: the workers have them, or say so
        return
    for path in records.find(results_dir) if results_dir.is_dir() else []:
        run = records.read(path)
        if run.recipe.dataset == dataset and run.provenance.dataset_fingerprint != here:
            raise InputError(
                f"{path}: saw other images called {dataset} than there are now, and results of "
                "both would be mixed. Choose another results folder, or give the changed images "
                "a name of their own."
            )


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
    except (OSError, NotImplementedError) as error:  # the latter from older versions of filelock
        if isinstance(error, NotImplementedError) or not error.filename:  # so answers flock itself
            raise InputError(
                f"{folder}: the file system gives no lock ({error}), without which two studies "
                "could write here at once. Nothing was trained. Choose a results folder on a "
                "local disk; its records can be copied here afterwards."
            ) from None
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}). Nothing was trained. "
            f"{remedy(error)} or choose another results folder."
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
        most = slots()  # asked in every round, as it also says when all workers are gone
        while waiting and len(running) < most:
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
    seeds, purposes = (
        dict.fromkeys(getattr(run, x) for run in planned) for x in ("seed", "purpose")
    )
    for seed, purpose in itertools.product(seeds, purposes):
        paired = [run for run in planned if (run.seed, run.purpose) == (seed, purpose)]
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
                score_test=purpose != "tuning",
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

    Raises:
        InputError: data that cannot be had.
    """
    from lenet_keras.backend import keras  # brings TensorFlow: seconds, for who only reads too
    from lenet_study.training import train_alone, train_stack

    # A Dask worker with several threads calls several at once; Keras' random state is one.
    with _ONE_AT_A_TIME:
        keras.utils.clear_session()  # else each training leaves some 10 MB behind
        data = _dataset(recipes[0].dataset, data_dir)
        if len(recipes) == 1:
            return [train_alone(recipes[0], seed, data, score_test=score_test, verbose=0)]
        return train_stack(recipes, seed, data, score_test=score_test, verbose=0)


@functools.lru_cache(maxsize=1)
def _dataset(name: str, data_dir: Path | str | None) -> "Dataset":
    from lenet_keras.data import load_data

    return load_data(name, data_dir)
