"""What a training says on a real terminal, in a pipe, quietly and to programs."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from plml.machine_load import GpuLoad, Load, MachineLoad
from plml.periodic import every
from plml.terminal import Terminal

TINY = """\
epochs: 4
method: {name: an}
data: {observation: single_positive, options: {num_train: 120, num_val: 40, num_test: 50}}
optim: {lr: 1e-3, batch_size: 16}
"""
TRAIN = [sys.executable, "-m", "plml", "train", "config.yaml"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(TINY)
    return tmp_path


def on_a_terminal(command: list[str], cwd: Path, term: str = "xterm-256color") -> str:
    """Everything a command writes to a terminal of 100 columns."""
    master, slave = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "LINES")}
    environment |= {"TERM": term, "COLUMNS": "100"}
    process = subprocess.Popen(command, cwd=cwd, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    written = b""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        ready, _, _ = select.select([master], [], [], 1)
        if ready:
            try:
                written += os.read(master, 65536)
            except OSError:  # the other side is closed
                break
        elif process.poll() is not None:
            break
    if process.poll() is None and time.monotonic() >= deadline:
        process.kill()
    assert process.wait() == 0, written.decode()
    os.close(master)
    return written.decode()


def test_a_terminal_has_a_bar_with_epoch_best_time_and_load(folder: Path) -> None:
    shown = on_a_terminal([*TRAIN, "-o", "run"], folder)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"epoch \d/4 best [\d.]+ \(epoch \d\) .* about .* left CPU \d+ %, memory \d+ %", plain)
    assert "━" in shown
    assert "\x1b[?25l" in shown  # the cursor is hidden for the bar,
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # and shown again
    assert re.search(r"test mAP [\d.]+ at epoch \d", plain.splitlines()[-2])


def test_a_dumb_terminal_gets_lines(folder: Path) -> None:
    shown = on_a_terminal([*TRAIN, "-o", "run"], folder, term="dumb")
    assert not re.search(r"\x1b\[\??\d*[A-LhlJK]", shown)  # nothing moves
    assert "━" not in shown
    assert len(re.findall(r"^epoch +\d ", shown, re.MULTILINE)) == 4


def test_a_pipe_gets_a_line_an_epoch_without_control_characters(folder: Path) -> None:
    done = subprocess.run([*TRAIN, "-o", "run"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)
    lines = done.stdout.splitlines()
    assert len(lines) == 2 + 4 + 2
    assert [line.split()[1] for line in lines[2:6]] == ["0", "1", "2", "3"]


def test_quiet_leaves_the_last_lines(folder: Path) -> None:
    done = subprocess.run([*TRAIN, "-o", "run", "--quiet"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0
    assert [line.split(" ")[0] for line in done.stdout.splitlines()] == ["test", "to"]
    wrong = subprocess.run([*TRAIN, "epochs=0", "-q"], cwd=folder, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "epochs" in wrong.stderr


def test_programs_get_events_and_nothing_else(folder: Path) -> None:
    done = subprocess.run([*TRAIN, "-o", "run", "--json"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0
    told = [json.loads(line) for line in done.stdout.splitlines()]
    events = [event for event in told if event["event"] != "progress"]  # one a minute, on a busy machine
    assert [event["event"] for event in events] == ["start", *["epoch"] * 4, "result", "end"]
    assert all(isinstance(event["time"], float) for event in events)
    reports = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [event["metrics"] for event in events[1:5]] == [report["metrics"] for report in reports]
    result = json.loads((folder / "run" / "result.json").read_text())
    assert events[5]["metrics"]["test/mAP"] == result["metrics"]["test/mAP"]
    assert events[6]["exit_code"] == 0
    assert "epoch   0" in done.stderr
    wrong = subprocess.run([*TRAIN, "optim.lrr=1", "--json"], cwd=folder, capture_output=True, text=True)
    error, end = map(json.loads, wrong.stdout.splitlines())
    assert error["message"] == "config.yaml: unknown key 'optim.lrr'; did you mean 'optim.lr'?"
    assert end["exit_code"] == wrong.returncode == 2


@pytest.mark.parametrize("mode", [[], ["--json"]])
def test_a_reader_that_goes_away_does_not_end_the_training(folder: Path, mode: list[str]) -> None:
    process = subprocess.Popen(
        [*TRAIN, "-o", "run", *mode], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        told = process.stderr.read()
    assert process.wait(timeout=120) == 0, told
    assert "Traceback" not in told
    assert "BrokenPipe" not in told
    assert (folder / "run" / "result.json").is_file()


def test_what_is_printed_beside_events_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    with terminal.speaking(quiet=False, json=True):
        print("a library speaks")
        terminal.event("figure", value=float("nan"), values=(1, 2.5), where=Path("a"), name="so")
        terminal.warn("careful")
        terminal.result("the end")
    out, err = capsys.readouterr()
    first, second = map(json.loads, out.splitlines())
    assert {key: first[key] for key in first if key != "time"} == {
        "event": "figure",
        "value": None,
        "values": [1, 2.5],
        "where": "a",
        "name": "so",
    }
    assert (second["event"], second["message"]) == ("warning", "careful")
    assert err.splitlines() == ["a library speaks", "careful", "the end"]
    terminal.print("back to lines")
    assert capsys.readouterr().out == "back to lines\n"


def test_quiet_and_json_leave_warnings_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    with terminal.speaking(quiet=True, json=True):
        terminal.print("a line")
        terminal.warn("careful")
        terminal.result("the end")
    out, err = capsys.readouterr()
    assert json.loads(out)["event"] == "warning"
    assert err == "careful\n"


def test_a_fault_of_the_program_is_told_to_programs_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()

    def command() -> None:
        with terminal.speaking(quiet=True, json=True):
            terminal.event("start")
            raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        command()
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["start", "error", "end"]
    assert events[1]["message"] == "ZeroDivisionError: division by zero"
    assert events[2]["exit_code"] == 1


def test_events_of_several_threads_are_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    with terminal.speaking(quiet=True, json=True):
        threads = [
            threading.Thread(target=lambda: [terminal.event("one", text="x" * 500) for _ in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 200
    assert all(json.loads(line)["event"] == "one" for line in lines)


def test_the_load_is_plausible_cheap_and_the_same_in_every_thread() -> None:
    read = MachineLoad()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:  # keep a core busy
        sum(range(1000))
    told: list[Load] = []
    thread = threading.Thread(target=lambda: told.append(read()))
    thread.start()
    thread.join()
    assert 0 < told[0].cpu <= 100
    assert 0 < told[0].memory < 100
    began = time.process_time()
    for _ in range(1000):
        read()
    assert time.process_time() - began < 0.5
    assert read() == told[0]  # within two seconds


def test_the_load_in_words() -> None:
    load = Load(97.4, 41.0, (GpuLoad(88, 12.34, 79.6),))
    assert str(load) == "CPU 97 %, memory 41 %, GPU 0 88 % (12.3 of 79.6 GiB)"
    assert load.fields()["gpus"][0]["busy"] == 88


def test_something_is_done_again_and_again_until_the_end() -> None:
    calls: list[float] = []
    with every(0.02, lambda: calls.append(time.monotonic())):
        deadline = time.monotonic() + 10
        while len(calls) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    done = len(calls)
    assert done >= 3
    time.sleep(0.1)
    assert len(calls) == done
