"""When records are due: their cost stays a small share of the time. The clock is the test's."""

from dataclasses import dataclass

import pytest

from plml import pace
from plml.pace import FIRST_COST_S, SHARE, CommonPace, Pace


@dataclass
class Clock:
    now: float = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def record(one: Pace, clock: Clock, cost: float) -> None:
    with one.recording():
        clock.now += cost


def test_the_first_record_waits_for_what_one_may_cost() -> None:
    one = Pace()
    assert not one.due(FIRST_COST_S / SHARE - 0.01)
    assert one.due(0.02)


@pytest.mark.parametrize("cost", [0.001, 0.1, 3.0])
def test_the_next_record_waits_twenty_times_the_cost_of_the_last(clock: Clock, cost: float) -> None:
    one = Pace()
    record(one, clock, cost)
    assert not one.due(19.9 * cost)
    assert one.due(0.2 * cost)
    record(one, clock, 2 * cost)  # the disk is slower now
    assert not one.due(30 * cost)
    assert one.due(11 * cost)


def test_long_epochs_are_recorded_each_time(clock: Clock) -> None:
    one, records = Pace(), 0
    for _ in range(10):
        if one.due(30.0):
            record(one, clock, 0.2)
            records += 1
    assert records == 10


@pytest.mark.parametrize("epoch_s", [0.001, 0.02, 0.5])
def test_records_take_no_more_than_their_share(clock: Clock, epoch_s: float) -> None:
    one, spent, trained = Pace(), 0.0, 0.0
    for _ in range(20_000):
        trained += epoch_s
        if one.due(epoch_s):
            record(one, clock, 0.15)
            spent += 0.15
    assert 0.02 < spent / trained <= SHARE


def test_time_in_which_others_train_does_not_count(clock: Clock) -> None:
    """Populations of one process take turns; each would record after every epoch if the clock decided."""
    paces = [CommonPace() for _ in range(7)]
    recorded = 0
    for _ in range(70):
        for one in paces:
            clock.now += 0.3
            with one.epoch(0.3):
                if one.due(0.3):
                    record(one, clock, 0.1)
                    recorded += 1
    assert recorded * 0.1 <= SHARE * 70 * 7 * 0.3


def test_runs_side_by_side_record_together(clock: Clock) -> None:
    common, due = CommonPace(), []
    for _ in range(50):
        with common.epoch(1.0):
            answers = set()
            for _ in range(8):
                answers.add(common.due(0.125))
                if common.due(0.125):
                    record(common, clock, 0.1)
            assert len(answers) == 1
        due.append(answers.pop())
    # Eight records cost 0.8 s, so 16 s lie between them; the first is guessed to cost 0.1 s, or 2 s.
    assert [number for number, now in enumerate(due) if now] == [1, 17, 33, 49]


def test_a_record_beside_the_common_ones_changes_no_pace(clock: Clock) -> None:
    common = CommonPace()
    record(common, clock, 0.5)  # before the first epoch: a run that leaves at once
    with common.epoch(2.1):
        assert common.due(2.1)
        record(common, clock, 0.1)
    with common.epoch(1.0):
        assert not common.due(1.0)
        record(common, clock, 5.0)  # a run's last record, which is always written
    with common.epoch(1.0):
        assert common.due(1.0)  # 2 s since the last common one, whose cost was 0.1 s
