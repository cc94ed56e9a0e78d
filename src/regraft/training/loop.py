"""A training from its start, or from where it was killed, to its end, with progress for the observer."""

from collections.abc import Callable

from regraft.progress import Observer
from regraft.training.finetuner import Finetuner
from regraft.watchdog import watched

_PATIENCE = 1800.0  # seconds: an epoch may be validated on thousands of photos without progress


def run_training(
    finetuner: Finetuner, title: str, observer: Observer, *, pace: Callable[[float], None] | None = None
) -> None:
    """Train to the end. What was done before a resumed training does not count as progress.

    Args:
        finetuner: the training.
        title: that the observer hears.
        observer: hears of the progress.
        pace: hears the share of all steps that is done; what it raises ends the training.
    """
    begun = False
    try:
        with watched(title, observer.say, patience=_PATIENCE) as alive:
            for record in finetuner.train():
                alive()
                if not begun:
                    observer.begin_part(title, finetuner.images_from(record.step - 1))
                    begun = True
                observer.record(title, record)
                observer.advance(record.photos)
                if pace is not None:
                    pace(record.step / record.steps)
        if begun:
            observer.complete()  # it may have stopped early
    finally:
        if begun:
            observer.end_part()
