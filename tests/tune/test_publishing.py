"""What the study's page is set up with."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from plml.config import make_config
from tune.publishing import CLEAN_NOTE, contour_axes, correction_curves, notes
from tune.standings import Leaderboard, Row


def board_of(*values: Mapping[str, object], labels: str = "observed") -> Leaderboard:
    rows = tuple(
        Row(
            key=f"{number:04d}",
            number=number,
            state="COMPLETE",
            reason="",
            objective=50.0 - number,
            values={"method.name": "an", **row},
            config=make_config(
                {"method": "an", "data": {"observation": "single_positive"}, "selection": {"labels": labels}}
            ),
            metrics={"test/mAP": 40.0},
            val_map=None,
            run_folder=Path("nowhere"),
        )
        for number, row in enumerate(values)
    )
    return Leaderboard("mine", "selection/best", True, rows, ("optim.lr",), Path("nowhere"))


def test_a_contour_needs_two_numeric_parameters_that_vary() -> None:
    one, other = {"optim.lr": 1e-3, "optim.batch_size": 8}, {"optim.lr": 1e-2, "optim.batch_size": 16}
    assert contour_axes(board_of(one, other)) == ("log10 optim.lr", "optim.batch_size")
    first = ({"optim.batch_size": 8, "optim.lr": 1e-3}, {"optim.batch_size": 16, "optim.lr": 1e-2})
    assert contour_axes(board_of(*first)) == ("log10 optim.lr", "optim.batch_size")
    assert contour_axes(board_of({"optim.lr": 1e-3}, {"optim.lr": 1e-2})) is None
    named = [{**row, "model.head.name": name} for row, name in zip((one, other), ("linear", "csra"), strict=True)]
    without = [{key: value for key, value in row.items() if key != "optim.batch_size"} for row in named]
    assert contour_axes(board_of(*without)) is None


def test_diagnostics_are_shown_where_a_trial_has_them() -> None:
    board = board_of({"optim.lr": 1e-3}, {"optim.lr": 1e-2})
    assert correction_curves(board) == []
    figures = {"diagnosis/pseudo_positive_recall": 1.0, "diagnosis/loss_false_negatives": 2.0, "val/mAP": 3.0}
    diagnosed = replace(board.rows[1], metrics=figures)
    assert correction_curves(replace(board, rows=(board.rows[0], diagnosed))) == [
        "diagnosis/loss_false_negatives",
        "diagnosis/pseudo_positive_recall",
    ]


def test_notes_say_when_clean_labels_chose() -> None:
    values = {"optim.lr": 1e-3}
    assert CLEAN_NOTE in notes(board_of(values, labels="clean"))
    assert CLEAN_NOTE not in notes(board_of(values))
