"""What is fuzzed: one file of somebody else's, everything around it valid, and the loader that reads it.

A target writes a valid tree into a folder once; then its one file is replaced again and again by what a fuzzer makes of
it, and read. Only plml's own errors may come out. Hypothesis drives the targets in ``test_fuzz_files.py``, and
``fuzz_atheris.py`` guides them by the branches that are reached.
"""

import gzip
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from plml.checkpoint import load_checkpoint, save_checkpoint, write_arrays
from plml.errors import PlmlError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Target:
    """One file and its reader.

    Attributes:
        file: is replaced.
        read: reads it; may raise PlmlError.
        seeds: valid contents.
        reset: forgets what was read before.
    """

    file: Path
    read: Callable[[], object]
    seeds: list[bytes] = field(default_factory=list)
    reset: Callable[[], object] = lambda: None

    def execute(self, content: bytes) -> bool:
        """Read ``content``; return whether it was accepted. Any error but plml's own comes out."""
        self.reset()
        self.file.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of decoders, and NumPy's of old files: said to the user, not errors
                self.read()
        except PlmlError:
            return False
        return True


TARGETS: dict[str, Callable[[Path], Target]] = {}


def target(*names: str) -> Callable[[Callable[..., Target]], Callable[..., Target]]:
    """Register a builder ``(folder, *choice) -> Target`` under each of ``names``; after ``:`` stands the choice."""

    def register(build: Callable[..., Target]) -> Callable[..., Target]:
        for name in names:
            choice = name.partition(":")[2]
            TARGETS[name] = lambda folder, choice=choice: build(folder, choice) if choice else build(folder)
        return build

    return register


def of_file(file: Path, read: Callable[[], object], reset: Callable[[], object] = lambda: None) -> Target:
    """A target whose seed is what the file holds."""
    return Target(file, read, [file.read_bytes()], reset)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def photos(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5), (200, 90, 30)).save(folder / name)


def image_bytes(kind: str) -> bytes:
    """A small image, with enough structure that its decoder has something to do."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, size=(24, 31, 3), dtype=np.uint8))
    options: dict[str, Any] = {"save_all": True, "append_images": [picture.rotate(90)]} if kind == "GIF" else {}
    if kind == "TIFF":
        options["compression"] = "tiff_lzw"
    if kind == "PNG":
        picture = picture.quantize(16)
    if kind == "JPEG":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter
        options["exif"] = exif
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


# -- configurations -------------------------------------------------------------------------------------------


@target("config")
def config(folder: Path) -> Target:
    from plml.config import dump_config, load_config, make_config

    text = dump_config(make_config({"method": "role", "data": {"observation": "single_positive"}}))
    return Target(folder / "config.yaml", lambda: load_config(folder / "config.yaml"), [text.encode()])


@target("study")
def study(folder: Path) -> Target:
    from tune.study import load_study

    seeds = [file.read_bytes() for file in sorted((ROOT / "tune" / "studies").glob("*.yaml"))]
    return Target(folder / "own.yaml", lambda: load_study(folder / "own.yaml").budget(), seeds)


@target("grid")
def grid(folder: Path) -> Target:
    from ablations.grid import load_grid

    seeds = [file.read_bytes() for file in sorted((ROOT / "ablations" / "grids").glob("*.yaml"))]
    return Target(folder / "own.yaml", lambda: load_grid(folder / "own.yaml", output=folder), seeds)


@target("assignment")
def assignment(folder: Path) -> Target:
    from plml.config import make_config
    from plml.schema import parse_assignment

    file = folder / "words"

    def read() -> object:
        try:
            words = file.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError:
            return None  # no command line can hold it
        return make_config({"method": "an"}, dict(map(parse_assignment, words)))

    return Target(file, read, [b"optim.lr=1e-3", b"method=role\nmethod.lr_mult=3.0", b"data.options={order: number}"])


# -- label files ----------------------------------------------------------------------------------------------

LABELS = np.array([[1, 0, -1], [-1, 1, 0], [0, 0, 1], [1, 1, -1]], dtype=np.int8)
IDS = ["a_1.jpg", "a_2.jpg", "a_3.jpg", "a_4.jpg"]
CLASSES = ["cat", "dog", "owl"]


@target("label:cole", "label:hcp", "label:mlcpl", "label:csl", "label:splc", "label:cones")
def label_file(folder: Path, name: str) -> Target:
    from plml.label_files import find_format
    from plml.label_files.rows import align
    from plml.labels import NEGATIVE, UNKNOWN

    kind = find_format(name)
    labels = LABELS
    if name == "splc":
        labels = np.where(LABELS == 0, -1, LABELS)
    if name == "cones":
        labels = np.where(LABELS == 1, UNKNOWN, NEGATIVE).astype(np.int8)
    file = folder / f"labels{ {'csl': '.csv', 'splc': '.txt'}.get(name, '.npy') }"
    kind.write(file, labels.astype(np.int8), IDS, CLASSES)
    return of_file(file, lambda: align(kind.read(file, 3, None), IDS, CLASSES, file))


@target("label:splc_gz", "label:csl_gz")
def packed_label_file(folder: Path, name: str) -> Target:
    from plml.label_files import find_format

    plain = label_file(folder, name.removesuffix("_gz"))
    file = plain.file.with_name(f"{plain.file.name}.gz")
    kind = find_format(name.removesuffix("_gz"))
    return Target(file, lambda: kind.read(file, 3, None), [gzip.compress(plain.seeds[0], mtime=0)])


@target("label_cones_npz")
def candidate_archive(folder: Path) -> Target:
    from plml.label_files import find_format

    file = folder / "labels.npz"
    np.savez(file, partial_labels=(LABELS != 0).astype(np.int32), image_ids=np.arange(4), class_names=np.array(CLASSES))
    return of_file(file, lambda: find_format("cones").read(file, 3, None))


@target("label_detect")
def detected(folder: Path) -> Target:
    from plml.label_files.detect import detect_format

    file = folder / "labels.npy"
    np.save(file, LABELS.astype(np.float32))
    return of_file(file, lambda: detect_format(file))


@target("label_artifact")
def artifact(folder: Path) -> Target:
    from plml.label_files.artifact import ArtifactPart, SettingArtifact, is_artifact, read_artifact, write_artifact

    file = folder / "setting.npz"
    part = ArtifactPart(IDS, LABELS, IDS)
    write_artifact(file, SettingArtifact("digits", "0" * 64, {"name": "x"}, 7, CLASSES, {"train": part}))
    return of_file(file, lambda: (is_artifact(file), read_artifact(file)))


# -- data sets ------------------------------------------------------------------------------------------------


def reader(name: str, root: Path, **options: Any) -> Callable[[], object]:
    """Read the data set ``name`` under ``root``, boxes included."""
    from plml.data.source import DATASETS

    def read() -> object:
        source = DATASETS[name](**options).read(root)
        return [part.evidence() for part in (source.train, source.test) if part.evidence is not None]

    return read


def voc(folder: Path) -> Path:
    from plml.data.voc import CLASS_NAMES

    base = folder / "VOCdevkit" / "VOC2007"
    parts = {"trainval": {"000005": "chair", "000007": "car"}, "test": {"000001": "dog"}}
    for name, images in parts.items():
        for column in CLASS_NAMES:
            lines = [f"{image} {1 if column == label else -1}" for image, label in images.items()]
            write(base, {f"ImageSets/Main/{column}_{name}.txt": "\n".join(lines) + "\n"})
        for image, label in images.items():
            box = "<bndbox><xmin>2</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox>"
            item = f"<object><name>{label}</name><difficult>0</difficult>{box}</object>"
            size = "<size><width>6</width><height>5</height><depth>3</depth></size>"
            write(base, {f"Annotations/{image}.xml": f"<annotation>{size}{item}</annotation>"})
            photos(base / "JPEGImages", f"{image}.jpg")
    return base


@target("voc:ImageSets/Main/car_trainval.txt", "voc:ImageSets/Main/aeroplane_test.txt", "voc:Annotations/000007.xml")
def voc2007(folder: Path, name: str) -> Target:
    base = voc(folder)
    return of_file(base / name, reader("voc2007", folder))


@target("coco_json")
def coco(folder: Path) -> Target:
    from plml.data import instances

    tree = {
        "images": [{"id": n, "file_name": name, "width": 6, "height": 5} for n, name in enumerate(IDS)],
        "categories": [{"id": n + 3, "name": name} for n, name in enumerate(CLASSES)],
        "annotations": [{"id": n, "image_id": n, "category_id": 3 + n % 3, "bbox": [1, 1, 2.5, 3]} for n in range(4)],
    }
    write(folder, {"annotations.json": json.dumps(tree)})
    photos(folder / "images", *IDS)
    return of_file(folder / "annotations.json", reader("coco_json", folder), instances._read.cache_clear)


@target(
    "openimages:train/annotations-human.csv", "openimages:class-descriptions.csv", "openimages:classes-trainable.txt"
)
def openimages(folder: Path, name: str) -> Target:
    write(folder, {"class-descriptions.csv": "/m/01,Car\n/m/02,Dog\n", "classes-trainable.txt": "/m/01\n/m/02\n"})
    for part in ("train", "validation", "test"):
        lines = "ImageID,Source,LabelName,Confidence\n00a,verification,/m/01,1\n00b,verification,/m/02,0\n"
        write(folder, {f"{part}/annotations-human.csv": lines})
        photos(folder / "images" / part, "00a.jpg", "00b.jpg")
    return of_file(folder / name, reader("openimages_v3", folder))


@target("cub:images.txt", "cub:train_test_split.txt", "cub:classes.txt", "cub:image_class_labels.txt")
def cub(folder: Path, name: str) -> Target:
    names = [f"00{n}.Gull/{n}.jpg" for n in range(1, 5)]
    write(folder, {
        "images.txt": "".join(f"{n} {image}\n" for n, image in enumerate(names, 1)),
        "train_test_split.txt": "1 1\n2 0\n3 1\n4 1\n",
        "classes.txt": "".join(f"{n} 00{n}.Gull\n" for n in range(1, 5)),
        "image_class_labels.txt": "1 1\n2 2\n3 3\n4 4\n",
    })  # fmt: skip
    photos(folder / "images", *names)
    return of_file(folder / name, reader("cub200", folder, labels="classes"))


@target("nus:nus_val.txt", "nus:nus_train_full.txt", "nus:class_names.txt")
def nus_lists(folder: Path, name: str) -> Target:
    write(folder, {
        "nus_train_full.txt": "a_1.jpg,0 5\na_2.jpg,80\n",
        "nus_train_single.txt": "a_1.jpg,0\na_2.jpg,80\n",
        "nus_val.txt": "a_3.jpg,1\n",
        "class_names.txt": "".join(f"concept {n}\n" for n in range(81)),
    })  # fmt: skip
    photos(folder / "images", *IDS)
    return of_file(folder / name, reader("nus_wide", folder, version="splc", a_part=True))


@target("nus_csv")
def nus_table(folder: Path) -> Target:
    rows = "filepath,label,split_name\nimages/a_1.jpg,\"['sky', 'clouds']\",train\nimages/a_2.jpg,['sky'],val\n"
    write(folder, {"nus_wid_data.csv": rows})
    photos(folder / "images", *IDS)
    return of_file(folder / "nus_wid_data.csv", reader("nus_wide", folder, version="asl", a_part=True))


@target("nus_official")
def nus_official(folder: Path) -> Target:
    concepts = ["sky", "dog"]
    write(folder, {"ConceptsList/Concepts81.txt": "sky\ndog\n"})
    for word, image in (("Train", "a_1.jpg"), ("Test", "a_2.jpg")):
        write(folder, {f"ImageList/{word}Imagelist.txt": f"actor\\{image}\n"})
        for concept in concepts:
            write(folder, {f"Groundtruth/TrainTestLabels/Labels_{concept}_{word}.txt": "1\n"})
        photos(folder / "Flickr" / "actor", image)
    return of_file(folder / "ConceptsList/Concepts81.txt", reader("nus_wide", folder, version="official", a_part=True))


@target("formatted:formatted_train_images.npy", "formatted:formatted_train_labels.npy",
        "formatted:formatted_train_labels_obs.npy", "formatted:train_features_imagenet_resnet50.npy")  # fmt: skip
def formatted(folder: Path, name: str) -> Target:
    for part in ("train", "val"):
        names = [f"{part}/{image}" for image in IDS]
        np.save(folder / f"formatted_{part}_images.npy", np.array(names))
        np.save(folder / f"formatted_{part}_labels.npy", (LABELS == 1).astype(np.float64))
        np.save(folder / f"formatted_{part}_labels_obs.npy", np.where(LABELS == 1, 1, 0))
        np.save(folder / f"{part}_features_imagenet_resnet50.npy", np.ones((4, 5), dtype=np.float32))
        photos(folder, *names)
    return of_file(folder / name, reader("formatted", folder))


@target("vg:objects.json", "vg:vg256.json")
def visual_genome(folder: Path, name: str) -> Target:
    objects = [{"image_id": n, "objects": [{"names": ["small dog", "x"]}, {"names": ["sky"]}]} for n in range(1, 5)]
    write(folder, {"objects.json": json.dumps(objects), "vg256.json": json.dumps({"dog": ["dog"], "sky": ["sky"]})})
    photos(folder / "VG_100K", *(f"{n}.jpg" for n in range(1, 5)))
    return of_file(folder / name, reader("vg256", folder))


@target("folder_csv", "folder_csv:gz")
def own_folder(folder: Path, packed: str = "") -> Target:
    text = "file,cat,dog,split\n" + "".join(f"{name},1,0,{'test' if n else 'train'}\n" for n, name in enumerate(IDS))
    photos(folder, *IDS)
    file = folder / ("labels.csv.gz" if packed else "labels.csv")
    seed = gzip.compress(text.encode(), mtime=0) if packed else text.encode()
    return Target(file, reader("folder", folder, table=file.name), [seed])


@target("folder_lists")
def own_lists(folder: Path) -> Target:
    text = "file,labels\n" + "".join(f"{name},cat;dog\n" for name in IDS)
    photos(folder, *IDS)
    options = {"table": "labels.csv", "label_column": "labels"}
    return Target(folder / "labels.csv", reader("folder", folder, **options), [text.encode()])


@target("arrays:npz", "arrays:compressed")
def arrays(folder: Path, kind: str) -> Target:
    file = folder / "own.npz"
    save = np.savez if kind == "npz" else np.savez_compressed
    images = np.zeros((4, 3, 3, 3), dtype=np.uint8)
    save(file, images=images, labels=LABELS, ids=np.array(IDS), class_names=np.array(CLASSES))
    return of_file(file, reader("arrays", file))


@target("features:npz", "features:mat", "features:mat4", "features:arff", "features:sparse", "features:arff_gz")
def features(folder: Path, kind: str) -> Target:
    from scipy.io import savemat

    content = {"X": np.arange(8.0).reshape(4, 2), "Y": (LABELS == 1).astype(np.float64)}
    if kind == "npz":
        np.savez(folder / "own.npz", **content)
        return of_file(folder / "own.npz", reader("features", folder / "own.npz"))
    if kind.startswith("mat"):
        content["class_names"] = np.array(CLASSES, dtype=object)
        if kind == "mat4":
            savemat(folder / "own.mat", {name: content[name] for name in "XY"}, format="4")
        else:
            savemat(folder / "own.mat", content, do_compression=True)
        return of_file(folder / "own.mat", reader("features", folder / "own.mat"))
    header = "% comment\n@relation own\n@attribute 'x a' numeric\n@attribute y {0,1}\n@attribute \"z\" {0,1}\n@data\n"
    rows = "{0 1.5, 2 1}\n{1 1}\n{0 2}\n" if kind == "sparse" else "1.5,0,1\n2,1,0\n3.0,0,1\n"
    file = folder / ("own.arff.gz" if kind == "arff_gz" else "own.arff")
    seed = (header + rows).encode()
    read = reader("features", file, num_labels=2, test_fraction=0.4)
    return Target(file, read, [gzip.compress(seed, mtime=0) if kind == "arff_gz" else seed])


# -- images ---------------------------------------------------------------------------------------------------


@target("image:JPEG", "image:PNG", "image:GIF", "image:BMP", "image:TIFF", "image:WEBP", "image:PPM", "image:JPEG2000")
def image(folder: Path, kind: str) -> Target:
    from plml.data.pixels import decode, decode_source, read_size

    file = folder / "photo.jpg"  # the name says nothing
    return Target(file, lambda: (read_size(file), decode(file, 8), decode_source(file, 12, 9)), [image_bytes(kind)])


# -- what plml itself wrote -----------------------------------------------------------------------------------


@target("checkpoint")
def checkpoint(folder: Path) -> Target:
    file = folder / "last.pt"
    content = {"epoch": 3, "model": {"w": torch.arange(6.0).reshape(2, 3)}, "config": "{}", "history": [{"a": 1.5}]}
    save_checkpoint(file, content)
    return of_file(file, lambda: load_checkpoint(file))


@target("weights:pt", "weights:pth", "weights:safetensors")
def weights(folder: Path, kind: str) -> Target:
    from safetensors.torch import save_file

    from plml.models.weights import read_weights

    file, content = folder / f"w.{kind}", {"a": torch.ones(2, 3), "b": torch.zeros(4)}
    if kind == "safetensors":
        save_file(content, file)
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "pt")
    return of_file(file, lambda: read_weights(file))


@target("foreign:cones", "foreign:csra", "foreign:boostlu", "foreign:spml")
def foreign(folder: Path, project: str) -> Target:
    from plml.checkpoint_layouts import read_foreign

    file = folder / "theirs.pth"
    torch.save({"fc_all.weight": torch.ones(2, 3), "linear_classifier.fc.weight": torch.ones(2, 3)}, file)
    return of_file(file, lambda: read_foreign(file, project))


@target("cache:array.npy", "cache:digests.npy", "cache:bounds.npy", "cache:complete", "cache:about.json")
def cache(folder: Path, name: str) -> Target:
    from plml.data.cache import cached_array
    from plml.data.cache_entry import list_entries, verify_entry

    place = folder / "pixels" / "0123456789abcdef01234567"

    def use() -> object:
        def fill(array: Any, start: int, stop: int) -> None:
            array[start:stop] = np.arange(start, stop)[:, None]

        return cached_array(place, (7, 2), np.dtype(np.uint8), fill, label="fuzz", about={"data": "x"}).sum()

    use()

    def read() -> object:
        return list(map(verify_entry, list_entries(folder))), use()

    return of_file(place / name, read)


@target("parsed")
def parsed_text(folder: Path) -> Target:
    from plml.data import plain_arrays

    file = folder / "kept.npz"
    write_arrays(file, ids=np.array(IDS), rows=np.arange(4))

    def read() -> object:
        try:
            return plain_arrays.load_npz(file)
        except (OSError, ValueError):
            return None  # what it raises, and what its callers expect

    return of_file(file, read)


@target("run:metrics.jsonl", "run:result.json", "run:config.yaml", "run:scores/labels.npz", "run:scores/val_0000.npy")
def stored_run(folder: Path, name: str) -> Target:
    from plml.config import dump_config, make_config
    from plml.report_log import read_reports
    from plml.stored_runs import StoredRun, read_stored_run

    report = {"epoch": 0, "metrics": {"val/mAP": 50.0, "time/epoch_s": 1.0, "test_by_epoch/mAP": 2.0}, "time": 5.0}
    write(folder, {
        "metrics.jsonl": json.dumps(report) + "\n" + json.dumps({**report, "epoch": 1}) + "\n",
        "result.json": json.dumps({"best_epoch": 0, "metrics": {"test/mAP": 40.0}, "data_digest": "d"}),
        "config.yaml": dump_config(make_config({"method": "an"})),
    })  # fmt: skip
    truth = (LABELS == 1).astype(np.int8)
    write_arrays(folder / "scores" / "labels.npz", truth=truth, observed=LABELS, expected_positives=np.array(1.5))
    np.save(folder / "scores" / "val_0000.npy", np.zeros((4, 3), dtype=np.float32))

    def read() -> object:
        run = read_stored_run(folder)
        return read_reports(folder), isinstance(run, StoredRun)

    return of_file(folder / name, read)


@target("class_prior:csv", "class_prior:npy")
def class_prior(folder: Path, kind: str) -> Target:
    from plml.class_prior import read_prior, write_prior

    file = folder / f"prior.{kind}"
    if kind == "csv":
        write_prior(file, CLASSES, np.array([0.1, 0.2, 0.3]))
    else:
        np.save(file, np.array([0.1, 0.2, 0.3]))
    return of_file(file, lambda: read_prior(file, CLASSES, 3))


@target("label_graph:csv", "label_graph:npy")
def label_graph(folder: Path, kind: str) -> Target:
    from plml.label_graph.initial import read_graph

    file = folder / f"graph.{kind}"
    if kind == "csv":
        file.write_text(",cat,dog,owl\ncat,1,0.5,0\ndog,0.5,1,0\nowl,0,0,1\n")
    else:
        np.save(file, np.eye(3))
    return of_file(file, lambda: read_graph(file, CLASSES, 3))


@target("journal")
def journal(folder: Path) -> Target:
    import optuna

    from tune.folders import StudyFolder
    from tune.records import best_trials, counted_trials, open_storage, open_study

    home = StudyFolder(folder / "own")
    study = optuna.create_study(study_name="own", storage=open_storage(str(home.journal)), direction="maximize")
    for number in range(2):
        trial = study.ask()
        trial.set_user_attr("key", f"{number:04d}")
        trial.suggest_float("optim.lr", 1e-4, 1e-2, log=True)
        trial.report(0.5, 0)
        study.tell(trial, 0.5)

    def read() -> object:
        open_storage(str(home.journal), repair=True)
        found = open_study(home)
        return counted_trials(found), best_trials(found, 3)

    return of_file(home.journal, read)


@target("driver.json")
def driver(folder: Path) -> Target:
    from tune.folders import StudyFolder

    home = StudyFolder(folder / "own")
    home.path.mkdir()
    who = {"pid": 1, "born": 0.0, "host": "elsewhere", "since": "2026-01-01 00:00:00"}
    home.driver_file.write_text(json.dumps(who))
    return of_file(home.driver_file, home.holder)
