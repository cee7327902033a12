"""Figures with controls: what a notebook shows and keeps, and what luck does with few seeds."""

from collections.abc import Iterator
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from examples import run_table
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.axes import Axes

from lenet_keras.recipe import InputError
from lenet_study import luck, widgets
from lenet_study.images import HTML, described_in, html_image


@pytest.fixture
def shell() -> Iterator[None]:
    """A shell of IPython's, which takes what is displayed."""
    InteractiveShell.instance()
    yield
    InteractiveShell.clear_instance()


@pytest.mark.usefixtures("shell")
def test_a_control_draws_the_figure_anew_and_the_picture_is_there_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def draw(n: int) -> Axes:
        """A line."""
        axes = plt.subplots()[1]
        axes.plot([0, n])
        return axes

    slider, picture = ipywidgets.IntSlider(value=1, max=5), ipywidgets.Image(format="png")
    monkeypatch.setattr(ipywidgets, "Image", lambda **settings: picture)
    plt.close("all")  # of other tests
    with capture_output() as shown:
        widgets.play(draw, n=slider)
    (output,) = shown.outputs
    assert (described_in(output.data) or "").startswith("A line.")
    assert output.data[widgets.WIDGET]["model_id"]
    first = picture.value
    slider.value = 4
    assert picture.value != first
    slider.value = 1
    assert picture.value == first
    assert not plt.get_fignums()


def test_what_is_kept_has_the_picture_and_a_bar_of_progress_its_widget() -> None:
    both = {"data": {HTML: html_image(b"", "A line."), widgets.WIDGET: {}}}
    alone = {"data": {widgets.WIDGET: {}}}
    cell = {"outputs": [both, alone, {"text": "…"}]}
    notebook = nbformat.from_dict({"cells": [cell, {"source": "text"}]})
    widgets.keep_pictures(notebook)
    assert [set(output.get("data", {})) for output in notebook.cells[0].outputs] == [
        {HTML},
        {widgets.WIDGET},
        set(),
    ]


def recorded(scores: Any) -> pd.DataFrame:
    """Final runs with these test accuracies, shape (variants, seeds)."""
    return run_table({f"v{number}": own for number, own in enumerate(scores)})


@given(st.integers(1, 8), st.booleans(), st.permutations(range(3)))
def test_who_is_best_with_every_seed_always_wins(n: int, paired: bool, order: list[int]) -> None:
    scores = np.array([[0.50, 0.52, 0.51], [0.40, 0.44, 0.42], [0.30, 0.31, 0.35]])[order]
    wins = luck.winners(recorded(scores), n, paired, draws=200)
    assert wins.to_dict() == {f"v{order.index(v)}": [1.0, 0.0, 0.0][v] for v in range(3)}


def test_few_seeds_crown_the_wrong_one_more_often() -> None:
    runs = recorded([[0.5, 0.6, 0.7, 0.8], [0.52, 0.62, 0.72, 0.68]])
    shares = [luck.winners(runs, n)["v0"] for n in (1, 4, 60)]
    assert shares[0] == pytest.approx(0.25, abs=0.03)  # of the four seeds, one is for v0
    assert shares[0] < shares[1] < shares[2]
    alone = luck.winners(runs, 1, paired=False)["v0"]
    assert alone == pytest.approx(8 / 16, abs=0.03)  # of the sixteen pairs, eight


def test_nothing_to_draw_from_is_said() -> None:
    apart = recorded([[0.5], [0.6]]).assign(seed=[0, 1])
    for runs in (apart, apart.iloc[:0]):
        with pytest.raises(InputError, match="found 0 seeds that all variants have, and seeds=3"):
            luck.winners(runs, 3)
    with pytest.raises(InputError, match="seeds=0"):
        luck.winners(recorded([[0.5]]), 0)
