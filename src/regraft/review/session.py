"""A review: photos in order, decisions as they come in, and a classifier that is fitted again with them."""

import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from regraft.classifier.bundle import save_bundle
from regraft.classifier.classifier import Classifier
from regraft.data.columns import Columns
from regraft.data.samples import clean_name
from regraft.engines.compute import Compute
from regraft.errors import OptionError, RegraftError, option, printable
from regraft.extras import missing_packages_named
from regraft.features.embedding import Embedder
from regraft.files import is_file, remove
from regraft.images.reading import MAX_PIXELS
from regraft.images.sources import EncodedImage
from regraft.review.added_photos import keep_photo
from regraft.review.background import Worker
from regraft.review.current_decisions import CurrentDecisions
from regraft.review.decision import Action, Decision, checked_action, checked_reviewer
from regraft.review.decisions import DecisionStore
from regraft.review.label_export import row_of, write_rows
from regraft.review.listing import list_for_review, look_at_photos
from regraft.review.order import Reason
from regraft.review.photos import ReviewCounts, ReviewPhoto, ReviewPhotos, name_below
from regraft.review.places import ReviewPlaces
from regraft.review.retrain import FROZEN, RetrainOutcome
from regraft.review.trainer import ReviewTrainer, load_libraries

LOOK, PREPARE, RETRAIN = "looking at the photos", "preparing to retrain", "retraining"  # what the worker does


class NotReadyError(RegraftError):
    """What is asked for is not known before the photos were looked at."""


class Phase(StrEnum):
    """How far a review is."""

    looking = "looking"
    ready = "ready"
    failed = "failed"


@dataclass(frozen=True, eq=False)
class RetrainResult:
    """A classifier that was fitted again.

    Attributes:
        number: 1 for the first one of this review.
        last: the last row of the log that it knows.
        retrained: what became of it.
        file: of the classifier.
        too_few: classes of too few photos to learn from some and evaluate on others, and how many each has: none of
            these was learned.
    """

    number: int
    last: int
    retrained: RetrainOutcome
    file: Path
    too_few: Mapping[str, int]


class ReviewSession:
    """A review of one data set by any number of people, each call of which may come from another thread.

    Photos are looked at and classifiers fitted in a thread of its own, which `start` begins.

    Args:
        classifier: by whose network photos are compared, and which is fitted again. Nothing else may run it meanwhile.
        data: a folder or table.
        columns: by which a table is read.
        decisions: the file that they are kept in; None for the usual one, see `ReviewPlaces`.
        compute: device, engine, batch size and cache.
        max_pixels: of a photo that people add.

    Raises:
        DataError, OutputError: decisions cannot be kept there. See `DecisionStore`.
    """

    def __init__(
        self,
        classifier: Classifier,
        data: str | Path,
        *,
        columns: Columns | None = None,
        decisions: Path | None = None,
        compute: Compute | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.data, self.places = data, ReviewPlaces.of(data, columns, decisions)
        self.store = DecisionStore(self.places.decisions)
        self.standing = CurrentDecisions(self.store)
        self.worker = Worker()
        self.phase, self.error = Phase.looking, ""
        self.notes: tuple[str, ...] = ()
        self.why_not_retrain = ""
        self.photos = ReviewPhotos(())
        self.looks = 0  # how often the photos were looked at: places in their order mean another thing each time
        self.result: RetrainResult | None = None
        self._counted: tuple[int, ReviewPhotos, ReviewCounts] | None = None
        self.name_of = name_below(self.places.root)
        self._classifier, self._columns, self._compute = classifier, columns, compute or Compute()
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        self.trainer = ReviewTrainer(classifier, data, columns, self._compute, self.worker)
        self._folder = tempfile.TemporaryDirectory(prefix="regraft-review-")
        if classifier.strategy != FROZEN:
            self.why_not_retrain = (
                f"the classifier was fitted with {option('strategy', classifier.strategy)}, which trained its network "
                "further and takes as long again. Download the labels, and fit with them."
            )

    def start(self) -> None:
        """Begin to look at the photos."""
        self.look()
        self.worker.start()

    def close(self, seconds: float) -> None:
        """End what goes on. Decisions are on the disk whether this is called or not."""
        self.worker.close(seconds)
        self.store.close()
        self._folder.cleanup()

    def look(self) -> None:
        """Look at the photos anew in the background: what people look at stays until that is done."""
        if not self.worker.is_to_do(LOOK):
            self.worker.give(LOOK, self._look, self._look_failed)

    def decide(self, key: bytes, action: Action | str, label: str | None, *, reviewer: str) -> Decision:
        """Record a decision about a photo, and return it once it is on the disk.

        Args:
            key: of the photo.
            action: confirm, relabel or exclude.
            label: the new one; of a photo that is confirmed nothing, or one that it has.
            reviewer: who decides.

        Raises:
            KeyError: no such photo.
            OptionError: an action, label or name that is not allowed, or no label to confirm.
            OutputError: it cannot be written.
        """
        photo = self.photos.by_key[key]
        if action == Action.confirm:
            label = self._confirmed(photo, label)
        known = self.photos.found_classes
        decision = self.store.record(key, photo.sources[0], action, label, reviewer=reviewer, classes=known)
        self.standing.catch_up()
        return decision

    def _confirmed(self, photo: ReviewPhoto, label: str | None) -> str:
        """Return the label that is confirmed, of those that a photo was found with, or has by now."""
        counts, name = self.standing.of(photo.key), printable(self.name_of(photo.sources[0]))
        now = photo.label if counts is None or counts.label is None else counts.label
        if now is None:
            raise OptionError(f"{name} has no label to confirm. Give it one.")
        if label is not None and clean_name(label) not in (now, *photo.labels):
            raise OptionError(f"{name} has the label {now!r} to confirm. Got {label!r}: relabel it instead.")
        return now if label is None else label

    def undo(self, *, reviewer: str) -> Decision | None:
        """Undo a reviewer's last decision that counts, and return it; None where there is none."""
        found = self.store.undo(reviewer)
        self.standing.catch_up()
        return found

    def add(
        self, images: Sequence[EncodedImage], label: str, *, reviewer: str
    ) -> tuple[list[ReviewPhoto], list[tuple[str, str]]]:
        """Add photos with their label, and return these, and the names of those that cannot be read, with the reasons.

        A photo that is there already, by its content, gets the label; one of a test split is refused.

        Raises:
            OptionError: a label or name that is not allowed, or the photos are still looked at for the first time.
            OutputError: they cannot be written.
        """
        given = {one.label for one in self.standing.state().values() if one.label is not None}
        checked_action(bytes(32), Action.relabel, label, given=given, classes=self.photos.found_classes)
        checked_reviewer(reviewer)
        if self.phase is not Phase.ready:  # else nobody knows which are there already
            raise NotReadyError("photos can be added once those that are there were looked at. Come again.")
        added, refused = [], []
        for image in images:
            try:
                key, path = keep_photo(
                    image,
                    self.places.added,
                    known=self.photos.by_key.keys(),
                    tested=self.photos.tested,
                    max_pixels=self._max_pixels,
                )
            except OptionError as error:
                refused.append((image.name, str(error)))
                continue
            with self._lock:
                if key not in self.photos.by_key and path is not None:
                    new = ReviewPhoto(key, 0, (path,), (None,), None, Reason.added, f"added by {reviewer}")
                    self.photos = self.photos.with_more([new])
            self.decide(key, Action.relabel, label, reviewer=reviewer)
            added.append(self.photos.by_key[key])
        return added, refused

    def count(self) -> ReviewCounts:
        """Return how far people are; it is counted anew where anything was decided, or photos came, since."""
        photos, last, known = self.photos, self.standing.catch_up(), self._counted
        if known is not None and known[0] == last and known[1] is photos:
            return known[2]
        found = photos.count(self.standing.state(), self.standing.differing)
        self._counted = last, photos, found
        return found

    def write_labels(self, path: Path) -> int:
        """Write what was decided as a table for `fit`, with names as seen from the data, and return the rows.

        Raises:
            NotReadyError: the photos are still looked at: nobody knows yet which they are.
            OptionError, OutputError: as `write_rows`.
        """
        if self.phase is not Phase.ready:
            raise NotReadyError("the photos are still looked at, or cannot be. Come again.")
        self.standing.catch_up()
        state, rows = self.standing.state(), []
        for photo in self.photos.photos:
            if (decision := state.get(photo.key)) is not None:
                rows += [row_of(self.name_of(source), decision) for source in photo.sources]
        return write_rows(sorted(set(rows)), path)

    def retrain(self) -> None:
        """Fit the classifier again with what was decided, in the background: see `result`.

        Raises:
            OptionError: it goes on already, or cannot be done.
        """
        if why := self.why_not_retrain or ("" if self.phase is Phase.ready else "the photos are still looked at."):
            raise OptionError(why)
        if self.worker.is_to_do(RETRAIN):
            raise OptionError("the classifier is being retrained already. Wait for that.")
        self.worker.give(RETRAIN, self._retrain, self._failed)

    def similar(self, features: np.ndarray, count: int) -> list[tuple[ReviewPhoto, float]]:
        """Return the photos with labels that are most similar, and their cosines; none before they are known.

        Args:
            features: (d,) of a photo, as the last layer sees them.
            count: at most so many.
        """
        known = self.photos.by_key
        return [(known[key], cosine) for key, cosine in self.trainer.similar(features, count) if key in known]

    # --- in the worker's thread ---

    def _look(self) -> None:
        self.standing.catch_up()
        state = self.standing.state()
        listing = list_for_review(self.data, self._columns, self.places)
        with missing_packages_named("reviewing photos"):
            network = self._classifier.backbone
            earlier = self._classifier.engine_choice
            embedder = Embedder(network, self._compute, self.worker, earlier=earlier)
            photos, notes = look_at_photos(
                listing,
                state,
                self._classifier,
                embedder,
                root=self.places.root,
                compute=self._compute,
                observer=self.worker,
            )
        if not self.why_not_retrain:
            load_libraries()
        with self._lock:  # what was added meanwhile stays
            added = (one for one in self.photos.photos if one.reason is Reason.added and one.key not in photos.by_key)
            more = [one for one in added if any(is_file(Path(str(source))) for source in one.sources)]
            self.photos, self.notes = photos.with_more(more), notes
            self.looks += 1
            self.phase, self.error = Phase.ready, ""
        self.trainer.reset()
        if not self.why_not_retrain:
            self.worker.give(PREPARE, self._prepare, self._cannot_retrain)

    def _look_failed(self, why: str) -> None:
        self.error = why
        if self.phase is not Phase.ready:  # else what was seen before stays
            self.phase = Phase.failed

    def _failed(self, why: str) -> None:
        self.error = why

    def _cannot_retrain(self, why: str) -> None:
        """Keep a reason; it is tried again when somebody asks for it."""
        self.error = f"retraining is not possible yet: {why}"

    def _prepare(self) -> None:
        self.trainer.prepare(self.photos, self.standing.state())
        self.error = ""

    def _retrain(self) -> None:
        last = self.standing.catch_up()
        found, too_few = self.trainer.retrain(self.photos, self.standing.state())
        number = 1 if self.result is None else self.result.number + 1
        file = Path(self._folder.name) / f"{number}.safetensors"
        save_bundle(found.result.classifier, file)
        self.result, self.error = RetrainResult(number, last, found, file, too_few), ""
        remove(Path(self._folder.name) / f"{number - 2}.safetensors")  # of the last one, somebody may be reading
