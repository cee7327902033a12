"""Batches depend on the seed alone, and each augmentation does what it says."""

import hashlib

import numpy as np
import pytest
from here import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lenet_keras.backend import tf
from lenet_keras.data import load_data
from lenet_keras.pipeline import (
    cutout,
    minibatch_indices,
    normalisation,
    shown,
    training_batches,
)
from lenet_keras.recipe import InputError, Recipe
from lenet_study import records
from lenet_study.teachers import blended, draw_blends, relabelling, seen, showing, views

DIGITS = load_data("digits")
ALL = {"augmentation": "flip,shift,cutout,mixup", "dataset": "digits", "epochs": 1}


def all_batches(recipe: Recipe, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return list(training_batches(DIGITS, recipe, seed).dataset.as_numpy_iterator())


@given(st.integers(5, 60), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**20))
def test_every_epoch_is_a_permutation_and_a_longer_run_begins_like_a_shorter(
    images, batch_size, epochs, seed
):
    indices = minibatch_indices(images, batch_size, epochs, seed)
    steps = images // batch_size
    assert indices.shape == (epochs * steps, batch_size)
    for epoch in indices.reshape(epochs, -1):
        assert len(set(epoch.tolist())) == steps * batch_size
        assert epoch.min() >= 0
        assert epoch.max() < images
    longer = minibatch_indices(images, batch_size, epochs + 1, seed)
    np.testing.assert_array_equal(longer[: len(indices)], indices)


def test_each_epoch_has_another_order_and_the_seed_s_is_that_of_the_records():
    first, second = minibatch_indices(1000, 10, 2, 0).reshape(2, -1)
    assert first.tolist() != second.tolist()
    file, *_ = (ROOT / "results" / "optimization").glob("sgd-*/seed-0.json")
    run = records.read(file)
    indices = minibatch_indices(45_000, run.recipe.batch_size, run.recipe.epochs, run.seed)
    digest = hashlib.sha256(np.ascontiguousarray(indices, "<i4").tobytes()).hexdigest()
    assert digest.startswith(run.provenance.batches_digest)


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    recipe = Recipe(**ALL)
    first, again, other = (all_batches(recipe, seed) for seed in (1, 1, 2))
    for (x, y), (again_x, again_y) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, again_x)
        np.testing.assert_array_equal(y, again_y)
    assert not np.array_equal(first[0][0], other[0][0])


def test_paired_variants_see_the_same_images_in_the_same_order():
    plain = training_batches(DIGITS, Recipe(dataset="digits"), 4)
    tuned = training_batches(DIGITS, Recipe(dataset="digits", optimizer="adam"), 4)
    other = training_batches(DIGITS, Recipe(dataset="digits"), 5)
    assert plain.digest == tuned.digest
    assert plain.digest != other.digest


def test_plain_batches_are_the_chosen_images():
    recipe = Recipe(dataset="digits", epochs=1, batch_size=50)
    indices = minibatch_indices(len(DIGITS.train.labels), 50, 1, seed=3)
    x, y = all_batches(recipe, seed=3)[1]
    assert x.dtype == np.uint8
    np.testing.assert_array_equal(x, DIGITS.train.images[indices[1]])
    np.testing.assert_array_equal(y.argmax(1), DIGITS.train.labels[indices[1]])


def test_the_training_split_has_mean_0_and_deviation_1():
    x = np.asarray(normalisation(DIGITS)(DIGITS.train.images), np.float64)
    np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-4)


IMAGES = arrays.arrays(np.uint8, (3, 32, 32, 3), elements=st.integers(0, 255), fill=st.just(7))


@given(
    IMAGES,
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(st.integers(-4, 4), min_size=8, max_size=8),
)
@settings(deadline=None, max_examples=20)
def test_what_is_shown_is_a_crop_of_the_mirrored_and_reflected_image(
    images, chosen, flipped, moves
):
    down, right = moves[:4], moves[4:]
    arguments = map(tf.constant, (images, chosen, flipped, down, right))
    found = np.asarray(shown(*arguments))
    for after, number, mirrored, dy, dx in zip(found, chosen, flipped, down, right, strict=True):
        before = images[number][:, ::-1] if mirrored else images[number]
        padded = np.pad(before, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        np.testing.assert_array_equal(after, padded[4 - dy : 36 - dy, 4 - dx : 36 - dx])


def test_cutout_blanks_one_square_and_nothing_else():
    images, colour = tf.ones((3, 32, 32, 3)), tf.constant([4.0, 5.0, 6.0])
    y, x = tf.constant([0.5, 0, 0.999]), tf.constant([0.5, 0, 0.5])
    cut = np.asarray(cutout(images, y, x, 8, colour))
    assert (cut[0, 12:20, 12:20] == [4, 5, 6]).all()
    assert [int((image != 1).sum()) // 3 for image in cut] == [64, 16, 40]


# Of 64 or of 256 pixels in 1,024 some lie outside, some were 0.
@pytest.mark.parametrize(("size", "least", "most"), [(8, 0.02, 0.07), (16, 0.1, 0.25)])
def test_what_cutout_blanks_is_nothing_to_the_network(size, least, most):
    recipe = Recipe(
        dataset="digits", epochs=1, batch_size=50, augmentation="cutout", cutout_size=size
    )
    plain, blanked = (
        np.asarray(normalisation(DIGITS)(all_batches(r, 0)[0][0]))
        for r in (recipe.replace(augmentation=[], cutout_size=8), recipe)
    )
    changed = plain != blanked
    assert least < changed.mean() < most
    np.testing.assert_allclose(blanked[changed], 0, atol=1e-5)


def test_mixup_mixes_images_and_labels_alike():
    recipe = Recipe(dataset="digits", epochs=1, batch_size=50, augmentation="mixup", mixup_alpha=1)
    plain = all_batches(recipe.replace(augmentation=[], mixup_alpha=0.2), seed=0)
    mixed = all_batches(recipe, seed=0)
    (x, y), (mixed_x, mixed_y) = plain[3], mixed[3]
    label = next(i for i in range(50) if y[i].argmax() != y[-1 - i].argmax())
    weight = mixed_y[label][y[label].argmax()]
    assert 0 < weight < 1
    np.testing.assert_allclose(mixed_x, weight * x + (1 - weight) * x[::-1], atol=1e-5)
    np.testing.assert_allclose(mixed_y.sum(1), 1, atol=1e-6)
    _, halves = all_batches(recipe.replace(mixup_alpha=1000.0), seed=0)[3]
    assert set(np.round(halves[halves > 0], 1)) <= {0.5, 1.0}  # of shares near a half, all are


@pytest.mark.parametrize(
    ("augmentation", "number"), [("", 1), ("flip", 2), ("shift", 25), ("flip,shift", 50)]
)
def test_what_teachers_say_of_a_view_is_the_label_of_that_view(augmentation, number):
    shifts = {"shift_pixels": 2} if "shift" in augmentation else {}
    recipe = Recipe(
        dataset="digits", epochs=1, batch_size=64, augmentation=augmentation, teachers=1, **shifts
    ).replace(teacher_share=1.0)
    every = views(recipe)
    assert len(every) == number
    images = len(DIGITS.train.labels)
    taught = np.zeros((images, number, 10), np.float16)
    taught[:, :, 0], taught[:, :, 1] = np.arange(images)[:, None], np.arange(number)
    relabel = relabelling(taught, recipe)
    for x, y in training_batches(DIGITS, recipe, 2, relabel).dataset.take(3).as_numpy_iterator():
        for picture, (image, view, *_) in zip(x, y.astype(int), strict=True):
            expected = seen(DIGITS.train.images[image : image + 1], every[view])[0]
            np.testing.assert_array_equal(picture, expected)


def test_shifts_reach_the_largest_both_ways_and_draw_nothing_from_the_flips():
    recipe = Recipe(
        dataset="digits", epochs=2, batch_size=64, augmentation="flip,shift", shift_pixels=2
    )

    def drawn(recipe):
        told = training_batches(
            DIGITS,
            recipe,
            3,
            lambda y, _, flipped, *by: tf.stack([tf.cast(flipped, tf.int32), *by], axis=1),
        )
        return np.concatenate([y for _, y in told.dataset.as_numpy_iterator()])

    both = drawn(recipe)
    assert {(down, right) for _, down, right in both.tolist()} == {
        (down, right) for down in range(-2, 3) for right in range(-2, 3)
    }
    alone = drawn(recipe.replace(augmentation="flip", shift_pixels=Recipe().shift_pixels))
    np.testing.assert_array_equal(alone[:, 0], both[:, 0])


def test_averaged_answers_are_the_label_of_every_view():
    recipe = Recipe(
        dataset="digits", epochs=1, batch_size=64, augmentation="flip,shift", teachers=1
    ).replace(teacher_share=1.0, teacher_averages=True)
    taught = np.zeros((len(DIGITS.train.labels), 1, 10), np.float16)
    taught[:, 0, 0] = np.arange(len(taught))
    order = minibatch_indices(len(taught), 64, 1, 2)
    batches = training_batches(DIGITS, recipe, 2, relabelling(taught, recipe)).dataset
    for chosen, (_, y) in zip(order[:3], batches.as_numpy_iterator(), strict=False):
        np.testing.assert_array_equal(y[:, 0], chosen)


def test_a_label_is_shared_between_the_truth_and_the_teachers():
    recipe = Recipe(dataset="digits", epochs=1, batch_size=64, teachers=1, teacher_share=0.75)
    taught = np.full((len(DIGITS.train.labels), 1, 10), 0.1, np.float16)
    (_, y), (_, plain) = (
        next(iter(training_batches(DIGITS, recipe, 2, relabel).dataset.as_numpy_iterator()))
        for relabel in (relabelling(taught, recipe), None)
    )
    np.testing.assert_allclose(y, 0.25 * plain + 0.075, atol=1e-4)


BLENDED = Recipe(
    dataset="digits", epochs=2, batch_size=64, augmentation="flip,shift", teachers=1
).replace(teacher_views=5, teacher_share=0.75)


def test_a_blended_view_is_the_view_of_two_images_blended():
    images, labels = DIGITS.train.images, DIGITS.train.labels
    blends = draw_blends(BLENDED, len(labels))
    alone = blends.weight == 1
    assert alone.mean() == pytest.approx(0.5, abs=0.05)
    assert blends.weight.min() >= 0.5
    chosen = np.arange(64, dtype=np.int32)
    pictures = blended(tf.constant(images), blends, chosen, np.full_like(chosen, 2)).numpy()
    for image, picture in enumerate(pictures):
        flipped, down, right, partner, weight = (v[image, 2] for v in vars(blends).values())
        both = weight * images[image].astype(float) + (1 - weight) * images[partner]
        (expected,) = seen(both[None], (flipped, down, right))
        np.testing.assert_allclose(picture, expected, atol=0.5 + 1e-3)


def test_what_teachers_say_of_a_blended_view_is_the_label_of_that_view():
    count = len(DIGITS.train.labels)
    blends, truth = draw_blends(BLENDED, count), np.eye(10)[DIGITS.train.labels]
    taught = np.random.default_rng(0).dirichlet(np.ones(10), (count, 5)).astype(np.float16)
    batches = training_batches(DIGITS, BLENDED, 2, show=showing(taught, BLENDED, DIGITS))
    order = minibatch_indices(count, 64, 2, 2)
    steps = batches.dataset.as_numpy_iterator()
    shown_views = set()
    for chosen, (x, y) in zip(order[:3], steps, strict=False):
        pictures = np.stack(
            [
                blended(tf.constant(DIGITS.train.images), blends, chosen, np.full_like(chosen, n))
                for n in range(5)
            ]
        )
        for place, (image, picture) in enumerate(zip(chosen, x, strict=True)):
            same = (pictures[:, place] == picture).all(axis=(1, 2, 3))
            assert same.any()
            numbers = np.flatnonzero(same)
            own = blends.weight[image, numbers, None]
            true = own * truth[image] + (1 - own) * truth[blends.partner[image, numbers]]
            expected = 0.75 * taught[image, numbers] + 0.25 * true
            assert np.abs(expected - y[place]).max(axis=1).min() < 1e-3
            shown_views |= {*numbers.tolist()} if len(numbers) == 1 else set()
    assert shown_views == set(range(5))


def test_augmentations_really_change_about_as_many_images_as_they_should():
    recipe = Recipe(dataset="digits", epochs=1, batch_size=100)
    plain = np.concatenate([x for x, _ in all_batches(recipe, 0)])
    flipped = np.concatenate([x for x, _ in all_batches(recipe.replace(augmentation="flip"), 0)])
    changed = (plain != flipped).any(axis=(1, 2, 3)).mean()
    assert changed == pytest.approx(0.5, abs=0.05)


def test_a_batch_larger_than_the_training_split_is_refused():
    with pytest.raises(InputError, match=r"batch_size: found 9999; digits has \d+ training images"):
        training_batches(DIGITS, Recipe(dataset="digits", batch_size=9999), 0)
