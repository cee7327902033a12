"""Every figure: as a picture, and in what it says.

New pictures after a wanted change: `pytest tests/test_plots.py
--mpl-generate-path=tests/baseline_images`, and look at each before committing it.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure

from lenet_keras.recipe import InputError, Recipe
from lenet_keras.run import History, Provenance, Run, Scores
from lenet_study import factorial, factorial_plots, network_plots, plots, stats, style

THREE = ["sgd", "momentum", "adam"]
SIXTEEN = [
    f"{name}_{activation}"
    for activation in ("tanh", "relu")
    for name in (
        "zeros",
        "tiny_normal",
        "large_normal",
        "lecun_1998_uniform",
        "lecun_normal",
        "glorot_uniform",
        "he_normal",
        "orthogonal",
    )
]
LAYERS = ["C1", "C3", "C5", "F6", "output"]
CLASSES = ["airplane", "automobile", "bird", "cat"]

# Root mean square differences: the same picture twice 0, all blue lines a shade off 0.3 to 0.6, one
# letter exchanged 0.9, an interval's band twice as dark 6.
picture = pytest.mark.mpl_image_compare(
    baseline_dir="baseline_images",
    style="default",
    tolerance=0.3,
    savefig_kwargs={"dpi": 50},
    deterministic=True,
)


@pytest.fixture(autouse=True)
def _closed_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_pictures_are_compared(pytestconfig: pytest.Config) -> None:
    compared = pytestconfig.getoption("mpl") or pytestconfig.getoption("mpl_generate_path")
    assert compared, "pytest-mpl compares nothing without --mpl: it belongs into addopts"


def make_epochs(variants: list[str] = THREE, seeds: int = 3, epochs: int = 6) -> pd.DataFrame:
    rows = []
    for place, variant in enumerate(variants):
        for seed in range(seeds):
            for epoch in range(1, epochs + 1):
                learnt = 1 - np.exp(-epoch * (0.2 + 0.5 * place / len(variants)))
                accuracy = 0.1 + 0.5 * learnt + 0.012 * np.sin(7 * seed + 3 * place + epoch)
                rows.append(
                    {
                        "variant": variant,
                        "purpose": "final",
                        "seed": seed,
                        "epoch": epoch,
                        "loss": 2.3 - 2.1 * learnt,
                        "accuracy": accuracy + 0.02,
                        "val_loss": 2.3 - 2 * learnt + 0.02 * np.sin(seed + place),
                        "val_accuracy": accuracy,
                        "learning_rate": 0.1 * 0.9**epoch,
                    }
                )
    return pd.DataFrame(rows)


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
    return pd.DataFrame(
        [
            {
                "variant": variant,
                "purpose": "tuning",
                "seed": 1000,
                "learning_rate": rate,
                "val_accuracy": 0.6 - 0.1 * (np.log10(rate) + 1 + place / len(variants)) ** 2,
                "status": "diverged" if rate == 1.0 and place == 0 else "completed",
            }
            for place, variant in enumerate(variants)
            for rate in (0.01, 0.03, 0.1, 0.3, 1.0)
        ]
    )


def make_layers(variants: list[str] = THREE) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "layer": layer,
                "variant": variant,
                "activation": (0.2 + place / len(variants)) ** depth,
                "gradient": 0.01 * (0.3 + place / len(variants)) ** depth if depth % 2 else np.nan,
            }
            for place, variant in enumerate(variants)
            for depth, layer in enumerate(LAYERS)
        ]
    )


def make_quantiles(variants: list[str] = THREE) -> dict[str, dict[str, tuple[float, ...]]]:
    rise = np.linspace(-1, 1, 41)
    return {
        variant: {
            layer: tuple((1 + depth) * 0.1 * np.sign(rise) * np.abs(rise) ** (1 + place))
            for depth, layer in enumerate(LAYERS)
        }
        for place, variant in enumerate(variants)
    }


def make_run(status: Any = "completed", epochs: int = 6, broken: bool = False) -> Run:
    learnt = 1 - np.exp(-np.arange(1, epochs + 1) / 3)
    loss: list[float | None] = [float(value) for value in 2.3 - learnt]
    if broken:
        loss[-1] = None
    scores = Scores(loss=1.3, accuracy=0.553, calibration_error=0.05)
    return Run(
        recipe=Recipe(dataset="digits"),
        seed=0,
        status=status,
        history=History(
            loss=tuple(loss),
            accuracy=tuple(0.1 + 0.5 * learnt),
            val_loss=tuple(None if value is None else value + 0.1 for value in loss),
            val_accuracy=tuple(0.1 + 0.45 * learnt),
            learning_rate=(0.05,) * epochs,
            seconds=(2.0,) * epochs,
        ),
        best_epoch=max(1, epochs - 2),
        train=scores,
        validation=scores,
        test=scores,
        class_names=("0", "1"),
        confusion_matrix=((1, 0), (0, 1)),
        kernel_quantiles={},
        provenance=Provenance(
            dataset_fingerprint="",
            batches_digest="",
            git_commit=None,
            versions={},
            backend="tensorflow",
            device="cpu",
            threads=1,
            started="2025-01-01T00:00:00Z",
            wall_seconds=1.0,
        ),
    )


def make_convergence(
    variants: list[str] = THREE, targets: tuple[float, ...] = (0.4, 0.5)
) -> pd.DataFrame:
    epochs = make_epochs(variants)
    return pd.concat([stats.median_epochs_to(epochs, target) for target in targets])


def make_summary(variants: list[str] = THREE) -> pd.DataFrame:
    return stats.summary(make_runs(variants), make_epochs(variants), variants[0], [0.5])


PICTURES = (np.arange(8 * 8 * 8 * 3) % 251).astype(np.uint8).reshape(8, 8, 8, 3)
KERNELS = np.sin(np.arange(5 * 5 * 3 * 6)).reshape(5, 5, 3, 6) * 0.4
MATRIX = [[8, 1, 1, 0], [2, 6, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]

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


def make_techniques() -> tuple[pd.DataFrame, dict[str, str]]:
    """The table of two techniques, and their baselines."""
    first = make_summary(THREE).assign(study="optimization")
    second = make_summary(["none", "flip", "shift"]).assign(study="augmentation")
    both = pd.concat([first, second], ignore_index=True)
    return both, {"optimization": "sgd", "augmentation": "none"}


def make_rungs() -> pd.DataFrame:
    rungs = [f"rung_{number}" for number in range(7)]
    runs = make_runs(rungs)
    return runs.assign(variant=pd.Categorical(runs["variant"], rungs))


def make_trials() -> pd.DataFrame:
    sizes = {1: (12, 5), 2: (4, 15), 3: (2, 60)}
    rows = [
        {"stage": stage, "epochs": epochs, "val_accuracy": 0.5 + 0.05 * stage + 0.02 * np.sin(i)}
        for stage, (number, epochs) in sizes.items()
        for i in range(number)
    ]
    trials = pd.DataFrame(rows)
    return trials.assign(spent=trials["epochs"].cumsum(), best=trials["val_accuracy"].cummax())


YEARS = {"rung_0": 1998, "rung_1": 1964, "rung_5": 2015}
OTHERS: dict[str, Callable[..., Any]] = {
    "ladder": lambda **k: plots.ladder(stats.steps(make_rungs()), YEARS, **k),
    "search_progress": lambda **k: plots.search_progress(make_trials(), **k),
    "confusion_matrix": lambda **k: network_plots.confusion_matrix(MATRIX, CLASSES, **k),
    "first_layer_kernels": lambda **k: network_plots.first_layer_kernels(KERNELS, **k),
    "images": lambda **k: network_plots.images(PICTURES, [0, 1, 2, 3, 0, 1, 2, 0], CLASSES, **k),
    "averaged_together": lambda **k: network_plots.averaged_together(**k),
}


def whole(axes: Any) -> Figure:
    figure = np.ravel(np.asarray(axes, dtype=object))[0].get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


def legend_texts(drawn: Any) -> list[str]:
    """Of one axes' legend with its title, or of that over all panels."""
    legends = whole(drawn).legends if isinstance(drawn, np.ndarray) else [drawn.get_legend()]
    (legend,) = legends
    return [legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())]


def test_what_never_arrives_is_counted_and_does_not_squeeze_the_others() -> None:
    table, baselines = make_techniques()
    table["epochs_to_50"] = [2.0, 3.0, np.inf, 1.0, 2.0, 3.0]
    table.loc[2, "mean"] = 0.1
    panels = plots.accuracy_against_convergence(table, 0.5, baselines)
    titles = [panel.get_title(loc="left") for panel in panels]
    assert titles == ["optimization (1 of 3 never)", "augmentation"]
    assert 10 < panels[0].get_ylim()[0] < 100 * table["mean"].drop(2).min()


def test_convergence_names_the_fastest_the_best_and_the_baseline() -> None:
    table, baselines = make_techniques()
    means = {"sgd": 0.5, "momentum": 0.6, "adam": 0.55, "none": 0.5, "flip": 0.4, "shift": 0.3}
    epochs = {"sgd": 5, "momentum": 4, "adam": 3, "none": 1, "flip": 2, "shift": 3}
    table = table.assign(mean=table["variant"].map(means))
    table["epochs_to_50"] = table["variant"].map(epochs)
    panels = plots.accuracy_against_convergence(table, 0.5, baselines)
    named = [[text.get_text() for text in panel.texts] for panel in panels]
    assert named == [["adam", "momentum", "sgd"], ["none"]]


@picture
@pytest.mark.parametrize("name", BY_VARIANT)
def test_picture_by_variant(name: str) -> Figure:
    style.use_style()
    axes = BY_VARIANT[name](THREE)
    style.label_source(axes, "digits", 6, 3)
    return whole(axes)


@picture
@pytest.mark.parametrize("name", OTHERS)
def test_picture(name: str) -> Figure:
    style.use_style()
    return whole(OTHERS[name]())


@picture
def test_picture_of_forests() -> Figure:
    style.use_style()
    return whole(plots.forests(*make_techniques(), limit=9))


@picture
def test_picture_of_accuracy_against_convergence() -> Figure:
    style.use_style()
    table, baselines = make_techniques()
    table.loc[table["variant"] == "shift", ["mean", "epochs_to_50"]] = 0.1, np.inf
    return whole(plots.accuracy_against_convergence(table, 0.5, baselines))


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


@picture
def test_picture_of_effects() -> Figure:
    style.use_style()
    return whole(factorial_plots.effects(factorial.effects(*make_factorial()), NAMES))


@picture
def test_picture_of_interactions() -> Figure:
    style.use_style()
    return whole(factorial_plots.interactions(factorial.effects(*make_factorial()), NAMES))


@picture
def test_picture_of_four_means() -> Figure:
    style.use_style()
    means = {pair: factorial.four_means(*make_factorial(), pair) for pair in ("AB", "BC", "CD")}
    return whole(factorial_plots.four_means(means, NAMES)[0])


@picture
def test_picture_of_what_was_foretold() -> Figure:
    style.use_style()
    table = factorial.predicted(*make_factorial())
    return whole(factorial_plots.foretold(table.assign(left_out=table.index.isin(["none", "abc"]))))


@picture
def test_picture_of_a_staircase() -> Figure:
    style.use_style()
    design, accuracy = make_factorial()
    way, bottom = factorial.additivity(design, accuracy), accuracy.loc["none"].mean()
    return whole(factorial_plots.staircase(factorial.effects(design, accuracy), way, bottom, NAMES))


@picture
def test_picture_of_kernel_histograms() -> Figure:
    style.use_style()
    return whole(network_plots.kernel_histograms(make_quantiles(), "momentum"))


@picture
@pytest.mark.parametrize("status", ["stopped_early", "diverged"])
def test_picture_of_a_history(status: str) -> Figure:
    style.use_style()
    return whole(network_plots.history(make_run(status, broken=status == "diverged")))


@picture
def test_picture_of_curves_of_unequal_length() -> Figure:
    style.use_style()
    epochs = make_epochs()
    stopped = (epochs["variant"] == "adam") & (epochs["seed"] == 1) & (epochs["epoch"] > 4)
    lost = (epochs["variant"] == "sgd") & (epochs["seed"] == 2) & (epochs["epoch"] == 3)
    epochs.loc[lost, "loss"] = np.nan
    gone = (epochs["variant"] == "sgd") & (epochs["seed"] == 2) & (epochs["epoch"] > 3)
    return whole(plots.learning_curves(epochs[~stopped & ~gone]))


def unused_tick_labels(figure: Figure) -> set[Any]:
    """Labels that matplotlib keeps for ticks outside the axis, and does not draw."""
    unused = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    unused |= {tick.label1, tick.label2}
    return unused


@pytest.mark.parametrize("variants", [THREE, SIXTEEN], ids=["few", "sixteen"])
@pytest.mark.parametrize("name", [*BY_VARIANT, "kernel_histograms"])
def test_no_text_lies_on_another_or_is_cut_off(name: str, variants: list[str]) -> None:
    style.use_style()
    if name == "kernel_histograms":
        drawn: Any = network_plots.kernel_histograms(make_quantiles(variants[:7]), variants[1])
    else:
        drawn = BY_VARIANT[name](variants)
    figure = whole(drawn)
    style.label_source(figure, "digits", 6, 3)
    figure.draw_without_rendering()
    room = figure.bbox.padded(0.5)
    boxes = {
        text: text.get_window_extent()
        for text in figure.findobj(plt.Text)
        if text.get_text() and text.get_visible() and text not in unused_tick_labels(figure)
    }
    for text, box in boxes.items():
        beyond = (room.x0 - box.x0, room.y0 - box.y0, box.x1 - room.x1, box.y1 - room.y1)
        assert max(beyond) <= 0, f"cut off: {text.get_text()}"
    listed = list(boxes.items())
    for place, (text, box) in enumerate(listed):
        for other, other_box in listed[place + 1 :]:
            overlap = box.padded(-1).overlaps(other_box.padded(-1))
            assert not overlap, f"{text.get_text()!r} on {other.get_text()!r}"


@pytest.mark.parametrize("name", [*BY_VARIANT, *OTHERS])
def test_draws_on_the_axes_it_is_given(name: str) -> None:
    _, (empty, *places) = plt.subplots(1, 4, figsize=(16, 4))
    given = places if name in PANELS else places[0]
    draw = BY_VARIANT.get(name)
    drawn = draw(THREE, axes=given) if draw else OTHERS[name](axes=given)
    assert np.all(np.equal(drawn, given))
    assert all(axes.has_data() for axes in np.ravel(drawn))
    assert not empty.has_data()


def test_a_variant_has_one_colour_in_every_figure() -> None:
    looks = style.colours(["adam", "sgd", "lion", "momentum"], baseline="momentum")
    assert looks["momentum"]["color"] == style.GREY
    for name, draw in BY_VARIANT.items():
        panels = np.ravel(draw(THREE, colours=looks))
        used = {to_hex(line.get_color()) for axes in panels for line in axes.lines}
        assert used >= {looks[v]["color"].lower() for v in ("momentum", "adam")}, name
        assert looks["lion"]["color"].lower() not in used, name


@given(st.lists(st.text(max_size=5), unique=True, max_size=24))
def test_looks_differ_and_depend_on_the_place_alone(variants: list[str]) -> None:
    looks = style.colours(variants)
    assert list(looks) == variants
    assert len({look["color"] for look in looks.values()}) == len(variants)
    assert (
        list(looks.values())
        == list(style.colours(SIXTEEN + THREE + LAYERS).values())[: len(variants)]
    )


def test_band_is_the_t_interval_over_the_seeds() -> None:
    epochs = make_epochs(["sgd"])
    (axes,) = plots.learning_curves(epochs)
    (band,) = axes.collections
    at_epoch_4 = epochs.loc[epochs["epoch"] == 4, "val_accuracy"] * 100
    interval = stats.mean_interval(at_epoch_4)
    edges = [y for x, y in band.get_paths()[0].vertices if x == 4]
    assert min(edges) == pytest.approx(interval.low)
    assert max(edges) == pytest.approx(interval.high)
    assert axes.lines[0].get_ydata()[3] == pytest.approx(interval.mean)


def test_no_axis_reaches_beyond_what_an_accuracy_can_be() -> None:
    epochs = make_epochs(["one"], seeds=2)
    epochs["val_accuracy"] = epochs["seed"].map({0: 0.05, 1: 0.95})
    (panel,) = plots.learning_curves(epochs)
    assert panel.get_ylim() == (0, 100)


def test_one_seed_is_drawn_without_an_interval() -> None:
    epochs, runs = make_epochs(seeds=1), make_runs(seeds=1)
    curves = plots.learning_curves(epochs)
    assert legend_texts(curves) == ["", "one seed: no interval"]
    for panel in curves:
        assert all(np.isfinite(line.get_ydata()).all() for line in panel.lines)
        assert not any(len(p.vertices) for band in panel.collections for p in band.get_paths())
    assert "mean (one seed: no interval)" in legend_texts(plots.accuracy_points(runs))
    assert not plots.gap_against_accuracy(runs).collections  # the bars would be some


def test_one_epoch_is_visible() -> None:
    for panel in plots.learning_curves(make_epochs(epochs=1)):
        assert len(panel.containers) == 1
        assert [line.get_marker() for line in panel.lines][:1] == ["o"]
        assert all(tick == int(tick) for tick in panel.get_xticks())
    for panel in network_plots.history(make_run(epochs=1)):
        assert [line.get_marker() for line in panel.lines].count("o") == 2


def test_divergence_is_counted_and_its_epoch_is_no_value() -> None:
    epochs = make_epochs(["sgd"])
    last = (epochs["seed"] == 2) & (epochs["epoch"] == 6)
    epochs.loc[last, ["val_loss", "val_accuracy"]] = [np.nan, 0.1]
    panels = plots.learning_curves(epochs)
    assert legend_texts(panels)[-1] == "not all seeds are left"
    assert panels[0].get_title(loc="left") == "sgd (1 of 3 diverged)"
    solid, dotted = panels[0].lines
    assert list(solid.get_xdata()) == [1, 2, 3, 4, 5]
    assert list(dotted.get_xdata()) == [5, 6]
    others = epochs.loc[(epochs["epoch"] == 6) & (epochs["seed"] < 2), "val_accuracy"]
    assert dotted.get_ydata()[1] == pytest.approx(others.mean() * 100)
    assert dotted.get_ydata()[0] == pytest.approx(solid.get_ydata()[4])


def test_a_study_in_which_all_diverged_is_drawn() -> None:
    epochs = make_epochs()
    lost = epochs.assign(loss=None, val_loss=None)
    for metric in ("val_accuracy", "val_loss"):
        panels = plots.learning_curves(lost, metric)
        assert panels[2].get_title(loc="left") == "adam (3 of 3 diverged)"
    runs = make_runs().assign(status="diverged", test_loss=np.nan)
    names = [t.get_text() for t in plots.accuracy_points(runs, "test_loss").get_yticklabels()]
    assert names == [f"{name} (3 of 3 diverged)" for name in THREE]
    tuning = make_tuning().assign(status="diverged", val_accuracy=0.1)
    assert "a run diverged" in legend_texts(plots.learning_rate_sensitivity(tuning))
    quantiles: Any = make_quantiles()
    quantiles["adam"]["C3"] = (None,) * 41
    panels = network_plots.kernel_histograms(quantiles)
    titles = [axes.get_title(loc="left") for axes in panels[::5]]
    assert titles == ["sgd", "momentum", "adam (diverged)"]


def test_effects_are_sorted_and_filled_where_they_are_significant() -> None:
    effects = factorial.effects(*make_factorial())
    axes = factorial_plots.effects(effects, NAMES)
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert ticks == ["ReLU", "max pooling", "decay", "flip"]
    filled = [not same_color(bar.get_facecolor(), "white") for bar in axes.patches]
    order = effects.loc[list("ABDC")]
    assert filled == (order["p_holm"] < 0.05).tolist()
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(100 * order["effect"])


def test_interactions_frame_what_is_significant() -> None:
    effects = factorial.effects(*make_factorial())
    effects["p_holm"] = np.where(effects.index.isin(["AB", "A"]), 0.049, 0.05)
    axes = factorial_plots.interactions(effects, NAMES)
    (frame,) = axes.patches
    assert [round(place) for place in frame.get_xy()] == [0, 0]  # ReLU with max pooling
    bold = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold == ["\N{MINUS SIGN}0.9"]


def test_forest_fills_what_is_significant_and_names_the_baseline() -> None:
    comparison = pd.DataFrame(
        {
            "variant": ["sgd", "adam", "lion", "nadam"],
            "mean": [0.5, 0.52, 0.51, 0.2],
            "difference": [np.nan, 0.02, 0.01, -0.3],
            "difference_low": [np.nan, 0.01, -0.01, -0.31],
            "difference_high": [np.nan, 0.03, 0.03, -0.29],
            "p_holm": [np.nan, 0.049, 0.05, 0.001],
        }
    )
    axes = plots.forest(comparison, "sgd", limit=5)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["adam", "lion", "nadam"]
    adam, lion, *_ = (bar.lines[0] for bar in axes.containers)
    assert same_color(adam.get_markerfacecolor(), adam.get_color())
    assert same_color(lion.get_markerfacecolor(), "white")
    assert adam.get_xdata()[0] == pytest.approx(2)
    (arrow,) = (line for line in axes.lines if line.get_marker() == "<")
    assert list(arrow.get_xdata()) == [-5]
    assert axes.get_xlabel() == "Test accuracy minus that of sgd (50.0 %), in percentage points"
    numbers = [text.get_text() for text in axes.texts]
    assert numbers[0] == "+2.0  [+1.0, +3.0]"
    assert numbers[2] == "\N{MINUS SIGN}30.0  [\N{MINUS SIGN}31.0, \N{MINUS SIGN}29.0]"
    with pytest.raises(InputError, match=r"baseline 'sdg' is no variant\. Did you mean 'sgd'"):
        plots.forest(comparison, "sdg")
    control = comparison.iloc[[2]].assign(variant="sgd")
    axes = plots.forest(comparison, "sgd", names={"sgd": "SGD"}, control=control)
    assert [tick.get_text() for tick in axes.get_yticklabels()][2:] == [
        "nadam",
        "SGD against itself",
    ]
    itself = axes.containers[3].lines[0]
    assert (itself.get_xdata()[0], itself.get_ydata()[0]) == (pytest.approx(1), 3)
    assert same_color(itself.get_color(), style.GREY)
    assert axes.texts[3].get_text() == "+1.0  [\N{MINUS SIGN}1.0, +3.0]"


def test_a_target_out_of_reach_stands_beyond_the_longest_run() -> None:
    table = pd.DataFrame(
        {
            "variant": ["sgd", "adam", "lion"],
            "target": 0.5,
            "median": [np.inf, 7.0, np.nan],
            "reached": [1, 5, 0],
            "n": 5,
        }
    )
    axes = plots.epochs_to_target(table)
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names[0] == "adam"
    places = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata())]
    assert places[0] == 7
    assert min(places[1:]) > max(axes.get_xticks())
    assert [text.get_text() for text in axes.texts][:1] == ["5 of 5"]


def test_ring_marks_the_best_learning_rate() -> None:
    (axes,) = plots.learning_rate_sensitivity(make_tuning(["sgd"]))
    (ring,) = (line for line in axes.lines if line.get_markersize() == 12)
    assert ring.get_xdata()[0] == 0.1
    assert axes.get_xscale() == "log"


def test_confusion_matrix_is_in_percent_of_each_true_class() -> None:
    axes = network_plots.confusion_matrix(MATRIX, CLASSES)
    numbers = [text.get_text() for text in axes.texts]
    assert numbers[:4] == ["80", "10", "10", "0"]
    assert numbers[8:12] == ["0"] * 4  # a class without images
    with pytest.raises(InputError, match=r"shape \(4, 4\) and 3 class names"):
        network_plots.confusion_matrix(MATRIX, CLASSES[:3])


def test_kernels_share_one_symmetric_scale() -> None:
    kernels = np.zeros((5, 5, 3, 6))
    kernels[0, 0, 0, 0] = -0.5
    kernels[4, 4, 2, 5] = 0.25
    axes = network_plots.first_layer_kernels(kernels)
    canvas = np.asarray(axes.images[0].get_array())
    assert canvas[0, 0] == pytest.approx([0, 0.5, 0.5])  # the colour picture: no red, else grey
    assert canvas[39, 39] == pytest.approx([0.5, 0.5, 0.5])
    bar = whole(axes).axes[1]
    assert bar.get_ylim() == (-0.5, 0.5)
    assert "±0.5" in bar.get_ylabel()
    with pytest.raises(InputError, match="expected"):
        network_plots.first_layer_kernels(np.zeros((3, 5, 5, 6)))


def test_images_stand_in_the_row_of_their_label() -> None:
    axes = network_plots.images(PICTURES, ["b", "a", "b", "b", "a", "b", "b", "b"], columns=3)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["b", "a"]
    canvas = np.asarray(axes.images[0].get_array())
    assert (canvas[:8, 9:17] == PICTURES[2]).all()  # pictures of 8 pixels, gaps of 1
    assert (canvas[9:17, :8] == PICTURES[1]).all()
    assert (canvas[9:17, 18:] == 255).all()
    with pytest.raises(InputError, match="and 2 labels"):
        network_plots.images(PICTURES, ["a", "b"])


@given(st.lists(st.floats(-2, 2).map(lambda x: round(x, 2)), min_size=41, max_size=41).map(sorted))
def test_histogram_is_the_density_of_the_quantiles(quantiles: list[float]) -> None:
    (panel,) = network_plots.kernel_histograms({"none": {"C1": quantiles}})
    density, edges, _ = panel.patches[0].get_data()
    plt.close("all")
    mass = density * np.diff(edges)
    assert mass.sum() == pytest.approx(1)
    # Below every bin edge lies, to within one quantile, the share of the quantiles below it; those
    # on the edge itself belong to either side.
    below = np.cumsum(mass)[:-1]
    assert (below >= np.searchsorted(quantiles, edges[1:-1], side="left") / 41 - 1.5 / 40).all()
    assert (below <= np.searchsorted(quantiles, edges[1:-1], side="right") / 41 + 1.5 / 40).all()


def test_zero_has_a_place_on_the_logarithmic_axis() -> None:
    table = make_layers(["zeros", "he_normal"])
    positive = network_plots.layer_scale(table)
    assert positive[0].get_yscale() == "log"
    table.loc[table["variant"] == "zeros", ["activation", "gradient"]] = 0.0
    axes = network_plots.layer_scale(table)[1]
    whole(axes).draw_without_rendering()
    bottom, top = axes.get_ylim()
    assert bottom < 0 < table["activation"].max() < top
    assert 0 in axes.get_yticks()
    assert axes.get_yscale() == "symlog"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("cifar10", 20, 5), "CIFAR-10, 20 epochs, 5 seeds"),
        (("cifar10", 20, 10), "CIFAR-10, 20 epochs, 10 seeds"),
        (("cifar10", 2, 5), "CIFAR-10, 2 epochs, 5 seeds: a rehearsal, not the study"),
        (("cifar10", 30, 5), "CIFAR-10, 30 epochs, 5 seeds: a rehearsal, not the study"),
        (("cifar10", 20, 1), "CIFAR-10, 20 epochs, 1 seed: a rehearsal, not the study"),
        (("digits", 20, 5), "digits, 20 epochs, 5 seeds: a rehearsal, not the study"),
        (("cifar10",), "CIFAR-10"),
        (("mnist",), "MNIST: a rehearsal, not the study"),
    ],
)
def test_source_is_named_and_a_rehearsal_called_one(arguments: Any, text: str) -> None:
    figure, axes = plt.subplots()
    style.label_source(axes, *arguments)
    assert figure.get_supxlabel() == text


@pytest.mark.parametrize(("longest", "text"), [(150, "20 to 150 epochs"), (20, "20 epochs")])
def test_the_longest_of_unequal_runs_is_named(longest: int, text: str) -> None:
    figure, axes = plt.subplots()
    style.label_source(axes, "cifar10", 20, 5, longest=longest)
    assert figure.get_supxlabel() == f"CIFAR-10, {text}, 5 seeds"


def test_saved_figures_are_the_same_bytes_each_time(tmp_path: Any) -> None:
    style.use_style()
    for folder in ("first", "second"):
        style.save(whole(BY_VARIANT["forest"](THREE)), tmp_path / folder / "v1.5" / "forest")
    first, second = (
        [(tmp_path / folder / "v1.5" / f"forest.{kind}").read_bytes() for kind in ("png", "svg")]
        for folder in ("first", "second")
    )
    assert first == second
    words = b"Differences from the baseline with their intervals, the largest on top."
    assert words in first[0]
    assert words in first[1]
    assert b"<dc:date>" not in first[1]
    assert b"Software" not in first[0]


def test_a_figure_is_described_in_words() -> None:
    panels = plots.learning_curves(make_epochs(), baseline="sgd")
    style.label_source(panels, "digits", 6, 3)
    assert style.description(panels) == (
        "Learning curves, a panel a variant: the mean over the seeds with its interval as a band. "
        "Panels: sgd, momentum, adam. Across: Epoch. Up: Validation accuracy (%). "
        "Source: digits, 6 epochs, 3 seeds: a rehearsal, not the study."
    )


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Any) -> None:
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(InputError, match=r"figures: figures cannot be written"):
        style.save(plt.figure(), tmp_path / "figures" / "forest")


def test_tuning_and_final_runs_do_not_mix() -> None:
    runs = pd.concat([make_runs(), make_tuning().assign(test_accuracy=0.99)])
    assert plots.accuracy_points(runs).get_xlim()[1] < 90
    assert len(plots.learning_rate_sensitivity(runs)) == 3


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.learning_curves(make_epochs().drop(columns="seed")), "lacks seed; it has"),
        (lambda: plots.learning_curves(make_epochs().iloc[:0]), "no final rows"),
        (lambda: plots.learning_curves(pd.concat([make_epochs()] * 2)), "sgd, seed 0, epoch 1"),
        (lambda: plots.learning_curves(make_epochs(), "val_acuracy"), "mean 'val_accuracy'"),
        (lambda: plots.accuracy_points(make_tuning(), "val_accuracy"), "no final rows"),
        (lambda: plots.gap_against_accuracy(pd.concat([make_runs()] * 2)), "more than once"),
        (
            lambda: plots.accuracy_points(make_runs(), colours=style.colours(["sgd", "adam"])),
            "none for momentum; there are some for sgd, adam",
        ),
        (lambda: network_plots.kernel_histograms({}), "no quantiles"),
        (lambda: network_plots.history(make_run(), [plt.figure().add_subplot()]), "found 1 axes"),
    ],
)
def test_what_cannot_be_drawn_is_said(draw: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw()


def test_importing_touches_no_display() -> None:
    program = """
import matplotlib, sys, lenet_study.plots
sys.exit(matplotlib.get_backend(auto_select=False) is not None)
"""
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    done = subprocess.run([sys.executable, "-c", program], check=False, env=environment)
    assert done.returncode == 0


def test_forest_says_where_differences_are_unpaired() -> None:
    tables = [
        stats.compare(make_runs(["a", "b"]), "a", paired=paired).assign(study=study)
        for study, paired in (("one", False), ("two", True))
    ]
    alone = plots.forest(tables[0], "a")
    assert "95 % t-interval, unpaired" in legend_texts(alone)
    both = plots.forests(pd.concat(tables), {"one": "a", "two": "a"})
    assert "95 % t-interval, paired unless noted" in legend_texts(both)
    headings = [panel.get_title(loc="left") for panel in both]
    assert [heading.endswith(", unpaired") for heading in headings] == [True, False]
