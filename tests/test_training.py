"""Training learns what there is to learn, the same each time, and ends well when it goes wrong."""

import dataclasses
import functools
import re
import time
from collections.abc import Callable

import numpy as np
import pytest
from here import commit_all, first_images
from scipy.special import softmax

from lenet_keras import training
from lenet_keras.backend import keras
from lenet_keras.data import Dataset, load_data
from lenet_keras.evaluation import predict, score
from lenet_keras.model import lenet5
from lenet_keras.pipeline import training_batches
from lenet_keras.recipe import InputError, Recipe
from lenet_keras.run import Run
from lenet_keras.training import images_for, train
from lenet_study.residual import residual_network
from lenet_study.teachers import teach
from lenet_study.training import train_alone, train_stack

DIGITS = load_data("digits")
FEW = first_images(256, DIGITS)  # enough where nothing need be learnt
QUICK = Recipe(
    dataset="digits",
    kernel_initializer="glorot_uniform",
    momentum=0.9,
    learning_rate=0.05,
    batch_size=32,
    epochs=12,
)
# In plain Keras, and as studies do it.
BOTH = pytest.mark.parametrize("train", [train, train_alone], ids=["plain", "study"])


@functools.cache
def three_epochs(train: Callable[..., Run]) -> Run:
    """What several tests compare with."""
    return train(QUICK.replace(epochs=3), 1, FEW, verbose=0)


@pytest.fixture(scope="module")
def trained():
    model = lenet5(QUICK, seed=1)
    return train(QUICK, 1, DIGITS, model=model, verbose=0), model


def test_it_learns_the_digits(trained):
    run, _ = trained
    assert run.status == "completed"
    assert run.validation.accuracy > 0.95
    assert run.history.val_accuracy[-1] == run.validation.accuracy
    assert run.history.loss[-1] < 0.1 * run.history.loss[0]


def test_shuffled_labels_teach_nothing():
    labels = np.random.default_rng(0).permutation(DIGITS.train.labels)
    train_split = dataclasses.replace(DIGITS.train, labels=labels)
    run = train(QUICK, 1, dataclasses.replace(DIGITS, train=train_split), verbose=0)
    assert run.validation.accuracy < 0.2


@BOTH
def test_the_same_seed_gives_the_same_history_to_the_last_digit(train):
    run, again = three_epochs(train), three_epochs.__wrapped__(train)  # not the same run twice
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        assert getattr(again.history, name) == getattr(run.history, name)
    assert again.test == run.test


def test_the_run_is_what_its_model_does(trained):
    run, model = trained
    logits = predict(model, DIGITS.test, DIGITS)
    assert logits.shape == (len(DIGITS.test.labels), 10)
    assert score(logits, DIGITS.test.labels) == run.test
    matrix = np.array(run.confusion_matrix)
    assert matrix.sum() == len(DIGITS.test.labels)
    assert np.trace(matrix) / matrix.sum() == pytest.approx(run.test.accuracy)
    np.testing.assert_array_equal(run.correct, logits.argmax(1) == DIGITS.test.labels)
    by_class = run.per_class_accuracy
    assert by_class["3"] == np.mean(logits.argmax(1)[DIGITS.test.labels == 3] == 3)
    kernel = np.asarray(model.get_layer("C5").kernel)
    assert run.kernel_quantiles["C5"][0] == pytest.approx(kernel.min(), rel=1e-3)
    assert run.kernel_quantiles["C5"][20] == pytest.approx(np.median(kernel), rel=1e-2, abs=1e-5)
    assert run.provenance.dataset_fingerprint == DIGITS.fingerprint


@BOTH
def test_tuning_never_reads_the_test_set(train):
    unreadable = dataclasses.replace(FEW, test=None)
    run = train(QUICK.replace(epochs=1), 0, unreadable, score_test=False, verbose=0)
    assert run.test is None
    assert run.confusion_matrix is run.correct is None


def train_two(recipe: Recipe, seed: int, data: Dataset, verbose: int) -> Run:
    """The first of two that train side by side."""
    return train_stack([recipe, recipe.replace(l2=1e-4)], seed, data, verbose=verbose)[0]


@pytest.mark.parametrize("train", [train, train_alone, train_two])
def test_a_recipe_may_train_on_the_validation_images_too(train):
    recipe = QUICK.replace(epochs=1, train_on="train_and_validation")
    data = images_for(recipe, FEW)
    assert (data.train.images[:256] == FEW.train.images).all()
    assert (data.train.images[256:] == FEW.validation.images).all()
    assert (data.train.labels[256:] == FEW.validation.labels).all()
    assert not data.train.images.flags.writeable
    assert (data.mean == FEW.mean).all()
    assert (data.deviation == FEW.deviation).all()
    assert (data.validation, data.test) == (FEW.validation, FEW.test)
    run = train(recipe, 0, FEW, verbose=0)
    assert run.provenance.batches_digest == training_batches(data, recipe, 0).digest


@BOTH
def test_a_diverging_run_ends_early_and_is_recorded_as_diverged(capfd, train):
    run = train(QUICK.replace(learning_rate=1e30, activation="relu"), 0, FEW, verbose=1)
    assert run.status == "diverged"
    assert len(run.history.loss) == 1
    assert run.history.loss[-1] is None
    assert run.validation.loss is None
    assert "diverged" in capfd.readouterr().out
    train(QUICK.replace(learning_rate=1e30, activation="relu"), 0, FEW, verbose=0)
    assert capfd.readouterr().out == ""


@BOTH
def test_the_loss_is_scaled_where_half_precision_would_lose_small_gradients(monkeypatch, train):
    scaled = []
    scale = keras.optimizers.LossScaleOptimizer.scale_loss
    monkeypatch.setattr(
        keras.optimizers.LossScaleOptimizer,
        "scale_loss",
        lambda self, loss: scaled.append(self) or scale(self, loss),
    )
    run = train(
        QUICK.replace(dtype_policy="mixed_float16", epochs=1),
        0,
        first_images(64, DIGITS),
        verbose=0,
    )
    assert len(scaled) == 1  # and a step is traced once: nothing is left for it to make
    assert run.status == "completed"


def test_an_epochs_learning_rate_is_that_of_its_last_step():
    recipes = [QUICK.replace(schedule=name, epochs=4) for name in ("step", "constant")]
    how = {"score_test": False, "verbose": 0}
    alone = [way(recipes[0], 0, FEW, **how) for way in (train, train_alone)]
    beside, constant = train_stack(recipes, 0, FEW, **how)
    for run in (*alone, beside):
        assert run.history.learning_rate == pytest.approx([0.05, 0.05, 0.005, 0.0005])
    assert constant.history.learning_rate == pytest.approx([0.05] * 4)


@BOTH
def test_early_stopping_goes_back_to_the_best_epoch(train):
    recipe = QUICK.replace(learning_rate=0.3, early_stopping=1, epochs=30)
    run = train(recipe, 0, DIGITS, verbose=0)
    assert run.status == "stopped_early"
    losses = run.history.val_loss
    assert run.best_epoch == 1 + losses.index(min(losses)) < len(losses)
    assert run.validation.loss == pytest.approx(min(losses))


@BOTH
def test_what_is_validated_and_kept_is_the_average_of_the_weights(train):
    recipe = QUICK.replace(ema_momentum=0.95, epochs=3)
    model = lenet5(recipe, seed=1)
    run = train(recipe, 1, FEW, model=model, verbose=0)
    plain = three_epochs(train)
    # The weights move as they would without; Keras swaps them by sums, which costs last digits.
    assert run.history.loss == pytest.approx(plain.history.loss, rel=1e-4)
    assert run.history.val_loss != plain.history.val_loss
    assert run.history.val_loss[-1] == pytest.approx(run.validation.loss)
    assert score(predict(model, FEW.test, FEW), FEW.test.labels) == run.test


@BOTH
def test_with_flips_the_mirrored_test_images_are_scored_too(train):
    recipe = QUICK.replace(augmentation="flip", epochs=2)
    model = lenet5(recipe, seed=1)
    run = train(recipe, 1, FEW, model=model, verbose=0)
    both = [predict(model, FEW.test, FEW)]
    mirrored = dataclasses.replace(FEW.test, images=FEW.test.images[:, :, ::-1])
    both.append(predict(model, mirrored, FEW))
    mean = np.mean([softmax(logits, axis=1) for logits in both], axis=0)
    right = np.mean(mean.argmax(1) == FEW.test.labels)
    assert run.test_mirrored.accuracy == pytest.approx(right)
    assert run.test_mirrored.loss != run.test.loss
    assert three_epochs(train).test_mirrored is None


TAUGHT = QUICK.replace(teachers=3, teacher_epochs=3, augmentation="shift", shift_pixels=1, epochs=2)


def test_plain_keras_and_a_study_give_the_same_run():
    for fields in ({"augmentation": ("flip", "mixup")}, {"pooling": "trainable"}):
        recipe = QUICK.replace(epochs=2, batch_size=64, **fields)
        plain, alone = (way(recipe, 2, FEW, verbose=0) for way in (train, train_alone))
        assert plain.history.loss == pytest.approx(alone.history.loss, rel=1e-4)
        assert plain.test.loss == pytest.approx(alone.test.loss, rel=1e-3)
        assert plain.history.learning_rate == alone.history.learning_rate
        assert plain.provenance.batches_digest == alone.provenance.batches_digest


@pytest.mark.parametrize("fields", [{"teachers": 2}, {"step_sizes": "gauss_newton"}])
def test_plain_keras_refuses_what_it_does_not_have_and_says_who_does(fields):
    with pytest.raises(InputError, match=f"{next(iter(fields))}.*lenet_study.training.train_alone"):
        train(QUICK.replace(momentum=0.0, **fields), 0, DIGITS, verbose=0)


def test_teachers_know_the_training_images_and_never_see_the_test_set():
    taught = teach(TAUGHT, 4, dataclasses.replace(DIGITS, test=None), verbose=0)
    assert taught.shape == (len(DIGITS.train.labels), 9, 10)
    np.testing.assert_allclose(taught.sum(-1), 1, atol=1e-2)
    assert (taught.argmax(-1) == DIGITS.train.labels[:, None]).mean() > 0.9


def test_wider_teachers_train_in_turn_and_say_something_else():
    few = dataclasses.replace(FEW, test=None)
    brief = QUICK.replace(epochs=1, teachers=2, teacher_epochs=1)
    wide, narrow = (
        teach(brief.replace(teacher_width=width), 4, few, verbose=0) for width in (2, 1)
    )
    assert wide.shape == narrow.shape == (256, 1, 10)
    np.testing.assert_allclose(wide.sum(-1), 1, atol=1e-2)
    assert not np.allclose(wide, narrow, atol=0.01)


def test_averaged_answers_are_the_mean_over_an_images_views():
    few = dataclasses.replace(FEW, test=None)
    brief = TAUGHT.replace(teachers=2, teacher_epochs=1)
    each, mean = (
        teach(brief.replace(teacher_averages=averages), 4, few, verbose=0)
        for averages in (False, True)
    )
    assert each.shape == (256, 9, 10)
    assert mean.shape == (256, 1, 10)
    np.testing.assert_allclose(mean[:, 0], each.astype(np.float32).mean(axis=1), atol=2e-3)
    assert not np.allclose(mean[:, 0], each[:, 4], atol=0.01)


RESIDUAL = QUICK.replace(
    teachers=1,
    teacher_network="residual",
    teacher_epochs=5,
    teacher_learning_rate=0.1,
    teacher_share=1.0,
    teacher_views=3,
    augmentation="shift",
    shift_pixels=1,
    epochs=2,
)


def test_a_residual_teacher_learns_the_digits_and_never_sees_the_test_set():
    blind = dataclasses.replace(FEW, test=None)
    plain = RESIDUAL.replace(teacher_views=0, augmentation=(), shift_pixels=4, batch_size=8)
    taught = teach(plain, 4, blind, verbose=0)
    assert taught.shape == (256, 1, 10)
    assert (taught.argmax(-1) == blind.train.labels[:, None]).mean() > 0.9


def test_one_residual_teacher_teaches_all_seeds_and_each_run_says_what_it_cost():
    brief, began = RESIDUAL.replace(teacher_epochs=1, epochs=1), time.perf_counter()
    first, second, again = (train_alone(brief, seed, FEW, verbose=0) for seed in (4, 5, 4))
    assert first.history.loss == again.history.loss != second.history.loss
    took = [run.provenance.wall_seconds for run in (first, second, again)]
    assert sum(took) > time.perf_counter() - began > max(took)
    own_kind = train_alone(brief.replace(teacher_network="lenet5"), 4, FEW, verbose=0)
    assert own_kind.history.loss != first.history.loss
    member, _ = train_stack([brief, brief.replace(l2=1e-3)], 4, FEW, verbose=0)
    assert member.history.loss == pytest.approx(first.history.loss, rel=1e-4)


def test_a_residual_network_has_the_classes_of_its_dataset_and_its_seeds_weights():
    first, again, other = (residual_network(seed, 12) for seed in (1, 1, 2))
    assert first.output_shape == (None, 12)
    for weights, same in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, same)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


def test_a_run_with_teachers_repeats_to_the_last_digit_alone_and_in_a_stack():
    untaught = QUICK.replace(augmentation="shift", shift_pixels=1, epochs=1, batch_size=96)
    taught = untaught.replace(teachers=2, teacher_epochs=1)
    run, again = (train_alone(taught, 4, FEW, verbose=0) for _ in range(2))
    assert run.history.loss == again.history.loss
    plain = train_alone(untaught, 4, FEW, verbose=0)
    assert run.history.loss != plain.history.loss
    assert run.provenance.batches_digest == plain.provenance.batches_digest
    member, _ = train_stack([taught, taught.replace(l2=1e-3)], 4, FEW, verbose=0)
    assert member.history.loss == pytest.approx(run.history.loss, rel=1e-4)


@pytest.mark.parametrize(
    ("schedule", "first", "quarter", "highest", "last"),
    [
        ("constant", 1, 1, 1, 1),
        ("step", 1, 1, 1, 0.01),
        ("exponential", 1, 0.01**0.25, 1, 0.01),
        ("cosine", 1, 0.5 + 0.5 * np.cos(np.pi / 4), 1, 0),
        ("one_cycle", 0.1, 0.1 + 0.9 * 5 / 9, 1, 0.001),
        ("warmup_cosine", 0.02, 0.5 + 0.5 * np.cos(np.pi * 4 / 19), 1, 0),
    ],
)
def test_schedules_go_from_and_to_where_they_should(schedule, first, quarter, highest, last):
    from lenet_keras.optimizer import schedule_shape

    progress = np.linspace(0, 1, 1001, dtype="float32")
    factors = [float(schedule_shape(schedule, p)) for p in progress]
    assert factors[0] == pytest.approx(first, abs=1e-3)
    assert factors[250] == pytest.approx(quarter, abs=1e-3)
    assert max(factors) == pytest.approx(highest, abs=1e-2)
    assert factors[-1] == pytest.approx(last, abs=1e-3)


@BOTH
def test_tensorboard_logs_are_written(tmp_path, train):
    train(QUICK.replace(epochs=1), 0, FEW, verbose=0, tensorboard=tmp_path)
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_the_progress_bar_shows_loss_accuracy_and_time_left(capfd):
    train(QUICK.replace(epochs=2), 0, FEW, verbose=1)
    shown = capfd.readouterr().err
    assert "epoch 2" in shown
    assert "loss" in shown
    assert "val_accuracy" in shown
    assert "<00:00" in shown


@BOTH
def test_data_of_another_name_is_refused(train):
    with pytest.raises(InputError, match=r"cifar10.*digits"):
        train(QUICK.replace(dataset="cifar10"), 0, DIGITS, verbose=0)


def test_a_run_names_the_commit_of_its_code_and_whether_that_was_changed(tmp_path, monkeypatch):
    package = tmp_path / "lenet_keras"
    package.mkdir()
    (package / "training.py").touch()
    monkeypatch.setattr(training, "PACKAGE", package)
    commit = functools.partial(training._git_commit, [package])
    assert commit() is None
    commit_all(tmp_path)
    clean = commit()
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (tmp_path / "results.json").touch()
    assert commit() == clean
    (package / "training.py").write_text("changed")
    assert commit() == f"{clean}+changes"
