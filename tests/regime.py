"""What `test_regimes.py` asks of a process of its own, in a folder with a study and a search: to
train them as the command line does, and the numbers of lone networks and stacks."""

import json
import sys

from test_stack import BASE, distance, lone_weights, weights_after

from lenet_keras.backend import instruction_set, onednn, tf
from lenet_study.cli import main

NETWORKS = {
    "plain": {"activation": "silu"},
    "normalised": {"normalization": "batch", "learning_rate": 0.01},
}


@tf.function(autograph=False)
def asked_in_a_trace() -> tf.Tensor:
    """Whether there is oneDNN, when the first to ask is tracing a model."""
    return tf.constant(onednn())


for command in ("study rates.yaml --quiet", "reproduce --sample 1", "search search.yaml --quiet"):
    main(command.split(), standalone_mode=False)

onednn.cache_clear()
found = {"onednn": bool(asked_in_a_trace()), "instruction_set": instruction_set()}
for name, fields in NETWORKS.items():
    recipe = BASE.replace(**fields)
    stack = [recipe, recipe.replace(learning_rate=recipe.learning_rate / 2)]
    plain = [lone_weights(member) for member in stack]
    found[f"{name}, alone"] = float(distance(plain[0], weights_after([recipe])[0]))
    found[f"{name}, stack"] = max(
        float(distance(lone, member))
        for lone, member in zip(plain, weights_after(stack), strict=True)
    )
json.dump(found, sys.stderr)
