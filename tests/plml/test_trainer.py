"""The training loop: repeatable, resumable at any epoch bit for bit, and honest about what it chose."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plml import numerics, training_step
from plml.checkpoint import load_checkpoint
from plml.config import TrainConfig, load_config, make_config
from plml.data.bundle import Bundle, Split
from plml.errors import CheckpointError, ConfigError, DivergenceError
from plml.metrics import multilabel_metrics
from plml.models.backbones import BACKBONES
from plml.pace import Pace
from plml.report import EpochReport
from plml.run_folder import RunFolder
from plml.trainer import Trainer

CLASSES = 4
DIMENSION = BACKBONES["small_cnn"].feature_dim


def make_bundle(images: bool = False, seed: int = 0) -> Bundle:
    """A small learnable problem: each class is a direction in feature space, or a bright quadrant of an image."""
    rng = np.random.default_rng(seed)

    def split(count: int, name: str) -> Split:
        truth = (rng.random((count, CLASSES)) < 0.35).astype(np.int8)
        observed = np.where(truth == 1, 1, -1).astype(np.int8)
        if images:
            array = rng.integers(0, 40, (count, 8, 8, 1), dtype=np.uint8)
            for i, j in zip(*np.nonzero(truth), strict=True):
                array[i, 4 * (j // 2) : 4 * (j // 2) + 4, 4 * (j % 2) : 4 * (j % 2) + 4] += 150
        else:
            array = (0.1 * rng.normal(size=(count, DIMENSION)) + 2 * truth @ np.eye(CLASSES, DIMENSION)).astype(
                np.float32
            )
        ids = [f"{name}{i}" for i in range(count)]
        return Split(ids, np.arange(count), array, torch.from_numpy(truth), torch.from_numpy(observed))

    parts = {"train": split(125, "a"), "val": split(30, "b"), "test": split(40, "c")}
    names = [f"class{i}" for i in range(CLASSES)]
    digest = f"digest-{seed}"
    return Bundle("toy", names, **parts, expected_positives=1.4, flip=images, digest=digest, image_size=8)


def make(mode: str = "linear", **changes: Any) -> TrainConfig:
    tree = {
        "mode": mode,
        "epochs": 4 if mode == "linear" else 3,
        "device": "cpu",
        "data": {"observation": "single_positive"},
        "optim": {"lr": 0.05, "batch_size": 16},
        "method": "role",
    }
    return make_config(tree, {path.replace("__", "."): value for path, value in changes.items()})


def train(config: TrainConfig, folder: Path, stop_after: int | None = None) -> Trainer:
    images = config.mode != "linear"
    trainer = Trainer(config, make_bundle(images), folder, stage_bundle=make_bundle())
    for count, _ in enumerate(trainer.epochs(), start=1):
        if count == stop_after:
            break
    return trainer


def figures(history: list[EpochReport]) -> list[dict[str, float]]:
    return [{k: v for k, v in report.metrics.items() if not k.startswith("time/")} for report in history]


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sgd and cosine": {"optim__name": "sgd", "optim__schedule": "cosine", "optim__warmup_epochs": 1},
    "one cycle": {"optim__schedule": "onecycle", "optim__grad_clip": 1.0},
    "averaged weights": {"optim__ema_decay": 0.9},
    "reference, patience": {"compat": "reference", "stopping__rule": "patience"},
    "bfloat16": {"precision": "fast"},
}


@pytest.mark.parametrize(
    ("mode", "variant"),
    [
        *(("linear", variant) for variant in VARIANTS),
        *(("end_to_end", variant) for variant in ("plain", "averaged weights", "bfloat16")),
        *(("linear_init", variant) for variant in ("plain", "averaged weights")),
    ],
)
def test_resume_is_bit_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, variant: str) -> None:
    changes = dict(VARIANTS[variant])
    if variant == "bfloat16":
        monkeypatch.setattr(numerics, "_cpu_has_bfloat16", lambda: True)
    if mode == "linear_init":
        changes |= {"linear_init": {"epochs": 2, "lr": 0.05, "batch_size": 8}}
    config = make(mode, **changes)
    whole = train(config, tmp_path / "whole")
    for _ in range(config.total_epochs):  # a new process image of the trainer after every single epoch
        pieces = train(config, tmp_path / "pieces", stop_after=1)
    assert pieces.finished
    assert figures(pieces.history) == figures(whole.history)
    for name in ("last.pt", "best.pt"):
        a, b = (load_checkpoint(tmp_path / folder / name) for folder in ("whole", "pieces"))
        for part in ("model", "method"):
            assert all(torch.equal(a[part][key], b[part][key]) for key in a[part])
    scores = [sorted((tmp_path / folder / "scores").iterdir()) for folder in ("whole", "pieces")]
    assert [p.name for p in scores[0]] == [p.name for p in scores[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*scores, strict=True) if a.suffix == ".npy")


@pytest.mark.parametrize("mode", ["linear", "end_to_end"])
def test_it_learns(tmp_path: Path, mode: str) -> None:
    lr = 0.05 if mode == "linear" else 0.003
    config = make(mode, method="bce", data__observation="fully_observed", epochs=12, optim__lr=lr)
    trainer = train(config, tmp_path)
    chance = 100 * float((trainer.stage.bundle.test.truth == 1).double().mean())
    assert trainer.history[-1].metrics["test/mAP"] > chance + 30


def test_result_is_the_chosen_epochs(tmp_path: Path) -> None:
    trainer = train(make("linear", optim__lr=3.0, epochs=6), tmp_path)
    values = [report.metrics["selection/value"] for report in trainer.history]
    best = int(np.argmax(values))
    assert values.index(max(values)) == best == trainer.history[-1].metrics["selection/best_epoch"]
    assert trainer.history[-1].metrics["selection/best"] == max(values)
    stored = load_checkpoint(tmp_path / "best.pt")
    assert stored["epoch"] == best
    result = json.loads((tmp_path / "result.json").read_text())
    logits = torch.from_numpy(np.load(tmp_path / "scores" / "test.npy"))
    again = multilabel_metrics(logits, trainer.stage.bundle.test.truth)
    assert result["metrics"]["test/mAP"] == again["mAP"]
    weight, bias = stored["head"].values()
    features = torch.from_numpy(trainer.stage.bundle.test.array)
    assert torch.allclose(features @ weight.T + bias, logits, atol=1e-5)


def test_stored_validation_scores_give_the_reported_figures(tmp_path: Path) -> None:
    trainer = train(make("linear"), tmp_path)
    labels = np.load(tmp_path / "scores" / "labels.npz")
    for report in trainer.history:
        logits = torch.from_numpy(np.load(tmp_path / "scores" / f"val_{report.epoch:04d}.npy"))
        assert multilabel_metrics(logits, torch.from_numpy(labels["truth"]))["mAP"] == report.metrics["val/mAP"]


def test_metrics_file_holds_every_report(tmp_path: Path) -> None:
    trainer = train(make("linear"), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert rows[-1]["final"] is True
    assert [row["metrics"] for row in rows] == [report.metrics for report in trainer.history]
    assert load_config(tmp_path / "config.yaml") == trainer.config


def test_a_finished_run_yields_nothing_and_remembers(tmp_path: Path) -> None:
    first = train(make("linear"), tmp_path)
    second = train(make("linear"), tmp_path)
    assert list(second.epochs()) == []
    assert figures(second.history) == figures(first.history)


def test_stopping_rule_ends_the_run_with_test_figures(tmp_path: Path) -> None:
    trainer = train(make("linear", optim__lr=5.0, epochs=30, stopping__rule="ack"), tmp_path)
    assert len(trainer.history) < 30
    assert trainer.history[-1].final
    assert "test/mAP" in trainer.history[-1].metrics
    assert all("test/mAP" not in report.metrics for report in trainer.history[:-1])


def test_seeds_matter_and_repeat(tmp_path: Path) -> None:
    a, b, c = (train(make("linear", seed=seed), tmp_path / name) for seed, name in ((0, "a"), (0, "b"), (1, "c")))
    assert figures(a.history) == figures(b.history)
    assert figures(a.history) != figures(c.history)


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    train(make("linear"), tmp_path, stop_after=1)
    with pytest.raises(CheckpointError, match="another configuration"):
        train(make("linear", optim__lr=0.1), tmp_path)


def test_other_data_is_refused(tmp_path: Path) -> None:
    train(make("linear"), tmp_path, stop_after=1)
    with pytest.raises(CheckpointError, match="another data set"):
        Trainer(make("linear"), make_bundle(seed=1), tmp_path)


def test_divergence_is_named(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="epoch"):
        train(make("end_to_end", optim__name="sgd", optim__lr=1e30, method="bce"), tmp_path)


def test_a_head_learns_at_its_own_rate(tmp_path: Path) -> None:
    trainer = train(make("end_to_end", optim__head_lr_mult=10.0, optim__lr=0.01), tmp_path, stop_after=1)
    assert [group["lr"] for group in trainer.optimization.optimizers[0].param_groups] == [
        0.01,
        0.1,
        0.1,
    ]  # backbone, head, role


def test_killed_while_the_second_stage_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record says that the first stage is over; a resumed run begins the second one, as if nothing had happened."""
    config = make("linear_init", linear_init={"epochs": 2, "lr": 0.05, "batch_size": 8})
    whole = train(config, tmp_path / "whole")
    build = Trainer._start_stage

    def cut_off(self: Trainer, number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt
        build(self, number)

    with monkeypatch.context() as context:
        context.setattr(Trainer, "_start_stage", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "cut")
    again = train(config, tmp_path / "cut")
    assert figures(again.history) == figures(whole.history)
    assert [report.final for report in again.history] == [False, False, False, False, True]


def test_the_first_stage_has_a_fixed_rate_of_its_own(tmp_path: Path) -> None:
    changes = {"optim__head_lr_mult": 10.0, "optim__schedule": "cosine", "optim__warmup_epochs": 1}
    config = make("linear_init", linear_init={"epochs": 2, "lr": 0.05, "batch_size": 8}, **changes)
    trainer = Trainer(config, make_bundle(images=True), tmp_path, stage_bundle=make_bundle())
    assert [group["lr"] for group in trainer.optimization.optimizers[0].param_groups] == [0.05, 0.5]  # head, role
    rates = [report.metrics["train/lr"] for report in trainer.epochs()]
    assert rates[:2] == [0.05, 0.05]
    assert rates[2] < 0.05


def test_no_batch_is_full(tmp_path: Path) -> None:
    config = make("linear", optim__drop_last=True, optim__batch_size=126)
    with pytest.raises(ConfigError, match="125 training examples do not fill one batch of 126"):
        Trainer(config, make_bundle(), tmp_path)


def test_scores_under_autocast_are_not_ranked_in_half_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numerics, "_cpu_has_bfloat16", lambda: True)
    trainer = Trainer(make("end_to_end", precision="fast"), make_bundle(images=True), tmp_path)
    logits = trainer.scores(trainer.stage.bundle.val)
    assert not torch.equal(logits, logits.bfloat16().float())


def test_killed_between_best_and_record(tmp_path: Path) -> None:
    """Weights of an epoch that no record names are dropped, and the epoch is trained again."""
    config = make("linear")
    whole = train(config, tmp_path / "whole")
    cut = train(config, tmp_path / "cut", stop_after=2)
    pending = load_checkpoint(tmp_path / "cut" / "best.pt") | {"epoch": 3}
    torch.save(pending, tmp_path / "cut" / "best.pt.next")
    again = train(config, tmp_path / "cut")
    assert figures(cut.history) == figures(whole.history)[:2]
    assert figures(again.history) == figures(whole.history)
    assert not (tmp_path / "cut" / "best.pt.next").exists()


# -- when records are written -----------------------------------------------------------------------------


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epoch that each record names, as they are written; no record is due before the end of the run."""
    epochs: list[int] = []
    real = RunFolder.write_last

    def write_last(self: RunFolder, stage: Bundle, content: Any, history: Any) -> None:
        epochs.append(content["epoch"])
        real(self, stage, content, history)

    monkeypatch.setattr(RunFolder, "write_last", write_last)
    monkeypatch.setattr("plml.pace.FIRST_COST_S", 1e9)
    return epochs


def test_short_epochs_are_not_recorded_one_by_one(tmp_path: Path, writes: list[int]) -> None:
    trainer = train(make("linear", epochs=12), tmp_path)
    assert writes == [12]
    trainer.record()  # nothing new
    assert writes == [12]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 12
    assert len(list((tmp_path / "scores").glob("val_*.npy"))) == 12


def test_long_epochs_are_recorded_one_by_one(
    tmp_path: Path, writes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "due", lambda self, seconds: True)
    train(make("linear"), tmp_path)
    assert writes == [1, 2, 3, 4]


def test_the_end_of_a_stage_is_recorded(tmp_path: Path, writes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "due", lambda self, seconds: False)
    train(make("linear_init", linear_init={"epochs": 2, "lr": 0.05, "batch_size": 8}), tmp_path)
    assert writes == [2, 2, 5]  # the second one: the next stage is built


def test_closing_the_generator_writes_the_record(tmp_path: Path, writes: list[int]) -> None:
    trainer = Trainer(make("linear"), make_bundle(), tmp_path)
    run = trainer.epochs()
    next(run)
    next(run)
    assert not (tmp_path / "last.pt").exists()
    run.close()
    assert writes == [2]
    assert load_checkpoint(tmp_path / "last.pt")["epoch"] == 2
    assert load_checkpoint(tmp_path / "best.pt")["epoch"] == int(trainer.history[-1].metrics["selection/best_epoch"])
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_an_epoch_that_breaks_off_is_not_recorded(
    tmp_path: Path, writes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make("linear"), make_bundle(), tmp_path / "cut")
    run = trainer.epochs()
    next(run)
    with monkeypatch.context() as context:
        context.setattr(Trainer, "scores", lambda self, split: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            next(run)
    run.close()
    trainer.record()  # weights are those of the second epoch, and everything else of the first
    assert writes == []
    assert figures(train(make("linear"), tmp_path / "cut").history) == figures(
        train(make("linear"), tmp_path / "whole").history
    )


@pytest.mark.parametrize("recorded", [(), (1,), (0, 2)])
def test_killed_between_records(tmp_path: Path, recorded: tuple[int, ...], writes: list[int]) -> None:
    """What a process left on disk when it died goes on to the figures, weights and files of a whole run."""

    class Due(Pace):
        def due(self, seconds: float) -> bool:
            return trainer.epoch in recorded

    config = make("linear", epochs=6)
    trainer = Trainer(config, make_bundle(), tmp_path / "dying")
    trainer.pace = Due()
    run = trainer.epochs()
    for _ in range(4):
        next(run)
    shutil.copytree(tmp_path / "dying", tmp_path / "cut")  # as it was at that moment
    assert writes == [epoch + 1 for epoch in recorded]
    again = train(config, tmp_path / "cut")
    whole = train(config, tmp_path / "whole")
    assert figures(again.history) == figures(whole.history)
    for name in ("last.pt", "best.pt"):
        a, b = (load_checkpoint(tmp_path / folder / name) for folder in ("whole", "cut"))
        assert a["epoch"] == b["epoch"]
        for part in ("model", "method"):
            assert all(torch.equal(a[part][key], b[part][key]) for key in a[part])
    names = [sorted(p.name for p in (tmp_path / folder / "scores").iterdir()) for folder in ("whole", "cut")]
    assert names[0] == names[1]
    assert not (tmp_path / "cut" / "best.pt.next").exists()


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_trainer import make, make_bundle
from plml.pace import Pace
from plml.trainer import Trainer

class Often(Pace):
    def due(self, seconds):
        return True

trainer = Trainer(make("end_to_end", epochs=40), make_bundle(images=True), Path(sys.argv[2]))
trainer.pace = Often()
for report in trainer.epochs():
    if report.epoch == 38:
        time.sleep(600)  # never ends by itself, however fast the machine
"""


def test_kill_nine_at_random_moments(tmp_path: Path) -> None:
    """A process killed twice, while it trains or while it writes, is continued to the figures of a whole run."""
    config = make("end_to_end", epochs=40)
    file = tmp_path / "cut" / "last.pt"
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path / "cut")]
    for delay in (0.05, 0.3):
        before = file.stat().st_mtime_ns if file.exists() else 0
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while not (file.exists() and file.stat().st_mtime_ns > before):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert load_checkpoint(file)["epoch"] < 40
    again = train(config, tmp_path / "cut")
    whole = train(config, tmp_path / "whole")
    assert len(again.history) == 40
    assert figures(again.history) == figures(whole.history)


def test_fast_on_a_cpu_without_bfloat16_is_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "_cpu_has_bfloat16", lambda: False)
    runs = [train(make("end_to_end", precision=name), tmp_path / name).history for name in ("paper", "fast")]
    assert figures(runs[0]) == figures(runs[1])


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_record_of_another_memory_layout_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: float | None
) -> None:
    """Records of former versions, or of a GPU, hold convolutions channels first; the values are what counts."""
    config = make("end_to_end", optim__ema_decay=average)
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as former:
        former.setattr(training_step, "lay_out", lambda *_: None)
        train(config, tmp_path / "pieces", stop_after=1)
    rest = train(config, tmp_path / "pieces")
    assert rest.model.backbone.layers[1][0].weight.is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(figures(rest.history), figures(whole.history), strict=True):
        assert one["train/loss"] == pytest.approx(other["train/loss"], rel=1e-3)
