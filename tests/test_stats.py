"""Statistics against worked examples from their sources, against simulation, and against laws."""

import warnings

import numpy as np
import pandas as pd
import pytest
from examples import run_table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special
from scipy import stats as scipy_stats

from lenet_keras.recipe import InputError
from lenet_study import stats

# Extra hours of sleep under two drugs, ten patients: Student (1908); R's data set `sleep`, whose
# help page computes the paired t-test t = -4.0621, df = 9, p = 0.002833 of drug 1 against 2, and
# the 95 % interval -2.4598858 to -0.7001142.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

# Weeks in remission: Freireich et al. (1963), as in Cox (1972) and Klein & Moeschberger (2003),
# whose Kaplan-Meier medians are 23 weeks under 6-MP and 8 under placebo.
MERCAPTOPURINE = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]

STUDIES = 2000

accuracies = st.integers(0, 10_000).map(lambda correct: correct / 10_000)
probability = st.floats(0, 1)


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def epoch_table(curves: dict[tuple[str, int], list[float]]) -> pd.DataFrame:
    """An epoch table with the validation accuracies `curves[variant, seed]`."""
    return pd.DataFrame(
        [
            {"variant": v, "purpose": "final", "seed": s, "epoch": e, "val_accuracy": value}
            for (v, s), curve in curves.items()
            for e, value in enumerate(curve, start=1)
        ]
    )


SLEEP = {"one": DRUG_1, "two": DRUG_2}
CURVES = {
    ("sgd", 0): [0.3, 0.5, 0.6, 0.7],
    ("sgd", 1): [0.3, 0.4, 0.55, 0.5],
    ("sgd", 2): [0.3, 0.4, 0.45, 0.5],
    ("adam", 0): [0.6, 0.7, 0.7, 0.7],
    ("adam", 1): [0.1],
    ("adam", 2): [0.1],
}


# intervals and paired differences


def test_interval_of_students_sleep_data() -> None:
    interval = stats.mean_interval(np.subtract(DRUG_2, DRUG_1))
    assert interval.n == 10
    assert interval[1:] == pytest.approx((1.58, 0.7001142, 2.4598858), abs=5e-8)


def test_paired_difference_of_students_sleep_data() -> None:
    paired = stats.paired_difference(DRUG_2, DRUG_1)
    assert paired.n == 10
    assert paired[1:4] == pytest.approx((1.58, 0.7001142, 2.4598858), abs=5e-8)
    assert paired.p == pytest.approx(0.002833, abs=5e-7)


def test_wider_confidence_widens_the_interval() -> None:
    usual, wide = stats.mean_interval(DRUG_1), stats.mean_interval(DRUG_1, 0.99)
    assert wide.low < usual.low < usual.mean < usual.high < wide.high


@pytest.mark.parametrize("values", [[], [0.5]])
def test_interval_needs_two_seeds(values: list[float]) -> None:
    message = f"an interval needs at least 2 seeds; found {len(values)}"
    with pytest.raises(InputError, match=message):
        stats.mean_interval(values)
    with pytest.raises(InputError, match=message):
        stats.paired_difference(values, values)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_is_a_fraction(confidence: float) -> None:
    with pytest.raises(InputError, match="above 0 and below 1"):
        stats.mean_interval(DRUG_1, confidence)


def test_pairs_must_match() -> None:
    with pytest.raises(InputError, match="3 values and 2 of the baseline"):
        stats.paired_difference([1, 2, 3], [1, 2])


def test_equal_values_give_a_point() -> None:
    assert stats.mean_interval([0.1] * 5) == pytest.approx((5, 0.1, 0.1, 0.1))


def test_no_difference_in_any_pair() -> None:
    assert stats.paired_difference([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]) == (3, 0, 0, 0, 1)


def test_one_difference_in_every_pair_leaves_the_t_test_without_an_answer() -> None:
    # 0.3 - 0.1 and 0.4 - 0.2 differ in the last bit; that is no spread.
    paired = stats.paired_difference([0.3, 0.4, 0.5], [0.1, 0.2, 0.3])
    assert paired.difference == pytest.approx(0.2)
    assert np.isnan([paired.low, paired.high, paired.p]).all()


@pytest.mark.parametrize("missing", [np.nan, np.inf, None])
def test_a_value_that_is_not_finite_is_never_dropped(missing: float | None) -> None:
    assert np.isnan(stats.mean_interval([0.5, 0.6, missing])[1:]).all()
    assert np.isnan(stats.paired_difference([0.5, 0.6, missing], [0.4, 0.5, 0.6])[1:]).all()


@pytest.mark.parametrize("seeds", [2, 5])
def test_95_percent_intervals_hold_the_truth_in_93_to_97_percent(seeds: int) -> None:
    random = np.random.default_rng(seeds)
    # Accuracies come rounded to one of 10,000 test images.
    studies = random.normal(0.6, 0.005, (STUDIES, seeds)).round(4)
    intervals = [stats.mean_interval(study) for study in studies]
    covered = np.mean([low <= 0.6 <= high for _, _, low, high in intervals])
    assert 0.93 <= covered <= 0.97


def test_95_percent_paired_intervals_hold_the_truth_and_pairing_narrows_them() -> None:
    random = np.random.default_rng(1)
    shared = random.normal(0, 0.01, (STUDIES, 5))  # what a seed does to both variants
    baseline = 0.60 + shared + random.normal(0, 0.003, (STUDIES, 5))
    variant = 0.62 + shared + random.normal(0, 0.003, (STUDIES, 5))
    paired = [stats.paired_difference(v, b) for v, b in zip(variant, baseline, strict=True)]
    covered = np.mean([pair.low <= 0.02 <= pair.high for pair in paired])
    assert 0.93 <= covered <= 0.97
    for pair in paired:  # the interval leaves out 0 exactly where the test rejects
        assert (pair.p < 0.05) == (not pair.low <= 0 <= pair.high)
    unpaired = scipy_stats.ttest_ind(variant, baseline, axis=1).confidence_interval()
    assert np.mean([p.high - p.low for p in paired]) < 0.7 * np.mean(unpaired.high - unpaired.low)


# unpaired differences and moderated variances


def test_unpaired_difference_of_students_sleep_data() -> None:
    # R's help page of `sleep`: t = -1.8608, df = 17.776, p = 0.07939, -3.3654832 to 0.2054832.
    unpaired = stats.unpaired_difference(DRUG_2, DRUG_1)
    assert unpaired[:4] == pytest.approx((0, 1.58, -0.2054832, 3.3654832), abs=5e-8)
    assert unpaired.p == pytest.approx(0.07939, abs=5e-6)


def test_unpaired_differences_without_spread_or_with_a_missing_value() -> None:
    assert stats.unpaired_difference([0.1] * 5, [0.1] * 3) == (0, 0, 0, 0, 1)
    apart = stats.unpaired_difference([0.2] * 5, [0.1] * 3)
    assert apart.difference == pytest.approx(0.1)
    assert np.isnan(apart[2:]).all()
    assert np.isnan(stats.unpaired_difference([0.5, np.nan], [0.4, 0.6])[1:]).all()


@pytest.mark.parametrize("degrees", [4, [4, 9, 4, 6, 4, 9]])
@pytest.mark.parametrize("shared", [0.0, 0.25])
def test_moderated_variances_against_a_direct_solution(degrees, shared: float) -> None:
    s2, d = np.array([0.1, 4.0, 0.7, 1.5, 12.0, 0.4]), np.broadcast_to(degrees, 6)
    # The log of a chi-squared variable over d has mean ψ(d/2) - log(d/2): scipy's loggamma says so.
    bias = [scipy_stats.loggamma(x / 2).mean() - np.log(x / 2) for x in d]
    noise = [scipy_stats.loggamma(x / 2).var() for x in d]
    excess = np.var(np.log(s2) - bias, ddof=1) - (1 - shared) * np.mean(noise)
    d0 = optimize.brentq(lambda y: scipy_stats.loggamma(y / 2).var() - excess, 0.01, 1000)
    log_prior = np.mean(np.log(s2) - bias) + special.psi(d0 / 2) - np.log(d0 / 2)
    expected = (d0 * np.exp(log_prior) + d * s2) / (d0 + d)
    variances, df = stats.moderated(s2, degrees, shared)
    assert variances == pytest.approx(expected)
    assert df == pytest.approx(np.minimum(d0 + d, d.sum() / (1 + 5 * shared)))


def test_variances_that_hardly_differ_are_pooled() -> None:
    variances, df = stats.moderated([1.0, 1.1, 0.9], [4, 4, 8])
    assert variances == pytest.approx([3.9 / 4] * 3)
    assert df.tolist() == [16] * 3
    assert stats.moderated([1.0, 1.1, 0.9], 4, shared=1)[1].tolist() == [4] * 3


def test_moderated_variances_find_their_prior() -> None:
    random = np.random.default_rng(4)
    true = 2.0 * 6 / random.chisquare(6, 50_000)
    variances, df = stats.moderated(true * random.chisquare(4, true.size) / 4, 4)
    assert df[0] == pytest.approx(6 + 4, abs=0.3)
    assert np.mean((variances - true) ** 2) < np.mean((12 / 8 - true) ** 2)


def simulated(random: np.random.Generator, prior: float, variants: int) -> np.ndarray:
    """Accuracies of 2,000 studies with 5 seeds, no variant better than the first one."""
    spread = 0.005 * np.sqrt(prior / random.chisquare(prior, (STUDIES, variants, 1)))
    shared = random.normal(0, 0.008, (STUDIES, 1, 5))
    return shared + spread * random.normal(size=(STUDIES, variants, 5))


@pytest.mark.parametrize(("prior", "variants"), [(1000, 6), (10, 12)])
def test_moderated_tests_keep_their_level_and_narrow_the_intervals(prior, variants) -> None:
    accuracy = simulated(np.random.default_rng(5), prior, variants)
    differences = accuracy[:, 1:] - accuracy[:, :1]
    tests = np.array([stats._moderated_tests(pd.DataFrame(study.T)) for study in differences])
    low, high, p, _ = np.moveaxis(tests, 2, 0)
    assert 0.93 <= ((low <= 0) & (high >= 0)).mean() <= 0.97
    assert (p < 0.05).mean() <= 0.055
    plain = scipy_stats.ttest_1samp(differences, 0, axis=2).confidence_interval()
    assert np.mean(high - low) < 0.9 * np.mean(plain.high - plain.low)


def test_unpaired_tests_keep_their_level() -> None:
    random = np.random.default_rng(5)
    spread = 0.008 * np.sqrt(10 / random.chisquare(10, (2, STUDIES, 1)))
    pairs = zip(*0.6 + spread * random.normal(size=(2, STUDIES, 5)), strict=True)
    tests = [stats.unpaired_difference(first, second) for first, second in pairs]
    assert 0.93 <= np.mean([t.low <= 0 <= t.high for t in tests]) <= 0.97
    assert np.mean([t.p < 0.05 for t in tests]) <= 0.055


# several comparisons


def test_holm_of_a_published_example() -> None:
    # The example in the documentation of pingouin.holm.
    adjusted = stats.holm([0.50, 0.003, 0.32, 0.054, 0.0003])
    assert adjusted == pytest.approx([0.64, 0.012, 0.64, 0.162, 0.0015])


def test_holm_counts_a_test_without_an_answer() -> None:
    adjusted = stats.holm([0.01, np.nan, 0.04])
    assert adjusted == pytest.approx([0.03, np.nan, 0.08], nan_ok=True)


def test_holm_of_nothing_and_of_no_probability() -> None:
    assert stats.holm([]).size == 0
    with pytest.raises(InputError, match="between 0 and 1"):
        stats.holm([0.5, 1.5])


@given(st.lists(probability, min_size=1, max_size=12), st.randoms())
def test_holm_laws(p_values: list[float], random) -> None:
    adjusted = stats.holm(p_values)
    assert (adjusted >= p_values).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p_values)]) >= 0).all()
    assert adjusted.min() == min(1, len(p_values) * min(p_values))
    order = random.sample(range(len(p_values)), len(p_values))
    shuffled = stats.holm(np.asarray(p_values)[order])
    assert sorted(shuffled) == sorted(adjusted)


def test_holm_keeps_the_family_wise_error_within_5_percent() -> None:
    random = np.random.default_rng(2)
    baseline = random.normal(0, 1, (STUDIES, 1, 5))
    effect = np.array([4.0, 4.0, 0, 0, 0, 0, 0])[:, None]  # two variants truly differ
    variants = baseline + effect + random.normal(0, 1, (STUDIES, 7, 5))
    p_values = scipy_stats.ttest_rel(variants, np.broadcast_to(baseline, variants.shape), axis=2)[1]
    adjusted = np.array([stats.holm(p) for p in p_values])
    null = slice(2, None)
    assert (p_values[:, null] <= 0.05).any(axis=1).mean() > 0.15  # what the correction is for
    assert (adjusted[:, null] <= 0.05).any(axis=1).mean() <= 0.05
    bonferroni = np.minimum(1, 7 * p_values)
    assert (adjusted <= 0.05)[:, :2].sum() > (bonferroni <= 0.05)[:, :2].sum()


# the table of one technique


def test_compare_reproduces_the_worked_example() -> None:
    one, two = stats.compare(run_table(SLEEP), "one").to_dict("records")
    assert (two["variant"], two["n"], two["pairs"]) == ("two", 10, 10)
    assert two["mean"] == pytest.approx(2.33)
    assert two["difference"] == pytest.approx(1.58)
    assert two["difference_low"] == pytest.approx(0.7001142, abs=5e-8)
    assert two["difference_high"] == pytest.approx(2.4598858, abs=5e-8)
    assert two["p"] == two["p_holm"] == pytest.approx(0.002833, abs=5e-7)
    assert one["mean"] == pytest.approx(0.75)
    assert np.isnan([one["difference"], one["p"], one["p_holm"]]).all()


def test_compare_corrects_among_the_variants_and_leaves_tuning_out() -> None:
    random = np.random.default_rng(3)
    draws = {name: dict(enumerate(random.normal(size=5))) for name in "abcd"}
    runs = run_table(draws)
    tuning = runs.assign(purpose="tuning", test_accuracy=np.nan, seed=1000)
    table = stats.compare(pd.concat([runs, tuning]), "b").set_index("variant")
    others = table.loc[["a", "c", "d"]]
    assert others["p_holm"].tolist() == stats.holm(others["p"]).tolist()
    assert np.isnan(table.loc["b", "p_holm"])
    assert table["n"].tolist() == [5] * 4


def test_compare_pairs_by_seed_and_says_how_many() -> None:
    runs = run_table({"sgd": {0: 0.1, 1: 0.2, 2: 0.3}, "adam": {3: 0.9, 2: 0.35, 1: 0.24, 0: 0.16}})
    adam = stats.compare(runs, "sgd").set_index("variant").loc["adam"]
    assert (adam["n"], adam["pairs"]) == (4, 3)
    assert adam["difference"] == pytest.approx(0.05)


def test_compare_keeps_a_diverged_run() -> None:
    runs = run_table({"sgd": {0: 0.6, 1: 0.5}, "adam": {0: 0.7, 1: 0.1}})
    diverged = (runs["variant"] == "adam") & (runs["seed"] == 1)
    runs = runs.assign(test_loss=runs["test_loss"].astype(object).where(~diverged, None))
    by_accuracy = stats.compare(runs, "sgd").set_index("variant")
    assert by_accuracy.loc["adam", "mean"] == pytest.approx(0.4)
    by_loss = stats.compare(runs, "sgd", "test_loss").set_index("variant")
    assert by_loss.loc["adam", "n"] == 2
    assert by_loss.loc["adam", ["mean", "low", "high", "difference", "p_holm"]].isna().all()
    assert by_loss.loc["sgd", "mean"] == pytest.approx(0.45)


def test_compare_moderates_five_differences_and_leaves_those_without_spread() -> None:
    random = np.random.default_rng(7)
    draws = {name: dict(enumerate(random.normal(size=5))) for name in "abcdef"}
    draws["same"] = draws["a"]
    draws["lost"] = {**draws["b"], 3: np.nan}
    table = stats.compare(run_table(draws), "a").set_index("variant")
    differences = pd.DataFrame(
        {n: np.subtract(*map(list, map(dict.values, (draws[n], draws["a"])))) for n in "bcdef"}
    )
    squared = differences.corr().to_numpy() ** 2
    variance, df = stats.moderated(differences.var(), 4, (squared.sum() - 5) / 20)
    t = differences.mean() / np.sqrt(variance / 5)
    assert table["p"][list("bcdef")].tolist() == pytest.approx(2 * scipy_stats.t.sf(abs(t), df))
    assert table["p"]["same"] == 1
    assert np.isnan(table["p"]["lost"])
    four = stats.compare(run_table({name: draws[name] for name in "abcde"}), "a")
    assert four["p"][1] == pytest.approx(
        stats.paired_difference([*draws["b"].values()], [*draws["a"].values()]).p
    )


def test_compare_unpaired_takes_all_seeds() -> None:
    values = {"sgd": {0: 0.1, 1: 0.2, 2: 0.3}, "adam": {3: 0.9, 4: 0.35}}
    adam = stats.compare(run_table(values), "sgd", paired=False).set_index("variant").loc["adam"]
    expected = stats.unpaired_difference([0.9, 0.35], [0.1, 0.2, 0.3])
    columns = ["pairs", "difference", "difference_low", "difference_high", "p"]
    assert adam[columns].tolist() == pytest.approx(list(expected))


def test_compare_follows_the_order_of_categories() -> None:
    runs = run_table({"one": {0: 0.1, 1: 0.2}, "two": {0: 0.1, 1: 0.3}})
    runs["variant"] = pd.Categorical(runs["variant"], ["two", "unused", "one"])
    assert stats.compare(runs, "one")["variant"].tolist() == ["two", "one"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(accuracies, accuracies, accuracies), min_size=2, max_size=6),
    st.integers(-5000, 5000),
    st.randoms(),
)
def test_compare_laws(rows: list[tuple[float, ...]], shift: int, random) -> None:
    names = ("a", "b", "c")
    draws = {n: {seed: row[i] for seed, row in enumerate(rows)} for i, n in enumerate(names)}
    runs = run_table(draws)
    table = stats.compare(runs, "a")

    order = random.sample(range(len(runs)), len(runs))
    pd.testing.assert_frame_equal(stats.compare(runs.iloc[order], "a"), table, rtol=1e-9)

    moved = stats.compare(runs.assign(test_accuracy=runs["test_accuracy"] + shift / 10_000), "a")
    columns = ["difference", "difference_low", "difference_high", "p", "p_holm"]
    pd.testing.assert_frame_equal(moved[columns], table[columns], rtol=1e-6, atol=1e-9)
    assert moved["mean"].to_numpy() == pytest.approx(table["mean"] + shift / 10_000)


TWO = {0: 0.5, 1: 0.6}


@pytest.mark.parametrize(
    ("runs", "baseline", "metric", "message"),
    [
        (run_table({"sgd": TWO, "adam": TWO}), "sdg", "test_accuracy", "Did you mean 'sgd'"),
        (run_table({"sgd": TWO}), "sgd", "test_acuracy", "Did you mean 'test_accuracy'"),
        (run_table({"sgd": TWO, "adam": {0: 0.5}}), "sgd", "test_accuracy", "'adam': an interval"),
        (
            run_table({"sgd": TWO, "adam": {1: 0.5, 2: 0.5}}),
            "sgd",
            "test_accuracy",
            r"shared with 'sgd'; found 1 \(adam has 1, 2, sgd has 0, 1\)",
        ),
        (
            pd.concat([run_table({"sgd": TWO}), run_table({"sgd": TWO}, key="rehearsal")]),
            "sgd",
            "test_accuracy",
            r"variant sgd, seed 0: found 2 rows \(recipes rehearsal, sgd0\)",
        ),
        (
            pd.concat([run_table({"sgd": TWO}), run_table({"relu": TWO}, study="activation")]),
            "sgd",
            "test_accuracy",
            "study: found activation, optimization",
        ),
        (
            pd.concat([run_table({"sgd": TWO}), run_table({"adam": TWO}, dataset="digits")]),
            "sgd",
            "test_accuracy",
            "dataset: found cifar10, digits",
        ),
        (run_table({"sgd": TWO}, purpose="tuning"), "sgd", "test_accuracy", "no final runs"),
    ],
)
def test_compare_refuses(runs: pd.DataFrame, baseline: str, metric: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stats.compare(runs, baseline, metric)


# convergence


def test_median_time_of_the_remission_data() -> None:
    assert stats.median_time(MERCAPTOPURINE, RELAPSED) == 23
    assert stats.median_time(PLACEBO, [True] * len(PLACEBO)) == 8


def test_median_time_is_infinite_where_fewer_than_half_arrive() -> None:
    assert stats.median_time([3, 9, 9], [True, False, False]) == np.inf
    assert stats.median_time([9, 9], [False, False]) == np.inf
    assert stats.median_time([3, 5, 9, 9], [True, True, False, False]) == 5
    # After 12 of 24 the product of fractions is 1/2 and one bit.
    assert stats.median_time([*range(1, 13)] + 12 * [20], 12 * [True] + 12 * [False]) == 12


@given(st.lists(st.integers(1, 20), min_size=1, max_size=15))
def test_median_time_without_censoring_is_the_median(times: list[int]) -> None:
    assert stats.median_time(times, [True] * len(times)) == np.median(times)


def test_median_time_is_the_middle_where_half_are_still_on_their_way() -> None:
    assert stats.median_time([3, 5, 8, 9], [True, True, True, False]) == 6.5


def test_median_time_needs_a_flag_for_every_time() -> None:
    with pytest.raises(InputError, match="2 times and 1 values"):
        stats.median_time([1, 2], [True])
    with pytest.raises(InputError, match="0 times"):
        stats.median_time([], [])


def test_epochs_to_censors_runs_that_never_arrive() -> None:
    table = stats.epochs_to(epoch_table(CURVES), 0.55)
    assert list(zip(table["variant"], table["seed"], strict=True)) == sorted(CURVES)
    assert table["epoch"].tolist() == [1, 4, 4, 3, 3, 4]
    assert table["reached"].tolist() == [True, False, False, True, True, False]


def test_a_run_that_ended_early_counts_as_never_there() -> None:
    table = stats.median_epochs_to(epoch_table(CURVES), 0.55).set_index("variant")
    assert table.loc["sgd", ["n", "reached", "median"]].tolist() == [3, 2, 3]
    # Two of three ended after epoch 1: had they been censored there, the median would be 1.
    assert table.loc["adam", ["n", "reached", "median"]].tolist() == [3, 1, np.inf]


def test_epochs_to_ignores_the_order_of_rows_and_tuning_runs() -> None:
    epochs = epoch_table(CURVES)
    tuning = epochs.assign(purpose="tuning", seed=1000, epoch=epochs["epoch"] + 50)
    mixed = pd.concat([tuning, epochs]).sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(stats.epochs_to(mixed, 0.5), stats.epochs_to(epochs, 0.5))


def test_a_target_is_a_fraction() -> None:
    with pytest.raises(InputError, match=r"0\.55 for 55 %"):
        stats.epochs_to(epoch_table(CURVES), 55)


# generalisation and calibration


def test_generalization_gap_is_training_minus_validation() -> None:
    runs = run_table({"sgd": {0: 0.5, 1: 0.6}}).set_index("seed")
    gap = stats.generalization_gap(runs)
    assert gap.name == "gap"
    assert gap.to_dict() == pytest.approx({0: 0.19, 1: 0.19})


# learning rates


def tuning_table(accuracy: dict[str, dict[float, list[float]]]) -> pd.DataFrame:
    """A run table of tuning runs, validation accuracies `accuracy[variant][rate][seed]`."""
    return pd.DataFrame(
        [
            {
                "variant": variant,
                "purpose": "tuning",
                "seed": 1000 + seed,
                "learning_rate": rate,
                "val_accuracy": value,
            }
            for variant, rates in accuracy.items()
            for rate, values in rates.items()
            for seed, value in enumerate(values)
        ]
    )


TUNING = tuning_table(
    {
        "sgd": {0.3: [0.1, 0.1], 0.03: [0.4, 0.4], 0.1: [0.5, 0.7]},
        "adam": {0.001: [0.6, 0.6], 0.003: [0.6, 0.6], 0.01: [0.5, 0.5]},
        "lion": {0.001: [0.2, 0.4]},
    }
)


def test_learning_rate_curve_averages_seeds_and_marks_one_best_rate() -> None:
    curve = stats.learning_rate_curve(TUNING.sample(frac=1, random_state=0))
    sgd = curve[curve["variant"] == "sgd"]
    assert sgd["learning_rate"].tolist() == [0.03, 0.1, 0.3]
    assert sgd["n"].tolist() == [2, 2, 2]
    assert sgd["val_accuracy"].tolist() == pytest.approx([0.4, 0.6, 0.1])
    assert sgd["best"].tolist() == [False, True, False]
    assert curve.groupby("variant")["best"].sum().tolist() == [1, 1, 1]


def test_learning_rate_sensitivity_is_the_mean_drop_from_the_best() -> None:
    table = stats.learning_rate_sensitivity(TUNING).set_index("variant")
    assert table["rates"].to_dict() == {"adam": 3, "lion": 1, "sgd": 3}
    assert table["best_learning_rate"].to_dict() == {"adam": 0.001, "lion": 0.001, "sgd": 0.1}
    assert table["val_accuracy"].to_dict() == pytest.approx({"adam": 0.6, "lion": 0.3, "sgd": 0.6})
    assert table["at_edge"].to_dict() == {"adam": True, "lion": True, "sgd": False}
    chance = TUNING.assign(val_accuracy=TUNING["val_accuracy"] / 100 + 0.1)
    at_chance = stats.learning_rate_sensitivity(chance).set_index("variant")
    assert at_chance["at_edge"].to_dict() == {"adam": False, "lion": False, "sgd": False}
    assert table.loc["sgd", "sensitivity"] == pytest.approx((0.2 + 0 + 0.5) / 3)
    assert table.loc["adam", "sensitivity"] == pytest.approx(0.1 / 3)
    assert np.isnan(table.loc["lion", "sensitivity"])


def test_a_learning_rate_at_which_a_run_diverged_is_best_only_if_all_did() -> None:
    lost = (TUNING["variant"] == "lion") | (
        (TUNING["learning_rate"] == 0.1) & (TUNING["seed"] == 1000)
    )
    runs = TUNING.assign(status=np.where(lost, "diverged", "completed"))
    curve = stats.learning_rate_curve(runs)
    assert curve[curve["variant"] == "sgd"]["diverged"].tolist() == [0, 1, 0]
    best = curve[curve["best"]].set_index("variant")["learning_rate"]
    assert best.to_dict() == {"adam": 0.001, "lion": 0.001, "sgd": 0.03}


def test_learning_rates_come_from_tuning_runs_alone() -> None:
    final = TUNING.assign(purpose="final", val_accuracy=0.99)
    both = stats.learning_rate_sensitivity(pd.concat([final, TUNING]))
    pd.testing.assert_frame_equal(both, stats.learning_rate_sensitivity(TUNING))
    with pytest.raises(InputError, match="no tuning runs"):
        stats.learning_rate_curve(final)


# the summary


def test_summary_puts_everything_in_one_table() -> None:
    draws = {"sgd": {0: 0.60, 1: 0.58, 2: 0.59}, "adam": {0: 0.66, 1: 0.10, 2: 0.10}}
    runs = run_table(draws)
    runs.loc[(runs["variant"] == "adam") & (runs["seed"] > 0), "status"] = "diverged"
    table = stats.summary(runs, epoch_table(CURVES), "sgd", [0.5, 0.555])
    compared = stats.compare(runs, "sgd")
    pd.testing.assert_frame_equal(table[list(compared.columns)], compared)
    assert table.columns[:2].tolist() == ["study", "variant"]
    table = table.set_index("variant")
    assert set(table["study"]) == {"optimization"}
    assert table["gap"].to_dict() == pytest.approx({"adam": 0.19, "sgd": 0.19})
    assert table["epochs_to_50"].to_dict() == {"adam": np.inf, "sgd": 3}
    assert table["reached_50"].to_dict() == {"adam": 1, "sgd": 3}
    assert table["epochs_to_55.5"].to_dict() == {"adam": np.inf, "sgd": np.inf}
    assert table["reached_55.5"].to_dict() == {"adam": 1, "sgd": 1}
    assert table["seconds"].to_dict() == {"adam": 1, "sgd": 1}  # of the quickest of three
    assert table["diverged"].to_dict() == {"adam": 2, "sgd": 0}


def test_steps_compare_each_rung_with_the_one_before() -> None:
    values = {"first": [0.50, 0.52, 0.51], "second": [0.60, 0.63, 0.61]}
    values["third"], rungs = [0.60, 0.64, 0.60], ["first", "second", "third"]
    runs = run_table(values)
    runs = runs.assign(variant=pd.Categorical(runs["variant"], rungs))
    steps = stats.steps(runs).set_index("variant")
    assert steps.index.tolist() == rungs
    assert np.isnan(steps.loc["first", "difference"])
    second = stats.paired_difference(values["second"], values["first"])
    third = stats.paired_difference(values["third"], values["second"])
    assert steps.loc["second", "difference"] == pytest.approx(second.difference)
    assert steps.loc["third", "difference_low"] == pytest.approx(third.low)
    assert steps["p_holm"].tolist()[1:] == pytest.approx(stats.holm([second.p, third.p]).tolist())
