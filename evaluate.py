"""Evaluate what `train.py` wrote: `python evaluate.py RUN_DIR`."""

from lenet_study.cli import evaluate

if __name__ == "__main__":
    evaluate()
