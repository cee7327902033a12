"""What `test_regimes.py` asks of a process of its own: what it says of its arithmetic, and, in a
folder with a study and a search, to train them as the command line does, and the numbers of lone
networks and stacks."""

import json
import sys
from pathlib import Path

from test_stack import BASE, distance, lone_weights, weights_after

from lenet_keras.backend import instruction_set, onednn, tf
from lenet_study.cli import main

COMMANDS = ("study rates.yaml --quiet", "reproduce --sample 1", "search search.yaml --quiet")
NETWORKS = {
    "plain": {"activation": "silu"},
    "normalised": {"normalization": "batch", "learning_rate": 0.01},
}


@tf.function(autograph=False)
def asked_in_a_trace() -> tf.Tensor:
    """Whether there is oneDNN, when the first to ask is tracing a model."""
    return tf.constant(onednn())


found = {"onednn": bool(asked_in_a_trace()), "instruction_set": instruction_set()}
trains = Path("rates.yaml").exists()
for command in COMMANDS if trains else ():
    main(command.split(), standalone_mode=False)
for name, fields in NETWORKS.items() if trains else ():
    recipe = BASE.replace(**fields)
    stack = [recipe, recipe.replace(learning_rate=recipe.learning_rate / 2)]
    plain = lone_weights(stack[1])
    for members in (stack[1:], stack):
        found[f"{name}, {len(members)}"] = float(distance(plain, weights_after(members)[-1]))
json.dump(found, sys.stderr)
