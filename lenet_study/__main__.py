"""`python -m lenet_study`: the command line."""

from lenet_study.cli import main

main(prog_name="python -m lenet_study")
