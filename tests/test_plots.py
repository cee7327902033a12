"""Every figure: as a picture, and in what it says.

New pictures after a wanted change: `pytest tests/test_plots.py
--mpl-generate-path=tests/baseline_images`, and look at each before committing it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from drawings import (
    BY_VARIANT,
    CLASSES,
    LAYERS,
    MATRIX,
    NAMES,
    OTHERS,
    PANELS,
    PICTURES,
    SIXTEEN,
    THREE,
    WHOLE_FIGURES,
    make_effects,
    make_epochs,
    make_layers,
    make_quantiles,
    make_runs,
    make_story,
    make_techniques,
    make_tuning,
    one_run,
)
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure

from lenet_keras.recipe import InputError
from lenet_study import factorial_plots, network_plots, plots, search_plots, stats, style

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
    said = [[text.get_text() for text in panel.texts] for panel in panels]
    assert said == [["1 of 3 never\nget there"], []]
    assert 10 < panels[0].get_ylim()[0] < 100 * table["mean"].drop(2).min()
    none = plots.accuracy_against_convergence(table.assign(epochs_to_50=np.inf), 0.5, baselines)
    assert [panel.texts[0].get_text() for panel in none] == ["3 of 3 never\nget there"] * 2


def test_convergence_names_the_fastest_the_best_and_the_baseline() -> None:
    table, baselines = make_techniques()
    means = {"sgd": 0.5, "momentum": 0.6, "adam": 0.55, "none": 0.5, "flip": 0.4, "shift": 0.3}
    epochs = {"sgd": 5, "momentum": 4, "adam": 3, "none": 1, "flip": 2, "shift": 3}
    table = table.assign(mean=table["variant"].map(means))
    table["epochs_to_50"] = table["variant"].map(epochs)
    panels = plots.accuracy_against_convergence(table, 0.5, baselines)
    named = [[text.get_text() for text in panel.get_legend().get_texts()] for panel in panels]
    assert named == [["momentum", "adam", "sgd"], ["none (both)"]]
    table.loc[table["variant"] == "momentum", "epochs_to_50"] = 3  # of equals the most accurate
    panel, _ = plots.accuracy_against_convergence(table, 0.5, baselines)
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [
        "momentum (both)",
        "sgd",
    ]


@picture
@pytest.mark.parametrize("name", BY_VARIANT)
def test_picture_by_variant(name: str) -> Figure:
    style.use_style()
    axes = BY_VARIANT[name](THREE)
    style.label_source(axes, "digits", 6, 3)
    return whole(axes)


@picture
@pytest.mark.parametrize("name", [*OTHERS, *WHOLE_FIGURES])
def test_picture(name: str) -> Figure:
    style.use_style()
    return whole((OTHERS | WHOLE_FIGURES)[name]())


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
    room, unused = figure.bbox.padded(0.5), unused_tick_labels(figure)
    texts = [
        text
        for text in figure.findobj(plt.Text)
        if text.get_text() and text.get_visible() and text not in unused
    ]
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        beyond = (room.x0 - box.x0, room.y0 - box.y0, box.x1 - room.x1, box.y1 - room.y1)
        assert max(beyond) <= 0, f"cut off: {text.get_text()}"
    corners = np.sort([box.padded(-1).get_points() for box in boxes], axis=1)
    low, high = corners[:, 0], corners[:, 1]
    overlap = (low[:, None] <= high).all(axis=-1)
    pairs = np.argwhere(np.triu(overlap & overlap.T, k=1))
    assert [[texts[place].get_text() for place in pair] for pair in pairs] == []


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
    for panel in network_plots.history(one_run(epochs=1)):
        assert [line.get_marker() for line in panel.lines].count("o") == 2


def test_curves_say_that_validation_images_were_trained_on() -> None:
    run = one_run()
    joined = run.recipe.replace(train_on="train_and_validation")
    for recipe, told in ((run.recipe, ""), (joined, "validation images were trained on")):
        panels = network_plots.history(run.model_copy(update={"recipe": recipe}))
        assert panels[1].get_title(loc="left") == told


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


def test_a_story_fills_what_went_on_numbers_the_winners_and_follows_them() -> None:
    runs, winners = make_story()
    axes = search_plots.story(runs, winners, images=500)
    shapes = [bars.lines[0] for bars in axes.containers][:-1]  # the last explains the others
    filled = [not same_color(shape.get_markerfacecolor(), "white") for shape in shapes]
    went_on = "001100" + "10" + "101" + "11"  # stage after stage, the last one all
    assert filled == [mark == "1" for mark in went_on]
    texts = [text.get_text() for text in axes.texts]
    assert [texts.count(number) for number in ("1", "2", "3")] == [4, 2, 0]
    assert texts.count("fell behind") == 1
    (way,) = (line for line in axes.lines if line.get_linewidth() == 1.8)
    means = 100 * runs.groupby(["stage", "trial"], sort=False)["val_accuracy"].mean()
    led = zip(runs["stage"].unique(), ["c", "c", "winner", "winner"], strict=True)
    assert way.get_ydata() == pytest.approx([means[step] for step in led])


def test_effects_are_sorted_and_filled_where_they_are_significant() -> None:
    effects = make_effects()
    axes = factorial_plots.effects(effects, NAMES)
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert ticks == ["ReLU", "max pooling", "decay", "flip"]
    filled = [not same_color(bar.get_facecolor(), "white") for bar in axes.patches]
    order = effects.loc[list("ABDC")]
    assert filled == (order["p_holm"] < 0.05).tolist()
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(100 * order["effect"])


def test_interactions_frame_what_is_significant() -> None:
    effects = make_effects()
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
    many = network_plots.confusion_matrix(np.eye(100), [f"thing {i}" for i in range(100)])
    assert not many.texts  # they would lie on each other
    assert 10 < len(many.get_yticklabels()) < 50


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
    ("arguments", "longest", "text"),
    [
        (("cifar10", 20, 5), None, "CIFAR-10, 20 epochs, 5 seeds"),
        (("cifar10", 20, 5), 20, "CIFAR-10, 20 epochs, 5 seeds"),
        (("cifar10", 20, 5), 150, "CIFAR-10, 20 to 150 epochs, 5 seeds"),
        (("cifar10", 20, 10), None, "CIFAR-10, 20 epochs, 10 seeds"),
        (("cifar10", 2, 5), None, "CIFAR-10, 2 epochs, 5 seeds: a rehearsal, not the study"),
        (("cifar10", 30, 5), None, "CIFAR-10, 30 epochs, 5 seeds: a rehearsal, not the study"),
        (("cifar10", 20, 1), None, "CIFAR-10, 20 epochs, 1 seed: a rehearsal, not the study"),
        (("digits", 20, 5), None, "digits, 20 epochs, 5 seeds: a rehearsal, not the study"),
        (("cifar10",), None, "CIFAR-10"),
        (("mnist",), None, "MNIST: a rehearsal, not the study"),
    ],
)
def test_source_is_named_and_a_rehearsal_called_one(
    arguments: Any, longest: int | None, text: str
) -> None:
    figure, axes = plt.subplots()
    style.label_source(axes, *arguments, longest=longest)
    assert figure.get_supxlabel() == text


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


def test_each_column_names_its_axis_under_its_lowest_panel() -> None:
    panels = plots.learning_curves(make_epochs([*THREE, "nadam", "lion"]))  # in rows of 3 and 2
    labels = [panel.xaxis.label for panel in panels]
    shown = [label.get_text() * label.get_visible() for label in labels]
    assert shown == ["", "", "Epoch", "Epoch", "Epoch"]


def test_long_names_keep_clear_of_a_saved_figure_s_edges(tmp_path: Any) -> None:
    style.use_style()
    _, axes = plt.subplots(figsize=(10.6, 2))
    axes.barh(["kernel_initializer: he_normal → lecun_1998_uniform"], [1])
    png, _ = style.save(axes, tmp_path / "names")
    assert (plt.imread(png)[:, :3] == 1).all()  # white


def test_a_figure_is_described_in_words() -> None:
    panels = plots.learning_curves(make_epochs(), baseline="sgd")
    style.label_source(panels, "digits", 6, 3)
    assert style.description(panels) == (
        "Learning curves by variant: the mean over the seeds, with its interval as a band. "
        "Panels: sgd, momentum, adam. Across: Epoch. Up: Validation accuracy (%). "
        "Source: digits, 6 epochs, 3 seeds: a rehearsal, not the study."
    )


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Any) -> None:
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(InputError, match=r"figures: figures cannot be written"):
        style.save(plt.figure(), tmp_path / "figures" / "forest")
    style.save(plt.figure(), Path(os.devnull) / "forest")  # where nothing is asked to be kept


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
        (lambda: network_plots.history(one_run(), [plt.figure().add_subplot()]), "found 1 axes"),
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
