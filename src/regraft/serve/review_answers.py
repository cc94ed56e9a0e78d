"""What is said of a review over HTTP, in plain JSON types. No name says where on this machine anything lies."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from regraft.errors import printable
from regraft.evaluation.metrics import METRICS
from regraft.evaluation.pairwise import metric_in_words
from regraft.review.decision import Action, Decision
from regraft.review.photos import ReviewPhoto
from regraft.review.retrain import RetrainOutcome
from regraft.review.session import RETRAIN, RetrainResult, ReviewSession

_FIGURES = ("accuracy", "balanced_accuracy", "auc", "log_loss")  # that are shown, where there are such
_DIGITS = 6
_FOLDERS = re.compile(r"(?<![\w./:])/(?:[^\s/:]+/)+")  # of a path from the root


def decision_json(decision: Decision) -> dict[str, Any]:
    """Return a row of the log; the photo's path is not among it."""
    return {
        "number": decision.number,
        "photo": decision.key.hex(),
        "action": decision.action.value,
        "label": decision.label,
        "reviewer": decision.reviewer,
        "time": decision.time.isoformat(timespec="seconds"),
        "undoes": decision.undoes,
    }


def shown_name(session: ReviewSession, photo: ReviewPhoto) -> str:
    """Return the name of a photo as seen from the data; of one that lies elsewhere, its folder and its name."""
    name = session.name_of(photo.sources[0])
    return printable("/".join(PurePath(name).parts[-2:]) if PurePath(name).parts[0] == ".." else name)


def photo_json(session: ReviewSession, photo: ReviewPhoto) -> dict[str, Any]:
    """Return what is known of a photo, and what was decided about it."""
    decision = session.standing.of(photo.key)
    return {
        "id": photo.key.hex(),
        "place": photo.place,
        "file": shown_name(session, photo),
        "copies": len(set(photo.sources)) - 1,
        "label": photo.label,
        "split": photo.split,
        "reason": photo.reason.value,
        "words": printable(photo.words),
        "suggested": photo.suggested,
        "related": [key.hex() for key in photo.related],
        "decision": None if decision is None else decision_json(decision),
        "others": [decision_json(one) for one in session.standing.differing(photo.key)],
    }


def state_json(session: ReviewSession, *, in_use: int, classes: Sequence[str]) -> dict[str, Any]:
    """Return how far a review is.

    Args:
        session: the review.
        in_use: the number of the retraining whose classifier answers here; 0 for none.
        classes: of what answers here.
    """
    photos, counts = session.photos, session.count()
    last, doing, found = session.standing.catch_up(), session.worker.doing, photos.found_classes
    return {
        "data": printable(Path(session.data).expanduser().absolute().name),
        "phase": session.phase.value,
        "doing": None if doing is None else vars(doing),
        "error": without_places(session.error, session) or None,
        "notes": [without_places(note, session) for note in session.notes],
        "classes": [
            {"name": name, "photos": count, "new": name not in found} for name, count in counts.classes.items()
        ],
        "photos": len(photos),
        "decided": {one.value: counts.decided.get(one, 0) for one in Action if one is not Action.undo},
        "conflicts": counts.differing,
        "reasons": [
            {"reason": reason.value, "photos": total, "left": left} for reason, (total, left) in counts.reasons.items()
        ],
        "last": last,
        "look": session.looks,
        "retrain": _retrain_json(session, last, in_use, classes),
    }


def _retrain_json(session: ReviewSession, last: int, in_use: int, classes: Sequence[str]) -> dict[str, Any]:
    result = session.result
    return {
        "possible": not session.why_not_retrain,
        "why_not": without_places(session.why_not_retrain, session) or None,
        "running": session.worker.is_to_do(RETRAIN),
        "since": last - (0 if result is None else result.last),
        "result": None if result is None else _result_json(result, in_use, classes),
    }


def _result_json(result: RetrainResult, in_use: int, classes: Sequence[str]) -> dict[str, Any]:
    found, made = result.retrained, result.retrained.result
    return {
        "number": result.number,
        "compared": found.compared,
        "relabelled": found.relabelled,
        "excluded": found.excluded,
        "unknown": found.unknown,
        "too_few": dict(result.too_few),
        "learned_from": sum(made.record.class_counts),
        "classes_lost": [name for name in classes if name not in made.classifier.classes],
        "seconds": round(found.seconds, 2),
        "last": result.last,
        "figures": [_figure_json(name, found) for name in _FIGURES if name in found.change],
        "in_use": in_use == result.number,
    }


def without_places(text: str, session: ReviewSession) -> str:
    """Return a sentence in which files are named as seen from the folder that the data lie in, others by their name."""
    folders: Mapping[str, str] = {
        f"{folder}/": ""
        for one in (session.places.decisions.parent, session.places.added.parent, session.places.root.parent)
        for folder in sorted({str(one), str(one.resolve())}, key=len, reverse=True)
        if folder != "/"
    }
    for folder, name in folders.items():
        text = text.replace(folder, name)
    return printable(_FOLDERS.sub("", " ".join(text.split())))


def _figure_json(name: str, found: RetrainOutcome) -> dict[str, Any]:
    """Return a figure before and after, on the same photos."""
    change, after = found.change[name], found.figures[name]
    return {
        "name": name,
        "words": metric_in_words(name),
        "before": round(after - change.value, _DIGITS),
        "after": round(after, _DIGITS),
        "difference": round(change.value, _DIGITS),
        "interval": None if change.interval is None else [round(float(end), _DIGITS) for end in change.interval],
        "better": "lower" if METRICS[name].lower_is_better else "higher",
        "verdict": change.verdict,
    }
