"""A review: photos in order, decisions as they come in, and a classifier that is fitted again with them."""

import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from regraft.classifier.bundle import save_bundle
from regraft.classifier.classifier import Classifier
from regraft.data.columns import Columns
from regraft.engines.compute import Compute
from regraft.errors import OptionError, RegraftError, option
from regraft.extras import missing_packages_named
from regraft.features.embedding import Embedder
from regraft.features.nearest import NearestSearch
from regraft.images.sources import EncodedImage
from regraft.review.added_photos import keep_photo
from regraft.review.base import experiment_of, labelled_splits, left_out, without_small_classes
from regraft.review.decision import Action, Decision, checked_action, checked_reviewer
from regraft.review.decisions import DecisionStore
from regraft.review.label_export import row_of, write_rows
from regraft.review.listing import list_for_review, look_at_photos
from regraft.review.order import Reason
from regraft.review.photos import ReviewPhoto, ReviewPhotos, name_below
from regraft.review.places import ReviewPlaces
from regraft.review.retrain import Retrained, retrain
from regraft.review.standing import Standing
from regraft.review.work import Worker
from regraft.transfer.experiment import Experiment
from regraft.transfer.fit import FitResult, fit_experiment

LOOK, PREPARE, RETRAIN = "looking at the photos", "preparing to retrain", "retraining"  # what the worker does
_FROZEN = "frozen"


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
        too_few: classes of fewer than two photos, which nothing can be learned of yet, and how many each has.
    """

    number: int
    last: int
    retrained: Retrained
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
    ) -> None:
        self.data, self.places = data, ReviewPlaces.of(data, columns, decisions)
        self.store = DecisionStore(self.places.decisions)
        self.standing = Standing(self.store)
        self.worker = Worker()
        self.phase, self.error = Phase.looking, ""
        self.notes: tuple[str, ...] = ()
        self.why_not_retrain = ""
        self.photos = ReviewPhotos(())
        self.result: RetrainResult | None = None
        self.name_of = name_below(self.places.root)
        self._classifier, self._columns, self._compute = classifier, columns, compute or Compute()
        self._lock = threading.Lock()
        self._first: FitResult | None = None
        self._base: FitResult | None = None
        self._first_labels: frozenset[bytes] = frozenset()  # of photos in the base whose labels are decisions alone
        self._folder = tempfile.TemporaryDirectory(prefix="regraft-review-")
        if classifier.strategy != _FROZEN:
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
            label: the new one; of a photo that is confirmed nothing, or the one that it has.
            reviewer: who decides.

        Raises:
            KeyError: no such photo.
            OptionError: an action, label or name that is not allowed, or no label to confirm.
            OutputError: it cannot be written.
        """
        photo = self.photos.by_key[key]
        if action == Action.confirm and label is None:
            counts = self.standing.of(key)
            label = photo.label if counts is None or counts.label is None else counts.label
            if label is None:
                raise OptionError(f"{self.name_of(photo.sources[0])} has no label to confirm. Give it one.")
        known = self.photos.found_classes
        decision = self.store.record(key, photo.sources[0], action, label, reviewer=reviewer, classes=known)
        self.standing.catch_up()
        return decision

    def undo(self, *, reviewer: str) -> Decision | None:
        """Undo a reviewer's last decision that counts, and return it; None where there is none."""
        found = self.store.undo(reviewer)
        self.standing.catch_up()
        return found

    def add(
        self, images: Sequence[EncodedImage], label: str, *, reviewer: str
    ) -> tuple[list[ReviewPhoto], list[tuple[str, str]]]:
        """Add photos with their label, and return these, and the names of those that cannot be read, with the reasons.

        A photo that is there already, by its content, gets the label.

        Raises:
            OptionError: a label or name that is not allowed.
            OutputError: they cannot be written.
        """
        given = {one.label for one in self.standing.state().values() if one.label is not None}
        checked_action(bytes(32), Action.relabel, label, given=given, classes=self.photos.found_classes)
        checked_reviewer(reviewer)
        added, refused = [], []
        for image in images:
            try:
                key, path = keep_photo(image, self.places.added, known=self.photos.by_key.keys())
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

    def write_labels(self, path: Path) -> int:
        """Write what was decided as a table for `fit`, with names as seen from the data, and return the rows."""
        state, rows = self.standing.state(), []
        for photo in self.photos.photos:
            if (decision := state.get(photo.key)) is not None:
                rows += [row_of(self.name_of(source), decision) for source in photo.sources]
        return write_rows(sorted(rows), path)

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

    def similar(self, vector: np.ndarray, count: int) -> list[tuple[ReviewPhoto, float]]:
        """Return the photos with labels that are most similar, and their cosines; none before they are known.

        Args:
            vector: (width,) what the classifier's last layer sees of a photo.
            count: at most so many.
        """
        first = self._first
        if first is None:
            return []
        dataset, columns = first.experiment.dataset, first.classifier.columns
        search = NearestSearch(vector[None], [b""], count)
        search.add(first.experiment.features.values[:, columns], dataset.keys, np.arange(len(dataset)))
        found = zip(search.positions[0].tolist(), search.distances[0].tolist(), strict=True)
        known = self.photos.by_key
        return [(known[dataset.keys[row]], 1 - distance) for row, distance in found if dataset.keys[row] in known]

    # --- in the worker's thread ---

    def _look(self) -> None:
        self.standing.catch_up()
        state = self.standing.state()
        listing = list_for_review(self.data, self._columns, self.places, state)
        with missing_packages_named("reviewing photos"):
            network = self._classifier.backbone
            earlier = self._classifier.engine_choice
            embedder = Embedder(network, self._compute, self.worker, earlier=earlier)
            photos, notes = look_at_photos(
                listing,
                self._classifier,
                embedder,
                root=self.places.root,
                compute=self._compute,
                observer=self.worker,
            )
        with self._lock:  # what was added meanwhile stays
            more = [one for one in self.photos.photos if one.reason is Reason.added and one.key not in photos.by_key]
            self.photos, self.notes = photos.with_more(more), notes
            self.phase, self.error = Phase.ready, ""
        self._first = self._base = None
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
        """Fit what is compared with: by the labels as they were found, where there are some."""
        state = self.standing.state()
        try:
            splits = labelled_splits(self.data, self._columns, self.photos, {})
        except RegraftError:
            splits = labelled_splits(self.data, self._columns, self.photos, state)
        with missing_packages_named("retraining"):
            experiment = experiment_of(self._classifier, splits, self._compute, self.worker)
            self._first = self._base = fit_experiment(experiment, model=self._classifier.model)
        self._first_labels = frozenset()
        self.error = ""

    def _take_in(self, state: Mapping[bytes, Decision]) -> FitResult:
        """Return what is fitted again, with all photos that have a label by now."""
        if self._first is None or self._base is None:
            self._prepare()
        assert self._first is not None
        assert self._base is not None
        labelled = {key for key, one in state.items() if one.label is not None and key in self.photos.by_key}
        more = frozenset(labelled - _keys_of(self._first.experiment))
        if more - self._first_labels:
            splits = labelled_splits(self.data, self._columns, self.photos, state)
            experiment = experiment_of(self._classifier, splits, self._compute, self.worker)
            self._base, self._first_labels = replace(self._first, experiment=experiment), more
        return self._base

    def _retrain(self) -> None:
        last = self.standing.catch_up()
        state, too_few = without_small_classes(self.photos, self.standing.state())
        base = self._take_in(state)
        for key in self._first_labels - state.keys():  # their label was undone, and they have no other
            state[key] = left_out(key)
        found = retrain(base, state, before=self._first)
        number = 1 if self.result is None else self.result.number + 1
        file = Path(self._folder.name) / f"{number}.safetensors"
        save_bundle(found.result.classifier, file)
        self.result, self.error = RetrainResult(number, last, found, file, too_few), ""


def _keys_of(experiment: Experiment) -> set[bytes]:
    """Return the content keys of all photos of an experiment."""
    parts = (experiment.dataset, experiment.validation)
    return {key for part in parts if part is not None for key in part.keys}
