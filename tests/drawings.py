"""Every figure, drawn from made-up tables: for the tests of how it looks and of what it says."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from examples import make_run

from lenet_keras.recipe import Recipe
from lenet_keras.run import History, Run, Scores
from lenet_study import factorial, factorial_plots, network_plots, plots, search_plots, stats

THREE = ["sgd", "momentum", "adam"]
SCALES = "zeros tiny_normal large_normal lecun_1998_uniform lecun_normal glorot_uniform he_normal"
SIXTEEN = [
    f"{name}_{activation}"
    for activation in ("tanh", "relu")
    for name in (*SCALES.split(), "orthogonal")
]
LAYERS = ["C1", "C3", "C5", "F6", "output"]
CLASSES = ["airplane", "automobile", "bird", "cat"]
PICTURES = (np.arange(8 * 8 * 8 * 3) % 251).astype(np.uint8).reshape(8, 8, 8, 3)
KERNELS = np.sin(np.arange(5 * 5 * 3 * 6)).reshape(5, 5, 3, 6) * 0.4
MATRIX = [[8, 1, 1, 0], [2, 6, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]


def make_epochs(variants: list[str] = THREE, seeds: int = 3, epochs: int = 6) -> pd.DataFrame:
    sizes = (range(len(variants)), range(seeds), range(1, epochs + 1))
    place, seed, epoch = (each.ravel() for each in np.meshgrid(*sizes, indexing="ij"))
    learnt = 1 - np.exp(-epoch * (0.2 + 0.5 * place / len(variants)))
    accuracy = 0.1 + 0.5 * learnt + 0.012 * np.sin(7 * seed + 3 * place + epoch)
    columns = {
        "variant": np.array(variants, object)[place],
        "purpose": "final",
        "seed": seed,
        "epoch": epoch,
        "loss": 2.3 - 2.1 * learnt,
        "accuracy": accuracy + 0.02,
        "val_loss": 2.3 - 2 * learnt + 0.02 * np.sin(seed + place),
        "val_accuracy": accuracy,
        "learning_rate": 0.1 * 0.9**epoch,
    }
    return pd.DataFrame(columns)


def make_runs(variants: list[str] = THREE, seeds: int = 3) -> pd.DataFrame:
    epochs = make_epochs(variants, seeds)
    last = epochs[epochs["epoch"] == epochs["epoch"].max()].reset_index(drop=True)
    last = last.drop(columns=["epoch", "loss", "val_loss"])
    wave = np.sin(np.arange(len(last)))
    return last.assign(
        status="completed",
        seconds=2.0,
        train_accuracy=last["val_accuracy"] + 0.05 + 0.01 * wave,
        test_accuracy=last["val_accuracy"] - 0.01 + 0.004 * wave,
    )


def make_tuning(variants: list[str] = THREE) -> pd.DataFrame:
    rates = np.tile([0.01, 0.03, 0.1, 0.3, 1.0], len(variants))
    place = np.repeat(range(len(variants)), 5)
    columns = {
        "variant": np.array(variants, object)[place],
        "purpose": "tuning",
        "seed": 1000,
        "learning_rate": rates,
        "val_accuracy": 0.6 - 0.1 * (np.log10(rates) + 1 + place / len(variants)) ** 2,
        "status": np.where((rates == 1.0) & (place == 0), "diverged", "completed"),
    }
    return pd.DataFrame(columns)


def make_layers(variants: list[str] = THREE) -> pd.DataFrame:
    share, depth = np.repeat(np.arange(len(variants)) / len(variants), 5), np.arange(5)
    depth = np.tile(depth, len(variants))
    columns = {
        "layer": LAYERS * len(variants),
        "variant": np.repeat(np.array(variants, object), 5),
        "activation": (0.2 + share) ** depth,
        "gradient": np.where(depth % 2, 0.01 * (0.3 + share) ** depth, np.nan),
    }
    return pd.DataFrame(columns)


def make_quantiles(variants: list[str] = THREE) -> dict[str, dict[str, tuple[float, ...]]]:
    rise = np.linspace(-1, 1, 41)
    return {
        variant: {
            layer: tuple((1 + depth) * 0.1 * np.sign(rise) * np.abs(rise) ** (1 + place))
            for depth, layer in enumerate(LAYERS)
        }
        for place, variant in enumerate(variants)
    }


def one_run(status: str = "completed", epochs: int = 6, broken: bool = False) -> Run:
    learnt = 1 - np.exp(-np.arange(1, epochs + 1) / 3)
    loss: list[float | None] = [float(value) for value in 2.3 - learnt]
    if broken:
        loss[-1] = None
    history = History(
        loss=tuple(loss),
        accuracy=tuple(0.1 + 0.5 * learnt),
        val_loss=tuple(None if value is None else value + 0.1 for value in loss),
        val_accuracy=tuple(0.1 + 0.45 * learnt),
        learning_rate=(0.05,) * epochs,
        seconds=(2.0,) * epochs,
    )
    scores = Scores(loss=1.3, accuracy=0.553, calibration_error=0.05)
    changes = {"status": status, "history": history, "best_epoch": max(1, epochs - 2)}
    return make_run(Recipe(dataset="digits"), **changes, test=scores)


def make_convergence(variants: list[str] = THREE) -> pd.DataFrame:
    epochs = make_epochs(variants)
    return pd.concat([stats.median_epochs_to(epochs, target) for target in (0.4, 0.5)])


def make_techniques() -> tuple[pd.DataFrame, dict[str, str]]:
    """The table of two techniques, and their baselines."""
    variants = {"optimization": THREE, "augmentation": ["none", "flip", "shift"]}
    tables = [
        stats.summary(make_runs(v), make_epochs(v), v[0], [0.5]).assign(study=study)
        for study, v in variants.items()
    ]
    return pd.concat(tables, ignore_index=True), {study: v[0] for study, v in variants.items()}


def draw_one_that_never_arrives() -> np.ndarray:
    table, baselines = make_techniques()
    table.loc[table["variant"] == "shift", ["mean", "epochs_to_50"]] = 0.1, np.inf
    return plots.accuracy_against_convergence(table, 0.5, baselines)


def make_rungs() -> pd.DataFrame:
    rungs = [f"rung_{number}" for number in range(7)]
    runs = make_runs(rungs)
    return runs.assign(variant=pd.Categorical(runs["variant"], rungs))


def make_story() -> tuple[pd.DataFrame, list[str]]:
    """Two stages of one seed, one of three, and the winners anew; and who the winners are."""
    anew = {"first": ["c"], "then": ["winner"]}
    stages: dict[str, tuple[dict[str, list[str]], int]] = {
        "Drawn\nsix, one seed": ({"plain": ["a", "b", "c"], "taught": ["d", "e", "f"]}, 1),
        "Kept\ntwo": ({"plain": ["c"], "taught": ["d"]}, 1),
        "Around c\nthree seeds": ({"its own": ["c"], "other": ["lost", "winner"]}, 3),
        "Anew\nfour seeds": (anew, 4),
    }
    rows = [
        {"stage": stage, "group": group, "trial": trial, "seed": seed}
        for stage, (groups, seeds) in stages.items()
        for group, trials in groups.items()
        for trial in trials
        for seed in range(seeds)
    ]
    runs = pd.DataFrame(rows)
    level = 0.6 + 0.03 * runs.groupby("stage", sort=False).ngroup()
    runs["val_accuracy"] = level + 0.01 * np.sin(3 * np.arange(len(runs)))
    runs.loc[(runs["trial"] == "lost") & (runs["seed"] == 2), "val_accuracy"] = 0.58
    return runs.assign(taught=~runs["trial"].isin(["a", "b", "c"])), ["c", "winner"]


NAMES = {"A": "ReLU", "B": "max pooling", "C": "flip", "D": "decay"}
CELLS = [
    "".join(letter for letter, there in zip("abcd", levels, strict=True) if there) or "none"
    for levels in itertools.product((False, True), repeat=4)
]


def make_factorial() -> tuple[factorial.Design, pd.DataFrame]:
    """Four techniques, one of which does harm and one nothing; two that overlap."""
    fields = zip(NAMES.items(), Recipe.model_fields, strict=False)
    factors = {
        letter: {"name": name, "levels": {"without": {field: 0}, "with": {field: 1}}}
        for (letter, name), field in fields
    }
    design = factorial.Design.model_validate({"factors": factors})
    rows = {}
    for place, cell in enumerate(CELLS):
        a, b, c, d = (letter in cell.replace("none", "") for letter in "abcd")
        mean = 0.55 + 0.05 * a + 0.03 * b - 0.02 * (a and b) - 0.01 * c + 0.0003 * d
        rows[cell] = [mean + 0.002 * np.sin(3 * place) + 0.004 * np.sin(place + s) for s in (0, 2)]
    return design, pd.DataFrame.from_dict(rows, orient="index")


def make_effects() -> pd.DataFrame:
    return factorial.effects(*make_factorial())


def draw_four_means() -> np.ndarray:
    means = {pair: factorial.four_means(*make_factorial(), pair) for pair in ("AB", "BC", "CD")}
    return factorial_plots.four_means(means, NAMES)[0]


def draw_foretold() -> Any:
    table = factorial.predicted(*make_factorial())
    return factorial_plots.foretold(table.assign(left_out=table.index.isin(["none", "abc"])))


def draw_staircase() -> Any:
    design, accuracy = make_factorial()
    way, bottom = factorial.additivity(design, accuracy), accuracy.loc["none"].mean()
    return factorial_plots.staircase(make_effects(), way, bottom, NAMES)


def draw_curves_of_unequal_length() -> np.ndarray:
    epochs = make_epochs()
    stopped = (epochs["variant"] == "adam") & (epochs["seed"] == 1) & (epochs["epoch"] > 4)
    lost = (epochs["variant"] == "sgd") & (epochs["seed"] == 2) & (epochs["epoch"] == 3)
    epochs.loc[lost, "loss"] = np.nan
    gone = (epochs["variant"] == "sgd") & (epochs["seed"] == 2) & (epochs["epoch"] > 3)
    return plots.learning_curves(epochs[~stopped & ~gone])


BY_VARIANT: dict[str, Callable[..., Any]] = {  # each takes variants, and keywords to hand on
    "learning_curves": lambda v, **k: plots.learning_curves(
        make_epochs(v), ["accuracy", "val_accuracy"], v[1], **k
    ),
    "accuracy_points": lambda v, **k: plots.accuracy_points(make_runs(v), **k),
    "forest": lambda v, **k: plots.forest(stats.compare(make_runs(v), v[0]), v[0], **k),
    "epochs_to_target": lambda v, **k: plots.epochs_to_target(
        make_convergence(v), stats.epochs_to(make_epochs(v), 0.5), **k
    ),
    "gap_against_accuracy": lambda v, **k: plots.gap_against_accuracy(make_runs(v), **k),
    "learning_rate_sensitivity": lambda v, **k: plots.learning_rate_sensitivity(
        make_tuning(v), v[1], **k
    ),
    "layer_scale": lambda v, **k: network_plots.layer_scale(
        make_layers(v).assign(gradient=lambda t: t["gradient"].where(t["layer"] != "C3", 0)),
        v[1],
        **k,
    ),
}
PANELS = ("learning_curves", "learning_rate_sensitivity", "layer_scale")
YEARS = {"rung_0": 1998, "rung_1": 1964, "rung_5": 2015}
OTHERS: dict[str, Callable[..., Any]] = {  # each takes keywords to hand on
    "ladder": lambda **k: plots.ladder(stats.steps(make_rungs()), YEARS, **k),
    "story": lambda **k: search_plots.story(*make_story(), 500, **k),
    "confusion_matrix": lambda **k: network_plots.confusion_matrix(MATRIX, CLASSES, **k),
    "first_layer_kernels": lambda **k: network_plots.first_layer_kernels(KERNELS, **k),
    "images": lambda **k: network_plots.images(PICTURES, [0, 1, 2, 3, 0, 1, 2, 0], CLASSES, **k),
    "averaged_together": lambda **k: network_plots.averaged_together(**k),
}
WHOLE_FIGURES: dict[str, Callable[[], Any]] = {
    "of_forests": lambda: plots.forests(*make_techniques(), limit=9),
    "of_accuracy_against_convergence": draw_one_that_never_arrives,
    "of_effects": lambda: factorial_plots.effects(make_effects(), NAMES),
    "of_interactions": lambda: factorial_plots.interactions(make_effects(), NAMES),
    "of_four_means": draw_four_means,
    "of_what_was_foretold": draw_foretold,
    "of_a_staircase": draw_staircase,
    "of_kernel_histograms": lambda: network_plots.kernel_histograms(make_quantiles(), "momentum"),
    "of_a_history_stopped_early": lambda: network_plots.history(one_run("stopped_early")),
    "of_a_history_diverged": lambda: network_plots.history(one_run("diverged", broken=True)),
    "of_curves_of_unequal_length": draw_curves_of_unequal_length,
}
