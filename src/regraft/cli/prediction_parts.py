"""`regraft predict --on ray --out FOLDER/`: answers in parts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from regraft.cli.console import note
from regraft.cli.decision import decide
from regraft.cli.formats import FORMATTERS, SUFFIXES, Format
from regraft.cli.parts import PHOTOS_THAT_CHOOSE, check_outside, run_parts
from regraft.cli.training_options import CommandOptions, decision_request
from regraft.errors import OptionError
from regraft.files import read_regular, sha256
from regraft.storage.locations import Location

if TYPE_CHECKING:
    from regraft.evaluation.conformal import Coverage

_OF_PARTS = (Format.csv, Format.tsv, Format.jsonl, Format.parquet)  # of which many files make one table


def check_no_submission(used: dict[str, object | None]) -> None:
    """Raise `OptionError` for what was given of the options that only submissions have, by flag."""
    for name, value in used.items():
        if value is not None:
            raise OptionError(f"{name} is for a submission, which is one file and not parts. Leave it out.")


def predict_parts(
    bundle: Path,
    photos: Sequence[str],
    out: Location,
    format: Format | None,
    *,
    answers: "tuple[Coverage | None, bool, int | None, str | None]",
    given: CommandOptions,
) -> None:
    """Have the workers of a cluster write answers in parts.

    Args:
        bundle: the classifier's file.
        photos: files, folders, tables or globs.
        out: the folder of the parts.
        format: of a part; None for Parquet.
        answers: coverage of the sets, whether unsure answers are withheld, the level, and the positive class.
        given: all other options.

    Raises:
        OptionError: options that do not belong together, or a format that no part has.
    """
    suffix = _suffix_of(format := format or Format.parquet)

    from regraft.classifier.bundle import load_bundle
    from regraft.classifier.named import bundle_file
    from regraft.classifier.predict import Predictor
    from regraft.classifier.tree import level_of
    from regraft.cluster.predictions import AnswerOptions, PredictionJob
    from regraft.cluster.shards import count_photos, find_shards, first_photos

    asked, abstain, level, positive = answers
    compute, observer, request = given.compute(), given.observer(), decision_request(given)
    bundle = bundle_file(bundle, note)
    classifier = load_bundle(bundle)
    at = None if level is None else level_of(classifier.taxonomy, classifier.classes, level)
    classes, decision = decide(classifier, at, request, positive)
    check_outside(out, photos)
    shards = find_shards(photos, given.columns())
    total = count_photos(shards)
    first = Predictor(classifier, replace(compute, on=""), observer, coverage=asked, abstain=abstain)
    choices = first.choose(first_photos(shards, PHOTOS_THAT_CHOOSE).sources, photos=total)
    decided = None if decision is None else decision.to_json(classes)
    options_said = f"{asked} {abstain} {level} {decided} {classes}"
    job = PredictionJob(
        classifier,
        compute,
        AnswerOptions(asked, abstain, at, decision),
        FORMATTERS[format],
        choices=choices,
        suffix=suffix,
        digest=f"{sha256(read_regular(bundle)).hex()} {options_said}",
        photos=total,
    )
    if decision is not None:
        note(f"decided by {decision.in_words(classes)}")
    run_parts(job, shards, out, compute, observer)


def _suffix_of(format: Format) -> str:
    """Return the ending of part files of a format.

    Raises:
        OptionError: parts are not written in it.
    """
    endings = {kind: ending for ending, kind in SUFFIXES.items() if kind in _OF_PARTS and ending != ".ndjson"}
    if format not in endings:
        raise OptionError(f"--format {format} is not of parts. Allowed are {', '.join(endings)}.")
    return endings[format]
