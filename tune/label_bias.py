"""Signs of label bias among the complete trials of a study, where looking costs little."""

from plml.disagreement import FEWEST
from plml.errors import DamagedError
from plml.mechanism import ChosenPerImage, SeenIndependently
from plml.reselection import reselect
from plml.reselection_tables import bias_warnings
from plml.stored_runs import scores_file
from tune.standings import Leaderboard, Row

MOST_TRIALS = 200
MOST_BYTES = 8 * 2**20  # of scores of the chosen epochs: about two seconds


def label_bias(board: Leaderboard) -> list[str]:
    """Return in words where label bias is suspected; empty where nothing is, or looking would take long.

    It looks where single positives were seen and between 8 and 200 complete trials keep the scores of their chosen
    epoch.

    Args:
        board: of the study.
    """
    rows = [row for row in board.ranked if _shows_positives(row) and _size(row)]
    if not FEWEST <= len(rows) <= MOST_TRIALS or sum(map(_size, rows)) > MOST_BYTES:
        return []
    try:
        return bias_warnings(reselect([row.run_folder for row in rows], criteria=()))
    except DamagedError as error:
        return [f"label bias was not looked for: {error}"]


def _shows_positives(row: Row) -> bool:
    if row.config is None:
        return False
    mechanism = row.config.choosing.mechanism(row.config.data.observation)
    return isinstance(mechanism, ChosenPerImage | SeenIndependently)


def _size(row: Row) -> int:
    """Return the bytes of the scores of the chosen epoch, 0 where they are not kept."""
    if row.best_epoch is None or not (file := scores_file(row.run_folder, row.best_epoch)).is_file():
        return 0
    return file.stat().st_size
