"""What a reader is told follows the tables."""

import numpy as np
import pandas as pd
import pytest
from examples import run_table

from lenet_study import controls, report, stats


def runs() -> pd.DataFrame:
    """Baseline at 50 %, one variant 10 points above, one as far below, one that wavers."""
    random = np.random.default_rng(0)
    levels = {"base": 0.5, "worse": 0.4, "better": 0.6, "wavering": 0.51}
    table = run_table(
        {
            name: level + (0.05 if name == "wavering" else 0.004) * random.standard_normal(5)
            for name, level in levels.items()
        }
    )
    accuracy = table["test_accuracy"]
    return table.assign(train_accuracy=accuracy + 0.1, val_accuracy=accuracy)


def history(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table.assign(epoch=epoch) for epoch in (1, 2)])


def test_results_are_ordered_and_written_for_people() -> None:
    table = report.results(runs(), history(runs()), "base", [0.55])
    assert (table.index[0], table.index[-1]) == ("better", "worse")
    assert table["epochs to 55%"]["better"] == "1"
    assert table["epochs to 55%"]["base"] == "not reached"
    assert table["difference (points)"]["base"] == ""
    assert table["difference (points)"]["worse"].startswith("−")
    assert table["gap (points)"].tolist() == ["10.0"] * 4
    mean = 100 * runs().query("variant == 'better'")["test_accuracy"].mean()
    assert table["test accuracy (%)"]["better"].startswith(f"{mean:.1f}\N{NO-BREAK SPACE}[")


def test_the_images_stand_beside_the_seeds_where_they_are_recorded() -> None:
    plain = report.results(runs(), history(runs()), "base")
    assert "seeds and images" not in plain
    random = np.random.default_rng(0)
    right = {name: dict(enumerate(random.random((5, 99)) < 0.5)) for name in ("base", "better")}
    table = report.results(runs(), history(runs()), "base", right=right)
    assert list(table.columns).index("seeds and images") == 3
    ends = controls.with_images(stats.compare(runs(), "base"), right, "base")["better"]
    shown = [f"{100 * end:+.1f}" for end in ends]
    assert table["seeds and images"]["better"] == f"[{shown[0]},\N{NO-BREAK SPACE}{shown[1]}]"
    assert table["seeds and images"]["base"] == table["seeds and images"]["worse"] == ""
    pd.testing.assert_frame_equal(table.drop(columns="seeds and images"), plain)


def test_a_single_seed_is_printed_without_an_interval() -> None:
    one = runs()[runs()["seed"] == 3]
    for baseline in ("base", "not there"):
        printed = report.comparison(one, baseline).set_index("variant")
        shown = printed.pop("test accuracy [95 % interval], %").astype(float)
        expected = 100 * one.set_index("variant")["test_accuracy"]
        assert shown.tolist() == pytest.approx(expected[shown.index].tolist(), abs=0.01)
        assert list(printed.columns) == ["learning rate", "seeds", "diverged"]


def test_few_seeds_give_no_p_and_no_impossible_accuracy() -> None:
    two = runs()[runs()["seed"] < 2]
    two.loc[two["variant"].eq("better"), ["test_accuracy"]] = [[0.2], [0.9]]
    table = report.results(two, history(two), "base", [0.55])
    assert set(table["p (Holm)"]) == {""}
    right = {name: dict(enumerate(np.eye(2, 99) < 0.5)) for name in ("base", "better")}
    told = report.results(two, history(two), "base", right=right)
    assert "seeds and images" not in told
    assert "[0.0, 100.0]" in table["test accuracy (%)"]["better"].replace("\N{NO-BREAK SPACE}", " ")
    printed = report.comparison(two, "base").set_index("variant")
    assert set(printed["p (Holm)"]) == {""}
    assert printed["test accuracy [95 % interval], %"]["better"].endswith("[0.00, 100.00]")
    enough = report.comparison(runs(), "base").set_index("variant")
    assert float(enough["p (Holm)"]["worse"]) < 0.05


def test_verdicts_follow_the_corrected_p() -> None:
    better, worse, undecided = report.verdicts(stats.compare(runs(), "base"), "base").splitlines()
    assert "Better" in better
    assert "better (+" in better
    assert "worse (−" in worse
    assert "wavering" in undecided
    assert "wavering" not in better + worse
    few = stats.compare(runs(), "base").assign(p=0.01, p_holm=0.06)
    assert report.verdicts(few, "base").splitlines()[0].endswith("no variant.")


def test_a_difference_without_a_number_is_undecided() -> None:
    table = runs()
    table.loc[(table["variant"] == "better") & (table["seed"] == 1), "test_accuracy"] = np.nan
    lines = report.verdicts(stats.compare(table, "base"), "base").splitlines()
    assert lines[0].endswith("no variant.")
    assert "better (unknown)" in lines[2]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [([], "none"), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_names_are_listed_as_in_a_sentence(names: list[str], sentence: str) -> None:
    assert report.listed(names) == sentence


def test_numbers_are_rounded_and_signed() -> None:
    assert report.points(0.0123) == "+1.2"
    assert report.points(-0.0123, -0.02, 0.001) == "−1.2 [−2.0, +0.1]".replace(
        " ", "\N{NO-BREAK SPACE}"
    )
    assert report.p_value(0.0004).replace("\N{NO-BREAK SPACE}", " ") == "< 0.001"
    assert report.p_value(0.0456) == "0.046"
    assert (report.percent(0.5712), report.percent(0.5, 0)) == tuple(
        text.replace(" ", "\N{NO-BREAK SPACE}") for text in ("57.1 %", "50 %")
    )
    assert (report.signed(-0.345), report.signed(0.5)) == ("−0.34", "+0.50")


def test_the_most_common_mistake_is_a_share_of_its_class() -> None:
    counts = np.array([[90, 6, 4], [2, 8, 0], [0, 50, 950]])  # 50 of 1,000 are fewer than 2 of 10
    said = report.common_mistake(counts, ["cat", "dog", "ship"]).replace("\u00a0", " ")
    mistake = "20.0 % of the images of class *dog* are taken for *cat*"
    assert said == f"The most common mistake: {mistake}; the other way round it is 6.0 %."


def test_gaps_are_told_against_the_baselines() -> None:
    gap = pd.Series({"none": 0.1, "flip": 0.05, "shift": 0.02})
    assert report.gaps(gap, "none") == (
        "The gap is 10.0 points without, and 5.0 with flip and 2.0 with shift."
    )


def test_variants_trained_at_different_rates_are_told_at_equal_ones() -> None:
    tuned = {"relu": {0.01: 0.5, 0.03: 0.6}, "tanh": {0.01: 0.55, 0.03: 0.4}, "elu": {0.03: 0.7}}
    runs = pd.DataFrame(
        [
            {"variant": v, "purpose": "tuning", "seed": 1000, "learning_rate": r, "val_accuracy": a}
            for v, rates in tuned.items()
            for r, a in rates.items()
        ]
    )
    assert report.rates_apart(runs, "relu", "tanh") == (
        "`relu` was trained at 0.03, `tanh` at 0.01. At equal rates, in tuning, 50.0 and "
        "55.0\N{NO-BREAK SPACE}% at 0.01 and 60.0 and 40.0\N{NO-BREAK SPACE}% at 0.03 of the "
        "validation images were right."
    )
    assert report.rates_apart(runs, "relu", "elu") == ""
    assert "tuning, 40.0 and 70.0\N{NO-BREAK SPACE}% at 0.03 of" in report.rates_apart(
        runs, "tanh", "elu"
    )
    alone = runs.assign(learning_rate=runs["learning_rate"].where(runs["variant"] != "elu", 0.3))
    assert report.rates_apart(alone, "tanh", "elu").endswith("They share no rate.")


def test_effects_and_their_sum_are_written_for_people() -> None:
    rows = {
        "A": [0.01, 0.005, 0.015, 0.008, 0.012, 0.0004],
        "B": [0.03, 0.025, 0.035, 0.028, 0.032, 0.0002],
        "AB": [-0.02, -0.025, -0.015, -0.022, -0.018, 0.06],
    }
    columns = ["effect", "low", "high", "seeds_low", "seeds_high", "p_holm"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    names = {"A": "ReLU", "B": "max pooling"}
    text = report.effects(table, names)
    assert text.index.tolist() == ["max pooling", "ReLU"]
    assert text.loc["ReLU", "adds (points)"].replace("\N{NO-BREAK SPACE}", " ") == (
        "+1.0 [+0.5, +1.5]"
    )
    assert text["run by run"].tolist() == ["±0.20", "±0.20"]
    (pair,) = report.effects(table, names, together=2).itertuples()
    assert pair.Index == "ReLU × max pooling"
    way = pd.DataFrame(
        [[0.04, 0.03, 0.05], [0.035, 0.02, 0.05], [-0.005, -0.01, 0.0]],
        index=["sum", "measured", "missing"],
        columns=["estimate", "low", "high"],
    )
    assert report.adding_up(way, 0.5).replace("\N{NO-BREAK SPACE}", " ") == (
        "The effects of the techniques add up to +4.0 [+3.0, +5.0] points. From none of them "
        "(50.0 %) to all of them (53.5 %) it is +3.5 [+2.0, +5.0] points, measured with the same "
        "seeds. Measured minus the sum: −0.5 [−1.0, +0.0]."
    )


def test_a_class_without_images_or_answers_has_no_share() -> None:
    table = report.classes([[3, 1, 0], [0, 2, 0], [0, 0, 0]], ["cat", "dog", "owl"])
    assert table["accuracy"].tolist() == [0.75, 1.0, None]
    assert table["precision"].tolist() == [1.0, 2 / 3, None]
