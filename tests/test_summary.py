"""The summary says what the records say, of what is completely recorded, and nothing else."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from examples import make_run, write_yaml
from matplotlib import pyplot as plt

from lenet_keras.recipe import InputError
from lenet_keras.run import Run
from lenet_study import readme, records, stats, style, summary
from lenet_study.study import Planned, Study

ROOT = Path(__file__).parent.parent
MARKED = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"


def write_technique(folder: Path, name: str, variants: dict[str, dict], **changes: object) -> Study:
    content = {
        "title": name.capitalize(),
        "question": "Which?",
        "baseline": "plain",
        "variants": variants,
        "tuning": {"learning_rates": [0.01, 0.1, 1.0], "epochs": 2, "seeds": [1000]},
        "seeds": 5,
        "epochs": 20,
        **changes,
    }
    path = folder / "configs" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    return Study.from_yaml(write_yaml(path, content))


def record(
    study: Study, folder: Path, test: dict[str, float], validation: dict[str, float] | None = None
) -> None:
    """All runs of a study: tuning likes 0.1 best, final accuracies are as given, plus a spread."""
    results = folder / "results"

    def write(made: Run, run: Planned) -> None:
        if not run.exists(results):  # else another study has recorded the same recipe
            records.write(made, run.path(results))

    for run in study.tuning_runs(list(study.variants)):
        liked = run.recipe.learning_rate == 0.1
        scores = make_run().validation.model_copy(update={"accuracy": 0.6 if liked else 0.2})
        made = make_run(run.recipe, run.seed, test=None, confusion_matrix=None, validation=scores)
        write(made, run)
    for run in study.final_runs(study.learning_rates(results)):
        spread = 0.001 * ((run.seed * 7 + len(run.variant)) % 5)
        made = make_run(run.recipe, run.seed)
        changes = {
            split: made.validation.model_copy(update={"accuracy": level[run.variant] + spread})
            for split, level in (("test", test), ("validation", validation or test))
        }
        write(made.model_copy(update=changes), run)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two techniques: "one" recorded with known accuracies, "two" only for the most part."""
    variants = {"plain": {}, "good": {"l2": 0.1}, "chance": {"l2": 0.2}, "bad": {"l2": 0.3}}
    one = write_technique(tmp_path, "one", variants)
    test = {"plain": 0.5, "good": 0.55, "chance": 0.6, "bad": 0.4}
    record(one, tmp_path, test, {"plain": 0.5, "good": 0.59, "chance": 0.51, "bad": 0.4})
    two = write_technique(tmp_path, "two", {"plain": {}, "half": {"dropout": 0.5}})
    record(two, tmp_path, {"plain": 0.5, "half": 0.7})
    (tmp_path / "README.md").write_text(MARKED)
    return tmp_path


def read(project: Path) -> summary.Overview:
    return summary.read(project / "configs", project / "results")


def drop_one_run(project: Path) -> None:
    next((project / "results" / "two").glob("half-*/seed-4.json")).unlink()


def test_a_complete_technique_is_tabled_with_its_numbers(project: Path) -> None:
    overview = read(project)
    assert overview.missing == []
    assert overview.recipes == 5  # of six variants, as one is of both techniques
    assert overview.runs == 2 * 5 + 4 * 5 + (4 + 2) * 3 - 5 - 3
    assert not overview.rehearsal
    of_good = overview.table.set_index(["study", "variant"]).loc[("One", "good")]
    assert of_good["mean"] == pytest.approx(0.55 + 0.002)
    assert of_good["difference"] == pytest.approx(0.05)
    assert (of_good["learning_rate"], of_good["at_edge"]) == (0.1, False)
    (line,) = (row for row in summary.table(overview).splitlines() if "| good |" in row)
    assert "55.2" in line
    assert "+5.0" in line


def test_what_falls_when_all_tests_are_one_family_is_named(project: Path) -> None:
    overview = read(project)
    table = overview.table.assign(p=0.001, p_holm=0.004)
    table.loc[table["variant"] == "good", "p"] = 0.02
    two = dataclasses.replace(overview, table=table)
    (sentence,) = (s for s in summary.conclusions(two) if "at once" in s)
    assert "Over the 4 tests of all techniques at once it leaves every verdict" in sentence
    table.loc[table["variant"] == "good", "p"] = 0.06
    (sentence,) = (
        s for s in summary.conclusions(dataclasses.replace(overview, table=table)) if "at once" in s
    )
    assert "undecided what one technique by itself decides for `good` (One)." in sentence


def test_a_technique_without_one_of_its_runs_is_named_and_left_out(project: Path) -> None:
    drop_one_run(project)
    overview = read(project)
    assert overview.missing == ["Two"]
    assert set(overview.table["study"]) == {"One"}
    assert "Not recorded, or not completely: Two." in summary.scope(overview)
    assert "half" not in readme.section(overview)


def test_the_best_variant_is_chosen_on_validation_images(project: Path) -> None:
    chosen = summary.best(read(project)).set_index("study")
    assert chosen["variant"].to_dict() == {
        "One": "good",
        "Two": "half",
    }  # "chance" is better on the test set
    assert chosen["val_accuracy"].to_dict() == pytest.approx({"One": 0.592, "Two": 0.702})
    assert chosen["seeds"].tolist() == ["that chose it too"] * 2


def test_techniques_of_five_and_of_ten_seeds_stand_side_by_side(project: Path) -> None:
    """Ten seeds are quoted on those that chose nothing, and a control stands under its own."""
    path = project / "configs" / "two.yaml"
    path.write_text(path.read_text().replace("seeds: 5", "seeds: 10") + "twice: [plain]\n")
    two = Study.from_yaml(path)
    assert read(project).missing == ["Two"]
    record(two, project, {"plain": 0.5, "half": 0.7, "plain-again": 0.5})
    overview = read(project)
    assert (overview.missing, overview.rehearsal) == ([], False)
    assert overview.runs == 2 * 10 + 4 * 5 + (4 + 2) * 3 - 5 - 3
    assert overview.table.groupby("study")["n"].first().to_dict() == {"One": 5, "Two": 10}
    assert overview.quoted["n"].tolist() == [5, 5, 5, 5]
    first, second = summary.best_table(overview).splitlines()[2:]
    assert first.endswith("| 5 that chose it too |")
    assert second.endswith("| 5 that chose nothing |")
    assert overview.control[["study", "variant", "n"]].to_numpy().tolist() == [["Two", "plain", 10]]
    assert "2 of 2 techniques" in summary.scope(overview)
    assert "each with 5 to 10 seeds, 20 epochs" in summary.scope(overview)
    drawn = summary.forest(overview)
    assert [t.get_text() for t in drawn[1].get_yticklabels()] == ["half", "plain against itself"]
    assert style.whole_figure(drawn).get_supxlabel() == "CIFAR-10, 20 epochs, 5 to 10 seeds"
    drawn = summary.forest(overview, only_best=True)  # rows of 5; what is against itself, of 10
    assert style.whole_figure(drawn).get_supxlabel() == "CIFAR-10, 20 epochs, 5 to 10 seeds"
    smaller = summary.read(project / "configs", project / "results", seeds=5)
    assert smaller.rehearsal
    drawn = summary.forest(smaller)
    assert style.whole_figure(drawn).get_supxlabel().endswith("5 seeds: a rehearsal, not the study")
    plt.close("all")


def test_sentences_name_what_helps_and_what_hurts(project: Path) -> None:
    first, second = summary.findings(read(project))
    assert first.replace("\N{NO-BREAK SPACE}", " ") == (
        "**One**, in points against `plain` (50.2 %): better `chance` (+10.0) and `good` (+5.0); "
        "worse `bad` (−10.0)."
    )
    assert "better `half` (+20.0)" in second
    told = summary.conclusions(read(project))
    text = " ".join(told)
    assert "3 of 4 variants significantly better, 1 significantly worse, 0 not told apart" in text
    assert "Of all, `half` (Two) is best on the validation images" in text
    # Within a technique only, and of two variants there is no correlation.
    (sooner, smaller) = (s for s in told if "Rank correlations" in s)
    assert sooner.startswith("Is what reaches 55 % sooner")
    assert sooner.endswith("): One −0.74.")
    assert smaller.endswith("): One +0.00.")


def test_without_any_record_everything_says_so(tmp_path: Path) -> None:
    write_technique(tmp_path, "one", {"plain": {}, "other": {"l2": 0.1}})
    overview = read(tmp_path)
    assert "No technique is completely recorded on CIFAR-10" in summary.scope(overview)
    assert readme.section(overview) == "The study on CIFAR-10 is not recorded yet."
    assert summary.table(overview) == summary.best_table(overview) == ""
    assert summary.findings(overview) == summary.conclusions(overview) == []
    assert summary.write_figures(overview, tmp_path / "figures") == []


def test_another_size_is_a_rehearsal(project: Path) -> None:
    overview = summary.read(project / "configs", project / "results", seeds=4)
    assert overview.rehearsal
    assert "This is a rehearsal" in summary.scope(overview)
    assert not summary.read(project / "configs", project / "results", seeds=5, epochs=20).rehearsal


def test_an_altered_record_is_refused(project: Path) -> None:
    path = records.find(project / "results", "one", "final")[0]
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match="was changed after it was written"):
        read(project)


def test_equal_records_give_equal_bytes(project: Path) -> None:
    import matplotlib as mpl

    first = summary.write_figures(read(project), project / "first")
    with mpl.rc_context({"font.size": 30}):  # what a notebook may have set
        second = summary.write_figures(read(project), project / "second")
    assert sorted(path.suffix for path in first) == [".png"] * 3 + [".svg"] * 3
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    drop_one_run(project)
    third = summary.write_figures(read(project), project / "third")
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(first, third, strict=True))


def test_the_readme_is_filled_between_its_markers_and_nowhere_else(project: Path) -> None:
    page = project / "README.md"
    section = readme.section(read(project))
    assert "| One | plain | 50.2" in section.replace("\N{NO-BREAK SPACE}", " ")
    assert readme.write(page, section)
    assert page.read_text() == MARKED.replace("old", section)
    assert readme.recorded(page) == section
    assert not readme.write(page, section)
    assert sorted(path.name for path in project.glob("*README*")) == ["README.md"]


@pytest.mark.parametrize("text", ["", MARKED * 2, f"{readme.END}\n{readme.BEGIN}"])
def test_a_readme_without_its_markers_is_refused(project: Path, text: str) -> None:
    (project / "README.md").write_text(text)
    with pytest.raises(InputError, match="expected <!-- results:begin -->"):
        readme.write(project / "README.md", "new")
    assert (project / "README.md").read_text() == text


def test_a_folder_without_techniques_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no technique files"):
        summary.technique_files(tmp_path)


def test_a_ladders_shared_tuning_counts_once(tmp_path: Path) -> None:
    write_technique(tmp_path, "one", {"plain": {}, "longer": {"epochs": 30}}, ladder=True)
    study = Study.from_yaml(tmp_path / "configs" / "one.yaml")
    record(study, tmp_path, {"plain": 0.5, "longer": 0.6})
    assert study.planned_runs() == len(study.table(tmp_path / "results")) == 3 + 2 * 5
    assert read(tmp_path).missing == []


def test_a_ladders_dear_rungs_have_fewer_seeds(tmp_path: Path) -> None:
    rungs = {"plain": {}, "longer": {"epochs": 30, "seeds": 3}, "last": {"l2": 0.1}}
    write_technique(tmp_path, "one", rungs, ladder=True)
    study = Study.from_yaml(tmp_path / "configs" / "one.yaml")
    record(study, tmp_path, {"plain": 0.5, "longer": 0.6, "last": 0.7})
    table = study.table(tmp_path / "results")
    assert study.planned_runs() == len(table) == 2 * 3 + 5 + 3 + 3
    assert stats.steps(table)["pairs"].tolist() == [5, 3, 3]
    assert [study.resized(seeds=2).seeds_of(name) for name in rungs] == [2, 2, 2]


@pytest.mark.parametrize("train_on", ["train", "train_and_validation"])
def test_the_top_of_the_ladder_is_told_with_its_price(project: Path, train_on: str) -> None:
    top = {"epochs": 30, "optimizer": "adam", "learning_rates": [0.01], "teachers": 2}
    top["train_on"] = train_on
    rungs = {"plain": {}, "top": top}
    write_technique(project, "ladder", rungs, ladder=True, in_summary=False)
    before = read(project)
    assert before.top == ""
    study = Study.from_yaml(project / "configs" / "ladder.yaml")
    record(study, project, {"plain": 0.5, "top": 0.6})
    after = read(project)
    pd.testing.assert_frame_equal(after.table, before.table)
    assert after.top.replace("\N{NO-BREAK SPACE}", " ").startswith(
        "**The best LeNet-5 so far** recognises **60.2 %** of the test images: mean of 5 seeds"
    )
    assert "62,006 parameters" in after.top
    assert ": 30 epochs in " in after.top
    assert " minutes, those of its 2 teachers included, on " in after.top
    assert ("it trains on the validation images too" in after.top) == (train_on != "train")
    assert after.top in readme.section(after)


def test_a_technique_with_a_single_rate_is_summarised_too(tmp_path: Path) -> None:
    tuning = {"learning_rates": [0.1], "epochs": 2, "seeds": [1000]}
    study = write_technique(tmp_path, "one", {"plain": {}, "good": {"l2": 0.1}}, tuning=tuning)
    record(study, tmp_path, {"plain": 0.5, "good": 0.6})
    table = read(tmp_path).table
    assert table["learning_rate"].tolist() == [0.1, 0.1]
    assert not table["at_edge"].any()


# Techniques together


def write_factorial(folder: Path) -> Study:
    """Four techniques: the first two add 4 and 2 points, and 1 more where both are there."""
    # None of them is a recipe of the other techniques, whose records it would share.
    fields = {"A": "dropout", "B": "l2", "C": "l1", "D": "momentum"}
    factors = {
        letter: {"name": field, "levels": {"without": {field: 0.001}, "with": {field: 0.4}}}
        for letter, field in fields.items()
    }
    content = {
        **{"title": "Together", "question": "How much?", "in_summary": False, "baseline": "none"},
        **{"factors": factors, "seeds": 5, "epochs": 20},
        "tuning": {"learning_rates": [0.01, 0.1, 1.0], "epochs": 2, "seeds": [1000]},
    }
    study = Study.from_yaml(write_yaml(folder / "configs" / "factorial.yaml", content))
    random = np.random.default_rng(0)
    scatter = random.normal(0, 0.0005, len(study.variants))
    levels = {
        cell: 0.5 + 0.035 * ("a" in cell) + 0.015 * ("b" in cell) + 0.01 * ("ab" in cell) + noise
        for cell, noise in zip(study.variants, scatter, strict=True)
        if cell != "none"
    }
    record(study, folder, {"none": 0.5 + scatter[0], **levels})
    return study


def test_the_readme_starts_with_the_techniques_together(project: Path) -> None:
    without = readme.section(read(project))
    write_factorial(project)
    overview = read(project)
    assert overview.together is not None
    assert summary.findings(overview) == summary.findings(read(project))
    section = readme.section(overview, "drawn")
    text = section.replace("\N{NO-BREAK SPACE}", " ")
    assert "together" not in without
    assert "16 of the 16 combinations, 5 paired seeds and 20 epochs each" in text
    assert text.index("](drawn/together-effects.png)") < text.index("| dropout | **+4.0 [")
    assert text.index("| dropout | **+4.0 [") < text.index("| l2 | **+2.0 [")
    within = "**Within each kind of technique, a notebook each.** 2 of 2"
    assert text.index("| l2 | **+2.0 [") < text.index(within)
    assert "add up to +6." in text
    assert "Of 6 pairs, 1 interact significantly" in text
    assert "dropout with l2 (+0.5)" in text
    drawn = summary.write_figures(overview, project / "figures")
    assert {"together-effects.png", "together-effects.svg"} <= {path.name for path in drawn}


def test_a_factorial_that_lacks_a_run_says_nothing_yet(project: Path) -> None:
    write_factorial(project)
    next((project / "results" / "factorial").glob("ab-*/seed-3.json")).unlink()
    overview = read(project)
    assert overview.together is None
    assert "together" not in readme.section(overview)


# What is committed


@pytest.fixture(scope="module")
def committed() -> summary.Overview:
    return summary.read(ROOT / "configs", ROOT / "results")


def test_the_results_in_the_readme_are_those_of_the_records(committed: summary.Overview) -> None:
    section = readme.section(committed)
    assert readme.recorded(ROOT / "README.md") == section, "stale: python -m lenet_study report"


def test_the_committed_figures_are_those_of_the_records(
    committed: summary.Overview, tmp_path: Path
) -> None:
    if committed.table.empty:
        pytest.skip("no technique is completely recorded yet, so there are no figures")
    drawn = summary.write_figures(committed, tmp_path)
    stale = [
        path.name
        for path in drawn
        if not (ROOT / "figures" / path.name).exists()
        or (ROOT / "figures" / path.name).read_bytes() != path.read_bytes()
    ]
    assert stale == [], "stale: python -m lenet_study report"
