"""The ``plml`` command: arguments and dispatch. Nothing heavy is imported before a command is known."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from plml import __version__
from plml.arguments import add_voice, whole
from plml.deployment_arguments import add_decided, add_export, add_predict, add_thresholds
from plml.examples import EXAMPLES
from plml.parsers import Parser, add_examples

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 4

_EXAMPLES = """\
examples:
  plml train config.yaml optim.lr=1e-4 method=role      train, or go on with, one configuration
  plml evaluate runs/role-1a2b3c4d/best.pt              score the test split of a checkpoint
  plml predict runs/role-1a2b3c4d/best.pt photo.jpg     class names and probabilities of images
  plml import obs.npy --from signed --out labels.npz    the field's label encodings, converted without loss
  plml doctor --data voc2007 --root VOCdevkit           is everything here, and is it what it should be?
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command; a command's module is named by its ``command`` default."""
    parser = Parser(
        prog="plml",
        description="Train and apply methods for partial-label multi-label image classification.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"plml {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train one configuration, or go on with it")
    train.add_argument("config", help="YAML file of a configuration, or recipe:NAME (see plml recipes)")
    train.add_argument(
        "assignments", nargs="*", default=[], metavar="path=value", help="override, for example optim.lr=1e-4"
    )
    train.add_argument("--output-dir", "-o", help="folder of the run (default: runs/METHOD-FINGERPRINT)")
    train.add_argument("--tracking-uri", help="MLflow store: http(s)://..., sqlite:////absolute/path.db")
    train.add_argument("--download", action="store_true", help="fetch torchvision weights that model.weights names")
    train.add_argument("--fresh", action="store_true", help="begin again even if the folder holds this run")
    train.add_argument(
        "--devices", type=whole(1), default=1, metavar="N", help="GPUs that share the training (default: 1)"
    )
    add_voice(train)
    train.set_defaults(command="train")

    checkpoint = commands.add_parser("import-checkpoint", help="take over a checkpoint of a reference project")
    checkpoint.add_argument("--from", dest="layout", required=True, metavar="PROJECT", help="cones, csra, spml, ...")
    checkpoint.add_argument("file", help="the checkpoint")
    checkpoint.add_argument("config", help="YAML file or recipe:NAME that says which data set it is about")
    checkpoint.add_argument(
        "assignments", nargs="*", default=[], metavar="path=value", help="for example data.root=VOCdevkit"
    )
    checkpoint.add_argument("--out", required=True, help="checkpoint to write, for plml evaluate and plml predict")
    checkpoint.set_defaults(command="import_checkpoint")

    evaluate = commands.add_parser("evaluate", help="score a split with a checkpoint")
    evaluate.add_argument("checkpoint", help="best.pt or last.pt of a run")
    evaluate.add_argument(
        "assignments", nargs="*", default=[], metavar="path=value", help="override, for example data.root=DIR"
    )
    evaluate.add_argument("--split", choices=("test", "val", "train"), default="test")
    evaluate.add_argument(
        "--groups", type=int, help="also means over so many groups of classes, the rarest first (OpenImages: 5)"
    )
    add_decided(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of tables")
    evaluate.set_defaults(command="evaluate")

    add_predict(commands.add_parser("predict", help="class names and probabilities of images"))
    add_thresholds(commands.add_parser("thresholds", help="choose from which probability on an image has a class"))
    add_export(commands.add_parser("export", help="a trained model as one file, for onnxruntime or torch.export"))

    explain = commands.add_parser("explain", help="class maps of images by several models; label graphs; diagnostics")
    explain.add_argument(
        "things", nargs="+", metavar="CHECKPOINT|IMAGE|path=value", help="best.pt of each model; image files or folders"
    )
    explain.add_argument("--data", choices=("test", "val", "train"), help="draw images from a split of the data set")
    explain.add_argument("--number", type=int, default=6, help="images (default: 6)")
    explain.add_argument("--classes", type=int, default=2, help="classes shown of an image at most (default: 2)")
    explain.add_argument("--seed", type=int, default=0, help="of the draw of images")
    explain.add_argument("--scale", choices=("own", "shared"), default="own", help="own: shapes; shared: heights")
    explain.add_argument("--names", metavar="A,B", help="of the models (default: method and head)")
    explain.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    explain.add_argument("--weights", help="backbone weights, if they lie elsewhere than in training (linear mode)")
    explain.add_argument("--out", "-o", required=True, help="folder for the figures, PNG and SVG")
    explain.set_defaults(command="explain")

    compare = commands.add_parser("compare", help="runs side by side: configuration, figures, classes, curves")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, a checkpoint in it, or STUDY/KEY")
    compare.add_argument("--html", metavar="FILE", help="also write a page that needs nothing else")
    compare.add_argument("--classes", type=int, default=10, metavar="N", help="classes shown (default: 10)")
    compare.add_argument("--output-dir", default="results", metavar="DIR", help="where studies lie (default: results)")
    compare.add_argument("--json", action="store_true", help="print JSON instead of tables")
    compare.set_defaults(command="compare")

    register = commands.add_parser("register", help="make a checkpoint a version of a registered model in MLflow")
    register.add_argument("checkpoint", help="best.pt of a run on images")
    register.add_argument("--name", required=True, help="of the registered model")
    register.add_argument("--alias", help="such as champion; it moves only to a version that was chosen by more")
    register.add_argument("--force", action="store_true", help="move the alias whatever the figures say")
    register.add_argument("--tracking-uri", help="MLflow store (default: sqlite:///.../results/mlflow.db)")
    register.add_argument("--weights", help="backbone weights, if they lie elsewhere than in training (linear mode)")
    register.set_defaults(command="register")

    features = commands.add_parser("features", help="extract and store the backbone's features of a data set")
    features.add_argument("config", help="YAML file of a configuration")
    features.add_argument("assignments", nargs="*", default=[], metavar="path=value")
    features.add_argument("--download", action="store_true", help="fetch torchvision weights that model.weights names")
    features.set_defaults(command="features")

    _add_cache_verbs(commands.add_parser("cache", help="decoded images and features on this machine's disk"))

    prior = commands.add_parser("prior", help="class prior of a finished run of csl in mode ignore, for csl")
    prior.add_argument("run", help="folder of the run, or its last.pt")
    prior.add_argument("--out", "-o", required=True, help="table to write, for method.prior_file")
    prior.set_defaults(command="prior")

    reselect = commands.add_parser(
        "reselect", help="what every selection criterion would have picked among finished runs"
    )
    reselect.add_argument(
        "where", nargs="+", metavar="STUDY|FOLDER", help="a study's name, or a folder with runs in it"
    )
    reselect.add_argument(
        "--criterion",
        action="append",
        metavar="NAME",
        help="map, known_map, corrected_ap[:known|:declared|:estimated], pu_auc, ap_auc, loss, clean[:N]; repeatable "
        "(default: all that apply)",
    )
    reselect.add_argument("--output-dir", default="results", help="where studies lie (default: results)")
    reselect.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write the figures as JSON, to the terminal without FILE"
    )
    reselect.add_argument("--csv", metavar="FILE", help="write the table")
    reselect.set_defaults(command="reselect")

    labels = commands.add_parser("import", help="convert a label matrix between the field's encodings")
    labels.add_argument("labels", help="label matrix: .npy, .npz or .csv")
    labels.add_argument("--from", dest="source", required=True, metavar="ENCODING", help="its encoding")
    labels.add_argument(
        "--to", dest="target", default="ours", metavar="ENCODING", help="encoding wanted (default: ours)"
    )
    labels.add_argument("--out", "-o", required=True, help="file to write: .npy, .npz or .csv")
    labels.add_argument("--key", help="array of a .npz with several")
    labels.add_argument("--truth", metavar="FILE", help="true labels in our encoding, which known labels must equal")
    labels.add_argument("--force", action="store_true", help="overwrite the file")
    labels.set_defaults(command="import_labels")

    doctor = commands.add_parser("doctor", help="check the installation, the devices and a data set")
    doctor.add_argument("--data", help="name of a data set (see plml datasets)")
    doctor.add_argument("--root", help="its folder")
    doctor.add_argument(
        "assignments", nargs="*", default=[], metavar="path=value", help="for example data.options.order=number"
    )
    doctor.add_argument("--against", metavar="NAME=FOLDER", help="compare labels with a data set of the same images")
    doctor.add_argument("--deep", action="store_true", help="open and decode every image")
    doctor.set_defaults(command="doctor")

    for name, what in (
        ("methods", "list the methods and their hyperparameters"),
        ("datasets", "list the data sets"),
        ("auxiliaries", "list the losses that can be added to any method"),
        ("heads", "list the heads of a network"),
        ("recipes", "list published experiments as configurations"),
        ("settings", "list the label settings"),
    ):
        listing = commands.add_parser(name, help=what)
        listing.add_argument("--json", action="store_true", help="print a list of JSON objects")
        listing.set_defaults(command="listing", listing=name)
    _add_setting_verbs(listing)

    completion = commands.add_parser("completion", help="print what lets a shell complete plml and the runners")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    completion.add_argument(
        "names", nargs="*", default=[], metavar="COMMAND", help="plml, plml-study, ... (default: all)"
    )
    completion.set_defaults(command="completion")

    add_examples(parser, EXAMPLES)
    return parser


def _add_cache_verbs(cache: argparse.ArgumentParser) -> None:
    """Add what ``plml cache`` does with cached arrays."""
    verbs = cache.add_subparsers(title="verbs", metavar="list | build | verify | drop", required=True)
    shown = verbs.add_parser("list", help="what is cached, its size and last use")
    shown.add_argument("--json", action="store_true", help="print a list of JSON objects")
    build = verbs.add_parser("build", help="decode images, or extract features with mode=linear, before anybody waits")
    build.add_argument("config", nargs="+", metavar="CONFIG|path=value", help="YAML file or recipe:NAME, and overrides")
    build.add_argument("--download", action="store_true", help="fetch torchvision weights that model.weights names")
    verify = verbs.add_parser("verify", help="compare every byte with the digests taken when it was written")
    verify.add_argument("keys", nargs="*", default=[], metavar="KEY", help="beginning of a key (default: everything)")
    drop = verbs.add_parser("drop", help="delete arrays that no live process uses")
    drop.add_argument("keys", nargs="*", default=[], metavar="KEY", help="beginning of a key")
    drop.add_argument("--unused-for", metavar="AGE", help="only what was not used for so long, for example 30d")
    drop.add_argument("--to-size", metavar="SIZE", help="the least recently used, until this much is left: 20GB")
    drop.add_argument("--all", action="store_true", help="everything")
    drop.add_argument("--yes", "-y", action="store_true", help="do not ask")
    for action, verb in (("list", shown), ("build", build), ("verify", verify), ("drop", drop)):
        verb.set_defaults(command="cache", action=action)


def _add_setting_verbs(settings: argparse.ArgumentParser) -> None:
    """Add what ``plml settings`` does with one drawn label setting, beside listing the mechanisms."""
    verbs = settings.add_subparsers(title="one label setting as a file", metavar="draw | show | export")
    draw = verbs.add_parser("draw", help="draw a label setting on a data set and write it")
    draw.add_argument(
        "config", nargs="*", default=[], metavar="CONFIG|path=value", help="YAML file, and what overrides it"
    )
    draw.add_argument("--out", required=True, type=Path, metavar="FILE.npz")
    show = verbs.add_parser("show", help="what a written label setting is, and its digest")
    show.add_argument("file", type=Path)
    show.add_argument("--json", action="store_true", help="print a JSON object")
    export = verbs.add_parser("export", help="write a label setting as the files of another project")
    export.add_argument("file", type=Path)
    export.add_argument("--format", required=True, help="cole, cones, csl, hcp, mlcpl, splc")
    export.add_argument("--out", required=True, type=Path, metavar="FOLDER")
    export.add_argument("--part", action="append", help="train, val or test; repeatable (default: all it can name)")
    for action, verb in (("draw", draw), ("show", show), ("export", export)):
        verb.set_defaults(command="settings", action=action)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 done, 1 failed, 2 wrong input, 4 interrupted and resumable."""
    options = build_parser().parse_args(arguments)
    if options.command != "train":
        return _run(options, lambda _: None)
    from plml.terminal import terminal

    with terminal.speaking(quiet=options.quiet, json=options.events):
        code = _run(options, lambda text: terminal.event("error", message=text))
        terminal.event("end", exit_code=code)
    return code


def _run(options: argparse.Namespace, told: Callable[[str], None]) -> int:
    """Run a command; return its exit code. An error is one line on standard error, and ``told`` hears of it."""
    from plml.errors import DivergenceError, PlmlError
    from plml.storage import storage_trouble, wrong_path

    def tell(text: str) -> None:
        told(text.removeprefix("error: "))
        sys.stderr.write(f"{text}\n")

    module = importlib.import_module(f"plml.commands.{options.command}")
    try:
        return int(module.run(options))
    except DivergenceError as error:
        tell(f"training diverged: {error}")
        return FAILED
    except PlmlError as error:
        tell(f"error: {error}")
        return WRONG_INPUT
    except KeyboardInterrupt:
        tell(f"interrupted; {_way_on(options)}")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output, `head` for one, went away
        return DONE
    except OSError as error:
        if wrong := wrong_path(error):
            tell(f"error: {wrong}")
            return WRONG_INPUT
        trouble = storage_trouble(error)
        if trouble is None:
            raise
        tell(f"error: {trouble}; {_way_on(options)}")
        return INTERRUPTED
    except Exception as error:
        from plml.out_of_memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        detail = next(iter(str(error).splitlines()), type(error).__name__)
        tell(
            f"error: memory ran out ({detail}); a smaller data.image_size or batch (optim.batch_size, --batch-size) "
            "needs less"
        )
        return FAILED


def _way_on(options: argparse.Namespace) -> str:
    """What to do once whatever ended the command is over."""
    again = "the same command" + (" without --fresh" if getattr(options, "fresh", False) else "")
    if options.command == "train":
        return f"what the run has recorded is whole, and {again} goes on from there"
    return f"{again} can be given again"


if __name__ == "__main__":
    sys.exit(main())
