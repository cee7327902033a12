"""Ask a trained network what is on a photograph: `python predict.py photo.jpg`."""

from lenet_study.cli import predict

if __name__ == "__main__":
    predict()
