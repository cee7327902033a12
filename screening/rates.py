"""Screen rates and teachers around the second search's winner, many students at once on a GPU.

    python screening/rates.py --round 2 --out round-2.json

A round trains ensembles of teachers, then twice 32 students side by side: eight recipes, each with
four seeds. The network, the augmentation, the labels and AdamW are those of `lenet_keras`, written
anew for JAX with one more axis for the seeds and one for the recipes, so that the whole epoch is
one call. C1 to S4 compute in bfloat16, the layers after them, all sums of a batch and the weights
are float32. Images of validation alone are scored; the test images are not read.

`rates.json` holds both rounds as they ran on that GPU, from a copy of the images, since the machine
had no `lenet_keras`. Numbers of a screening say which recipe to train next, nothing else: what the
recipe reaches is measured by `lenet_keras`, with other seeds.
"""

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lenet_keras.data import load_data

SEEDS, RECIPES, BATCH = 4, 8, 128
SHIFT = 2  # pixels at most
SIDE = 2 * SHIFT + 1
VIEWS = 2 * SIDE * SIDE
# Inputs of a unit and units, layer by layer; a convolution's inputs are a patch of 5 x 5.
KERNELS = {"C1": (75, 6), "C3": (150, 16), "C5": (400, 120), "F6": (120, 84), "output": (84, 10)}
NORMALIZED = ("C1", "C3", "C5", "F6")
TRUNCATED = 0.87962566103423978  # the deviation of a unit normal cut at two deviations
LEARNING_RATE, WEIGHT_DECAY = 0.0242, 0.0309  # the second search's winner


class Student(NamedTuple):
    """What is trained of a recipe: whom it learns from, and factors on the winner's rates."""

    ensemble: str
    share: float = 0.7
    rate: float = 1.0
    decay: float = 1.0


# Teachers are (epochs, learning rate of each member); an ensemble is (teachers, first member,
# the one after the last); students are (epochs, seed of their streams, recipes). The second round's
# epochs are what its time allowed.
ROUNDS: dict[int, dict[str, Any]] = {
    1: {
        "teachers": [(30, (0.0193,) * 8), (60, (0.0193,) * 8)],
        "ensembles": {
            "2 x 30": (0, 0, 2),
            "4 x 30": (0, 0, 4),
            "8 x 30": (0, 0, 8),
            "4 x 60": (1, 0, 4),
            "8 x 60": (1, 0, 8),
        },
        "students": [
            (
                epochs,
                1,
                [
                    Student("4 x 30"),
                    Student("8 x 30"),
                    Student("8 x 60"),
                    Student("4 x 60"),
                    Student("2 x 30"),
                    sixth,
                    Student("8 x 60", share=1.0),
                    Student("4 x 30", decay=0.5),
                ],
            )
            for epochs, sixth in (
                (150, Student("4 x 30", share=1.0)),
                (250, Student("8 x 60", rate=0.5)),
            )
        ],
    },
    2: {
        "teachers": [(30, (0.0193,) * 4 + (0.0097,) * 4)],
        "ensembles": {"4 x 30": (0, 0, 4), "4 x 30, half their rate": (0, 4, 8)},
        "students": [
            (
                epochs,
                seed,
                [
                    Student("4 x 30"),
                    Student("4 x 30", decay=0.5),
                    Student("4 x 30", rate=0.5),
                    Student("4 x 30", rate=0.5, decay=0.5),
                    Student("4 x 30", decay=0.25),
                    Student("4 x 30", rate=0.25),
                    Student("4 x 30, half their rate", rate=0.5, decay=0.5),
                    Student("4 x 30", share=0.5, rate=0.5, decay=0.5),
                ],
            )
            for epochs, seed in ((194, 1), (176, 7))
        ],
    },
}

Weights = dict[str, dict[str, jax.Array]]


def first_weights(key: jax.Array) -> tuple[Weights, Weights]:
    """He normal kernels and the rest of the weights, and batch normalisation's moving moments;
    each (seeds, recipes, ...)."""
    weights, moments = {}, {}
    for number, (name, (inputs, units)) in enumerate(KERNELS.items()):
        shape = (SEEDS, RECIPES, inputs, units)
        drawn = jax.random.truncated_normal(jax.random.fold_in(key, number), -2, 2, shape)
        zeros, ones = (f((SEEDS, RECIPES, units)) for f in (jnp.zeros, jnp.ones))
        weights[name] = {"kernel": drawn * np.sqrt(2 / inputs) / TRUNCATED, "bias": zeros}
        if name in NORMALIZED:
            weights[name] |= {"gamma": ones, "beta": zeros}
            moments[name] = {"mean": zeros, "variance": ones}
    return weights, moments


def normalized(
    x: jax.Array, weights: dict, moments: dict, training: bool
) -> tuple[jax.Array, dict]:
    """Batch normalisation of x (seeds, recipes, ..., units), and the moments to keep."""
    mean, variance, kept = moments["mean"], moments["variance"], moments
    if training:
        axes = tuple(range(2, x.ndim - 1))
        wide = x.astype(jnp.float32)
        mean = wide.mean(axes)
        variance = jnp.maximum((wide * wide).mean(axes) - mean * mean, 0)
        new = {"mean": mean, "variance": variance}
        kept = {name: moments[name] * 0.9 + new[name] * 0.1 for name in new}
    scale = weights["gamma"] * jax.lax.rsqrt(variance + 1e-3)
    offset = weights["beta"] - mean * scale
    shape = (SEEDS, RECIPES, *(1,) * (x.ndim - 3), x.shape[-1])
    return x * scale.reshape(shape).astype(x.dtype) + offset.reshape(shape).astype(x.dtype), kept


def patches(x: jax.Array) -> jax.Array:
    """(..., height, width, channels) to (..., height - 4, width - 4, 25 * channels)."""
    height, width = x.shape[-3] - 4, x.shape[-2] - 4
    moves = [(down, right) for down in range(5) for right in range(5)]
    return jnp.concatenate([x[..., d : d + height, r : r + width, :] for d, r in moves], -1)


def pooled(x: jax.Array) -> jax.Array:
    """Max pooling, 2 x 2, of GELU of x (seeds, recipes, batch, height, width, channels)."""
    x = jax.nn.gelu(x, approximate=False)
    *lead, height, width, channels = x.shape
    x = x.reshape(*lead, height // 2, 2, width // 2, 2, channels)
    return jnp.maximum(
        jnp.maximum(x[..., 0, :, 0, :], x[..., 0, :, 1, :]),
        jnp.maximum(x[..., 1, :, 0, :], x[..., 1, :, 1, :]),
    )


def logits_of(
    weights: Weights, moments: Weights, images: jax.Array, training: bool
) -> tuple[jax.Array, Weights]:
    """float32 logits (seeds, recipes, batch, 10) of images (seeds, batch, 32, 32, 3), and the
    moments to keep."""
    kept = {}
    x = images.astype(jnp.bfloat16)
    for name, product in (("C1", "sbhwk,srkf->srbhwf"), ("C3", "srbhwk,srkf->srbhwf")):
        own = weights[name]
        bias = own["bias"].astype(x.dtype)[:, :, None, None, None]
        x = jnp.einsum(product, patches(x), own["kernel"].astype(x.dtype)) + bias
        x, kept[name] = normalized(x, own, moments[name], training)
        x = pooled(x)
    x = x.reshape(*x.shape[:3], -1).astype(jnp.float32)
    for name in ("C5", "F6", "output"):
        own = weights[name]
        x = jnp.einsum("srbk,srkf->srbf", x, own["kernel"]) + own["bias"][:, :, None]
        if name in NORMALIZED:
            x, kept[name] = normalized(x, own, moments[name], training)
            x = jax.nn.gelu(x, approximate=False)
    return x, kept


def moved(images: jax.Array, flipped: jax.Array, down: jax.Array, right: jax.Array) -> jax.Array:
    """Images (n, 32, 32, 3) mirrored where asked and shifted, reflected at the edges."""
    images = jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)

    def source(by: jax.Array) -> jax.Array:
        return 31 - jnp.abs(31 - jnp.abs(jnp.arange(32) - by[:, None]))

    take = jax.vmap(lambda image, rows, columns: image[rows][:, columns])
    return take(images, source(down), source(right))


class Screening:
    """CIFAR-10 on the device, and what trains and scores on it."""

    def __init__(self, seconds: float, images: int | None = None) -> None:
        """Students' epochs shrink to fit into `seconds`; `images` are so many for a rehearsal."""
        data = load_data("cifar10")
        self.mean, self.deviation = (jnp.asarray(v) for v in (data.mean, data.deviation))
        train, validation = data.train, data.validation
        self.train = jnp.asarray(train.images[:images]), jnp.asarray(train.labels[:images])
        self.validation = jnp.asarray(validation.images), jnp.asarray(validation.labels)
        self.steps = len(self.train[1]) // BATCH
        self.started, self.seconds = time.perf_counter(), seconds
        self.epoch_seconds = 0.0

    def fitting(self, epochs: int) -> int:
        """So many of these epochs as there is time for."""
        left = self.seconds - (time.perf_counter() - self.started)
        return int(min(epochs, left / self.epoch_seconds)) if self.epoch_seconds else epochs

    def images(self, pixels: jax.Array) -> jax.Array:
        """Pixel values as the network wants them."""
        return (pixels.astype(jnp.float32) - self.mean) / self.deviation

    @functools.partial(jax.jit, static_argnums=0)
    def epoch(
        self, state: tuple, key: jax.Array, answers: jax.Array, rules: dict, start: int, total: int
    ) -> tuple:
        """One pass over the training images with AdamW. `answers` are those of all ensembles,
        float16 (ensembles, images, views, 10); a rule of `rules` is (seeds, recipes)."""
        pixels, labels = self.train
        order_key, step_key = jax.random.split(key)
        seed_keys = (jax.random.fold_in(order_key, seed) for seed in range(SEEDS))
        orders = [jax.random.permutation(k, len(labels))[: self.steps * BATCH] for k in seed_keys]
        order = jnp.stack(orders).reshape(SEEDS, self.steps, BATCH).transpose(1, 0, 2)

        def step(carried: tuple, given: tuple) -> tuple[tuple, None]:
            weights, moments, first, second, done = carried
            number, chosen = given
            keys = jax.random.split(jax.random.fold_in(step_key, number), 3)
            flipped = jax.random.bernoulli(keys[0], 0.5, chosen.shape)
            down, right = (jax.random.randint(k, chosen.shape, -SHIFT, SHIFT + 1) for k in keys[1:])
            view = (flipped.astype(jnp.int32) * SIDE + down + SHIFT) * SIDE + right + SHIFT
            flat = (a.reshape(-1) for a in (flipped, down, right))
            x = self.images(moved(pixels[chosen.reshape(-1)], *flat))
            hard = jax.nn.one_hot(labels[chosen], 10)[:, None]
            ensemble = rules["ensemble"][:, :, None]
            soft = answers[ensemble, chosen[:, None], view[:, None]].astype(jnp.float32)
            share = rules["share"][..., None, None]
            targets = hard * (1 - share) + soft * share

            def loss(weights: Weights) -> tuple[jax.Array, Weights]:
                x_of_seeds = x.reshape(SEEDS, BATCH, 32, 32, 3)
                logits, kept = logits_of(weights, moments, x_of_seeds, True)
                return -(targets * jax.nn.log_softmax(logits)).sum(-1).mean(-1).sum(), kept

            gradients, moments = jax.grad(loss, has_aux=True)(weights)
            rate = rules["learning_rate"] * shape(done / total, rules["warm_up"])
            first = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, first, gradients)
            second = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, second, gradients)
            unbiased = jnp.sqrt(1 - 0.999 ** (done + 1)) / (1 - 0.9 ** (done + 1))

            def updated(path: tuple, w: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
                spread = (SEEDS, RECIPES, *(1,) * (w.ndim - 2))
                r = rate.reshape(spread)
                if path[-1].key == "kernel":
                    w = w * (1 - r * rules["weight_decay"].reshape(spread))
                return w - r * unbiased * a / (jnp.sqrt(b) + 1e-7)

            weights = jax.tree_util.tree_map_with_path(updated, weights, first, second)
            return (weights, moments, first, second, done + 1), None

        begin = (*state, jnp.asarray(start, jnp.float32))
        return jax.lax.scan(step, begin, (jnp.arange(self.steps), order))[0][:4]

    def fit(
        self, seed: int, epochs: int, answers: jax.Array, warm_up: bool, **rules: Any
    ) -> tuple[tuple, dict[str, np.ndarray]]:
        """Train all from new weights; what was trained, and scores (seeds, recipes)."""
        key = jax.random.PRNGKey(seed)
        weights, moments = first_weights(jax.random.fold_in(key, 999_983))
        zeros = (jax.tree.map(jnp.zeros_like, weights) for _ in range(2))
        state = (weights, moments, *zeros)
        rules = {n: jnp.broadcast_to(jnp.asarray(v), (SEEDS, RECIPES)) for n, v in rules.items()}
        rules["warm_up"] = jnp.asarray(warm_up)
        for epoch in range(epochs):
            start, total = epoch * self.steps, epochs * self.steps
            state = self.epoch(
                state, jax.random.fold_in(key, epoch), answers, rules, start, float(total)
            )
            if epoch == 0:
                jax.block_until_ready(state)
                clock = time.perf_counter()  # the first epoch compiles
        scores = {}
        for split in ("validation", "train"):
            accuracy, loss = self.score(*state[:2], *getattr(self, split))
            scores |= {f"{split}_accuracy": accuracy, f"{split}_loss": loss}
        del scores["train_loss"]  # of plain labels, which students do not fit
        if epochs > 1:
            self.epoch_seconds = (time.perf_counter() - clock) / (epochs - 1)
        return state[:2], {name: np.asarray(values) for name, values in scores.items()}

    def chunks(self, weights: Weights, moments: Weights, pixels: jax.Array) -> jax.Array:
        """Logits (chunks, seeds, recipes, 500, 10) of pixel values (images, 32, 32, 3)."""

        def chunk(_: None, part: jax.Array) -> tuple[None, jax.Array]:
            images = jnp.broadcast_to(self.images(part), (SEEDS, *part.shape))
            return None, logits_of(weights, moments, images, False)[0]

        return jax.lax.scan(chunk, None, pixels.reshape(-1, 500, 32, 32, 3))[1]

    @functools.partial(jax.jit, static_argnums=0)
    def score(
        self, weights: Weights, moments: Weights, pixels: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Accuracy and cross-entropy, each (seeds, recipes)."""
        logits = self.chunks(weights, moments, pixels)
        right = labels.reshape(-1, 1, 1, 500)
        entropy = -jnp.take_along_axis(jax.nn.log_softmax(logits), right[..., None], -1)
        return (logits.argmax(-1) == right).mean((0, 3)), entropy.mean((0, 3, 4))

    @functools.partial(jax.jit, static_argnums=0)
    def probabilities(self, weights: Weights, moments: Weights, view: int) -> jax.Array:
        """float16 (seeds, recipes, images, 10): what each says of the training images in a view."""
        number = jnp.full(len(self.train[1]), view)
        shifts = (number // SIDE % SIDE - SHIFT, number % SIDE - SHIFT)
        pixels = moved(self.train[0], number // SIDE**2 == 1, *shifts)
        said = jax.nn.softmax(self.chunks(weights, moments, pixels)).astype(jnp.float16)
        return said.transpose(1, 2, 0, 3, 4).reshape(SEEDS, RECIPES, -1, 10)

    def taught(self, trained: tuple, ensembles: list[tuple[int, int]]) -> jax.Array:
        """float16 (seeds, ensembles, images, views, 10): the mean of members `first`
        up to, not with, `last`."""
        answers = []
        for view in range(VIEWS):
            said = self.probabilities(*trained, view)
            means = [said[:, first:last].mean(1) for first, last in ensembles]
            answers.append(jnp.stack(means, 1))
        return jnp.stack(answers, 3)


def shape(progress: jax.Array, warm_up: jax.Array) -> jax.Array:
    """The schedules `warmup_cosine` and `cosine` of `lenet_keras.optimizer`."""

    def cosine(start: float) -> jax.Array:
        return 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip((progress - start) / (1 - start), 0, 1)))

    warm = jnp.clip((progress + 1e-3) / (0.05 + 1e-3), 0, 1) * cosine(0.05)
    return jnp.where(warm_up, warm, cosine(0.0))


def run(number: int, screening: Screening) -> dict[str, Any]:
    """Train a round's teachers and students."""
    plan = ROUNDS[number]
    images = len(screening.train[1])
    nothing = jnp.zeros((1, images, VIEWS, 10), jnp.float16)
    teachers, tables = [], []
    for place, (epochs, rates) in enumerate(plan["teachers"]):
        trained, scores = screening.fit(
            101 * (place + 1),
            epochs,
            nothing,
            warm_up=False,
            ensemble=0,
            share=0.0,
            learning_rate=np.array(rates, np.float32),
            weight_decay=0.0332,
        )
        scored = {name: values.round(4).tolist() for name, values in scores.items()}
        teachers.append({"round": number, "epochs": epochs, "learning_rates": rates, **scored})
        members = [(a, b) for kind, a, b in plan["ensembles"].values() if kind == place]
        tables.append(screening.taught(trained, members))
    answers = jnp.concatenate(tables, 1)
    places = list(plan["ensembles"])
    answers = answers.reshape(SEEDS * len(places), images, VIEWS, 10)
    students = []
    for epochs, seed, recipes in plan["students"]:
        epochs = screening.fitting(epochs)
        of_recipe = np.array([places.index(student.ensemble) for student in recipes])
        share, rate, decay = np.array([student[1:] for student in recipes], np.float32).T
        _, scores = screening.fit(
            seed,
            epochs,
            answers,
            warm_up=True,
            ensemble=np.arange(SEEDS)[:, None] * len(places) + of_recipe,
            share=share,
            learning_rate=rate * LEARNING_RATE,
            weight_decay=decay * WEIGHT_DECAY,
        )
        for column, student in enumerate(recipes):
            scored = {n: v[:, column].round(4).tolist() for n, v in scores.items()}
            students.append(
                {"round": number, "epochs": epochs, "stream": seed, **student._asdict(), **scored}
            )
    return {"teachers": teachers, "students": students}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--round", type=int, choices=ROUNDS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="time to fit into")
    arguments = parser.parse_args()
    device = jax.devices()[0].device_kind
    found = run(arguments.round, Screening(arguments.seconds))
    content = {"device": device, "jax": jax.__version__, **found}
    arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    print(arguments.out)


if __name__ == "__main__":
    main()
