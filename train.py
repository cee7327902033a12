"""Train LeNet-5 on CIFAR-10: `python train.py --help`."""

from lenet_study.cli import train

if __name__ == "__main__":
    train()
