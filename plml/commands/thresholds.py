"""``plml thresholds``: choose thresholds on the validation split, by labels that are named and stamped."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from plml.cli import DONE
from plml.errors import ConfigError
from plml.scored_split import ScoredSplit, score_split
from plml.thresholds.calibration import Calibration, fit_calibration
from plml.thresholds.choice import ROUGH, Choice, choose_thresholds
from plml.thresholds.evidence import Basis, find_basis, require_clean
from plml.thresholds.file import FittedCalibration, Thresholds, as_threshold, beside, checkpoint_digest
from plml.thresholds.own_labels import require_own_labels

NAMES = {"f1": "F1", "lee_liu": "Lee and Liu's criterion", "cardinality": "number of positives"}


def run(options: argparse.Namespace) -> int:
    """Choose thresholds, write them, and print what they are and what chose them."""
    checkpoint = Path(options.checkpoint)
    out = Path(options.out) if options.out else beside(checkpoint)
    if out.suffix != ".json":
        raise ConfigError(f"--out must end in .json, got {out}")
    require_clean(options.labels, options.clean_images)
    scored = score_split(
        checkpoint,
        "val",
        options.assignments,
        check=lambda content, config, bundle: require_own_labels(content, config, bundle.digest, options.labels),
    )
    basis = find_basis(
        scored.config,
        scored.logits.cpu(),
        truth=scored.split.truth,
        observed=scored.split.observed,
        expected_positives=scored.bundle.expected_positives,
        labels=options.labels,
        clean_images=options.clean_images,
        criterion=options.criterion,
    )
    if options.scope == "class" and not basis.by_class:
        raise ConfigError(
            "--per-class: the declared number of positives does not tell classes apart; use --global, or --labels clean"
        )
    choice = choose_thresholds(basis.logits, basis.estimates, criterion=options.criterion, scope=options.scope)
    scaling = None
    if options.calibrate:
        scaling = fit_calibration(basis.logits, basis.estimates, prior_only=not basis.by_entry)
    found = describe(scored, basis, choice, scaling, options, checkpoint)
    found.write(out)
    show(found)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"chosen by {found.chosen_by}", markup=False)
    if found.uses_truth:
        console.print("these labels are not part of the label setting: the thresholds are stamped with it")
    console.print(f"written: {out}", markup=False)
    given = "auto" if out == beside(checkpoint) else str(out)
    console.print(f"to apply them: plml predict {checkpoint} IMAGES --thresholds {given}", markup=False)
    return DONE


def describe(
    scored: ScoredSplit,
    basis: Basis,
    choice: Choice,
    scaling: Calibration | None,
    options: argparse.Namespace,
    checkpoint: Path,
) -> Thresholds:
    """Return the content of the file."""
    names, config = scored.bundle.class_names, scored.config
    cuts = as_threshold((scaling or Calibration()).apply(choice.logits))
    where = "per class" if options.scope == "class" else "for all classes at once"
    way = "calibrated by the same labels" if basis.by_entry else "offset to match the number of positives"
    calibrated = "" if scaling is None else f", {way}"
    told = ("precision", "recall", "f1", "positives", *(["seen"] if basis.by_class else []))  # else none is seen
    figures = {figure: getattr(choice, figure).tolist() for figure in told}
    return Thresholds(
        checkpoint_sha256=checkpoint_digest(checkpoint),
        fingerprint=scored.content["fingerprint"],
        chosen_by=f"{NAMES[options.criterion]} {where} on {basis.text}{calibrated}",
        uses_truth=basis.uses_truth,
        details={
            "criterion": options.criterion,
            "scope": options.scope,
            "labels": options.labels,
            "observation": dict(config.data.observation),
            "observation_seed": config.data.observation_seed,
            "expected_positives": scored.bundle.expected_positives,
            "images": len(basis.logits),
            "data": {"name": scored.bundle.name, "digest": scored.bundle.digest},
            "model_chosen_by": config.selected_by,
            "rough": [name for name, rough in zip(names, choice.rough.tolist(), strict=True) if rough],
        },
        calibration=None if scaling is None else FittedCalibration(slope=scaling.slope, offset=scaling.offset),
        thresholds=dict(zip(names, cuts.tolist(), strict=True)),
        estimates={
            name: {figure: column[place] for figure, column in figures.items()} for place, name in enumerate(names)
        },
    )


def show(found: Thresholds) -> None:
    """Print thresholds and estimates of every class, which of them are rough guesses, and means."""
    table = Table("class", "threshold", "seen", "positives", "precision", "recall", "F1")
    rough = found.details["rough"]
    for column in table.columns[1:]:
        column.justify = "right"
    for name, cut in found.thresholds.items():
        row = found.estimates[name]
        figures = (f"{100 * row[key]:.1f}" for key in ("precision", "recall", "f1"))
        mark, seen = "~" if name in rough else "", f"{row['seen']:.0f}" if "seen" in row else ""
        table.add_row(name, f"{mark}{cut:.4f}", seen, f"{row['positives']:.1f}", *figures)
    rows = [row for row in found.estimates.values() if row["positives"] > 0]
    means = (f"{100 * sum(row[key] for row in rows) / len(rows):.1f}" for key in ("precision", "recall", "f1"))
    table.add_section()
    table.add_row("mean", "", "", f"{sum(row['positives'] for row in rows):.1f}", *means)
    console = Console(highlight=False)
    console.print(table)
    if rough:
        console.print(
            f"~ {len(rough)} of {len(found.thresholds)} are rough guesses: fewer than {ROUGH:g} positives seen"
        )
    console.print("positives, precision, recall and F1 are estimates by the labels that chose, so F1 is optimistic")
