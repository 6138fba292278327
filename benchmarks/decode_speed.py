"""Images a second into the network: from the cache, against PIL in a DataLoader with 4 workers.

    python benchmarks/decode_speed.py --data-root VOCdevkit
    python benchmarks/decode_speed.py --quick

The cached path is the one of training: ``Split.gather`` of 16 images, mirroring, ``Classifier.preprocess``. The classic
path decodes, resizes, flips and normalises each photo with PIL and torchvision in a Dataset. Both end with a float
batch, on the device that is trained on. They take turns, and a ratio is formed within a turn. The cached path has the
one thread of a run (``threads: 1``). Because four workers get more of a machine, the more the busier it is, processor
time is compared as well: what counts where as many runs as cores train at once. Without ``--data-root`` photos of
500 x 375 are made up. The first pass over a cache that is not in memory is bound by the disk and not measured.
"""

import argparse
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.classic_loop import Items, image_reader, photos, random_labels  # noqa: E402
from benchmarks.measuring import Figure, alone, available_cores, compared, seconds, show, take_turns, write  # noqa: E402
from plml.data.augment import contrastive_views, mirror  # noqa: E402
from plml.data.bundle import Split  # noqa: E402
from plml.data.cache_entry import list_entries, verify_entry  # noqa: E402
from plml.data.image_cache import cached_pixels, cached_sources  # noqa: E402
from plml.device import pick_device  # noqa: E402
from plml.host_memory import keep_freed_memory  # noqa: E402
from plml.models import Classifier  # noqa: E402
from plml.models.heads import HEADS  # noqa: E402

SIZE, BATCH, WORKERS = 448, 16, 4
SCALE = 0.7  # of crops, as CSRA and CoNeS


def processor_seconds() -> float:
    """Return what this process and its ended children have used."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


class Timed:
    """A path into the network; each call draws all batches and keeps both clocks.

    Args:
        batches: makes an iterator over batches on the device.
        wait: returns when the device is done.
        skipped: batches before the clock starts: the start of the workers, and what they fetch ahead.
    """

    def __init__(self, batches: Callable[[], Iterator[Tensor]], wait: Callable[[], None], skipped: int = 0) -> None:
        self.batches, self.wait, self.skipped = batches, wait, skipped
        self.processor: list[float] = []  # images a second of processor time, one a call

    def __call__(self) -> float:
        """Return images a second."""
        count = timed = 0
        spent, began = processor_seconds(), time.perf_counter()
        for number, batch in enumerate(self.batches()):
            count += len(batch)
            if number < self.skipped:
                began = time.perf_counter()
            else:
                timed += len(batch)
        self.wait()
        speed = timed / (time.perf_counter() - began)
        self.processor.append(count / (processor_seconds() - spent))
        return speed


def cached_split(paths: list[Path], folder: Path) -> Split:
    """Return the photos as training reads them; decoded on the first call."""
    labels = torch.zeros(len(paths), 1, dtype=torch.int8)
    return Split(
        ids=[path.name for path in paths],
        rows=np.arange(len(paths), dtype=np.int64),
        array=cached_pixels(paths, SIZE, cache_dir=folder)[0],
        truth=labels,
        observed=labels,
        sources=cached_sources(paths, SIZE, cache_dir=folder),
    )


def cached_batches(
    split: Split, count: int, device: torch.device, *, crops: bool = False, threads: int = 1
) -> Iterator[Tensor]:
    """Yield float batches as a training step sees them."""
    torch.set_num_threads(threads)
    network = Classifier(nn.Identity(), HEADS["linear"](1, 1), photo=True, normalized=True)
    for index in torch.randint(len(split), (count,)).split(BATCH):
        if crops:
            images = split.gather_crops(index, SCALE, device)
        else:
            images = split.gather(index, pin=device.type == "cuda").to(device, non_blocking=True)
        flips = (torch.rand(len(index)) < 0.5).to(device, non_blocking=True)
        yield network.preprocess(mirror(images, flips))


def classic_batches(paths: list[Path], count: int, device: torch.device) -> Iterator[Tensor]:
    """Yield float batches as the field's scripts make them."""
    truth, observed = random_labels(count, 20, 0)
    read = image_reader([paths[place % len(paths)] for place in range(count)], SIZE, flip=True)
    loader = DataLoader(Items(read, truth, observed), BATCH, shuffle=True, num_workers=WORKERS)
    for batch in loader:
        yield batch["image"].to(device)


def building(paths: list[Path], rounds: int) -> list[Figure]:
    """Measure decoding into a new cache, opening it, and verifying it."""
    speeds, opened, verified = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            speeds.append(len(paths) / seconds(lambda: cached_pixels(paths, SIZE, cache_dir=place)))  # noqa: B023
            opened.append(1000 * seconds(lambda: cached_pixels(paths, SIZE, cache_dir=place)))  # noqa: B023
            (entry,) = list_entries(place)
            verified.append(entry.num_bytes / 1e9 / seconds(lambda: verify_entry(entry)))  # noqa: B023
    return [
        alone("build the cache, all cores", "images/s", speeds),
        alone(f"open the cache of {len(paths)} photos", "ms", opened),
        alone("verify the cache", "GB/s", verified),
    ]


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, help="folder with photos below it, such as VOCdevkit")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a look in under 30 s")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    rounds, num_photos, classic, cached = (2, 48, 192, 384) if options.quick else (options.rounds, 256, 512, 2048)
    device = pick_device(options.device)
    keep_freed_memory()
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # that many is what is compared with
    torch.manual_seed(0)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with tempfile.TemporaryDirectory() as folder:
        paths = photos(options.data_root, num_photos, Path(folder))
        split = cached_split(paths, Path(folder))
        views = 16 if options.quick else 64
        paths_in = {
            "cache": Timed(lambda: cached_batches(split, cached, device), wait),
            "threads": Timed(lambda: cached_batches(split, cached, device, threads=available_cores()), wait),
            "crops": Timed(lambda: cached_batches(split, cached // 2, device, crops=True), wait),
            "views": Timed(lambda: view_batches(split, views, device), wait),
            "classic": Timed(lambda: classic_batches(paths, classic, device), wait, skipped=2 * WORKERS),
        }
        speeds = take_turns(paths_in, rounds=rounds)
        used = {name: path.processor[-rounds:] for name, path in paths_in.items()}
        pil = f"PIL, {WORKERS} workers"
        figures = [
            compared(
                "cache to float batch", "images/s", speeds["cache"], pil, speeds["classic"], smaller_is_better=False
            ),
            compared(
                f"cache to float batch, {available_cores()} threads",
                "images/s",
                speeds["threads"],
                pil,
                speeds["classic"],
                smaller_is_better=False,
            ),
            compared(
                "the same, processor time", "images/s", used["cache"], pil, used["classic"], smaller_is_better=False
            ),
            compared("crops from photos", "images/s", speeds["crops"], pil, speeds["classic"], smaller_is_better=False),
            alone("two contrastive views", "images/s", speeds["views"]),
            alone(f"{pil}, resized", "images/s", speeds["classic"]),
            *building(paths, min(rounds, 3)),
        ]
    show(f"Images of {SIZE} pixels into the network, batch {BATCH}, {device}", figures)
    write(figures, options.out)


def view_batches(split: Split, count: int, device: torch.device) -> Iterator[Tensor]:
    """Yield two views of each image."""
    for index in torch.randint(len(split), (count,)).split(BATCH):
        yield contrastive_views(split.gather(index).to(device), 2)[0]


if __name__ == "__main__":
    main()
