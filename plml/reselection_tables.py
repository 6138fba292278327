"""Tables of a reselection: rows of plain values, Markdown and CSV. What is unknown is an empty cell or ``unknown``."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from plml.reselection import Group, Outcome, Reselection, mean


@dataclass(frozen=True)
class Summary:
    """Groups of one data set and label setting (its label draws), criterion by criterion.

    Attributes:
        setting: data set and label setting in words.
        draws: number of groups.
        runs: number of runs in all groups.
        images: of the validation split.
        methods: names of the methods.
        rows: one a criterion.
        epochs_known: whether the test mAP of every epoch is known.
        bias: signs of label bias, in words.
    """

    setting: str
    draws: int
    runs: int
    images: int
    methods: tuple[str, ...]
    rows: tuple["Row", ...]
    epochs_known: bool
    bias: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """Means over the groups; None is unknown.

    Attributes:
        criterion: its name.
        described: criterion and labels in words, as stamped on results.
        forbidden: it looks at what the setting does not provide.
        picked: run folder and epoch of the pick, of every group.
        test_map: of the pick.
        regret: see :class:`plml.reselection.Outcome`, as the others.
        method_regret: -
        level_error: -
        run_tau: -
        epoch_tau: -
        unknown: number of runs, of all groups, whose own pick has no known test mAP.
    """

    criterion: str
    described: str
    forbidden: bool
    picked: tuple[str, ...]
    test_map: float | None
    regret: float | None
    method_regret: float | None
    level_error: float | None
    run_tau: float | None
    epoch_tau: float | None
    unknown: int


def summarise(found: Reselection) -> list[Summary]:
    """Return one summary a data set, label setting and size of the validation split, over its label draws."""
    settings: dict[tuple[str, int], list[Group]] = {}
    for group in found.groups:
        settings.setdefault((group.setting, group.images), []).append(group)
    return [_summary(setting, groups) for (setting, _), groups in settings.items()]


def _summary(setting: str, groups: Sequence[Group]) -> Summary:
    labels = list(dict.fromkeys(outcome.chosen for group in groups for outcome in group.outcomes))
    by_label = {
        chosen: [outcome for group in groups for outcome in group.outcomes if outcome.chosen == chosen]
        for chosen in labels
    }
    return Summary(
        setting=setting,
        draws=len(groups),
        runs=sum(len(group.runs) for group in groups),
        images=groups[0].images,
        methods=tuple(sorted({method for group in groups for method in group.methods})),
        rows=tuple(_row(outcomes) for outcomes in by_label.values()),
        epochs_known=all(group.knows_every_epoch for group in groups),
        bias=tuple(
            f"label draw {group.observation_seed}: {reason}"
            for group in groups
            for reason in (group.disagreement.reasons if group.disagreement else ())
        ),
    )


def _row(outcomes: Sequence[Outcome]) -> Row:
    def over(figure: Callable[[Outcome], float | None]) -> float | None:
        """Mean over the groups; unknown if it is for one of them."""
        values = [figure(outcome) for outcome in outcomes]
        return None if None in values else mean(values)

    chosen = outcomes[0].chosen
    return Row(
        criterion=chosen.label,
        described=chosen.text,
        forbidden=chosen.uses_truth,
        picked=tuple(f"{one.pick.run.folder} epoch {one.pick.epoch}" for one in outcomes),
        test_map=over(lambda one: one.pick.test_map),
        regret=over(lambda one: one.regret),
        method_regret=over(lambda one: one.method_regret),
        level_error=over(lambda one: one.level_error),
        run_tau=over(lambda one: one.run_tau),
        epoch_tau=over(lambda one: one.epoch_tau),
        unknown=sum(one.unknown for one in outcomes),
    )


COLUMNS: tuple[tuple[str, str, str], ...] = (  # field, heading, format
    ("test_map", "test mAP", ".2f"),
    ("regret", "regret", ".2f"),
    ("method_regret", "in a method", ".2f"),
    ("level_error", "level error", "+.2f"),
    ("run_tau", "tau, runs", ".2f"),
    ("epoch_tau", "tau, epochs", ".2f"),
)


def cells(row: Row, unknown: str = "?") -> list[str]:
    """Return a row as text: criterion, then the figures of :data:`COLUMNS`, then how many picks are unknown."""
    figures = [(getattr(row, name), form) for name, _, form in COLUMNS]
    shown = [unknown if value is None else format(value + 0.0, form) for value, form in figures]
    return [f"{row.criterion}{' (forbidden)' if row.forbidden else ''}", *shown, str(row.unknown)]


def headings() -> list[str]:
    """Return the headings of :func:`cells`."""
    return ["criterion", *(heading for _, heading, _ in COLUMNS), "unknown"]


def markdown(found: Reselection) -> str:
    """Return the tables in Markdown, with what they mean and what is missing."""
    parts = []
    for summary in summarise(found):
        rows = [headings(), ["---"] + ["---:"] * (len(COLUMNS) + 1), *(cells(row) for row in summary.rows)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        notes = "\n".join(f"* {note}" for note in remarks(summary))
        parts.append(f"### {summary.setting}\n\n{caption(summary)}\n\n{table}\n\n{notes}")
    return "\n\n".join(parts) + "\n"


def bias_warnings(found: Reselection) -> list[str]:
    """Return in words where label bias is suspected; empty if nowhere."""
    return [f"{summary.setting}, {text}" for summary in summarise(found) for text in summary.bias]


def caption(summary: Summary) -> str:
    """Return one line that says what was compared."""
    draws = "label draw" if summary.draws == 1 else "label draws"
    return (
        f"{summary.runs} runs of {len(summary.methods)} methods, {summary.draws} {draws}: {', '.join(summary.methods)}."
    )


def remarks(summary: Summary) -> list[str]:
    """Return what a reader must know of a table: forbidden rows, unknown cells, label bias."""
    found = []
    if any(row.forbidden for row in summary.rows):
        found.append("forbidden: looks at what the label setting does not provide, clean labels or true cardinalities")
    if not summary.epochs_known:
        found.append(
            "?: a pick whose test mAP was never computed, or a figure that needs it; unknown counts the runs whose own "
            "pick is one. Runs with selection.test_figures=every_epoch have them all. Regret is against the best test "
            "mAP known"
        )
    return [*found, *(f"label bias is suspected, {text}" for text in summary.bias)]


def csv_text(found: Reselection) -> str:
    """Return all rows of all settings as CSV, figures in full; what is unknown is empty."""
    text = io.StringIO()
    names = list(Row.__dataclass_fields__)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["setting", "draws", "runs", "images", *names])
    for summary in summarise(found):
        for row in summary.rows:
            values = (_plain(getattr(row, name)) for name in names)
            writer.writerow([summary.setting, summary.draws, summary.runs, summary.images, *values])
    return text.getvalue()


def records(found: Reselection) -> list[dict[str, object]]:
    """Return all rows of all settings as plain data, None where something is unknown."""
    return [
        {
            "setting": summary.setting,
            "draws": summary.draws,
            "runs": summary.runs,
            "images": summary.images,
            "methods": list(summary.methods),
            "label_bias": list(summary.bias),
            "criteria": [
                {name: _listed(getattr(row, name)) for name in Row.__dataclass_fields__} for row in summary.rows
            ],
        }
        for summary in summarise(found)
    ]


def _plain(value: object) -> object:
    return "; ".join(value) if isinstance(value, tuple) else "" if value is None else value


def _listed(value: object) -> object:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
