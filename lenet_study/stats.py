"""What the runs say, and how surely: intervals, differences, convergence.

Arrays or tidy tables in, plain numbers or tables out. A run table has one row a run, an epoch table
one row a run and epoch; the functions that take them look at one study at a time, so that the
p-values of one technique are corrected among themselves and nothing else mixes in. Variants come
back in the order of a categorical `variant` column, else in alphabetical order.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats
from scipy.special import digamma, polygamma

from lenet_keras.recipe import InputError, nearest

FloatArray = NDArray[np.float64]

LEARNED = 0.15  # of validation images right: with ten classes, chance has 0.1
FEWEST = 5  # differences whose variances are moderated; fewer do not tell how variances differ


class Interval(NamedTuple):
    """A mean and the confidence interval around it, in the units of the values."""

    n: int
    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """How far one variant lies above another."""

    n: int  # pairs; 0 where seeds are not paired
    difference: float  # mean of (variant - baseline)
    low: float
    high: float
    p: float  # two-sided


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """The mean and its Student t interval, mean ± t · s / sqrt(n) with n - 1 degrees of freedom.

    Source: Student (1908), "The probable error of a mean", Biometrika 6.

    Args:
        values: shape (n,), one value a seed. One that is not finite makes mean and interval NaN:
            no seed is dropped in silence.
        confidence: the share of such intervals that hold the true mean, between 0 and 1.

    Raises:
        InputError: fewer than 2 values, or a confidence outside 0 to 1.
    """
    sample = _sample(values)
    if not 0 < confidence < 1:
        raise InputError(f"confidence: found {confidence}; allowed: above 0 and below 1, as 0.95.")
    mean = float(np.mean(sample))
    half_width = float(
        scipy_stats.sem(sample) * scipy_stats.t.ppf((1 + confidence) / 2, sample.size - 1)
    )
    return Interval(sample.size, mean, mean - half_width, mean + half_width)


def paired_difference(
    values: ArrayLike, baseline: ArrayLike, confidence: float = 0.95
) -> Difference:
    """The mean of `values - baseline`, its t interval and the p-value of the paired t-test.

    Where every pair differs by the same amount the t-test has no answer. If that amount is 0, the
    difference is 0 with p = 1. If it is another, interval and p are NaN: a p of 0 would claim a
    certainty that a few rounded accuracies cannot give.

    Args:
        values: shape (n,), one value a seed; NaN gives NaN throughout.
        baseline: shape (n,), the baseline's values on the same seeds in the same order.
        confidence: of the interval, between 0 and 1.

    Raises:
        InputError: fewer than 2 pairs, or two arrays of different length.
    """
    first, second = _sample(values), _sample(baseline)
    if first.size != second.size:
        raise InputError(
            f"a paired difference needs the same seeds on both sides; found {first.size} values "
            f"and {second.size} of the baseline."
        )
    difference = mean_interval(first - second, confidence)
    # Subtraction leaves rounding noise, which would pass for a tiny spread.
    noise = 1e-12 * max(np.abs(first).max(), np.abs(second).max())
    if np.ptp(first - second) > noise:
        return Difference(*difference, p=float(scipy_stats.ttest_rel(first, second).pvalue))
    return _without_spread(difference.n, difference.mean, noise)


def unpaired_difference(
    values: ArrayLike, baseline: ArrayLike, confidence: float = 0.95
) -> Difference:
    """The difference of two means, with interval and p-value of Welch's t-test.

    The squared standard error is s1² / n1 + s2² / n2, on Satterthwaite's degrees of freedom. Where
    neither side has any spread, as `paired_difference`.
    Source: Welch (1947), "The generalization of 'Student's' problem when several different
    population variances are involved", Biometrika 34.

    Args:
        values: shape (n1,), one value a seed; NaN gives NaN throughout.
        baseline: shape (n2,), the baseline's values.
        confidence: of the interval, between 0 and 1.

    Raises:
        InputError: fewer than 2 values on a side.
    """
    first, second = _sample(values), _sample(baseline)
    middle = float(first.mean() - second.mean())
    noise = 1e-12 * max(np.abs(first).max(), np.abs(second).max())
    if np.ptp(first) + np.ptp(second) > noise:
        error, df = _welch(first, second)
        half = scipy_stats.t.ppf((1 + confidence) / 2, df) * error
        p = 2 * scipy_stats.t.sf(abs(middle) / error, df)
        return Difference(0, middle, float(middle - half), float(middle + half), float(p))
    return _without_spread(0, middle, noise)


def _welch(first: FloatArray, second: FloatArray) -> tuple[float, float]:
    """Standard error of a difference of two means, and Satterthwaite's degrees of freedom."""
    parts = [sample.var(ddof=1) / sample.size for sample in (first, second)]
    df = sum(parts) ** 2 / (parts[0] ** 2 / (first.size - 1) + parts[1] ** 2 / (second.size - 1))
    return float(np.sqrt(sum(parts))), float(df)


def _without_spread(n: int, middle: float, noise: float) -> Difference:
    """A difference for which the t-test has no answer."""
    if abs(middle) <= noise:
        return Difference(n, 0.0, 0.0, 0.0, 1.0)
    return Difference(n, middle, np.nan, np.nan, np.nan)


def moderated(
    variances: ArrayLike, degrees: ArrayLike, shared: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Variances drawn towards one another, and the degrees of freedom that they then have.

    The variances s² on d degrees of freedom are those of true ones around s0², as precise as an
    estimate on d0 degrees of freedom. With e = log s² - ψ(d / 2) + log(d / 2), the moments are

        ψ'(d0 / 2) = var(e) - (1 - shared) · mean ψ'(d / 2),
        log s0² = mean(e) + ψ(d0 / 2) - log(d0 / 2),

    and the moderated variance is (d0 · s0² + d · s²) / (d0 + d), on d0 + d degrees of freedom. If
    the first moment is not positive, d0 is infinite and s0² the mean of s², weighed by d.
    Source: Smyth (2004), Statistical Applications in Genetics and Molecular Biology 3(1), article
    3, section 6.2; the mean, and no more degrees of freedom than all variances have
    together, as in limma (Ritchie et al. 2015, Nucleic Acids Research 43).

    There the variances are independent and thousands. Here they are few, and of differences that
    share a baseline, hence `shared`: the variances differ by that much less than independent ones
    (the term above), and together have sum(d) / (1 + (m - 1) · shared) degrees of freedom.

    Args:
        variances: shape (m,), m at least 2, each above 0.
        degrees: shape (m,), or one for all.
        shared: mean correlation between two variances, 0 to 1; of normal values, the squared
            correlation of what they are the variances of.

    Returns:
        Both of shape (m,).
    """
    s2 = np.asarray(variances, dtype=np.float64)
    d = np.broadcast_to(np.asarray(degrees, dtype=np.float64), s2.shape)
    e = np.log(s2) - digamma(d / 2) + np.log(d / 2)
    moment = float(e.var(ddof=1) - (1 - shared) * polygamma(1, d / 2).mean())
    d0 = 2 * _inverse_trigamma(moment) if moment > 0 else np.inf
    if np.isfinite(d0):
        prior = np.exp(e.mean() + digamma(d0 / 2) - np.log(d0 / 2))
        s2 = (d0 * prior + d * s2) / (d0 + d)
    else:
        s2 = np.full_like(s2, np.average(s2, weights=d))
    together = d.sum() / (1 + (s2.size - 1) * shared)
    return s2, np.maximum(d, np.minimum(d0 + d, together))


def _inverse_trigamma(x: float) -> float:
    """y with ψ'(y) = x, x > 0, by Newton's method for 1 / ψ' (Smyth 2004, appendix)."""
    y, step = 0.5 + 1 / x, np.inf
    while abs(step) > 1e-9 * y:
        value = polygamma(1, y)
        step = value * (1 - value / x) / polygamma(2, y)
        y += step
    return float(y)


def holm(p_values: ArrayLike) -> FloatArray:
    """p-values corrected for their number: Holm's step-down, as adjusted p-values.

    To reject wherever the result is at most 0.05 keeps the chance of any false rejection among
    all the tests at 5 %, however the tests depend on each other.
    Source: Holm (1979), Scandinavian Journal of Statistics 6; adjusted as by Wright (1992),
    Biometrics 48.

    Args:
        p_values: shape (m,), each 0 to 1. NaN, a test without an answer, stays NaN and counts
            among the m.

    Returns:
        Shape (m,), in the order of `p_values`.

    Raises:
        InputError: a value outside 0 to 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if ((p < 0) | (p > 1)).any():
        raise InputError(f"p-values lie between 0 and 1; found {p.tolist()}.")
    order = np.argsort(p)  # NaN last, where it takes part in no other correction
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)).clip(max=1)
    return adjusted


def compare(
    runs: pd.DataFrame, baseline: str, metric: str = "test_accuracy", paired: bool = True
) -> pd.DataFrame:
    """Every variant's mean with 95 % interval, and its difference from the baseline.

    Paired differences have variances `moderated` among those of the study, with the mean squared
    correlation of two differences as what they share; a difference without spread, and all where
    fewer than `FEWEST` have one, keep `paired_difference`. Unpaired ones have Welch's, unmoderated:
    in simulated studies of 5 seeds his test keeps its level, moderated it does not (5 to 7.5 %).

    Args:
        runs: run table of one study; tuning runs in it are left out. A diverged run counts with
            the accuracy it has; where `metric` is not finite the variant's numbers are NaN.
        baseline: the variant that differences are measured against.
        metric: a numeric column of `runs`.
        paired: whether differences are taken seed by seed, as the technique file says.

    Returns:
        One row a variant: `variant`; `n` (seeds), `mean`, `low`, `high` over all its seeds; `pairs`
        (seeds it shares with the baseline; 0 if unpaired), `difference`, `difference_low`,
        `difference_high` and `p` over those, if unpaired over all; `p_holm`, corrected among the
        study's variants; `df`, degrees of freedom of the difference. The intervals are not
        corrected, so one may leave out 0 where `p_holm` is above 0.05. The baseline's own
        difference is NaN.

    Raises:
        InputError: unknown baseline or metric, fewer than 2 seeds of a variant or, if paired,
            shared with the baseline, two runs of one variant and seed, or several studies or
            datasets at once.
    """
    samples = _samples(runs, metric)
    if baseline not in samples:
        raise InputError(f"baseline: no variant '{baseline}'.{nearest(baseline, list(samples))}")
    return _compared(samples, dict.fromkeys(samples, baseline), paired)


def steps(runs: pd.DataFrame, metric: str = "test_accuracy", paired: bool = True) -> pd.DataFrame:
    """As `compare`, with every variant against the one before it instead of one baseline.

    Args:
        runs: run table of one ladder, its `variant` categorical in the order of the rungs.
        metric: a numeric column of `runs`.
        paired: as for `compare`.

    Raises:
        InputError: as `compare`.
    """
    samples = _samples(runs, metric)
    names = list(samples)
    return _compared(samples, dict(zip(names, [names[0], *names], strict=False)), paired)


def _samples(runs: pd.DataFrame, metric: str) -> dict[str, "pd.Series[float]"]:
    """The metric of each variant's final runs, by seed."""
    final = _select(runs, "final", ["variant", "seed"])
    if metric not in final:
        raise InputError(f"metric: no column '{metric}'.{nearest(metric, list(final.columns))}")
    return {
        str(variant): group.set_index("seed")[metric].astype(float)
        for variant, group in final.groupby("variant", observed=True)
    }


def _compared(
    samples: Mapping[str, "pd.Series[float]"], against: Mapping[str, str], paired: bool
) -> pd.DataFrame:
    """A row for each sample; one that is compared with itself has no difference."""
    table = pd.DataFrame(
        [
            _row(name, sample, against[name], samples[against[name]], paired)
            for name, sample in samples.items()
        ]
    )
    spread = table["difference_low"] < table["difference_high"]
    if paired and spread.sum() >= FEWEST:
        differences = pd.DataFrame(
            {name: samples[name] - samples[against[name]] for name in table.loc[spread, "variant"]}
        )
        columns = ["difference_low", "difference_high", "p", "df"]
        table.loc[spread, columns] = _moderated_tests(differences)
    contrasts = table["variant"] != table["variant"].map(against)
    table.loc[contrasts, "p_holm"] = holm(table.loc[contrasts, "p"])
    return table


def _moderated_tests(differences: pd.DataFrame) -> FloatArray:
    """Low and high end of the 95 % interval, p and df, for each column of differences by seed."""
    n, middle = differences.count().to_numpy(), differences.mean().to_numpy()
    squared = differences.corr().to_numpy() ** 2
    shared = float(np.nanmean(squared[~np.eye(len(n), dtype=bool)]))
    variance, df = moderated(differences.var(), n - 1, shared)
    error = np.sqrt(variance / n)
    half = scipy_stats.t.ppf(0.975, df) * error
    p = 2 * scipy_stats.t.sf(np.abs(middle) / error, df)
    return np.column_stack([middle - half, middle + half, p, df])


def _row(
    variant: str,
    sample: "pd.Series[float]",
    baseline: str,
    reference: "pd.Series[float]",
    paired: bool,
) -> dict[str, object]:
    """One row of `compare`, without the correction."""
    try:
        interval = mean_interval(sample)
    except InputError as error:
        raise InputError(f"variant '{variant}': {error}") from None
    shared = sorted(set(sample.index) & set(reference.index)) if paired else []
    if paired and len(shared) < 2:
        raise InputError(
            f"variant '{variant}': a paired difference needs at least 2 seeds shared with "
            f"'{baseline}'; found {len(shared)} ({variant} has {_listed(sample.index)}, {baseline} "
            f"has {_listed(reference.index)}). Train both on the same seeds."
        )
    df = len(shared) - 1.0 if shared else np.nan
    if variant == baseline:
        difference = Difference(len(shared), np.nan, np.nan, np.nan, np.nan)
    elif paired:
        difference = paired_difference(sample.loc[shared], reference.loc[shared])
    else:
        difference = unpaired_difference(sample, reference)
        spread = difference.low < difference.high
        df = _welch(_sample(sample), _sample(reference))[1] if spread else np.nan
    return {
        "variant": variant,
        **interval._asdict(),
        "pairs": difference.n,
        "difference": difference.difference,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "p": difference.p,
        "p_holm": np.nan,
        "df": df,
    }


def generalization_gap(runs: pd.DataFrame) -> "pd.Series[float]":
    """Training accuracy minus validation accuracy of each run, as a fraction.

    Both are scored on clean images with the final weights, so augmentation and dropout do not
    shrink the gap.

    Args:
        runs: run table with `train_accuracy` and `val_accuracy`.

    Returns:
        The column `gap`, with the index of `runs`.
    """
    return (runs["train_accuracy"] - runs["val_accuracy"]).rename("gap")


def epochs_to(epochs: pd.DataFrame, target: float) -> pd.DataFrame:
    """The first epoch after which each run's validation accuracy was at least `target`.

    A run that never got there stays in, censored at the longest run of its variant. That holds too
    for one that ended early: it stopped or diverged for good, so to censor it at its own end would
    leave it the hope of the others and flatter the variant.

    Args:
        epochs: epoch table of one study; tuning runs in it are left out.
        target: validation accuracy, a fraction between 0 and 1.

    Returns:
        One row a run: `variant`, `seed`, `target`, `epoch` (1-based; times the number of training
        images it is the number of examples) and `reached`, False where `epoch` is censored.

    Raises:
        InputError: a target that is no fraction, two runs of one variant and seed, or several
            studies at once.
    """
    if not 0 < target < 1:
        raise InputError(f"target: found {target}; a target is a fraction, as 0.55 for 55 %.")
    final = _select(epochs, "final", ["variant", "seed", "epoch"])
    final = final.assign(hit=final["epoch"].where(final["val_accuracy"].astype(float) >= target))
    table = final.groupby(["variant", "seed"], observed=True, as_index=False).agg(
        epoch=("hit", "min")
    )
    longest = final.groupby("variant", observed=True)["epoch"].max()
    censor = table["variant"].map(longest).astype(int)
    return pd.DataFrame(
        {
            "variant": table["variant"],
            "seed": table["seed"],
            "target": target,
            "epoch": table["epoch"].fillna(censor).astype(int),
            "reached": table["epoch"].notna(),
        }
    )


def median_time(times: ArrayLike, reached: ArrayLike) -> float:
    """The time by which half of the runs got there: the median of the Kaplan-Meier estimate.

    The smallest time t with S(t) <= 1/2, S(t) being the estimated share still on its way after t;
    the middle between it and the next arrival where S stays at 1/2 until then, so that without
    censoring it is the usual median.
    Source: Kaplan & Meier (1958), Journal of the American Statistical Association 53.

    Args:
        times: shape (n,), of arrival, or of the last look where `reached` is False.
        reached: shape (n,), bool; False marks a censored time.

    Returns:
        In the units of `times`; infinite where fewer than half are known to have arrived.

    Raises:
        InputError: no time at all, or two arrays of different length.
    """
    time, arrived = np.asarray(times, dtype=np.float64), np.asarray(reached, dtype=bool)
    if time.size == 0 or time.shape != arrived.shape:
        raise InputError(
            f"a median needs one 'reached' for every time; found {time.size} times and "
            f"{arrived.size} values of 'reached'."
        )
    sample = scipy_stats.CensoredData(uncensored=time[arrived], right=time[~arrived])
    survival = scipy_stats.ecdf(sample).sf
    # The estimate is a product of fractions: rounding must not push 1/2 above itself.
    half = survival.quantiles[survival.probabilities <= 0.5 + 1e-9]
    below = survival.quantiles[survival.probabilities < 0.5 - 1e-9]
    if not half.size:
        return np.inf
    return float(np.mean([half[0], below[0]])) if below.size else float(half[0])


def median_epochs_to(epochs: pd.DataFrame, target: float) -> pd.DataFrame:
    """Per variant, the epoch by which half of its runs had reached `target`.

    Args:
        epochs: as for `epochs_to`.
        target: as for `epochs_to`.

    Returns:
        One row a variant: `variant`, `target`, `n` (runs), `reached` (how many of them did),
        `median` (epochs; infinite where fewer than half did).

    Raises:
        InputError: as `epochs_to`.
    """
    rows = [
        {
            "variant": variant,
            "target": target,
            "n": len(group),
            "reached": int(group["reached"].sum()),
            "median": median_time(group["epoch"], group["reached"]),
        }
        for variant, group in epochs_to(epochs, target).groupby("variant", observed=True)
    ]
    return pd.DataFrame(rows)


def learning_rate_curve(tuning_runs: pd.DataFrame) -> pd.DataFrame:
    """Validation accuracy over the learning rate, for every variant.

    Args:
        tuning_runs: run table of one study; final runs in it are left out. Without a column
            `status` no run counts as diverged.

    Returns:
        One row a variant and learning rate, rates ascending: `variant`, `learning_rate`, `n`
        (seeds), `val_accuracy` (their mean), `diverged` (runs that did) and `best`, True for one
        rate of each variant: the one with the highest mean, the smaller of equals; a rate at which
        a run diverged comes last.

    Raises:
        InputError: no tuning run, two of one variant, learning rate and seed, or several studies
            or datasets at once.
    """
    tuning = _select(tuning_runs, "tuning", ["variant", "learning_rate", "seed"])
    tuning = tuning.assign(diverged="status" in tuning and tuning["status"] == "diverged")
    curve = tuning.groupby(["variant", "learning_rate"], observed=True, as_index=False).agg(
        n=("seed", "size"), val_accuracy=("val_accuracy", "mean"), diverged=("diverged", "sum")
    )
    rank = curve["val_accuracy"].where(curve["diverged"] == 0, -np.inf)
    winners = rank.groupby(curve["variant"], observed=True).idxmax()
    return curve.assign(best=curve.index.isin(winners))


def learning_rate_sensitivity(tuning_runs: pd.DataFrame) -> pd.DataFrame:
    """How much a variant's result hangs on its learning rate, and whether the grid was wide enough.

    The one number is the learning-rate sensitivity of Wortsman et al. (2024), "Small-scale proxies
    for large-scale Transformer training instabilities", arXiv:2309.14322, in accuracy instead of
    loss: the mean over the grid of (accuracy at the best rate - accuracy at this rate). Their bound
    for a failed run, the loss at the start, needs no twin: accuracy never falls far below chance.
    Numbers compare between variants whose grids span the same factor. The curve itself, as in
    DeepOBS (Schneider et al. 2019), is `learning_rate_curve`.

    Args:
        tuning_runs: as for `learning_rate_curve`.

    Returns:
        One row a variant: `variant`, `rates` (how many were tried), `best_learning_rate`,
        `val_accuracy` (there), `at_edge` (the best is the grid's smallest or largest and learned
        something, so that a better one may lie outside; see Choi et al. 2019, "On empirical
        comparisons of optimizers for deep learning") and `sensitivity` (a fraction; NaN with a
        single rate).

    Raises:
        InputError: as `learning_rate_curve`.
    """
    rows = []
    for variant, curve in learning_rate_curve(tuning_runs).groupby("variant", observed=True):
        best = curve.loc[curve["best"]].iloc[0]
        rates, accuracies = curve["learning_rate"], curve["val_accuracy"]
        learned = accuracies.max() >= LEARNED  # not so with zeros for weights
        rows.append(
            {
                "variant": variant,
                "rates": len(curve),
                "best_learning_rate": best["learning_rate"],
                "val_accuracy": best["val_accuracy"],
                "at_edge": learned and best["learning_rate"] in (rates.min(), rates.max()),
                "sensitivity": (
                    float((best["val_accuracy"] - accuracies).mean()) if len(curve) > 1 else np.nan
                ),
            }
        )
    return pd.DataFrame(rows)


def summary(
    runs: pd.DataFrame,
    epochs: pd.DataFrame,
    baseline: str,
    targets: Sequence[float],
    paired: bool = True,
) -> pd.DataFrame:
    """One table for one study: accuracy, difference, gap, convergence and price of each variant.

    Args:
        runs: run table of one study.
        epochs: epoch table of the same runs.
        baseline: the variant that differences are measured against.
        targets: validation accuracies, fractions between 0 and 1.
        paired: as for `compare`.

    Returns:
        One row a variant: `study` where the table names it; the columns of `compare` for
        `test_accuracy`; `gap` (mean generalisation gap); for each target of, say, 0.55
        `epochs_to_55` (median, infinite where fewer than half of the runs reached it) and
        `reached_55` (how many did); `seconds` (wall seconds an epoch, of the quickest run: what
        else a machine does can only lengthen it) and `diverged` (runs that did). Tables of several
        studies are put together by `pandas.concat`.

    Raises:
        InputError: as `compare` and `epochs_to`.
    """
    table = compare(runs, baseline, paired=paired).set_index("variant")
    final = _select(runs, "final", ["variant", "seed"])
    group_by = final["variant"].astype(str)
    table["gap"] = generalization_gap(final).groupby(group_by).mean()
    for target in targets:
        median = median_epochs_to(epochs, target).set_index("variant")
        table[f"epochs_to_{100 * target:g}"] = median["median"]
        table[f"reached_{100 * target:g}"] = median["reached"]
    table["seconds"] = final["seconds"].groupby(group_by).min()
    table["diverged"] = (final["status"] == "diverged").groupby(group_by).sum()
    table = table.reset_index()
    if "study" in final:
        table.insert(0, "study", final["study"].iloc[0])
    return table


def _select(table: pd.DataFrame, purpose: str, identity: list[str]) -> pd.DataFrame:
    """The rows of one purpose; refused where they mix what belongs apart.

    `identity` names the columns in which no two rows may agree.
    """
    rows = table[table["purpose"] == purpose] if "purpose" in table else table
    if rows.empty:
        raise InputError(f"no {purpose} runs in the table of {len(table)} rows. Run the study.")
    for column in ("study", "dataset"):
        if column in rows and rows[column].nunique() > 1:
            raise InputError(
                f"{column}: found {_listed(rows[column].unique())} in one table; select one, "
                "numbers of different ones do not mix."
            )
    repeated = rows[rows.duplicated(identity, keep=False)]
    if not repeated.empty:
        first = repeated.iloc[0]
        where = ", ".join(f"{column} {first[column]}" for column in identity)
        same = repeated[(repeated[identity] == first[identity]).all(axis=1)]
        keys = f" (recipes {_listed(same['key'].unique())})" if "key" in same else ""
        raise InputError(
            f"{where}: found {len(same)} rows{keys}; allowed: one. Select the runs of one recipe "
            "for each variant."
        )
    return rows


def _sample(values: ArrayLike) -> FloatArray:
    """Values of several seeds as a float array, NaN for whatever is not finite."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise InputError(f"expected one value a seed, shape (n,); found shape {sample.shape}.")
    if sample.size < 2:
        raise InputError(
            f"an interval needs at least 2 seeds; found {sample.size}. Run more seeds."
        )
    return np.where(np.isfinite(sample), sample, np.nan)


def _listed(names: object) -> str:
    return ", ".join(str(name) for name in sorted(names))  # type: ignore[call-overload]
