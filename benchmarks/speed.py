"""How long an epoch takes: ours against plain Keras, PyTorch and this machine's arithmetic.

    python benchmarks/speed.py              the main table
    python benchmarks/speed.py --scaling    how the cost grows with members, batch size and threads
    python benchmarks/speed.py --recipes    every recipe of configs/ against the baseline
    python benchmarks/speed.py --memory     peak memory of training, a process each
    python benchmarks/speed.py --regimes    the same on older processors and without oneDNN
    KERAS_BACKEND=jax python benchmarks/speed.py    the main table's column for a GPU, where one is

An epoch is 45,000 training images and the validation of 5,000, at batch size 128, the baseline
recipe. Contenders take turns, so that a busy moment of the machine hits all of them; the table
shows the median over all epochs but each turn's first, which holds the tracing. What is printed
is also written to benchmarks/results/, from which benchmarks/report.py makes README.md.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from lenet_keras import available_threads
from lenet_keras.recipe import Recipe

# Several processes share a GPU here, and JAX would take most of its memory for the first.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

RESULTS = Path(__file__).parent / "results"
EPOCHS = 3  # in each turn; the first holds the tracing and is left out
BASELINE = Recipe(epochs=EPOCHS)
IMAGES = {"training": 45_000, "validation": 5_000}

# Multiplications and additions for one image, layer by layer: outputs x inputs of each x 2.
FORWARD = {
    "C1": 28 * 28 * 6 * 75 * 2,
    "C3": 10 * 10 * 16 * 150 * 2,
    "C5": 120 * 400 * 2,
    "F6": 84 * 120 * 2,
    "output": 10 * 84 * 2,
}
# The gradient of each kernel costs a forward pass, that of each input too, but C1's is not needed.
TRAINING_FLOP = 3 * sum(FORWARD.values()) - FORWARD["C1"]
EPOCH_FLOP = IMAGES["training"] * TRAINING_FLOP + IMAGES["validation"] * sum(FORWARD.values())

Turn = Callable[[], list[float]]  # seconds a model and epoch, for each epoch after the first


def keras_numpy() -> Turn:
    """Plain Keras: `fit` on normalised float arrays, as in a first tutorial."""
    from lenet_keras.backend import keras
    from lenet_keras.data import load_data
    from lenet_keras.model import lenet5

    data = load_data("cifar10", progress=False)

    def floats(split):  # type: ignore[no-untyped-def]
        return ((split.images - data.mean) / data.deviation).astype("float32"), split.labels

    (x, y), validation = floats(data.train), floats(data.validation)
    model = lenet5(BASELINE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return lambda: _fit_seconds(model, x, y, batch_size=128, validation_data=validation)


def keras_tf_data() -> Turn:
    """Keras on a tf.data pipeline written as its guide does: shuffle, batch, map, prefetch."""
    from lenet_keras.backend import keras, tf
    from lenet_keras.data import load_data
    from lenet_keras.model import lenet5

    data = load_data("cifar10", progress=False)

    def normalise(images):  # type: ignore[no-untyped-def]
        return (tf.cast(images, tf.float32) - data.mean) / data.deviation

    def batches(split, shuffled):  # type: ignore[no-untyped-def]
        dataset = tf.data.Dataset.from_tensor_slices((split.images, split.labels))
        dataset = dataset.shuffle(len(split)) if shuffled else dataset
        dataset = dataset.batch(128).map(
            lambda x, y: (normalise(x), y), num_parallel_calls=tf.data.AUTOTUNE
        )
        return dataset.prefetch(tf.data.AUTOTUNE)

    training, validation = batches(data.train, True), batches(data.validation, False)
    model = lenet5(BASELINE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return lambda: _fit_seconds(model, training, validation_data=validation, shuffle=False)


def _fit_seconds(model, *data, **settings) -> list[float]:  # type: ignore[no-untyped-def]
    from lenet_keras.backend import keras

    class Clock(keras.callbacks.Callback):
        seconds: list[float] = []  # noqa: RUF012

        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            self.seconds = [*self.seconds, time.perf_counter() - self.started]

    clock = Clock()
    model.fit(*data, epochs=EPOCHS, verbose=0, callbacks=[clock], **settings)
    return clock.seconds[1:]


def alone(recipe: Recipe = BASELINE) -> Turn:
    """Ours: `train_alone`, one model as a study trains it."""
    from lenet_keras.data import load_data
    from lenet_study.training import train_alone

    data = load_data("cifar10", progress=False)
    return lambda: list(
        train_alone(recipe, 0, data, score_test=False, verbose=0).history.seconds[1:]
    )


def stacked(members: int, recipe: Recipe = BASELINE) -> Turn:
    """Ours: `train_stack`, several learning rates side by side; seconds a member."""
    from lenet_keras.data import load_data
    from lenet_study.training import train_stack

    data = load_data("cifar10", progress=False)
    recipes = [recipe.replace(learning_rate=0.01 * (i + 1)) for i in range(members)]

    def turn() -> list[float]:
        return list(
            train_stack(recipes, 0, data, score_test=False, verbose=0)[0].history.seconds[1:]
        )

    return turn


def pytorch() -> Turn:
    """PyTorch: an eager loop over normalised float tensors, on the GPU where there is one."""
    import torch
    from torch import nn

    from lenet_keras.data import load_data

    data = load_data("cifar10", progress=False)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def tensors(split):  # type: ignore[no-untyped-def]
        x = ((split.images - data.mean) / data.deviation).astype("float32")
        y = torch.tensor(split.labels.tolist())
        return torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(device), y.to(device)

    (x, y), (val_x, val_y) = tensors(data.train), tensors(data.validation)
    model = nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    ).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    loss_function = nn.CrossEntropyLoss()

    def epoch() -> float:
        started = time.perf_counter()
        model.train()
        for chosen in torch.randperm(len(y), device=device)[: len(y) // 128 * 128].view(-1, 128):
            optimizer.zero_grad()
            loss_function(model(x[chosen]), y[chosen]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for i in range(0, len(val_y), 1000):
                loss_function(model(val_x[i : i + 1000]), val_y[i : i + 1000]).item()
        return time.perf_counter() - started

    return lambda: [epoch() for _ in range(EPOCHS)][1:]


def sgemm() -> Turn:
    """The bound: the epoch's multiplications and additions at the rate of a large sgemm."""
    from lenet_keras.backend import keras, ops

    size = 8192 if gpu() else 1536  # large enough for either to reach its rate
    a = keras.random.normal((size, size))

    def seconds() -> float:
        started = time.perf_counter()
        for _ in range(20):
            product = ops.matmul(a, a)
        ops.convert_to_numpy(product[0, 0])  # waits for all of them
        return (time.perf_counter() - started) / 20 * EPOCH_FLOP / (2 * size**3)

    return lambda: [seconds() for _ in range(EPOCHS)][1:]


MAIN: dict[str, tuple[Callable[..., Turn], tuple]] = {
    "plain Keras, fit on numpy": (keras_numpy, ()),
    "Keras with tf.data": (keras_tf_data, ()),
    "PyTorch, eager loop": (pytorch, ()),
    "ours, alone": (alone, ()),
    "ours, stack of 4": (stacked, (4,)),
    "ours, stack of 8": (stacked, (8,)),
    "bound: sgemm": (sgemm, ()),
}
# What TensorFlow does on other machines, as this one can be made to do it.
REGIMES = {
    "as it is": {},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
}
COMPARED = ("plain Keras, fit on numpy", "PyTorch, eager loop", "ours, alone", "ours, stack of 8")
PROCESS = {keras_numpy: "keras", keras_tf_data: "keras", sgemm: "keras", pytorch: "torch"}


def _serve(pipe: Connection) -> None:
    """In a process of its own: build contenders as they are asked for and time their turns."""
    turns: dict[str, Turn] = {}
    while (request := pipe.recv()) is not None:
        name, make, arguments = request
        if name not in turns:
            turns[name] = make(*arguments)
        pipe.send(turns[name]())


class Process:
    """A worker process that runs contenders one at a time and sleeps in between."""

    def __init__(self, **environment: str) -> None:
        """Start it, with these environment variables over this process's own."""
        before = dict(os.environ)
        os.environ.update(environment)
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(end,), daemon=True)
        self.process.start()
        os.environ.clear()
        os.environ.update(before)

    def turn(self, name: str, make: Callable[..., Turn], arguments: tuple) -> list[float]:
        """One contender's seconds for each epoch of one turn."""
        self.pipe.send((name, make, arguments))
        return self.pipe.recv()

    def close(self) -> None:
        """End the process."""
        self.pipe.send(None)
        self.process.join()


def alternate(
    contenders: dict[str, tuple[Callable[..., Turn], tuple]], rounds: int, **environment: str
) -> dict[str, list[float]]:
    """Every contender in turn, `rounds` times: its seconds a model and epoch, all of them.

    `environment` is that of all processes. Ours share one. Plain Keras has its own, with
    TensorFlow's default number of threads where ours sets another, and so has PyTorch; a process
    sleeps while the others run.
    """
    threads = str(available_threads())
    all_threads = {"TF_NUM_INTRAOP_THREADS": threads, "TF_NUM_INTEROP_THREADS": threads}
    where_keras_is = {} if gpu() else {"CUDA_VISIBLE_DEVICES": ""}
    processes = {
        "ours": Process(**environment),
        "keras": Process(**environment, **all_threads),
        "torch": Process(**environment, **where_keras_is),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, (make, arguments) in contenders.items():
            where = PROCESS.get(make, "ours")
            seconds[name] += processes[where].turn(name, make, arguments)
            print(f"  round {turn + 1}, {name}: {seconds[name][-1]:.2f} s", flush=True)
    for process in processes.values():
        process.close()
    return seconds


def peak_memory(make: Callable[..., Turn], arguments: tuple) -> float:
    """Peak resident memory, GB, of a fresh process that loads the data and takes one turn."""
    context = multiprocessing.get_context("spawn")
    mine, end = context.Pipe()
    process = context.Process(target=_measure_memory, args=(end, make, arguments))
    process.start()
    gigabytes = mine.recv()
    process.join()
    return gigabytes


def _measure_memory(pipe: Connection, make: Callable[..., Turn], arguments: tuple) -> None:
    make(*arguments)()
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def gpu() -> str | None:
    """The name of the GPU that Keras' backend uses, None where it uses none."""
    from lenet_keras.backend import accelerator

    return accelerator()


def machine() -> dict[str, str]:
    """What the figures depend on: processor, cores, versions."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("tensorflow", "jax", "keras", "numpy", "torch"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": str(available_threads()),
        "GPU": gpu() or "none at hand",
        "Python": platform.python_version(),
        **versions,
    }


def _write(name: str, content: dict) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"machine": machine(), **content}, indent=1) + "\n"
    )


def print_table(seconds: dict[str, list[float]], reference: str) -> None:
    """Median, quartiles and the ratio to a reference, a line each."""
    bottom = statistics.median(seconds[reference])
    for name, values in seconds.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{name:34s} {median:6.2f} s [{low:.2f}, {high:.2f}]  {median / bottom:5.2f} x")


def recipes_of_configs() -> dict[str, Recipe]:
    """One recipe for each variant of every technique file, at the middle of its grid."""
    from lenet_study.study import Study
    from lenet_study.summary import technique_files

    recipes = {}
    for path in technique_files(Path(__file__).parent.parent / "configs"):
        study = Study.from_yaml(path)
        for variant in study.variants:
            grid = study.grid(variant)
            recipe = study.recipe(variant, grid[len(grid) // 2], EPOCHS)
            recipes[f"{study.name}: {variant}"] = recipe.replace(early_stopping=0)
    return recipes


def _same_cost(recipe: Recipe) -> Recipe:
    """The recipe with all that changes the numbers but not the work set to one value."""
    amounts = {name: 0.01 for name in ("l1", "l2", "dropout") if getattr(recipe, name)}
    return recipe.replace(learning_rate=0.1, kernel_initializer="he_normal", **amounts)


def main() -> None:
    """Run what was asked for and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("scaling", "recipes", "memory", "regimes"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--rounds", type=int, default=4, help="turns of every contender")
    arguments = parser.parse_args()
    if arguments.scaling:
        contenders = {"members 1": (alone, ())}
        contenders |= {f"members {m}": (stacked, (m,)) for m in (2, 4, 8, 16)}
        for size in (32, 512):
            recipe = BASELINE.replace(batch_size=size)
            contenders[f"batch {size}, alone"] = (alone, (recipe,))
            contenders[f"batch {size}, stack of 8"] = (stacked, (8, recipe))
        seconds = alternate(contenders, 1)
        for threads in ("1", "2"):
            process = Process(LENET_THREADS=threads)
            for name, contender in {"alone": (alone, ()), "stack of 8": (stacked, (8,))}.items():
                label = f"threads {threads}, {name}"
                seconds[label] = process.turn(label, *contender) + process.turn(label, *contender)
            process.close()
        print_table(seconds, "members 1")
        _write("scaling", {"seconds": seconds})
    elif arguments.recipes:
        recipes = recipes_of_configs()
        distinct = {_same_cost(recipe): name for name, recipe in reversed(recipes.items())}
        contenders = {"baseline": (alone, ())}
        contenders |= {name: (alone, (recipes[name],)) for name in reversed(distinct.values())}
        seconds = alternate(contenders, 1)
        print_table(seconds, "baseline")
        _write("recipes", {"seconds": seconds})
    elif arguments.memory:
        gigabytes = {n: peak_memory(*c) for n, c in MAIN.items() if c[0] is not sgemm}
        for name, value in gigabytes.items():
            print(f"{name:34s} {value:5.2f} GB")
        _write("memory", {"gigabytes": gigabytes})
    elif arguments.regimes:
        contenders = {name: MAIN[name] for name in COMPARED}
        regimes = {}
        for regime, environment in REGIMES.items():
            print(regime)
            regimes[regime] = alternate(contenders, arguments.rounds, **environment)
            print_table(regimes[regime], COMPARED[0])
        _write("regimes", {"regimes": regimes})
    else:
        seconds = alternate(MAIN, arguments.rounds)
        print_table(seconds, "ours, stack of 8")
        _write("gpu" if gpu() else "main", {"seconds": seconds})


if __name__ == "__main__":
    main()
