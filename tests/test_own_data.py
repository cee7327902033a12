"""One's own images: any number of classes, any size, a name of their own; and CIFAR-100."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import MOMENTUM, posix_only, write_yaml
from here import invoke
from mirror import packed, python2_pickle
from PIL import Image

from lenet_keras import data as datasets
from lenet_keras.backend import keras
from lenet_keras.data import load_cifar10, load_data
from lenet_keras.download import PublishedFile, UnavailableError
from lenet_keras.folders import from_arrays, load_folder
from lenet_keras.model import for_pixels, lenet5
from lenet_keras.pipeline import normalisation
from lenet_keras.recipe import InputError, Recipe
from lenet_keras.training import train
from lenet_study import cli, records
from lenet_study.runner import run_study
from lenet_study.study import Study
from lenet_study.training import train_alone, train_stack

pytestmark = pytest.mark.usefixtures("keras_home")
CLASSES = ("ash", "birch", "cedar", "elm", "fir")


def draw(folder: Path, classes: tuple[str, ...] = CLASSES, each: int = 12) -> Path:
    """A folder of pictures, 64 × 64 pixels, each class with a brightness of its own."""
    random = np.random.default_rng(0)
    for label, class_name in enumerate(classes):
        (folder / class_name).mkdir(parents=True)
        for number in range(each):
            noise = random.integers(0, 30, (64, 64, 3), dtype=np.uint8)
            kind = ("RGB", "L", "RGBA", "P", "RGB")[label % 5]
            picture = Image.fromarray(noise + np.uint8(40 * (label % 5))).convert(kind)
            ending = "jpg" if label % 5 == 4 else "png"
            picture.save(folder / class_name / f"{number}.{ending}")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data") / "my-images")


@pytest.fixture(scope="module")
def twelve() -> datasets.Dataset:
    """120 grey images, of 20 × 24 pixels, of twelve classes."""
    labels = np.arange(120) % 12
    random = np.random.default_rng(0)
    noise = random.integers(0, 20, (120, 20, 24), dtype=np.uint8)
    return from_arrays("grey-12", noise + (20 * labels[:, None, None]).astype(np.uint8), labels)


OF_TWELVE = Recipe(dataset="grey-12", batch_size=16, epochs=2, label_smoothing=0.2)


def test_five_classes_by_the_command_line(pictures: Path, tmp_path: Path) -> None:
    where = ("--data-dir", str(pictures.parent))
    settings = ("--set", "dataset=my-images", "--set", "batch_size=16", "--epochs", "2")
    answer = invoke(tmp_path, cli.train, *settings, *where, "--out", "run", "--quiet")
    assert answer.returncode == 0, answer.stderr
    assert "Dataset: my-images (40 training, 10 validation, 10 test images)" in answer.stdout
    assert "60 images, 64 × 64, are resized to 32 × 32 pixels" in answer.stderr
    run = records.read(tmp_path / "run" / "run.json")
    assert (run.recipe.dataset, run.class_names) == ("my-images", CLASSES)
    assert np.shape(run.confusion_matrix) == (5, 5)
    assert run.correct is not None
    assert len(run.correct) == 10
    assert (tmp_path / "run" / "curves.png").exists()

    answer = invoke(tmp_path, cli.evaluate, "run", *where, "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert (found["dataset"], found["as_recorded"]) == ("my-images", True)
    assert list(found["classes"]) == list(CLASSES)
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert model.output_shape == (None, 5)


def test_a_folder_is_read_as_keras_reads_images(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_folder(pictures)
    assert "are resized" in capsys.readouterr().err
    assert (data.name, data.class_names) == ("my-images", CLASSES)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [40, 10, 10]
    for split, of_each in ((data.train, 8), (data.validation, 2), (data.test, 2)):
        assert np.bincount(split.labels).tolist() == [of_each] * 5
    images = np.concatenate([s.images for s in (data.train, data.validation, data.test)])
    assert (images.dtype, images.shape) == (np.uint8, (60, 32, 32, 3))
    held = {image.tobytes() for image in images}
    for class_name in CLASSES:
        file = next(pictures.joinpath(class_name).iterdir())
        image = keras.utils.load_img(file, target_size=(32, 32), interpolation="bilinear")
        assert np.asarray(image).tobytes() in held
    for other in (load_data("my-images", pictures.parent), load_data("my-images", pictures)):
        assert other.fingerprint == data.fingerprint
    assert load_folder(pictures, "others").fingerprint != data.fingerprint


def test_a_test_folder_is_used_and_what_is_no_image_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path / "own" / "train", ("a", "b"))
    draw(tmp_path / "own" / "test", ("b",), each=4)
    (tmp_path / "own" / "train" / "a" / "notes.txt").write_text("no image")
    (tmp_path / "own" / "train" / "a" / "._0.png").write_text("left by a Mac")
    (tmp_path / "own" / ".git").mkdir()
    data = load_folder(tmp_path / "own")
    assert "passed over as no images: 1, such as" in capsys.readouterr().err
    assert data.class_names == ("a", "b")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [20, 4, 4]
    assert set(data.test.labels) == {1}
    draw(tmp_path / "own" / "val", ("a", "b"), each=3)
    data = load_folder(tmp_path / "own")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [24, 6, 4]


def test_twelve_classes_alone_side_by_side_and_taught(twelve: datasets.Dataset) -> None:
    assert twelve.class_names == tuple(map(str, range(12)))
    plain = train(OF_TWELVE, 0, twelve, verbose=0)
    assert np.shape(plain.confusion_matrix) == (12, 12)
    other = OF_TWELVE.replace(learning_rate=0.01)
    stacked, _ = train_stack([OF_TWELVE, other], 0, twelve, verbose=0)
    np.testing.assert_allclose(stacked.history.loss, plain.history.loss, rtol=1e-4)
    taught = OF_TWELVE.replace(teachers=2, teacher_epochs=1, epochs=1)
    assert np.shape(train_alone(taught, 0, twelve, verbose=0).confusion_matrix) == (12, 12)
    measured = OF_TWELVE.replace(step_sizes="gauss_newton", learning_rate=0.001, epochs=1)
    assert train_alone(measured, 0, twelve, verbose=0).status == "completed"


def test_a_study_of_one_s_own_images(pictures: Path, tmp_path: Path) -> None:
    content = MOMENTUM | {"dataset": "my-images", "base": {"batch_size": 16}, "epochs": 1}
    content |= {"tuning": MOMENTUM["tuning"] | {"learning_rates": [0.05]}}
    study = Study.from_yaml(write_yaml(tmp_path / "momentum.yaml", content))
    run_study(study, tmp_path / "results", data_dir=pictures.parent, progress=False)
    table = records.table(tmp_path / "results")
    assert set(table["dataset"]) == {"my-images"}
    assert len(table[table["purpose"] == "final"]) == 4

    changed = shutil.copytree(pictures, tmp_path / "changed" / "my-images")
    (changed / "ash" / "0.png").unlink()
    how = {"data_dir": changed.parent, "progress": False}
    run_study(study, tmp_path / "results", **how)  # reads what is recorded
    with pytest.raises(InputError, match="saw other images called my-images than there are now"):
        run_study(study, tmp_path / "results", seeds=3, **how)


@pytest.mark.parametrize(
    ("labels", "class_names", "expected"),
    [
        (["b", "a"] * 10, None, ("a", "b")),
        (["b", "a"] * 10, ["b", "a"], ("b", "a")),
        (np.array([[0], [1]] * 10), ["cat", "dog"], ("cat", "dog")),
        ([0, 1] * 10, [7, 8], ("7", "8")),
    ],
)
def test_labels_are_names_or_numbers(labels, class_names, expected: tuple[str, ...]) -> None:
    white = np.tile(np.array([255, 0], np.int64)[:, None, None, None], (10, 8, 8, 1))
    data = from_arrays("pair", white, labels, class_names, test=(white, labels))
    assert data.class_names == expected
    first = expected.index("b") if "b" in expected else 0
    np.testing.assert_array_equal(data.test.labels, [first, 1 - first] * 10)
    np.testing.assert_array_equal(data.test.images[:2, 0, 0], [[255] * 3, [0] * 3])


def test_a_colour_that_never_varies_does_no_harm() -> None:
    images = np.zeros((30, 32, 32, 3), np.uint8)
    images[::2, ..., 0] = 200
    data = from_arrays("red", images, np.arange(30) % 2)
    assert np.isfinite(np.asarray(normalisation(data)(data.test.images))).all()
    model = for_pixels(lenet5(Recipe(dataset="red"), classes=2), data)
    assert np.isfinite(model.predict(data.test.images, verbose=0)).all()


# --- refusals ----------------------------------------------------------------------------------


def spoil(folder: Path, how: str) -> None:
    if how == "damaged":
        whole = (folder / "ash" / "3.png").read_bytes()
        (folder / "ash" / "3.png").write_bytes(whole[: len(whole) // 2])
        (folder / "elm" / "web.png").write_text("<html>")
    elif how == "empty":
        for file in (folder / "ash").iterdir():
            file.unlink()
    elif how == "one class":
        for class_name in CLASSES[1:]:
            (folder / class_name).rename(folder.parent / class_name)
    elif how == "no classes":
        for class_name in CLASSES:
            (folder / class_name).rename(folder.parent / class_name)
    elif how == "deep":
        Image.fromarray(np.zeros((9, 9), np.float32)).save(folder / "fir" / "deep.tif")
    elif how == "another class in test":
        draw(folder.parent / "new" / "train")
        draw(folder.parent / "new" / "test", ("oak",))
        folder.rename(folder.parent / "old")
        (folder.parent / "new").rename(folder)
    elif how in ("part of another name", "parts without classes"):
        for part in ("train", "valid" if how == "part of another name" else "test"):
            draw(folder / part, CLASSES if how == "part of another name" else ("",))
        for class_name in CLASSES:
            (folder / class_name).rename(folder.parent / class_name)
    elif how in ("parts of other names", "a part without classes"):
        shutil.rmtree(folder)
        draw(folder / ("Training" if how == "parts of other names" else "Train"))
        draw(folder / "Test", CLASSES if how == "parts of other names" else ("",))
    elif how == "a link to nowhere":
        (folder / "ash" / "annexed.png").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("how", "arguments", "message"),
    [
        ("damaged", (), "2 of 61 images cannot be used. Mend or remove them:"),
        ("empty", (), "every class needs 3 training images or more. Found ash: 0"),
        ("one class", (), "found classes: ash; two or more are needed"),
        ("no classes", (), "found classes: none; two or more are needed"),
        ("deep", (), "deep.tif: has 32 bits a channel; save it with 8 or 16"),
        ("another class in test", (), "oak is no class of"),
        ("part of another name", (), "holds folders train and valid; allowed beside train"),
        ("parts without classes", (), "found classes: none; two or more are needed"),
        (
            "parts of other names",
            (),
            "(Test, Training) hold folders themselves (ash, birch, cedar)",
        ),
        ("a part without classes", (), "call what holds them train, test and validation"),
        pytest.param(*("a link to nowhere", (), "annexed.png: No such file"), marks=posix_only),
        ("", ("--set", "batch_size=41"), "batch_size: found 41; my-images has 40 training images"),
        ("", ("--set", "output=rbf"), "output: 'rbf' has fixed codes for 10 classes, and there"),
        ("", ("--dataset", "my-image"), "no such dataset, and no such folder: "),
        ("", ("--dataset", "digit"), "Did you mean 'digits'?"),
        ("", ("--dataset", "my/images"), "dataset: found 'my/images'; allowed: cifar10"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    how: str, arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    spoil(draw(tmp_path / "my-images"), how)
    where = ("--data-dir", str(tmp_path), "--out", "run", "--quiet")
    given = ("--set", "dataset=my-images", "--set", "batch_size=16", "--epochs", "1", *arguments)
    answer = invoke(tmp_path, cli.train, *given, *where)
    assert answer.returncode == 2, answer.stdout
    assert message in answer.stderr
    assert not (tmp_path / "run").exists()


GREY = np.zeros((12, 8, 8), np.uint8)
HALVES = np.arange(12) % 2


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: from_arrays("cifar10", GREY, HALVES), "'cifar10' is a dataset that everybody has"),
        (lambda: from_arrays("my images", GREY, HALVES), "name: found 'my images'; allowed"),
        (lambda: from_arrays("own", GREY / 255, HALVES), "number 0: found float64 of shape"),
        (lambda: from_arrays("own", GREY.reshape(12, 1, 8, 8), HALVES), "(1, 8, 8)"),
        (lambda: from_arrays("own", GREY, HALVES[1:]), "found 12 images, 11 labels"),
        (lambda: from_arrays("own", GREY, np.eye(12)), "labels: found float64"),
        (lambda: from_arrays("own", GREY, HALVES - 1), "labels: found -1"),
        (lambda: from_arrays("own", GREY, ["a", "b"] * 6, ["a", "c"]), "labels: found b"),
        (lambda: from_arrays("own", GREY, ["a", "b"] * 6, ["a", "a"]), "a, a: one is given twice"),
        (lambda: from_arrays("own", GREY, [*"abababababa", None]), "labels: found None"),
        (lambda: from_arrays("own", GREY, np.array([*"abababababa", np.nan], object)), "found nan"),
        (lambda: from_arrays("own", GREY, HALVES * 2), "Found 1: 0"),
        (lambda: from_arrays("own", [], []), "found classes: none"),
        (lambda: load_folder("nowhere"), "nowhere: cannot be read (No such file"),
        (lambda: Recipe().replace(dataset="auto"), "dataset: found 'auto'"),
    ],
)
def test_what_is_no_dataset_is_refused(refused: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        refused()
    assert message in str(caught.value)


def test_a_model_of_other_classes_is_refused(twelve: datasets.Dataset) -> None:
    for fit in (train, train_alone):
        with pytest.raises(InputError, match="has 10 outputs, and grey-12 has 12 classes"):
            fit(OF_TWELVE, 0, twelve, model=lenet5(OF_TWELVE), verbose=0)


# --- CIFAR-100 ---------------------------------------------------------------------------------


def test_cifar100_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    files, planes = {}, {}
    for name, count in (("train", 300), ("test", 100)):
        planes[name] = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = {b"fine_labels": [i % 100 for i in range(count)], b"coarse_labels": [0] * count}
        files[name] = python2_pickle({b"data": planes[name], **labels})
    names = [f"thing {number}".encode() for number in range(100)]
    files["meta"] = pickle.dumps({b"fine_label_names": names, b"coarse_label_names": []}, 3)
    made = replace(
        datasets.CIFAR100,
        archive=PublishedFile(datasets.CIFAR100.archive.path, "md5:0", ()),
        file_md5={name: hashlib.md5(content).hexdigest() for name, content in files.items()},
        validation_images=100,
    )
    monkeypatch.setattr(datasets, "CIFAR100", made)
    archive = tmp_path / "data" / "cifar-100-python.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(packed(files, "cifar-100-python"))
    data = load_data("cifar100", archive.parent)
    assert (data.name, data.class_names[99]) == ("cifar100", "thing 99")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [200, 100, 100]
    images = planes["test"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(data.test.images, images)
    np.testing.assert_array_equal(data.test.labels, np.arange(100))

    # A file that has the name of one of its files does not hide a folder that has them all.
    for place in ("aside", "whole"):
        (tmp_path / "both" / place).mkdir(parents=True)
    (tmp_path / "both" / "aside" / "train").write_bytes(b"something else")
    for name, content in files.items():
        (tmp_path / "both" / "whole" / name).write_bytes(content)
    assert load_data("cifar100", tmp_path / "both").fingerprint == data.fingerprint

    # Neither takes the other's archive for its own, and a folder `train` is no file of it.
    (archive.parent / "own" / "train").mkdir(parents=True)
    assert load_data("cifar100", archive.parent).fingerprint == data.fingerprint
    without_mirrors = replace(datasets.CIFAR10, archive=replace(datasets.CIFAR10.archive, urls=()))
    with pytest.raises(UnavailableError, match="holds no CIFAR-10"):
        load_cifar10(archive.parent, source=without_mirrors)
    damaged = {name: content[:-1] + b"x" for name, content in files.items()}
    archive.write_bytes(packed(damaged, "damaged"))
    with pytest.raises(InputError, match="train: is not the published file"):
        load_data("cifar100", archive.parent)
    archive.unlink()
    with pytest.raises(UnavailableError, match="CIFAR-100 was not found"):
        load_data("cifar100", archive.parent)
