"""`python -m lenet_keras`: the command line."""

from lenet_keras.cli import main

main(prog_name="python -m lenet_keras")
