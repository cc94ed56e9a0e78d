"""The model card of a classifier: Markdown for people, front matter for the hub, and a mark that tells of changes."""

import hashlib
import re
import shlex
from pathlib import Path

from regraft.errors import OutputError, flags_in_messages, option, printable
from regraft.evaluation.decisions import MOST_PROBABLE
from regraft.files import check_output, is_file, read_regular
from regraft.heads.head_choice import DISCRIMINANT
from regraft.images.tta import NONE, tta_in_words
from regraft.markdown import code, code_block, listed, table, text, write_text
from regraft.networks.hook_points import ALL, LAST, LATE
from regraft.networks.names import without_folders
from regraft.publishing import card_figures, card_limits
from regraft.publishing.front_matter import front_matter, licence_of, with_front_matter
from regraft.publishing.subject import CardSubject
from regraft.transfer.strategies import STRATEGIES

SUFFIX = ".md"  # of a card beside its classifier
LARGEST = 5_000_000  # bytes of a card that somebody wrote
_CLASSES_NAMED = 20
_FEATURES = {LAST: "of the last depth alone", LATE: "of the late depths, too", ALL: "of all depths"}
_MARK = re.compile(r"<!-- regraft card: classifier ([0-9a-f]{0,64}), text ([0-9a-f]{64}) -->")


def card_beside(file: Path) -> Path:
    """Return where the card of a classifier's file lies."""
    return file.with_suffix(SUFFIX)


def model_card(subject: CardSubject) -> str:
    """Return the card of a classifier, which ends with a mark by which a later change is seen."""
    with flags_in_messages({}):  # commands for the shell, whoever has the card written
        body = "\n".join(_body(subject)) + "\n"
    return marked(with_front_matter(front_matter(subject), body), subject.digest)


def marked(content: str, digest: str) -> str:
    """Return a card with the mark of its text as it is now, in place of the mark that it has.

    Args:
        content: of the card.
        digest: of the classifier's file that it is of.
    """
    content = f"{_MARK.sub('', content).rstrip()}\n"
    return f"{content}\n<!-- regraft card: classifier {digest}, text {_hash(content)} -->\n"


def is_as_written(content: str) -> bool:
    """Tell whether a card is as regraft wrote it: nobody has changed it."""
    mark = _MARK.search(content)
    return mark is not None and mark[2] == _hash(f"{_MARK.sub('', content).rstrip()}\n")


def classifier_of(content: str) -> str | None:
    """Return the digest of the classifier that a card was written for; None where it was not written by regraft."""
    mark = _MARK.search(content)
    return None if mark is None else mark[1]


def _hash(content: str) -> str:
    lines = content.replace("\r\n", "\n").encode(errors="backslashreplace")  # as an editor may save them
    return hashlib.sha256(lines).hexdigest()


def read_card(path: Path) -> str:
    """Return a card that lies on the disk.

    Raises:
        OutputError: it is no ordinary file, or larger than any card.
    """
    try:
        return read_regular(path, limit=LARGEST).decode("utf-8-sig", "backslashreplace")
    except OSError as error:
        raise OutputError(f"{path} cannot be read as a model card: {error.strerror or error}.") from None


def write_card(subject: CardSubject, path: Path, *, force: bool = False, name: str = "out") -> None:
    """Write the card of a classifier to `path`, unless somebody has written or changed what is there.

    Args:
        subject: the classifier.
        path: of the card.
        force: replace whatever is there.
        name: of the option that names the file, for messages.

    Raises:
        OutputError: it cannot be written there, or something is there that regraft did not write.
    """
    check_output(path, option=option(name))
    if is_file(path) and not force:
        check_unchanged(read_card(path), printable(path))
    write_text(path, model_card(subject))


def check_unchanged(content: str, where: str) -> None:
    """Raise `OutputError` for a card that somebody wrote or changed, and that would be replaced."""
    if not is_as_written(content):
        changed = (
            "was changed since regraft wrote it" if classifier_of(content) is not None else "was not written by it"
        )
        raise OutputError(
            f"{where} {changed}, and would be replaced. Name another place ({option('out', 'FILE.md')}), or replace it "
            f"({option('force', True)})."
        )


def _body(subject: CardSubject) -> list[str]:
    classes, report, record = subject.classifier.classes, subject.report, subject.record
    lines = [
        f"# {text(subject.title)}",
        "",
        f"An image classifier of {len(classes):,} classes: {listed(classes, _CLASSES_NAMED)}. For each photo it gives "
        "an answer, and the probability of every class.",
    ]
    parts = [
        ("What it is for", card_limits.purpose()),
        ("Use", _use(subject)),
        ("How good it is", [] if report is None else card_figures.figures(report)),
        ("Class by class", [] if report is None else card_figures.by_class(report)),
        ("Groups and levels", [] if record is None else card_figures.by_group(record)),
        ("What it answers", _answers(subject)),
        ("Limits", card_limits.limits(subject)),
        (
            "Photos",
            [
                *_spaced(card_limits.photos(subject)),
                *_spaced(card_limits.findings(subject)),
                *card_limits.privacy(subject),
            ],
        ),
        ("How it was made", _made(subject)),
        ("Licence", _licence(subject)),
    ]
    for title, part in parts:
        if part:
            lines += ["", f"## {title}", "", *part]
    return lines


def _spaced(lines: list[str]) -> list[str]:
    return [*lines, ""] if lines else []


def _use(subject: CardSubject) -> list[str]:
    place = shlex.quote(printable(subject.place))
    place = f"./{place}" if place.startswith("-") else place
    commands = [
        (f"regraft predict {place} PHOTOS {option('out', 'answers.csv')}", "answers and probabilities"),
        (f"regraft evaluate {place} LABELLED", "how good it is on photos of yours"),
    ]
    if not subject.classifier.joined:
        commands.append((f"regraft fit PHOTOS {option('model', place)}", "learn other classes from its network"))
    width = max(len(command) for command, _ in commands)
    return [
        "With regraft installed (Python 3.11 or newer), where PHOTOS and LABELLED are folders:",
        "",
        *code_block([f"{command:<{width}}  # {words}" for command, words in commands], "bash"),
        "",
        "In Python:",
        "",
        *code_block(
            [
                "import regraft",
                "",
                f"classifier = regraft.load({printable(subject.place)!r})",
                'answers = classifier.predict(["photo.jpg"])',
                'probabilities = classifier.predict_proba(["photo.jpg"])  # columns as in classifier.classes_',
            ],
            "python",
        ),
    ]


def _answers(subject: CardSubject) -> list[str]:
    classifier, report = subject.classifier, subject.report
    decision = classifier.decision
    rule = f"the {MOST_PROBABLE}" if decision is None else text(decision.in_words(classifier.classes))
    lines = [f"Answered is {rule}." if decision is None else f"Its answers are decided by a rule: {rule}."]
    if report is not None:
        for part in (card_figures.operating_points(report.operating_points), card_figures.sets(report.conformal)):
            lines += ["", *part] if part else []
    return lines


def _made(subject: CardSubject) -> list[str]:
    classifier, record = subject.classifier, subject.record
    rows = [("network" if not classifier.joined else "networks, joined", code(without_folders(classifier.model)))]
    for backbone in classifier.backbones:
        size = f"{backbone.preprocess.height} x {backbone.preprocess.width} pixels"
        parameters = backbone.parameter_count() / 1e6
        rows.append(
            (
                code(backbone.recipe.architecture),
                f"{parameters:.1f} million parameters, {size}; weights: {code(without_folders(backbone.source))}",
            )
        )
    strategy = STRATEGIES.get(classifier.strategy)
    rows.append(("strategy", code(classifier.strategy) + (f": {strategy.help}" if strategy is not None else "")))
    rows.append(("last layer", _last_layer(subject)))
    if record is not None:
        rows += _training_rows(subject)
    rows.append(("temperature", f"{classifier.temperature:.3g}, by which logits are divided before the softmax"))
    if classifier.tta != NONE:
        rows.append(("views", text(tta_in_words(classifier.tta))))
    if subject.versions:
        rows.append(("versions", ", ".join(f"{text(name)} {text(one)}" for name, one in subject.versions.items())))
    return table(("what", "how"), rows)


def _last_layer(subject: CardSubject) -> str:
    head, record = subject.classifier.head, subject.record
    if record is not None and record.head == DISCRIMINANT:
        return f"{text(head.kind)}, by linear discriminant analysis, shrinkage {head.strength:.3g}"
    return f"{text(head.kind)}, penalty {head.strength:.3g}"


def _training_rows(subject: CardSubject) -> list[tuple[str, str]]:
    record = subject.record
    assert record is not None
    depths = f" (from {code(record.stages[0])} on)" if record.stages and record.features != LAST else ""
    given = [
        ("trained", text(record.trained.removeprefix("trained: "))),
        ("why", record.reason and text(record.reason)),
        ("features", f"{_FEATURES.get(record.features, text(record.features))}{depths}"),
        ("chosen from", listed([without_folders(one.model) for one in record.networks_tried], _CLASSES_NAMED)),
        ("trained from", record.train_from and code(record.train_from)),
        ("trained only", record.train_only and code(record.train_only)),
        ("adapters", record.lora and f"low-rank, of rank {record.lora}"),
        ("class weights", record.class_weight and text(record.class_weight)),
        ("seed", f"{record.seed}"),
        ("engine", record.engine and code(record.engine)),
    ]
    return [(name, str(value)) for name, value in given if value]


def _licence(subject: CardSubject) -> list[str]:
    networks = subject.network_licences
    lines = [f"The weights of {code(name)}: {text(licence) or 'not stated'}." for name, licence in networks]
    own = licence_of(subject)
    if subject.licence is not None:
        lines.insert(0, f"This classifier: {text(subject.licence)}.")
    elif own is not None:
        lines.insert(0, f"This classifier: {text(own)}, as the weights of its network. Nothing else was stated.")
    else:
        lines.insert(0, "This classifier: not stated; whoever made it decides.")
    return [" ".join(lines)]
