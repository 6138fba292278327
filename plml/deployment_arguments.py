"""Arguments of what applies trained models: predict, thresholds, export, evaluate. Imports nothing heavy."""

import argparse

from plml.arguments import whole


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``plml predict``."""
    parser.add_argument("checkpoint", help="best.pt of a run on images")
    parser.add_argument("images", nargs="+", help="image files, or folders with images at any depth")
    parser.add_argument("--top", type=whole(1), default=5, help="classes shown for each image (default: 5)")
    parser.add_argument(
        "--thresholds",
        metavar="auto|FILE|P",
        help="also say which classes an image has: auto is best.thresholds.json "
        "beside the checkpoint (plml thresholds writes it); P is one probability for all classes",
    )
    parser.add_argument(
        "--out",
        "-o",
        metavar="FILE",
        help="write every class to FILE, which ends in .csv, .json or .jsonl; interrupted, the same command goes on "
        "from FILE.part",
    )
    parser.add_argument(
        "--batch-size", type=whole(1), metavar="N", help="images a pass (default: by their size and device)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--weights", help="backbone weights, if they lie elsewhere than in training (linear mode)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="every class, as one JSON object a line")
    form.add_argument("--csv", action="store_true", help="every class, as a table with one row an image")
    parser.set_defaults(command="predict")


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``plml thresholds``."""
    parser.add_argument("checkpoint", help="best.pt of a run")
    parser.add_argument(
        "assignments", nargs="*", default=[], metavar="path=value", help="override, for example data.root=DIR"
    )
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--per-class", dest="scope", action="store_const", const="class", help="one a class (default)")
    scope.add_argument("--global", dest="scope", action="store_const", const="global", help="one for all classes")
    parser.add_argument(
        "--labels",
        choices=("observed", "clean"),
        default="observed",
        help="validation labels that choose: what the setting has (default), or clean ones, which is stamped",
    )
    parser.add_argument(
        "--clean-images", type=whole(1), metavar="N", help="with --labels clean: of so many images only"
    )
    parser.add_argument(
        "--criterion",
        choices=("cardinality", "f1", "lee_liu"),
        default="cardinality",
        help="cardinality (default): as many predicted as there are; f1; lee_liu: recall^2 / share predicted",
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="also fit a slope and an offset (Platt scaling), or only the offset"
    )
    parser.add_argument("--out", "-o", metavar="FILE", help="file to write (default: best.thresholds.json beside it)")
    parser.set_defaults(command="thresholds", scope="class")


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``plml export``."""
    parser.add_argument("checkpoint", help="best.pt of a run")
    parser.add_argument("--format", choices=("onnx", "torch-export"), default="onnx", help="default: onnx")
    parser.add_argument("--out", "-o", required=True, metavar="FILE", help="FILE.onnx or FILE.pt2")
    parser.add_argument(
        "--thresholds",
        metavar="auto|none|FILE|P",
        default="auto",
        help="thresholds, and with them the calibration, that the file gets: auto (default) takes "
        "best.thresholds.json if it lies beside the checkpoint",
    )
    parser.add_argument("--weights", help="backbone weights, if they lie elsewhere than in training (linear mode)")
    parser.set_defaults(command="export")


def add_decided(parser: argparse.ArgumentParser) -> None:
    """Add what ``plml evaluate`` says about thresholds."""
    parser.add_argument(
        "--thresholds",
        metavar="auto|FILE|P",
        help="also precision, recall and F1 at thresholds: auto is best.thresholds.json beside the checkpoint; P is "
        "one probability for all classes",
    )
