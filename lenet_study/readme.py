"""What the README says of the records, between its two markers.

Everything outside the markers is written by hand and stays as it is.
"""

from pathlib import Path

from lenet_keras.recipe import InputError
from lenet_study import controls, stats, summary, together
from lenet_study.files import whole_file
from lenet_study.study import Study
from lenet_study.summary import Overview

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def lacking(configs_dir: Path | str, results_dir: Path | str) -> list[str]:
    """Titles of what figures and README tell of where it is recorded, and is not completely."""
    studies = [Study.from_yaml(path) for path in summary.technique_files(configs_dir)]
    return [
        study.title
        for study in studies
        if (study.in_summary or study.design or study.ladder)
        and len(study.recorded(results_dir, None)) < study.planned_runs(results_dir=results_dir)
    ]


def section(overview: Overview, figures: str = "figures") -> str:
    """What stands between the markers of the README.

    Args:
        overview: of the study, not of a rehearsal.
        figures: folder of the figures, as seen from the README.
    """
    if overview.table.empty:
        return f"The study on {summary.dataset(overview)} is not recorded yet."
    counts, *_ = summary.conclusions(overview)
    first = []
    if overview.together:
        trained, *rest = together.sentences(overview.together)
        picture = f"![What each technique adds to LeNet-5]({figures}/together-effects.png)"
        first = [trained, picture, together.table(overview.together), *rest]
        first += ["**Within each kind of technique, a notebook each.** " + summary.scope(overview)]
    parts = [
        *(first or [summary.scope(overview)]),
        "For each kind the variant that is best on the validation images, and its difference from "
        "the kind's own baseline on the test images, "
        f"{summary.pairing(overview)}. The first {controls.CHOOSING} seeds choose it. The "
        "difference is measured on others, which chose nothing, or, where there are none, on the "
        "same, which flatters a little what they chose. Intervals are 95 % t-intervals over the "
        "seeds, paired ones with variances moderated within a kind of "
        f"{stats.FEWEST} differences or more (a few seeds "
        "tell a variance poorly, so each is drawn towards what is usual in its kind: Smyth 2004); "
        "p is Holm's (1979); bold is significant at 5 %.",
        summary.best_table(overview),
        counts,
        *([overview.top] if overview.top else []),
        f"![The best variant of each kind against its baseline]({figures}/techniques.png)",
        f"![Final accuracy against the speed of convergence]({figures}/convergence.png)",
        f"All variants: [{figures}/variants.svg]({figures}/variants.svg), and the last notebook.",
    ]
    return "\n\n".join(parts)


def recorded(readme: Path) -> str:
    """What stands between the markers now.

    Raises:
        InputError: no such file, or not each marker once.
    """
    return _split(readme)[1]


def write(readme: Path, text: str) -> bool:
    """Put a section between the markers; whether that changed the file.

    Raises:
        InputError: see `recorded`; or the file cannot be written.
    """
    before, old, after = _split(readme)
    if text == old:
        return False
    try:
        with whole_file(readme) as temporary:
            whole = f"{before}{BEGIN}\n{text}\n{END}{after}"
            temporary.write_text(whole, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{readme}: cannot be written ({error.strerror}).") from None
    return True


def _split(readme: Path) -> tuple[str, str, str]:
    """The text before the markers, between them, and after them."""
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{readme}: cannot be read ({error.strerror}).") from None
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"{readme}: expected {BEGIN} and after it {END}, each once.")
    before, _, rest = text.partition(BEGIN)
    section, _, after = rest.partition(END)
    return before, section.strip("\n"), after
