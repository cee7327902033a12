"""The model card of weights that are given away: what they are, how they do, what they are not."""

from pathlib import Path

import numpy as np
import yaml

from lenet_keras.run import Run, Scores
from lenet_study import records, report, run_folder
from lenet_study.files import whole_file
from lenet_study.report import listed, percent
from lenet_study.style import count

CARD = "README.md"
INTRODUCTION = """\
# LeNet-5 on CIFAR-10: the weights

<!-- Written by `python -m lenet_study report` from run.json and the records. -->

`model.keras` is LeNet-5, seven layers and {parameters:,} parameters, trained by
`python train.py configs/best.yaml --seed {seed}`. It takes photographs of 32 × 32 pixels in colour,
values from 0 to 255, and gives ten logits, in the order {classes}. Plain Keras loads it:

```python
import keras

model = keras.saving.load_model("weights/model.keras")
how = {{"target_size": (32, 32), "interpolation": "bilinear", "keep_aspect_ratio": True}}
photograph = keras.utils.img_to_array(keras.utils.load_img("photo.jpg", **how))
print(keras.ops.softmax(model.predict(photograph[None])))
```

`python predict.py photo.jpg` does the same for any photograph, turns it upright, and puts what is
transparent on white. `uv run poe demo` opens a page that shows what its layers make of one.
`python evaluate.py weights` computes the test scores below again. `run.json` is the record of the
training."""
DATA = """\
## Data and training

CIFAR-10 (Krizhevsky 2009): 50,000 images of ten classes, of which 45,000 are trained on and 5,000,
drawn by class, are for validation{joined}; {test:,} others are for testing, and
were looked at once, at the end. It is no part of this repository.

{epochs} took {minutes:.0f} minutes by the clock{taught}, on {threads} of {device}, with
{versions}{commit}, on {day}. The recipe was chosen on validation images alone; it differs from
`configs/baseline.yaml` in:

```yaml
{recipe}
```"""
LIMITS = """\
## What it is not for

- For anything that matters to somebody. {wrong} of 100 test images are taken for something else,
  most often a {truth} for a {taken} ({confused} times).
- For what is none of the ten classes: it has no answer "none of these", and is sure of some of its
  wrong ones. There are no people among the classes.
- For photographs with several things or a small one. Those of CIFAR-10 show one thing that fills
  the frame, and were found on the web before 2009; how it does on others was not measured.
- For comparisons of networks: one seed is no evidence. The study's records are."""


def text(folder: Path, results: Path) -> str:
    """The card of the run in a folder.

    Args:
        folder: as `train.py` writes it.
        results: the records, among which the same recipe's other seeds are.

    Raises:
        InputError: the folder holds no run, or a record cannot be trusted.
    """
    from lenet_keras.model import count_parameters

    run = run_folder.read(folder)
    assert run.test is not None
    assert run.confusion_matrix is not None
    introduction = INTRODUCTION.format(
        parameters=count_parameters(run.recipe, len(run.class_names)),
        seed=run.seed,
        classes=", ".join(run.class_names),
    )
    mistakes = np.array(run.confusion_matrix) * (1 - np.eye(len(run.class_names), dtype=int))
    truth, taken = np.unravel_index(mistakes.argmax(), mistakes.shape)
    limits = LIMITS.format(
        wrong=round(100 * (1 - run.test.accuracy)),
        truth=run.class_names[truth],
        taken=run.class_names[taken],
        confused=mistakes.max(),
    )
    parts = [introduction, _training(run), _scores(run), _seeds(run, results), limits]
    return "\n\n".join(parts) + "\n"


def _training(run: Run) -> str:
    """From what, how, where and for how long."""
    where, recipe = run.provenance, run.recipe
    assert run.confusion_matrix is not None
    versions = {name: where.versions[name] for name in ("tensorflow", "keras", "python")}
    joined = "" if recipe.validates else ".\nOnce all was chosen those were trained on as well"
    return DATA.format(
        joined=joined,
        test=int(np.sum(run.confusion_matrix)),
        epochs=count(len(run.history.loss), "epoch"),
        minutes=where.wall_seconds / 60,
        taught=f", those of its {count(recipe.teachers, 'teacher')} included"
        if recipe.teachers
        else "",
        threads=count(where.threads, "thread"),
        device=where.device,
        versions=listed(f"{name} {version}" for name, version in versions.items()),
        commit=f" at commit `{where.git_commit[:7]}`" if where.git_commit else "",
        day=where.started[:10],
        recipe=yaml.safe_dump(recipe.changes(), sort_keys=False).rstrip(),
    )


def _scores(run: Run) -> str:
    """Tables of the splits and of the classes, and what the calibration error says."""
    splits = {
        "training images, as they are": run.train,
        "validation images": run.validation if run.recipe.validates else None,
        "**test images**": run.test,
        "test images, each asked with its mirror image": run.test_mirrored,
    }
    rows = [f"| {name} | {_row(scores)} |" for name, scores in splits.items() if scores]
    assert run.confusion_matrix is not None
    table = report.classes(run.confusion_matrix, run.class_names)
    columns = zip(table.index, table["accuracy"], table["precision"], strict=True)
    classes = [f"| {name} | {percent(own)} | {percent(named)} |" for name, own, named in columns]
    assert run.test is not None
    assert run.test.calibration_error is not None
    return "\n".join(
        [
            "## Scores\n",
            "| | right | loss, nats | calibration error |\n| --- | ---: | ---: | ---: |",
            *rows,
            "\nOf test images, by class:\n",
            "| class | of its images, right | where it is named, right |\n| --- | ---: | ---: |",
            *classes,
            "\nThe calibration error (expected, 15 bins) is how far confidence and accuracy lie "
            f"apart on average: {percent(run.test.calibration_error)} on test images. It holds for "
            "images like those of CIFAR-10 and for no others.",
        ]
    )


def _row(scores: Scores) -> str:
    assert scores.loss is not None
    assert scores.calibration_error is not None
    calibration = percent(scores.calibration_error)
    return f"{percent(scores.accuracy, 2)} | {scores.loss:.3f} | {calibration}"


def _seeds(run: Run, results: Path) -> str:
    """Which seed it is, and what the others of its recipe reach."""
    found = records.find(results, purpose="final")
    runs = [records.read(path) for path in found if path.parent.name.endswith(f"-{run.key}")]
    accuracies = [each.test.accuracy for each in runs if each.test]
    others = ""
    if accuracies:
        others = (
            f" The recorded runs of this recipe, {count(len(accuracies), 'seed')}, reach "
            f"{percent(min(accuracies), 2)} to {percent(max(accuracies), 2)}, and "
            f"{percent(float(np.mean(accuracies)), 2)} on average: that mean is what the project's "
            "README quotes, and what to expect of the recipe."
        )
    return (
        f"These are the weights of seed {run.seed}, taken because it is the first and not because "
        f"it is kind.{others}"
    )


def write(folder: Path, results: Path) -> bool:
    """Put the card into the folder; whether that changed it."""
    card, new = folder / CARD, text(folder, results)
    if card.is_file() and card.read_text(encoding="utf-8") == new:
        return False
    with whole_file(card) as temporary:
        temporary.write_text(new, encoding="utf-8", newline="\n")
    return True
