"""Exported files against plml, and ``plml predict`` against a plain loop: the figures of docs/deploying.md.

    python benchmarks/deploying.py export --photos FOLDER      # every backbone and head, both forms
    python benchmarks/deploying.py predict --photos FOLDER     # images a second

Networks are untrained: neither the differences nor the times depend on what they learnt.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from plml.checkpoint import save_checkpoint  # noqa: E402
from plml.config import make_config  # noqa: E402
from plml.export.description import describe  # noqa: E402
from plml.export.formats import FORMATS  # noqa: E402
from plml.export.network import Subject, exported_program  # noqa: E402
from plml.models import build_model  # noqa: E402
from plml.models.backbones import BACKBONES  # noqa: E402
from plml.models.heads import HEADS  # noqa: E402
from plml.prediction.stream import score_files  # noqa: E402
from plml.predictor import Predictor  # noqa: E402
from plml.thresholds.calibration import Calibration  # noqa: E402

CLASSES = 20
console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("export", "predict"))
    parser.add_argument("--photos", required=True, type=Path, help="folder of JPEG files")
    parser.add_argument("--size", type=int, default=224, help="side of the images that networks take")
    parser.add_argument("--number", type=int, help="of photos (default: 8 for export, 256 for predict)")
    parser.add_argument("--backbone", action="append", help="default: all for export, mobilenet_v2 for predict")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (measure_export if options.what == "export" else measure_predict)(options, Path(folder))
    return 0


def checkpoint(folder: Path, backbone: str, head: str, size: int) -> Path:
    """Write a checkpoint of an untrained network, as training does."""
    data = {"name": "digits", "observation": "single_positive", "image_size": size}
    config = make_config({"method": "an", "model": {"backbone": backbone, "head": head}, "data": data})
    torch.manual_seed(0)
    model = build_model(config.model, num_classes=CLASSES, input_shape=(3, size, size))
    for module in model.modules():  # statistics as of training: without them the scores of deep networks vanish
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.randint(0, 256, (8, 3, size, size), dtype=torch.uint8))
    content = {
        "config": json.dumps(config.tree()),
        "fingerprint": config.fingerprint,
        "data": {"name": "digits", "digest": "0" * 64},
        "class_names": [f"class {number}" for number in range(CLASSES)],
        "input_shape": [size, size, 3],
        "image_size": size,
        "epoch": 0,
        "model": model.state_dict(),
    }
    save_checkpoint(folder / "best.pt", content)
    return folder / "best.pt"


def photos(options: argparse.Namespace, default: int) -> list[Path]:
    """Return the first photos of the folder."""
    return list(islice(sorted(options.photos.glob("*.jpg")), options.number or default))


def measure_export(options: argparse.Namespace, folder: Path) -> None:
    """Print differences of probabilities from plml, times and sizes of every backbone and head."""
    files = photos(options, 8)
    console.print("| network | form | seconds | MB | same size | resized by the graph |\n|---|---|---|---|---|---|")
    for backbone in options.backbone or BACKBONES:
        for head in HEADS:
            subject = Subject.read(checkpoint(folder, backbone, head, options.size))
            predictor = subject.predictor
            assert predictor is not None
            resized = [predictor.pixels(file) for file in files]
            expected = predictor.probabilities(resized)
            for name, form in FORMATS.items():
                path = folder / f"model{form.suffix}"
                began = time.process_time()
                form.write(exported_program(subject, subject.network(Calibration())), describe(subject, None), path)
                took = time.process_time() - began
                run = form.load(path)
                same = run(torch.from_numpy(np.stack(resized)))[0]
                whole = [torch.from_numpy(np.array(Image.open(file).convert("RGB")))[None] for file in files]
                other = torch.cat([run(image)[0] for image in whole])
                far = [f"{float((found - expected).abs().max()):.1e}" for found in (same, other)]
                size = f"{path.stat().st_size / 1e6:.1f}"
                console.print(f"| {backbone}, {head} | {name} | {took:.0f} | {size} | {far[0]} | {far[1]} |")


def measure_predict(options: argparse.Namespace, folder: Path) -> None:
    """Print images a second of plml's stream and of a plain torchvision loop, in turns."""
    files = photos(options, 256)
    for backbone in options.backbone or ["mobilenet_v2"]:
        predictor = Predictor(checkpoint(folder, backbone, "linear", options.size), "auto")
        loops: dict[str, Callable[[], torch.Tensor]] = {
            "plml predict": lambda predictor=predictor: stream(predictor, files),  # type: ignore[misc]
            "torchvision, one by one": lambda predictor=predictor: plain(predictor, files, 1, options.size),  # type: ignore[misc]
            "torchvision, batches of 16": lambda predictor=predictor: plain(predictor, files, 16, options.size),  # type: ignore[misc]
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        scores: dict[str, torch.Tensor] = {}
        for _ in range(3):
            for name, loop in loops.items():
                began = time.perf_counter()
                scores[name] = loop()
                seconds[name].append(time.perf_counter() - began)
        for name, took in seconds.items():
            far = float((scores[name] - scores["plml predict"]).abs().max())
            console.print(f"{backbone}: {name}: {len(files) / min(took):.1f} images a second, difference {far:.1e}")


def stream(predictor: Predictor, files: list[Path]) -> torch.Tensor:
    """Return the probabilities that plml predict computes."""
    rows = [scored.logits for scored in score_files(predictor, files)]
    return torch.stack([row for row in rows if row is not None]).sigmoid()


@torch.no_grad()
def plain(predictor: Predictor, files: list[Path], batch: int, size: int) -> torch.Tensor:
    """Return the probabilities of the same network, fed by torchvision's transforms as tutorials do."""
    from torchvision import transforms

    steps = [transforms.Resize((size, size)), transforms.ToTensor()]
    norm = [transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))] if predictor.model.normalized else []
    transform = transforms.Compose([*steps, *norm])
    rows = []
    for start in range(0, len(files), batch):
        images = [transform(Image.open(file).convert("RGB")) for file in files[start : start + batch]]
        rows.append(predictor.model(torch.stack(images).to(predictor.device)).logits.sigmoid().cpu())
    return torch.cat(rows)


if __name__ == "__main__":
    sys.exit(main())
