"""What stands around the commands of a page when a test runs them: the places that pages name, and their own files.

Everything that is not typed exactly as it is printed is in this file.
"""

import os
import sys
from pathlib import Path

import numpy as np
from pages import ROOT, Block, blocks_of

# Links in the folder in which the commands of a page run: as in a checkout, and as in the readers' own folders.
CHECKOUT = ("tune", "ablations", "benchmarks", "docs")
SHARED = {
    "mobilenet_v2.safetensors": "weights/mobilenet_v2_imagenet.safetensors",
    "photo.jpg": "data/voc2007_part/VOCdevkit/VOC2007/JPEGImages/000012.jpg",
    "coco": "data/coco_mini",
    "mirflickr_partial.mat": "data/features/mirflickr_partial.mat",
    "sets": "data/features",
}
# Real photos of VOC 2007, every eighth of them: figures are for other tests, and features of all take minutes.
PHOTOS_OF, EVERY = "data/voc2007_part/VOCdevkit/VOC2007", 8
# Texts of pages that stand for something of the reader's.
PLACES = {
    "/data/VOCdevkit": "$PWD/VOCdevkit",
    "/weights/mobilenet_v2.safetensors": "$PWD/mobilenet_v2.safetensors",
    "runs/role-1a2b3c4d": "runs/role-*",
    "sqlite:////ABS/": "sqlite:///{folder}/",
}
# config.yaml of a page.
DIGITS = "mode: end_to_end\nepochs: 1\ndata: {name: digits, observation: single_positive}\n"
PHOTOS = """\
mode: linear
epochs: 1
data: {name: voc2007, root: VOCdevkit, observation: single_positive, image_size: 96}
model: {backbone: mobilenet_v2, weights: mobilenet_v2.safetensors}
method: an
"""
CONFIGS = dict.fromkeys(("docs/data.md", "docs/deploying.md", "docs/mlflow.md", "docs/settings.md"), PHOTOS)
# What a page takes for granted, made before its first block.
STUDY = "python tune/run.py --study digits --trials 4 --set epochs=1 --set pruner.name=none --yes"
BEFORE = {
    "README.md": STUDY,
    "docs/deploying.md": "plml train config.yaml method=role",
    "docs/mlflow.md": "python tune/run.py --study digits --trials 4\n"
    "plml train config.yaml -o A; plml train config.yaml method=role -o B\n"
    "plml register A/best.pt --name photos --alias champion --tracking-uri sqlite:///$PWD/results/mlflow.db",
    "docs/selection.md": f"{STUDY}; cp -r results/digits STUDY; cp -r STUDY results/a; cp -r STUDY results/b",
    "docs/settings.md": "plml settings draw data.name=voc2007 data.root=VOCdevkit data.observation=candidate_set "
    "--out candidates.npz",
}
FEW = 12  # photos in the folder of that name
ENDING = 2400  # seconds that a block may take on a busy machine


def needs_shared(page: str, blocks: list[Block]) -> bool:
    """Return whether blocks of a page, or files of its that they name, name real photos, features or weights."""
    text = "".join(block.text for block in blocks)
    text += "".join(block.text for block in blocks_of(page) if _file_of(block) and _file_of(block) in text)
    return any(name in text for name in (*SHARED, "VOCdevkit", "photos")) or (
        CONFIGS.get(page) == PHOTOS and "config.yaml" in text
    )


def furnish(folder: Path, shared: Path | None, page: str) -> None:
    """Make the folder in which the commands of a page run."""
    for name in CHECKOUT:
        (folder / name).symlink_to(ROOT / name)
    if shared is not None:
        for name, place in SHARED.items():
            (folder / name).symlink_to(shared / place)
        (folder / "photos").mkdir()
        for photo in sorted((shared / PHOTOS_OF / "JPEGImages").glob("*.jpg"))[:FEW]:
            (folder / "photos" / photo.name).symlink_to(photo)
        thin_out(shared / PHOTOS_OF, folder / "VOCdevkit" / "VOC2007")
    (folder / "config.yaml").write_text(CONFIGS.get(page, DIGITS), encoding="utf-8")
    truth = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]], dtype=np.int8)
    seen = np.array([[1, 0, 0], [0, 1, -1], [0, 1, 0]], dtype=np.int8)  # 1 positive, -1 negative, 0 unknown
    np.save(folder / "truth.npy", truth)
    np.save(folder / "observed.npy", seen)
    np.save(folder / "formatted_train_labels_obs.npy", seen)
    write_named_yaml(folder, page)


def write_named_yaml(folder: Path, page: str) -> None:
    """Write the YAML of a page that has a file's name."""
    for block in blocks_of(page):
        if file := _file_of(block):
            (folder / file).write_text(block.text, encoding="utf-8")


def _file_of(block: Block) -> str:
    """Return the name that a block of YAML has on its page; "" if it has none."""
    _, _, file = block.comment.partition(": ")
    return file if block.language == "yaml" and block.reason is None else ""


def thin_out(voc: Path, part: Path) -> None:
    """Make a part of a VOC folder: its photos and boxes, and lists of some of them."""
    lists = part / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name in ("JPEGImages", "Annotations"):
        (part / name).symlink_to(voc / name)
    for file in (voc / "ImageSets" / "Main").glob("*.txt"):
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        (lists / file.name).write_text("".join(lines[::EVERY]), encoding="utf-8")


def placed(text: str, folder: Path) -> str:
    """Return a block with the places of the reader put in."""
    for place, real in PLACES.items():
        text = text.replace(place, real.replace("{folder}", str(folder)))
    return text


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of the commands: this Python first, a home of their own, the cache of all pages."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    home = folder / ".home"
    home.mkdir(exist_ok=True)
    return {
        **os.environ,
        "PATH": path,
        "HOME": str(home),
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(home),
    }
