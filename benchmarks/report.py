"""Make benchmarks/README.md and its plot from what speed.py measured.

python benchmarks/report.py
"""

import json
import statistics
from pathlib import Path

import matplotlib.pyplot as plt
from speed import EPOCH_FLOP

from lenet_study import style

HERE = Path(__file__).parent
BOUND, STACK = "bound: sgemm", "ours, stack of 8"
ALONE, PLAIN = "ours, alone", "plain Keras, fit on numpy"
TORCH = "PyTorch, eager loop"

TEXT = """# How fast

What an epoch costs: 45,000 training images and the validation of 5,000, batch size 128, the
baseline recipe (`configs/baseline.yaml`). Seconds are wall time for one model and one epoch, the
median over all epochs of a run of `python benchmarks/speed.py` in which the contenders took turns,
with the quartiles. *Ours* is `lenet_study`; a *stack* of 8 is eight networks that train side by
side as one Keras model. Written by `python benchmarks/report.py`; do not edit by hand.

The bound is the epoch's multiplications and additions ({gflop:.0f} GFLOP) at the rate that a large
matrix product of 32-bit numbers, *sgemm*, reaches on the same machine: {rate:.0f} GFLOP/s here.

{machine}

{gpu}

## Who needs how long

{main}

Alone, ours takes {alone:.2f} of the time of plain Keras; in a stack of 8, a model takes {stack:.2f}
of its time alone and {plain:.2f} of that of plain Keras.

## On other machines

TensorFlow multiplies with oneDNN, which suits itself to the processor's instructions, or, as on a
Mac, without it. Both can be had on one machine: its instructions are capped with
`ONEDNN_MAX_CPU_ISA=AVX2`, oneDNN is left out with `TF_ENABLE_ONEDNN_OPTS=0`.

{regimes}

## Peak memory

Of a fresh process that loads CIFAR-10 and trains, the libraries included.

{memory}

## How the cost grows

{scaling}

## Every recipe

Each variant of `configs/` trained alone, at the middle of its learning rates; recipes that differ
from one above in values that cost nothing, such as the learning rate, are left out.

{recipes}

## Again

    uv pip install -r benchmarks/requirements.txt   # PyTorch, for the comparison only
    python benchmarks/speed.py
    python benchmarks/speed.py --scaling
    python benchmarks/speed.py --recipes
    python benchmarks/speed.py --memory
    python benchmarks/speed.py --regimes
    KERAS_BACKEND=jax python benchmarks/speed.py    # on a machine with a GPU, for its column
    python benchmarks/report.py

Two cores are noisy: trust the ratios of one run, not seconds of different runs.
"""


def read(name: str) -> dict | None:
    """What one run of speed.py wrote, None where it has not been run yet."""
    path = HERE / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def missing(name: str) -> str:
    """What stands in the place of a table that has not been measured."""
    return f"Not measured yet: `python benchmarks/speed.py --{name}`."


def rows(header: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    cells = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def spread(values: list[float]) -> list[str]:
    """Median and quartiles, seconds."""
    low, middle, high = statistics.quantiles(values, n=4)
    return [f"{middle:.2f}", f"{low:.2f} to {high:.2f}"]


def draw_scaling(median: dict[str, float]) -> None:
    """Three panels: members, batch size, threads."""
    style.use_style()
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
    members = {int(n.split()[1]): v for n, v in median.items() if n.startswith("members")}
    panels[0].plot(*zip(*sorted(members.items()), strict=True), "o-")
    panels[0].set(xlabel="members of the stack (1: alone)", ylabel="seconds a model and epoch")
    panels[0].set_xticks(sorted(members))
    for kind, one in (("alone", 1), ("stack of 8", 8)):
        sizes = {
            int(n.split()[1].rstrip(",")): v
            for n, v in median.items()
            if n.startswith("batch") and n.endswith(kind)
        } | {128: members[one]}
        panels[1].plot(*zip(*sorted(sizes.items()), strict=True), "o-", label=kind)
        threads = [median[f"threads {n}, {kind}"] for n in (1, 2)]
        panels[2].plot([1, 2], threads, "o-", label=kind)
    panels[1].set_xscale("log", base=2)
    panels[1].xaxis.set_major_formatter("{x:.0f}")
    panels[1].set(xlabel="batch size")
    panels[2].set(xlabel="threads", xticks=[1, 2])
    for panel in panels:
        panel.set_ylim(0)
    panels[2].legend()
    style.save(figure, HERE / "scaling")


def medians(measured: dict) -> dict[str, float]:
    """The median seconds of each contender of one run."""
    return {name: statistics.median(values) for name, values in measured["seconds"].items()}


def machine_line(measured: dict) -> str:
    """The machine a run of speed.py came from."""
    return "Machine: " + ", ".join(f"{k} {v}" for k, v in measured["machine"].items()) + "."


def main_table(measured: dict, on_gpu: dict | None) -> str:
    """Every contender against the bound and the stack, and its seconds on a GPU."""
    times = medians(measured)
    there = medians(on_gpu) if on_gpu else {}
    lines = [
        [
            name,
            *spread(values),
            f"{times[name] / times[BOUND]:.2f}",
            f"{times[STACK] / times[name]:.2f}",
            f"{there[name]:.3g}" if name in there else "not measured",
        ]
        for name, values in measured["seconds"].items()
    ]
    shares = ["times the bound", "our stack of 8, as a share"]
    return rows(["contender", "seconds", "quartiles", *shares, "seconds on a GPU"], lines)


def gpu_text(on_gpu: dict | None) -> str:
    """Where the GPU's column comes from and what it says."""
    if not on_gpu:
        return "No GPU was at hand: its column is empty."
    times = medians(on_gpu)
    return (
        "The last column is from another machine, with Keras on JAX and with PyTorch on its GPU, "
        "each in its default precision (for JAX's products, the bound among them, TensorFloat-32). "
        f"{machine_line(on_gpu)} There ours takes {times[ALONE] / times[PLAIN]:.2f} of the time "
        f"of plain Keras, a model in a stack of 8 {times[STACK] / times[PLAIN]:.2f}."
    )


def scaling_section() -> str:
    """The plot and the table behind it."""
    if not (measured := read("scaling")):
        return missing("scaling")
    draw_scaling(medians(measured))
    picture = "![Seconds a model and epoch by members, batch size and threads](scaling.png)"
    lines = [[name, *spread(values)] for name, values in measured["seconds"].items()]
    return picture + "\n\n" + rows(["what", "seconds", "quartiles"], lines)


def regimes_section() -> str:
    """The contenders in each regime, and ours as shares of the others in the same regime."""
    if not (measured := read("regimes")):
        return missing("regimes")
    lines = []
    for regime, seconds in measured["regimes"].items():
        times = medians({"seconds": seconds})
        for name, values in seconds.items():
            shares = [f"{times[name] / times[other]:.2f}" for other in (PLAIN, TORCH, ALONE)]
            lines.append([regime, name, *spread(values), *shares])
    header = ["regime", "contender", "seconds", "quartiles"]
    others = ["of plain Keras", "of PyTorch", "of ours alone"]
    return machine_line(measured) + "\n\n" + rows([*header, *others], lines)


def memory_section() -> str:
    """Peak memory of each contender."""
    if not (measured := read("memory")):
        return missing("memory")
    lines = [[name, f"{value:.2f}"] for name, value in measured["gigabytes"].items()]
    return rows(["contender", "GB"], lines)


def recipes_section() -> str:
    """Every kind of recipe against the baseline."""
    if not (measured := read("recipes")):
        return missing("recipes")
    times = medians(measured)
    lines = [[n, f"{v:.2f}", f"{v / times['baseline']:.2f}"] for n, v in times.items()]
    return rows(["recipe", "seconds", "times the baseline"], lines)


def main() -> None:
    """Write README.md and, where it was measured, scaling.png."""
    measured, on_gpu = read("main"), read("gpu")
    if not measured:
        raise SystemExit("Nothing to report: run python benchmarks/speed.py first.")
    times = medians(measured)
    text = TEXT.format(
        gflop=EPOCH_FLOP / 1e9,
        rate=EPOCH_FLOP / 1e9 / times[BOUND],
        alone=times[ALONE] / times[PLAIN],
        stack=times[STACK] / times[ALONE],
        plain=times[STACK] / times[PLAIN],
        machine=machine_line(measured),
        gpu=gpu_text(on_gpu),
        main=main_table(measured, on_gpu),
        regimes=regimes_section(),
        memory=memory_section(),
        scaling=scaling_section(),
        recipes=recipes_section(),
    )
    (HERE / "README.md").write_text(text)


if __name__ == "__main__":
    main()
