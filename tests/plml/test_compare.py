"""Runs side by side: what is said of them, what is refused, and a page that names cannot break."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from plml.cli import DONE, WRONG_INPUT, main
from plml.compare.curves import nice_ticks
from plml.compare.differences import class_rows, config_rows, image_intervals, warnings
from plml.compare.page import render
from plml.compare.report import compare
from plml.compare.runs import find_run, read_runs
from plml.errors import ConfigError
from plml.image_resamples import resample_weights
from plml.metrics import multilabel_metrics

TINY = {
    "epochs": 2,
    "method": "an",
    "data": {"observation": "single_positive", "options": {"num_train": 60, "num_val": 40, "num_test": 50}},
    "optim": {"lr": 1e-3, "batch_size": 16},
}
EVIL = "<script>alert('x')</script>&\"'"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs: two methods, another draw of labels, another criterion, one that is not finished."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "config.yaml").write_text(yaml.safe_dump(TINY))
    for name, extra in {
        "an": [],
        "role": ["method=role"],
        "drawn": ["data.observation_seed=7"],
        "clean": ["selection.labels=clean"],
        "told": ["selection.criterion=corrected_ap", "selection.cardinality=known"],
        "full": ["data.observation=fully_observed", "selection.labels=clean", "method=bce"],
        "other": ["data.options.num_test=40"],
    }.items():
        assert main(["train", str(folder / "config.yaml"), *extra, "-o", str(folder / name), "-q"]) == DONE
    shutil.copytree(folder / "role", folder / "begun")
    (folder / "begun" / "result.json").unlink()
    return folder


def test_only_what_differs_in_the_configuration_is_listed(runs: Path) -> None:
    rows = {row.name: row.values for row in config_rows(read_runs([str(runs / "an"), str(runs / "role")], runs))}
    assert rows["method.name"] == ("an", "role")
    assert rows["method.lr_mult"][0] is None
    assert all(path.startswith("method.") for path in rows)


def test_figures_and_classes_are_those_of_the_results(runs: Path) -> None:
    compared = compare(read_runs([str(runs / "an"), str(runs / "role" / "best.pt")], runs))
    results = [json.loads((runs / name / "result.json").read_text()) for name in ("an", "role")]
    figures = {row.name: row for row in compared.figures}
    assert figures["test/mAP"].values == tuple(result["metrics"]["test/mAP"] for result in results)
    assert figures["test/mAP"].difference(1) == results[1]["metrics"]["test/mAP"] - results[0]["metrics"]["test/mAP"]
    best = json.loads((runs / "an" / "metrics.jsonl").read_text().splitlines()[results[0]["best_epoch"]])
    assert figures["val/mAP"].values[0] == best["metrics"]["val/mAP"]
    differences = [row.difference(1) or 0.0 for row in class_rows(compared.runs)]
    assert differences == sorted(differences, reverse=True)
    assert compared.warnings == []


def test_the_interval_is_that_of_a_bootstrap_written_out(runs: Path) -> None:
    [found] = image_intervals(read_runs([str(runs / "an"), str(runs / "role")], runs))
    assert found is not None
    import torch

    scores = [np.load(runs / name / "scores" / "test.npy") for name in ("an", "role")]
    labels = np.load(runs / "an" / "scores" / "test_labels.npy")
    drawn = np.repeat(np.arange(len(labels)), resample_weights(len(labels))[:, 1].astype(int))
    first = [
        multilabel_metrics(torch.from_numpy(each[rows]), torch.from_numpy(labels[rows]))["mAP"]
        for rows in (np.arange(len(labels)), drawn)
        for each in scores
    ]
    assert found.difference == pytest.approx(first[1] - first[0], abs=1e-9)
    from plml.weighted_precision import weighted_mean_average_precision

    weights = resample_weights(len(labels))[:, 1:2]
    again = [weighted_mean_average_precision(each, labels, weights)[0] for each in scores]
    assert again == pytest.approx(first[2:], abs=1e-9)
    assert found.low < found.difference < found.high


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("drawn", "other observed labels (data.observation_seed: 1200, 7)"),
        ("clean", "chosen by what their label setting does not have, the truth: clean"),
        ("told", "chosen by what their label setting does not have, the truth: told"),
        ("clean", "chose their epochs by other figures or labels"),
        ("other", "other test images or their labels"),
        ("begun", "begun is not trained to its end (2 of 2 epochs): it has no test figures"),
    ],
)
def test_what_cannot_be_compared_is_told(runs: Path, other: str, told: str) -> None:
    read = read_runs([str(runs / "an"), str(runs / other)], runs)
    assert any(told in line for line in warnings(read)), warnings(read)
    if other in ("other", "begun"):
        assert image_intervals(read) == [None]


def test_clean_labels_are_no_cheat_where_every_label_is_seen(runs: Path) -> None:
    read = read_runs([str(runs / "full"), str(runs / "full")], runs)
    assert not any("truth" in line for line in warnings(read))


def test_damaged_scores_cost_the_interval_alone(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "role", tmp_path / "role")
    file = tmp_path / "role" / "scores" / "test.npy"
    file.write_bytes(file.read_bytes()[:-7])
    compared = compare(read_runs([str(runs / "an"), str(tmp_path / "role")], runs))
    assert compared.intervals == [None]
    assert any("role: its test scores cannot be read" in line for line in compared.warnings)
    assert all(value is not None for row in compared.figures if row.name == "test/mAP" for value in row.values)


def test_figures_are_of_the_epoch_that_was_chosen_or_not_told(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "role", tmp_path / "role")
    result = json.loads((runs / "role" / "result.json").read_text())
    log = tmp_path / "role" / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[: result["best_epoch"]]) + "{torn")
    [run] = read_runs([str(tmp_path / "role")], runs)
    assert run.figures() == result["metrics"]
    assert run.damage == (
        f"role: epoch {result['best_epoch']}, which was chosen, is not in its metrics.jsonl: only test is told",
    )


def test_a_home_that_is_nobodys_is_refused(runs: Path) -> None:
    with pytest.raises(ConfigError, match="~no-such-user/run: there is no home folder of '~no-such-user'"):
        find_run("~no-such-user/run", runs)


def test_a_study_and_a_key_name_a_run(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "an", tmp_path / "mine" / "trials" / "0003")
    assert find_run("mine/0003", tmp_path) == tmp_path / "mine" / "trials" / "0003"
    with pytest.raises(ConfigError, match=r"there is no run 'mine/0004'; did you mean 'mine/0003'\?"):
        find_run("mine/0004", tmp_path)
    with pytest.raises(ConfigError, match=r"is no run: there is no config.yaml in it; runs in it: .*0003"):
        find_run(str(tmp_path / "mine"), tmp_path)
    with pytest.raises(ConfigError, match=r"did you mean '.*/an'"):
        find_run(str(runs / "ann"), tmp_path)
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(ConfigError, match="beside this file is no config.yaml"):
        find_run(str(tmp_path / "file.txt"), tmp_path)


def test_names_that_are_alike_are_told_apart(runs: Path, tmp_path: Path) -> None:
    for study in ("a", "b"):
        shutil.copytree(runs / "an", tmp_path / study / "trials" / "0001")
    assert [run.name for run in read_runs(["a/0001", "b/0001"], tmp_path)] == ["a/trials/0001", "b/trials/0001"]
    assert [run.name for run in read_runs(["a/0001", "a/0001"], tmp_path)] == ["0001", "0001 (2)"]


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_escapes_names(runs: Path, tmp_path: Path) -> None:
    evil = tmp_path / EVIL.replace("/", "_")
    shutil.copytree(runs / "role", evil)
    result = json.loads((evil / "result.json").read_text())
    result["class_names"][0] = EVIL
    (evil / "result.json").write_text(json.dumps(result))
    page = render(compare(read_runs([str(runs / "an"), str(evil)], tmp_path)))
    read = Tags()
    read.feed(page)
    assert read.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert not any(name.startswith("on") or name in ("src", "href") for name in read.attributes)
    assert EVIL in read.text
    assert evil.name in read.text
    assert "default-src 'none'" in page
    assert page.count("<polyline") == 2 * 3  # runs by curves


def test_the_command_prints_and_writes(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(runs / "an"), str(runs / "role")]
    assert main(["compare", *names, "--html", str(tmp_path / "page.html"), "--classes", "3"]) == DONE
    out = capsys.readouterr().out
    for part in ("method.name", "test/mAP", "95 % interval over test images", "3 of 10 classes", "One run each"):
        assert part in out
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert main(["compare", *names, "--json"]) == DONE
    told = json.loads(capsys.readouterr().out)
    assert told["figures"]["test/mAP"][1] - told["figures"]["test/mAP"][0] == pytest.approx(
        told["test_map_difference_95"][0][0], abs=1e-6
    )
    assert main(["compare", names[0]]) == WRONG_INPUT
    assert "needs two runs or more" in capsys.readouterr().err


def test_a_damaged_result_is_named(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "an", tmp_path / "an")
    (tmp_path / "an" / "result.json").write_text("{")
    assert main(["compare", str(tmp_path / "an"), str(runs / "role")]) == WRONG_INPUT
    assert "result.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0.0, 1.0),
        (31.2, 47.9),
        (5.0, 5.0),
        (-3e-5, 2e-5),
        (0.3, 99.8),
        (99.99999999999999, 100.0),
        (71.2, 71.20000000000002),
        (1e-14, 3e-14),
    ],
)
def test_ticks_are_few_and_hold_everything(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 7
