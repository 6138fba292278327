"""How figures are formed, kept and written into the page."""

import argparse
import json
import runpy
from pathlib import Path

import pytest
from rich.console import Console

FOLDER = Path(__file__).parents[2] / "benchmarks"
BENCH = runpy.run_path(str(FOLDER / "bench.py"))
MEASURING = runpy.run_path(str(FOLDER / "measuring.py"))


def figure(what="linear, batch 8, population K=16", against="classic loop, 4 workers", ratio=50.0, low=45.0, high=60.0):
    return MEASURING["Figure"](what, 22.0, "epochs/s", against, ratio, low, high, 3)


def test_candidates_take_turns_and_the_warm_up_is_left_out():
    calls = []
    times = iter([9.0, 9.0, 1.0, 2.0, 3.0, 4.0])

    def measure(name):
        calls.append(name)
        return next(times)

    values = MEASURING["take_turns"]({"a": lambda: measure("a"), "b": lambda: measure("b")}, rounds=2, warmup=1)
    assert calls == ["a", "b"] * 3
    assert values == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_a_ratio_is_formed_within_a_round():
    compared = MEASURING["compared"]
    times = compared("mine", "s", [1.0, 2.0, 4.0], "theirs", [2.0, 6.0, 4.0], smaller_is_better=True)
    assert (times.value, times.ratio, times.low, times.high, times.n) == (2.0, 2.0, 1.0, 3.0, 3)
    rates = compared("mine", "1/s", [1.0, 2.0, 4.0], "theirs", [2.0, 6.0, 4.0], smaller_is_better=False)
    assert (rates.ratio, rates.low, rates.high) == (0.5, pytest.approx(1 / 3), 1.0)


def test_the_mean_time_of_a_call_fills_the_time_asked_for():
    count = 0

    def work():
        nonlocal count
        count += 1

    assert 0 < MEASURING["seconds_each"](work, at_least=0.01) < 0.001
    assert count > 10


def test_processor_time_counts_work_and_not_sleep():
    import time

    clock = MEASURING["Clock"]()
    assert clock.seconds(lambda: time.sleep(0.2)) >= 0.2
    clock.seconds(lambda: sum(range(10_000_000)))
    asleep, busy = clock.processor
    assert asleep < 0.1 < busy


def test_files_read_back(tmp_path):
    figures = [figure(), MEASURING["alone"]("floor", "us", [3.0, 1.0, 2.0])]
    MEASURING["write"](figures, tmp_path / "deep" / "x.json")
    rows = json.loads((tmp_path / "deep" / "x.json").read_text())
    assert list(rows[0]) == ["what", "value", "unit", "against", "ratio", "low", "high", "n"]
    assert rows[1]["ratio"] is None
    assert (rows[1]["value"], rows[1]["low"], rows[1]["high"]) == (2.0, 1.0, 3.0)
    assert MEASURING["read"](tmp_path / "deep" / "x.json") == figures


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(41.0, 60.0, ">= 40.0x: met"), (30.0, 39.0, ">= 40.0x: missed"), (30.0, 50.0, ">= 40.0x: within the spread")],
)
def test_a_target_is_met_beyond_the_spread_or_not(low, high, verdict):
    assert BENCH["told"](figure(low=low, high=high), "cpu") == verdict
    assert BENCH["told"](figure(low=low, high=high), "cuda") == ">= 1,000x: missed"


def test_a_target_from_above_is_one_on_the_value():
    overhead = MEASURING["alone"]("study of 100 linear trials, 2 workers, overhead of it", "%", [4.0, 6.0, 9.0])
    assert BENCH["told"](overhead, "cpu") == "<= 10.0 %: met"
    assert BENCH["told"](figure(what="something else"), "cpu") == ""


def test_only_blocks_that_were_measured_are_rewritten(tmp_path):
    MEASURING["write"]([figure()], tmp_path / "linear_speed.json")
    (tmp_path / "linear_speed.machine.json").write_text('{"machine": "a machine", "seconds": 12.3}')
    page = "a\n<!-- bench: linear_speed -->\nold\n<!-- end -->\nb\n<!-- bench: floors -->\nkept\n<!-- end -->\n"
    filled = BENCH["filled"](page, tmp_path)
    assert "old" not in filled
    assert "kept" in filled
    assert (
        "| linear, batch 8, population K=16 | 22.0 epochs/s | classic loop, 4 workers | 50.0x | 45.0 to 60.0 |"
        in filled
    )
    assert "On a machine; 12 s:" in filled
    assert "On a GPU: not measured; run `python benchmarks/bench.py --only linear_speed` there." in filled
    assert BENCH["filled"](filled, tmp_path) == filled


def test_the_summary_has_what_has_a_target(tmp_path):
    assert BENCH["summary"](tmp_path) is None
    MEASURING["write"]([figure(), figure(what="something else")], tmp_path / "linear_speed.json")
    MEASURING["write"]([figure(ratio=900.0, low=800.0, high=1100.0)], tmp_path / "linear_speed_gpu.json")
    lines = BENCH["summary"](tmp_path).splitlines()
    what = "| linear, batch 8, population K=16 | classic loop, 4 workers |"
    assert lines[2:] == [
        f"{what} CPU | 50.0x | 45.0 to 60.0 | >= 40.0x: met |",
        f"{what} GPU | 900x | 800 to 1,100 | >= 1,000x: within the spread |",
    ]


def test_every_block_of_the_page_is_a_benchmark():
    page = BENCH["PAGE"].read_text(encoding="utf-8")
    blocks = {line.split()[2] for line in page.splitlines() if line.startswith("<!-- bench: ")}
    assert blocks <= {"summary", *BENCH["BENCHMARKS"]}
    assert set(BENCH["present"]()) <= blocks


def test_a_benchmark_that_needs_data_is_left_out_without_it(tmp_path):
    options = argparse.Namespace(data_root=None, weights=None, quick=True)
    console = Console(record=True, width=120)
    assert BENCH["run"]("cole_grid", tmp_path, options, console)
    assert "left out, it needs --data-root and --weights" in console.export_text()
    assert not list(tmp_path.glob("*.json"))


def test_the_command_passes_on_what_a_script_takes(tmp_path):
    options = argparse.Namespace(data_root=Path("photos"), weights=Path("w.safetensors"), quick=True)
    words = BENCH["command"]("cole_grid", tmp_path / "o.json", options)
    assert words[-7:] == [
        "--data-root",
        "photos",
        "--weights",
        "w.safetensors",
        "--out",
        str(tmp_path / "o.json"),
        "--quick",
    ]
    assert "--data-root" not in BENCH["command"]("metrics_speed", tmp_path / "o.json", options)
