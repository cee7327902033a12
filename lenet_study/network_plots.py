"""One network, drawn: its images, kernels and weights, the scale of its signals, its history.

Throughout, `axes` is what to draw on (a new figure without it) and what comes back.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lenet_keras.recipe import InputError
from lenet_keras.run import Run
from lenet_study import panels as shared
from lenet_study import plots
from lenet_study.style import (
    DATASETS,
    GREY,
    INK,
    Colours,
    count,
    described,
    whole_figure,
)


@described
def confusion_matrix(
    matrix: Sequence[Sequence[int]] | np.ndarray,
    class_names: Sequence[str],
    axes: Axes | None = None,
) -> Axes:
    """Which share of each true class's images was given each class, in percent.

    Args:
        matrix: counts, shape (classes, classes); row: true class, column: predicted class.
        class_names: in the order of rows and columns.

    Raises:
        InputError: the matrix is not square, or its size differs from the number of names.
    """
    counts = np.asarray(matrix, dtype=float)
    if counts.shape != (len(class_names), len(class_names)):
        raise InputError(
            f"confusion_matrix: found a matrix of shape {counts.shape} and {len(class_names)} "
            "class names; expected as many rows and columns as names."
        )
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes = axes or shared.new_axes(7.2, 6)
    few = len(class_names) <= 20  # of more, numbers and most of the names would overlap
    table = pd.DataFrame(percent, list(class_names), list(class_names))
    sns.heatmap(
        table,
        annot=few,
        fmt=".0f",
        cmap="Blues",
        vmin=0,
        vmax=100,
        square=True,
        linewidths=0.5 * few,
        xticklabels=few or "auto",
        yticklabels=few or "auto",
        cbar_kws={"label": "Share of the true class's images (%)"},
        ax=axes,
    )
    shared.bare(axes)
    axes.tick_params(axis="y", rotation=0)
    for tick in axes.get_xticklabels():
        tick.set(rotation=45, horizontalalignment="right", rotation_mode="anchor")
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    return axes


@described
def first_layer_kernels(kernels: np.ndarray, axes: Axes | None = None) -> Axes:
    """C1's kernels: as colour pictures, then channel by channel on a scale symmetric about 0.

    Args:
        kernels: float, shape (height, width, 3, kernels), as Keras keeps them: (5, 5, 3, 6).

    Raises:
        InputError: another shape.
    """
    kernels = np.asarray(kernels, dtype=float)
    if kernels.ndim != 4 or kernels.shape[2] != 3:
        raise InputError(
            f"first_layer_kernels: found shape {kernels.shape}; "
            "expected (height, width, 3, kernels), as C1's kernel in Keras."
        )
    largest = float(np.abs(kernels).max()) or 1.0
    scale, signed = Normalize(-largest, largest), mpl.colormaps["PuOr"]
    by_kernel = np.moveaxis(kernels, -1, 0)
    by_channel = signed(scale(np.moveaxis(kernels, 2, 0)))[..., :3]  # (3, h, w, kernels, 3)
    tiles = [np.asarray(scale(by_kernel)), *np.moveaxis(by_channel, 3, 1)]
    # A kernel's pixel is drawn as eight by eight, so that the gap can be finer than a pixel.
    magnified = [np.kron(row, np.ones((1, 8, 8, 1))) for row in tiles]
    axes = axes or shared.new_axes(8, 5.2)
    rows, columns = _draw_mosaic(axes, magnified, gap=6)
    axes.set_xticks(columns, [str(number + 1) for number in range(len(by_kernel))])
    axes.set_yticks(rows, ["as colours\n(grey: 0)", "red", "green", "blue"])
    axes.set_xlabel("Kernel of C1")
    mappable = ScalarMappable(scale, signed)
    bar = whole_figure(axes).colorbar(mappable, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label(f"Weight in one channel (±{largest:.2g}: the largest of all)")
    bar.outline.set_visible(False)
    return axes


@described
def images(
    pictures: np.ndarray,
    labels: Sequence[Any] | np.ndarray,
    class_names: Sequence[str] | None = None,
    columns: int = 10,
    axes: Axes | None = None,
) -> Axes:
    """The first pictures of each label, a row for each: of each class, or of each augmentation.

    Args:
        pictures: shape (n, height, width, 3), uint8 0 to 255, or float 0 to 1.
        labels: n class numbers where class names are given, else n names.
        class_names: by class number; gives the rows' order. Without them a row comes where its
            name first comes.
        columns: pictures of one label at most.

    Raises:
        InputError: no pictures, another shape, or another number of labels.
    """
    pictures, labels = np.asarray(pictures), np.asarray(labels)
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or not 0 < len(pictures) == len(labels):
        raise InputError(
            f"images: found pictures of shape {pictures.shape} and {len(labels)} labels; "
            "expected (n, height, width, 3) and n labels."
        )
    rows = labels if class_names is None else np.asarray(class_names)[labels]
    names = list(dict.fromkeys(rows.tolist())) if class_names is None else list(class_names)
    chosen = [pictures[rows == name][:columns] for name in names]
    widest = max(len(row) for row in chosen)
    axes = axes or shared.new_axes(0.62 * widest + 1.2, 0.62 * len(names) + 0.2)
    places, _ = _draw_mosaic(axes, chosen, gap=max(1, pictures.shape[2] // 16))
    axes.set_xticks([])
    axes.set_yticks(places, names)
    return axes


@described
def layer_scale(
    table: pd.DataFrame,
    baseline: str | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
    colours: Colours | None = None,
) -> np.ndarray:
    """Standard deviation of each layer's activations and of the gradient there, by variant.

    Args:
        table: from `signals.step_0`: columns layer (rows in the network's order), variant,
            activation and gradient (0 or more; NaN where there is none).
        baseline: a variant, drawn in grey in each panel.

    Returns:
        The axes, shape (variants,).
    """
    columns = ["activation", "gradient"]
    table = shared.checked(table, ["layer", "variant"], columns, "layer_scale")
    looks = shared.looks_of(table, colours, baseline)
    variants = shared.by_variant(table)
    panels = shared.variant_panels(axes, variants, baseline, "layer_scale", lost=False)
    styles: dict[str, Any] = {"activation": ("o", "-"), "gradient": ("s", "--")}
    values = table[columns].to_numpy(float)
    decade = 10.0 ** np.floor(np.log10(values[values > 0].min(initial=1.0)))
    for panel, drawn in zip(panels, shared.against(variants, baseline, looks), strict=True):
        for rows, colour in drawn:
            for column, (marker, line) in styles.items():
                look = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4}
                known = rows.dropna(subset=column)
                sns.lineplot(known, x="layer", y=column, ax=panel, errorbar=None, **look)
        panel.tick_params(axis="x", labelsize=7)
    for panel in panels:  # when all are drawn, as they share their scale
        if (values == 0).any():  # a place for 0 below the smallest decade
            panel.set_yscale("symlog", linthresh=decade, linscale=2)
            panel.set_ylim(-0.3 * decade, 3 * np.nanmax(values))
        else:
            panel.set_yscale("log")
        panel.yaxis.get_major_locator().set_params(numticks=6)
    shared.label_outside(panels, "Layer", "Standard deviation")
    keys: dict[str, Any] = {
        name: Line2D([], [], color=INK, marker=marker, linestyle=line, markersize=4)
        for name, (marker, line) in styles.items()
    }
    if baseline:
        keys[f"{baseline}: the baseline"] = Line2D([], [], color=GREY)
    shared.legend_over(panels, keys)
    return panels


@described
def averaged_together(images: int = 5, channels: int = 6, axes: Axes | None = None) -> Axes:
    """What batch, layer and group normalisation average over, beside each other.

    A square stands for all places of one image's channel; those of one colour share a mean and a
    deviation (after Wu & He 2018, figure 2, with two groups).

    Args:
        images: in a minibatch, downwards.
        channels: of one layer, across; an even number.
    """
    axes = axes or shared.new_axes(8, 2.8)
    image, channel = np.indices((images, channels), float)
    shares = {
        "batch: a channel of all images": channel,
        "layer: an image's channels": image,
        "group: half an image's channels": 2 * image + channel // (channels // 2),
    }
    gap = np.full((images, 1), np.nan)
    blocks = [block for share in shares.values() for block in (share, gap)][:-1]
    look = {"cmap": "tab20", "vmin": 0, "vmax": 19, "cbar": False, "linewidths": 1.5}
    sns.heatmap(np.hstack(blocks), ax=axes, square=True, **look)
    starts = (channels + 1) * np.arange(len(shares))
    for start, title in zip(starts, shares, strict=True):
        axes.text(start + channels / 2, -0.2, title, ha="center", fontsize=9)
    places = starts[:, None] + np.arange(channels) + 0.5
    numbers = [str(number + 1) for number in range(max(channels, images))]
    axes.set_xticks(places.ravel(), numbers[:channels] * len(shares), rotation=0)
    axes.set_yticklabels(numbers[:images])
    axes.set_xlabel("Channel")
    axes.set_ylabel("Image of the minibatch")
    axes.grid(False)
    return axes


@described
def kernel_histograms(
    quantiles: Mapping[str, Mapping[str, Sequence[float | None]]],
    baseline: str | None = None,
    colours: Colours | None = None,
) -> np.ndarray:
    """Density of kernel weights, as their quantiles imply it: a row a variant, a column a layer.

    Between two neighbouring quantiles the density is taken as constant.

    Args:
        quantiles: variant, then layer, to evenly spaced quantiles from the least weight to the
            largest: `{name: run.kernel_quantiles}`. A layer with None, of a diverged run, is left
            out and the row's name says so.
        baseline: a variant, drawn in grey in every row and in none of its own.

    Returns:
        The axes, shape (rows * layers,).

    Raises:
        InputError: nothing to draw.
    """
    layers = list(dict.fromkeys(layer for of_run in quantiles.values() for layer in of_run))
    if not layers:
        raise InputError("kernel_histograms: there are no quantiles to draw.")
    rows = [name for name in quantiles if name != baseline]
    if not rows:
        raise InputError("kernel_histograms: there is nothing beside the baseline.")
    looks = shared.looks_of(pd.DataFrame({"variant": list(quantiles)}), colours, baseline)
    known = {
        (variant, layer): np.array(values, dtype=float)
        for variant, of_run in quantiles.items()
        for layer, values in of_run.items()
        if np.isfinite(np.array(values, dtype=float)).all()
    }
    size: dict[str, Any] = {"columns": len(layers), "each": (1.9, 1.3)}
    number = len(rows) * len(layers)
    panels = shared.grid(None, number, "kernel_histograms", sharex="col", sharey=True, **size)
    for panel, (variant, layer) in zip(panels, itertools.product(rows, layers), strict=True):
        of_layer = [np.abs(values).max() for (_, its), values in known.items() if its == layer]
        largest = max(of_layer, default=0.0) or 1.0
        # An odd number of bins keeps 0, where L1 gathers the weights, in the middle of one.
        edges = np.linspace(-largest, largest, 62)
        for name, look in (
            (baseline, {"color": GREY, "fill": True, "alpha": 0.35}),
            (variant, {"color": looks[variant]["color"], "linewidth": 1.4}),
        ):
            if (name, layer) in known:
                density = _implied_density(known[str(name), layer], edges)
                panel.stairs(density, edges, **look)
        panel.set_yscale("log")
        whole = all((variant, each) in known for each in quantiles[variant])
        name = variant if whole else f"{variant} (diverged)"
        shared.title(panel, name if layer == layers[0] else "")
        panel.set_xlabel(f"Weight in {layer}" if variant == rows[-1] else "")
        panel.set_ylabel("Density" if layer == layers[0] else "")
    keys: dict[str, Any] = {"density of the weights": Line2D([], [], color=INK)}
    if baseline:
        keys[f"{baseline}: the baseline"] = Patch(color=GREY, alpha=0.35)
    shared.legend_over(panels, keys)
    return panels


@described
def history(run: Run, axes: Sequence[Axes] | np.ndarray | None = None) -> np.ndarray:
    """Loss and accuracy of one run, epoch by epoch, on training and validation images.

    Args:
        run: as recorded.
        axes: two: for the loss, for the accuracy.

    Returns:
        The axes, shape (2,).
    """
    panels = shared.grid(axes, 2, "history", each=(4.1, 2.6))
    columns = ("loss", "val_loss", "accuracy", "val_accuracy")
    table = pd.DataFrame({name: getattr(run.history, name) for name in columns}, dtype=float)
    table = table.assign(variant="this run", seed=run.seed, epoch=np.arange(1, len(table) + 1))
    for panel, pair in zip(panels, (columns[:2], columns[2:]), strict=True):
        plots.learning_curves(table, pair, axes=[panel])
        if run.status == "stopped_early":
            panel.axvline(run.best_epoch, color=GREY, linestyle=":")
    dataset = DATASETS.get(run.recipe.dataset, run.recipe.dataset)
    title = f"{dataset}, seed {run.seed}, {count(len(table), 'epoch')}"
    if run.test is not None:
        title += f": test accuracy {run.test.accuracy * 100:.1f} %"
    notes = {
        "stopped_early": "dotted: the best epoch, which is scored",
        "diverged": f"diverged in epoch {len(table)}",
    }
    shared.title(panels[0], title)
    trained_on = "" if run.recipe.validates else "validation images were trained on"
    shared.title(panels[1], notes.get(run.status, trained_on))
    return panels


def _draw_mosaic(axes: Axes, rows: Sequence[np.ndarray], gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of pictures, each of shape (n, height, width, 3), as one picture with white gaps.

    Returns:
        The middles of the rows and of the columns, in the axes' coordinates.
    """
    height, width = rows[0].shape[1:3]
    widest = max(len(row) for row in rows)
    white = 255 if rows[0].dtype == np.uint8 else 1
    size = (len(rows) * (height + gap) - gap, widest * (width + gap) - gap, 3)
    canvas = np.full(size, white, rows[0].dtype)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            y, x = i * (height + gap), j * (width + gap)
            canvas[y : y + height, x : x + width] = picture
    axes.imshow(canvas, interpolation="nearest")
    shared.bare(axes)
    middles_y = np.arange(len(rows)) * (height + gap) + (height - 1) / 2
    return middles_y, np.arange(widest) * (width + gap) + (width - 1) / 2


def _implied_density(quantiles: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Density per bin of the distribution with these evenly spaced quantiles.

    Args:
        quantiles: shape (q,), rising, from the least value to the largest.
        edges: shape (bins + 1,), rising, from no more than the least to no less than the largest.

    Returns:
        float, shape (bins,); integrates to 1.
    """
    below = np.interp(edges, quantiles, np.linspace(0, 1, len(quantiles)))
    below[0], below[-1] = 0, 1  # also where all that is least, or largest, lies on the edge itself
    return np.diff(below) / np.diff(edges)
