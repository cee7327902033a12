"""Photographs as the network sees them, what it says of them, and the weights given away."""

import json
import os
import runpy
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from here import ROOT, invoke
from PIL import Image, ImageDraw
from scipy.special import softmax
from sklearn.datasets import load_sample_image

from lenet_keras import evaluation
from lenet_keras.backend import keras
from lenet_keras.data import FOLDER, load_data
from lenet_keras.pictures import as_seen, open_picture
from lenet_study import cli, model_card, records, run_folder

CHINA = Image.fromarray(load_sample_image("china.jpg"))  # 640 × 427
WEIGHTS = ROOT / "weights"
DATA = os.environ.get("LENET_DATA", "")
REAL = bool(DATA) and Path(DATA, FOLDER).is_dir()


def seen(file: Path) -> np.ndarray:
    return as_seen(open_picture(file)).astype(int)


def saved(picture: Image.Image, file: Path, **how: object) -> Path:
    picture.save(file, **how)  # type: ignore[arg-type]
    return file


def test_a_photograph_is_read_as_keras_reads_it(tmp_path: Path) -> None:
    file = saved(CHINA.crop((0, 0, 640, 426)), tmp_path / "china.png")
    how = {"target_size": (32, 32), "interpolation": "bilinear", "keep_aspect_ratio": True}
    np.testing.assert_array_equal(seen(file), np.asarray(keras.utils.load_img(file, **how)))
    # A fine checkerboard is grey: every pixel of the photograph counts.
    board = (np.indices((321, 577)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert abs(as_seen(Image.fromarray(board)).astype(int) - 127).max() <= 3


UPRIGHT = CHINA.crop((0, 0, 640, 426)).resize((320, 213))
WHITE = Image.new("RGB", UPRIGHT.size, "white")
LEFT = Image.new("L", UPRIGHT.size)
ImageDraw.Draw(LEFT).rectangle((0, 0, 159, 213), 255)
OVER_WHITE = Image.composite(UPRIGHT, WHITE, LEFT)
GREY = UPRIGHT.convert("L")


def sixteen(grey: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)


def turned(method: Image.Transpose, orientation: int) -> Callable[[Path], Path]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = UPRIGHT.crop((0, 0, 320, 212)).transpose(method)
    return lambda folder: saved(picture, folder / "turned.png", exif=exif)


def half_transparent(mode: str, name: str) -> Callable[[Path], Path]:
    picture = UPRIGHT.copy()
    picture.putalpha(LEFT)
    return lambda folder: saved(picture.convert(mode), folder / name)


@pytest.mark.parametrize(
    ("write", "expected", "off"),  # off: what compression or fewer colours may change, of 255
    [
        (lambda folder: saved(GREY, folder / "grey.png"), GREY, 0),
        (lambda folder: saved(GREY.convert("1"), folder / "bits.png"), GREY.convert("1"), 0),
        (half_transparent("RGBA", "alpha.png"), OVER_WHITE, 1),
        (half_transparent("LA", "alpha-grey.png"), OVER_WHITE.convert("L"), 1),
        (half_transparent("RGBA", "alpha.gif"), OVER_WHITE, 40),  # of 256 colours
        (lambda folder: saved(UPRIGHT.quantize(), folder / "palette.png"), UPRIGHT.quantize(), 0),
        (lambda folder: saved(sixteen(GREY), folder / "deep.png"), GREY, 0),
        (lambda folder: saved(sixteen(GREY), folder / "deep.tif"), GREY, 0),
        (lambda folder: saved(sixteen(GREY), folder / "deep.pgm"), GREY, 0),
        (lambda folder: saved(UPRIGHT.convert("CMYK"), folder / "ink.jpg", quality=95), UPRIGHT, 6),
        (lambda folder: saved(UPRIGHT, folder / "p.jpg", quality=95, progressive=True), UPRIGHT, 6),
        (lambda folder: saved(UPRIGHT, folder / "photo.webp", lossless=True), UPRIGHT, 0),
        (
            lambda folder: saved(
                UPRIGHT, folder / "two.webp", save_all=True, append_images=[WHITE], lossless=True
            ),
            UPRIGHT,
            0,
        ),
        *(
            (turned(method, orientation), UPRIGHT.crop((0, 0, 320, 212)), 0)
            for method, orientation in [
                (Image.Transpose.ROTATE_90, 6),
                (Image.Transpose.ROTATE_180, 3),
                (Image.Transpose.ROTATE_270, 8),
                (Image.Transpose.TRANSPOSE, 5),
            ]
        ),
        (lambda folder: saved(UPRIGHT, folder / "odd.jpg", exif=b"odd", quality=95), UPRIGHT, 6),
    ],
)
def test_every_kind_of_file_shows_the_same(
    write: Callable[[Path], Path], expected: Image.Image, off: int, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = seen(write(tmp_path))
    assert found.shape == (32, 32, 3)
    assert abs(found - as_seen(expected.convert("RGB"))).max() <= off


def test_one_pixel_and_a_line_are_pictures(tmp_path: Path) -> None:
    blue = Image.new("RGB", (1, 1), (10, 20, 200))
    for picture in (blue, blue.resize((500, 1))):
        assert (seen(saved(picture, tmp_path / "dot.png")) == (10, 20, 200)).all()


def test_a_jpeg_too_large_to_be_read_whole_is_read_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = CHINA.resize((2100, 2048))
    file = saved(large, tmp_path / "large.jpg", quality=95)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3_000_000)
    assert abs(seen(file) - as_seen(large)).max() <= 6


def header(side: int) -> bytes:
    """A PNG file that says it is that large, and then ends."""
    size = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", size), (b"IDAT", zlib.compress(b""))]
    packed = [
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Files that are no photographs, and what is said of each; and two that are."""
    saved(CHINA, tmp_path / "china.jpg", quality=95)
    saved(Image.fromarray(load_sample_image("flower.jpg")), tmp_path / "flower.png")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "words.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    for name in ("china.jpg", "flower.png"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / f"half-{name}").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bomb.png").write_bytes(header(20_000))
    (tmp_path / "large.png").write_bytes(header(12_000))  # of which Pillow only warns
    Image.fromarray(np.ones((9, 9), np.float32)).save(tmp_path / "float.tif")
    return {
        "folder.jpg": "is a folder; name the pictures in it",
        "words.jpg": "is no picture that Pillow can read",
        "empty.png": "is no picture that Pillow can read",
        "half-china.jpg": "image file is truncated (",
        "half-flower.png": "image file is truncated",
        "bomb.png": "has more than 89,478,485 pixels; make it smaller",
        "large.png": "has more than 89,478,485 pixels; make it smaller",
        "float.tif": "has 32 bits a channel; save it with 8 or 16",
        "gone.jpg": "No such file or directory",
    }


def test_what_is_no_photograph_is_named_and_the_others_are_answered(
    files: dict[str, str], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        answer = invoke(tmp_path, cli.predict, "china.jpg", *files, "flower.png", "--json")
    assert answer.returncode == 2
    lines = answer.stderr.removeprefix("Error: ").splitlines()
    assert len(lines) == len(files)
    for line, (name, reason) in zip(lines, files.items(), strict=True):
        assert line.startswith(f"{name}: {reason}")
    told = json.loads(answer.stdout)["photographs"]
    assert [each["file"] for each in told] == ["china.jpg", *files, "flower.png"]
    assert [each["error"] for each in told[1:-1]] == lines
    for each in (told[0], told[-1]):
        assert sum(each["probabilities"].values()) == pytest.approx(1, abs=1e-5)

    answer = invoke(tmp_path, cli.predict, "flower.png")
    assert (answer.returncode, answer.stderr) == (0, "")
    first, *rows = answer.stdout.splitlines()
    assert (first, len(rows)) == ("flower.png", 10)
    best = max(told[-1]["probabilities"].items(), key=lambda pair: pair[1])
    assert rows[0].split() == [best[0], f"{100 * best[1]:.2f}", "%"]

    answer = invoke(tmp_path, cli.predict, "words.jpg")
    assert (answer.returncode, answer.stdout) == (2, "")


def test_a_name_that_the_terminal_cannot_write_is_no_traceback(tmp_path: Path) -> None:
    file = saved(CHINA, tmp_path / "写真.png")
    answer = CliRunner(charset="latin-1").invoke(cli.predict, [str(file)], catch_exceptions=False)
    assert answer.exit_code == 0
    assert "\\u5199\\u771f.png" in answer.stdout


def asked(folder: Path, *arguments: str) -> list[dict[str, float]]:
    """The probabilities that predict.py gives for photographs."""
    answer = invoke(folder, cli.predict, *arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    return [each["probabilities"] for each in json.loads(answer.stdout)["photographs"]]


def test_the_same_pixels_get_what_evaluate_gives_them(files: dict, tmp_path: Path) -> None:
    names = run_folder.read(WEIGHTS).class_names
    network = run_folder.read_model(WEIGHTS / "model.keras", len(names))
    # As evaluate.py asks: the test images with a thousand others.
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 32, 32, 3), np.uint8)
    pixels[:2] = seen(tmp_path / "china.jpg"), seen(tmp_path / "flower.png")
    expected = softmax(evaluation.by_batches(network.predict_on_batch, pixels)[:3], axis=1)
    saved(Image.fromarray(pixels[2]), tmp_path / "small.png")
    (tmp_path / "run").mkdir()
    shutil.copy(WEIGHTS / "model.keras", tmp_path / "run" / "best.keras")
    shutil.copy(WEIGHTS / "run.json", tmp_path / "run")
    for model in ([], ["--model", str(WEIGHTS)], ["--model", "run/best.keras"]):
        found = asked(tmp_path, "china.jpg", "flower.png", "small.png", *model)
        for shares, row in zip(found, expected, strict=True):
            assert list(shares.values()) == sorted(shares.values(), reverse=True)
            np.testing.assert_allclose([shares[name] for name in names], row, atol=2e-6)
    for other in ("run", "nowhere", "china.jpg"):
        answer = invoke(tmp_path, cli.predict, "china.jpg", "--model", other)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert "holds no" in answer.stderr


@pytest.mark.skipif(not REAL, reason="CIFAR-10 itself is needed, in the folder LENET_DATA")
def test_the_weights_are_those_of_the_recorded_run(tmp_path: Path) -> None:
    answer = invoke(tmp_path, cli.evaluate, str(WEIGHTS), "--json", "--out", "drawn")
    assert answer.returncode in (0, 1), answer.stderr  # 1: another machine rounds otherwise
    told = json.loads(answer.stdout)
    assert told["test"]["accuracy"] == pytest.approx(told["recorded"]["accuracy"], abs=5e-4)
    assert told["test"]["loss"] == pytest.approx(told["recorded"]["loss"], abs=1e-4)

    run, data = run_folder.read(WEIGHTS), load_data("cifar10")
    numbers = [
        np.flatnonzero(data.test.labels == data.class_names.index(name))[:4]
        for name in ("cat", "ship", "airplane")
    ]
    chosen = np.concatenate(numbers)
    for number in chosen:
        saved(Image.fromarray(data.test.images[number]), tmp_path / f"{number}.png")
    shares = asked(tmp_path, *(f"{number}.png" for number in chosen))
    right = [
        max(row, key=row.__getitem__) == data.class_names[data.test.labels[number]]
        for row, number in zip(shares, chosen, strict=True)
    ]
    assert run.correct is not None
    assert right == run.correct[chosen].tolist()


@pytest.mark.parametrize("name", ["train", "evaluate", "predict"])
def test_a_script_is_the_command(name: str) -> None:
    assert runpy.run_path(str(ROOT / f"{name}.py"))[name] is getattr(cli, name)


def test_the_weights_are_small_and_their_card_says_what_the_records_say() -> None:
    assert (WEIGHTS / "model.keras").stat().st_size < 400_000
    expected = model_card.text(WEIGHTS, ROOT / "results")
    written = (WEIGHTS / "README.md").read_text(encoding="utf-8")
    assert written == expected, "call: python -m lenet_study report"


@pytest.mark.parametrize("train_on", ["train", "train_and_validation"])
def test_a_card_says_which_images_were_trained_on(tmp_path: Path, train_on: str) -> None:
    run = run_folder.read(WEIGHTS)
    changed = run.model_copy(update={"recipe": run.recipe.replace(train_on=train_on)})
    records.write(changed, tmp_path / "run.json")
    shutil.copy(WEIGHTS / "model.keras", tmp_path)
    no_records = tmp_path / "results"
    no_records.mkdir()
    card = model_card.text(tmp_path, no_records)
    held_out = train_on == "train"
    assert ("| validation images |" in card) == held_out
    assert ("trained on as well" in card) == (not held_out)
