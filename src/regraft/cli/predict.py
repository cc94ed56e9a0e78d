"""`regraft predict`: photos in, answers out."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli import options
from regraft.cli.answer_table import UNLIKE, as_table
from regraft.cli.console import check_stdout, note, result, result_exactly
from regraft.cli.decision import decide
from regraft.cli.formats import FORMATTERS, Format, as_kaggle, check_kaggle, format_of
from regraft.cli.outputs import check_keeps_inputs, end_naming_unreadable
from regraft.cli.parts import parts_folder
from regraft.cli.prediction_parts import check_no_submission, predict_parts
from regraft.cli.submission_answers import Answer
from regraft.cli.submissions import plan_submission
from regraft.cli.training_options import COMPUTE, CommandOptions, decision_request, with_options
from regraft.data.columns import Columns
from regraft.data.photos import find_photos
from regraft.data.samples import composed
from regraft.data.tar_table import notes_on
from regraft.engines.compute import Compute
from regraft.errors import OptionError, OutputError, counted, option, printable
from regraft.evaluation.conformal import Coverage, CoverageOf
from regraft.evaluation.goals import DecisionRequest
from regraft.files import atomic_write, check_local, check_output
from regraft.images.sources import ArchiveMember
from regraft.transfer.settings import FitSettings

if TYPE_CHECKING:
    from regraft.classifier.classifier import Classifier
    from regraft.classifier.predict import Predictions

DEFAULT_CLIP = 0.005
_ELSEWHERE = "The answers can be written into a file: --out FILE."
_Write = Callable[["Predictions"], str | bytes]


@with_options(
    Columns,
    FitSettings,
    Compute,
    only=("cost", "threshold", "balance", *COMPUTE),
    without=("label_column", "group_column", "split_column"),
)
def predict(
    bundle: options.Bundle,
    photos: Annotated[
        list[str],
        typer.Argument(help="Files, folders, tables or globs ('*.jpg'), here or in a store.", show_default=False),
    ],
    *,
    format: Annotated[
        Format | None,
        typer.Option(help="How to write the answers. [default: as the ending of --out says, else table]"),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File to write to: .csv, .tsv, .json, .jsonl, .parquet or .txt; with --on a folder/ of parts, too. "
            "[default: stdout]",
        ),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="A competition's sample submission: its columns, ids and order are written.")
    ] = None,
    answer: Annotated[
        Answer | None,
        typer.Option(help="--like with one column of answers: what it holds. [default: as the sample's values say]"),
    ] = None,
    positive: Annotated[
        str | None, typer.Option(help="--format kaggle and --like: the class whose probability is written.")
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(
            help="--format kaggle and --like: keep probabilities this far from 0 and 1.", show_default=str(DEFAULT_CLIP)
        ),
    ] = None,
    coverage: Annotated[
        str | None,
        typer.Option(
            help="Give each photo's set of classes, too, which holds the true one this often: 0.95, or 95%.",
            show_default="95%, of what is unsure",
        ),
    ] = None,
    coverage_of: Annotated[
        CoverageOf | None,
        typer.Option(help="Of which photos: those of each class, or all photos together.", show_default=Coverage().of),
    ] = None,
    abstain: Annotated[
        bool,
        typer.Option(
            "--abstain", help="Give no answer where the set is not one class, or the photo unlike the others."
        ),
    ] = False,
    level: options.Level = None,
    given: CommandOptions,
) -> None:
    """Classify photos. An unreadable one is named in its row, the others are answered, and the exit code is 3."""
    positive, parts = None if positive is None else composed(positive), parts_folder(out, given.compute())
    asked = _asked_sets(coverage, coverage_of, abstain=abstain)
    if parts is not None:
        check_no_submission({"--like": like, "--answer": answer, "--clip": clip})
        predict_parts(bundle, photos, parts, format, answers=(asked, abstain, level, positive), given=given)
        return
    file = _checked_file(out)
    format = _checked_format(format, file, like, used={"--answer": answer, "--positive": positive, "--clip": clip})
    request = decision_request(given)
    if format is Format.kaggle:
        _check_submission_takes(asked, abstain=abstain, request=request, like=like)
    sources = find_photos(photos, given.columns())
    for line in notes_on(dict.fromkeys(one.file for one in sources if isinstance(one, ArchiveMember))):
        note(printable(line))
    if file is not None:
        check_keeps_inputs(file, [bundle, *photos, like], sources)

    from regraft.classifier.bundle import load_bundle, read_description
    from regraft.classifier.named import bundle_file
    from regraft.classifier.predict import Predictor
    from regraft.classifier.tree import level_of

    write: _Write
    bundle = bundle_file(bundle, note)
    classes = tuple(read_description(bundle)["classes"])
    clip = DEFAULT_CLIP if clip is None else clip
    classifier = load_bundle(bundle)
    at = None if level is None else level_of(classifier.taxonomy, classes, level)
    classes, decision = decide(classifier, at, request, positive)
    plan = None
    if like is not None:
        plan = plan_submission(like, sources, classes, positive=positive, clip=clip, answer=answer)
        if not plan.columns.answers:
            several = len(plan.sample.header) > 2
            instead = " without --like: --format csv" if several else ": --answer label"
            _check_nothing_decides(request, f"--like {printable(like)}", instead)
        sources, write = list(plan.sources), plan.text
        for line in plan.notes:
            note(printable(line, lines=True))
    else:
        write = _writer(format, classes, positive=positive, clip=clip, to_terminal=file is None)
    predictor = Predictor(classifier, given.compute(), given.observer(), coverage=asked, abstain=abstain)
    predictions = predictor.predict(sources)
    predictions = predictions if at is None else predictions.at(at, decision)
    if decision is not None and (format is not Format.kaggle if plan is None else plan.columns.answers):
        note(f"decided by {decision.in_words(classes)}")
    if asked is not None:
        _say_sets(predictions, classifier)
    _put(write(predictions), file, format, counted(len(sources), "photo"))
    end_naming_unreadable((sources[place], reason) for place, reason in sorted(predictions.unreadable.items()))


def _check_submission_takes(
    asked: Coverage | None, *, abstain: bool, request: DecisionRequest, like: Path | None
) -> None:
    """Raise `OptionError` where sets or a decision are asked for of a submission without use for them."""
    if asked is not None:
        raise OptionError(
            f"{'--abstain' if abstain else '--coverage'} has no use in a submission, which holds answers or "
            "probabilities alone. Leave it out."
        )
    if like is None:
        _check_nothing_decides(request, "--format kaggle", ": --format csv")


def _asked_sets(share: str | None, of: CoverageOf | None, *, abstain: bool) -> Coverage | None:
    """Return which sets are asked for, None for none.

    Raises:
        OptionError: options that do not belong together.
    """
    if share is None and not abstain:
        if of is not None:
            raise OptionError(
                f"--coverage-of {of} goes with --coverage or --abstain: it says of which photos sets hold the true "
                "class. Add one of them, or leave it out."
            )
        return None
    return Coverage.read(Coverage().share if share is None else share, of or Coverage().of)


def _say_sets(predictions: "Predictions", classifier: "Classifier") -> None:
    """Say what sets promise, and what answers were withheld by them."""
    asked, held_out = predictions.coverage, classifier.held_out
    assert asked is not None  # nor would the predictor have taken them
    assert held_out is not None
    of = "the photos of each class" if asked.of == "classes" else "all photos"
    pooled = [printable(classifier.classes[label]) for label in held_out.pooled(asked)]
    more = f" and {len(pooled) - 20:,} more" if len(pooled) > 20 else ""
    together = (
        f"; of these together, as fewer than {asked.needed():,} were held out of some: {', '.join(pooled[:20])}{more}"
    )
    note(f"sets hold the true class of {asked} of {of}{together if pooled else ''}")
    if predictions.abstains:
        unlike = "" if predictions.unlike is None else f"; {int(predictions.unlike.sum()):,} are {UNLIKE}"
        unsure = 0 if predictions.unsure is None else int(predictions.unsure.sum())
        given = unsure - int(predictions.withheld.sum())
        alarms = f", of which {given:,} are answered all the same: what the goal or threshold is for" if given else ""
        answered = len(predictions.sources) - len(predictions.unreadable)
        note(f"not sure of {unsure:,} of {counted(answered, 'photo')}{alarms}{unlike}")
        if predictions.unlike is None:
            note("whether photos are unlike the training photos is not known: the network was trained further")


def _check_nothing_decides(request: DecisionRequest, submission: str, instead: str) -> None:
    """Raise `OptionError` where a decision is asked for of a submission of probabilities; `instead` writes answers."""
    if request.is_given():
        raise OptionError(
            f"{option(request.given()[0])} decides what is answered, and {submission} takes probabilities. Leave it "
            f"out, or write answers{instead}."
        )


def _checked_file(out: str | None) -> Path | None:
    """Return the file to write, None for stdout.

    Raises:
        OutputError: it cannot be written, or is a folder.
    """
    if out is None or out == "-":
        check_stdout("Name a file: --out FILE.")
        return None
    check_local(out, "--out")
    file = Path(out).expanduser()
    if out.endswith(("/", os.sep)) or file.is_dir() or not file.name:
        raise OutputError(
            f"--out {printable(out)} is a folder. Name a file in it, e.g. {printable(file / 'answers.csv')}."
        )
    return file


def _checked_format(
    given: Format | None, file: Path | None, like: Path | None, *, used: dict[str, object | None]
) -> Format:
    """Return how answers are written.

    Args:
        given: by the user.
        file: that is written, None for stdout.
        like: the sample, if there is one.
        used: what was given of the options that only submissions have.

    Raises:
        OptionError: options that do not belong together.
        OutputError: the file cannot be written.
    """
    if like is not None and given not in (None, Format.kaggle):
        raise OptionError(f"--like writes the columns of {printable(like)}, so that --format {given} has no use.")
    if like is not None and file is not None and file.suffix.lower() in ("", ".txt", like.suffix.lower()):
        format = Format.kaggle
    else:
        format = format_of(file, Format.kaggle if like is not None else given)
    for name, value in used.items():
        if value is not None and (like is None if name == "--answer" else format is not Format.kaggle):
            raise OptionError(
                f"{name} is for a submission: {'' if name == '--answer' else '--format kaggle, or '}"
                "--like with the competition's sample. Add that, or leave it out."
            )
    if file is not None:
        check_output(file, option="--out")
    return format


def _writer(format: Format, classes: Sequence[str], *, positive: str | None, clip: float, to_terminal: bool) -> _Write:
    """Return what makes text or bytes of predictions.

    Raises:
        OptionError: as `check_kaggle`.
    """
    if format is Format.kaggle:
        check_kaggle(classes, positive=positive, clip=clip)
        return lambda predictions: as_kaggle(predictions, classes, positive=positive, clip=clip)
    if format is Format.table and to_terminal and stdout_is_terminal():
        width = shutil.get_terminal_size().columns
        return lambda predictions: as_table(predictions, classes, width=width)
    return lambda predictions: FORMATTERS[format](predictions, classes)


def stdout_is_terminal() -> bool:
    """Tell whether a person reads what is printed."""
    return sys.stdout is not None and sys.stdout.isatty()


def _put(content: str | bytes, file: Path | None, format: Format, photos: str) -> None:
    """Write answers to a file or to stdout."""
    if file is None and isinstance(content, str):
        if format is Format.table or stdout_is_terminal():  # a terminal may be steered by names
            result(content.removesuffix("\n"), kept=_ELSEWHERE)
        else:
            result_exactly(content, kept=_ELSEWHERE)
        return
    assert file is not None  # bytes are never printed
    with atomic_write(file) as temporary:
        if isinstance(content, str):
            temporary.write_text(content, encoding="utf-8", errors="backslashreplace", newline="")  # no UTF-8 names
        else:
            temporary.write_bytes(content)
    kind = "" if file.suffix else f", {'a table' if format is Format.table else format}"
    note(f"wrote {printable(file)} ({photos}{kind})")
