"""A classifier: network, head, class names and temperature in one piece, so that no two users can disagree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from regraft.classifier.record import FitRecord
from regraft.classifier.reference import TrainingReference
from regraft.classifier.tree import aligned_by_tree, samples_of_classes
from regraft.data.dataset import Dataset
from regraft.data.near_duplicates import seen_before
from regraft.data.samples import Samples
from regraft.data.taxonomy import Taxonomy, distances_between
from regraft.engines.workload import EngineChoice
from regraft.errors import OptionError, WeightsError, option, printable
from regraft.evaluation.conformal import Coverage, HeldOutScores
from regraft.evaluation.decisions import Decision, answers_of
from regraft.evaluation.goals import DecisionRequest
from regraft.evaluation.levels import Level
from regraft.features.depth_choices import columns_from
from regraft.heads.linear import Columns, Head, softmax
from regraft.images.perceptual_hash import HASH_BYTES
from regraft.images.tta import FLIP, MIRRORED, NONE, PLAIN, TTA, tta_in_words
from regraft.networks.backbone import Backbone
from regraft.networks.hook_points import Depth

if TYPE_CHECKING:
    from torch import nn

_PIXELS, _HASHES = ".pixels", ".hashes"  # after a role: of pictures
UNLIKE_LEVEL = 0.95  # of the training photos: with few of them the limit of 99 % is set by one or two odd photos
_NOTHING = np.empty(0, dtype=np.uint64)


@dataclass(eq=False)
class Classifier:
    """What `fit` makes and a bundle holds.

    Attributes:
        backbone: pixels to features, with its preprocessing.
        head: the features that are used to logits.
        classes: c names; logit k belongs to classes[k].
        temperature: logits are divided by it before the softmax (Guo et al. 2017).
        model: the network as the user named it.
        strategy: how it was trained.
        record: how it was made, and its figures; None where nothing is known of that.
        seen: what recognises the photos it was trained on ("training") and evaluated on ("validation"), by role, as
            `marks_of` gave it.
        label_type: what Python users' labels were, a row of `labels.LABEL_TYPES`.
        label_dtype: the type of their array, "" where it follows from the labels.
        engine_choice: what ran the network when its photos were learned from; None where it was trained further since,
            or the photos were too few to compare engines.
        joined: further networks, whose features follow those of `backbone`.
        joined_choices: what ran these, as `engine_choice`.
        first_depths: the number of the first depth of each network that is used; its own features always are.
        reference: what new photos are compared with; None where the network was trained further, which draws the photos
            that it learned from together, and in older files.
        decision: what answers; None where the most probable class does.
        tta: the views of a photo over which features are averaged, a row of `images.tta.TTA`. The head is linear, so
            that its logits are the means of those of the views.
        held_out: what conformal sets are made by; None in older files.
        taxonomy: the tree that the classes lie in; None where none is known.
    """

    backbone: Backbone
    head: Head
    classes: tuple[str, ...]
    temperature: float
    model: str
    strategy: str
    record: FitRecord | None = None
    seen: dict[str, np.ndarray] = field(default_factory=dict)
    label_type: str = "str"
    label_dtype: str = ""
    engine_choice: EngineChoice | None = None
    joined: tuple[Backbone, ...] = ()
    joined_choices: tuple[EngineChoice | None, ...] = ()
    first_depths: tuple[int, ...] = ()
    reference: TrainingReference | None = None
    decision: Decision | None = None
    tta: str = NONE
    held_out: HeldOutScores | None = None
    taxonomy: Taxonomy | None = None

    @property
    def backbones(self) -> tuple[Backbone, ...]:
        """Return all networks."""
        return (self.backbone, *self.joined)

    def for_another_process(self) -> "Classifier":
        """Return the same to be pickled. See `Backbone.for_another_process`."""
        joined = tuple(backbone.for_another_process() for backbone in self.joined)
        return replace(self, backbone=self.backbone.for_another_process(), joined=joined)

    @property
    def columns(self) -> Columns:
        """Return which columns of the features of all networks and depths the head sees."""
        return columns_from(self.backbones, self.first_depths or (0,) * len(self.backbones))

    @property
    def levels(self) -> tuple[Level, ...]:
        """Return the levels of the tree that the classes lie in; none without a tree."""
        return () if self.taxonomy is None else self.taxonomy.levels(self.classes)

    def align(self, samples: Samples, *, leave_out: bool = True) -> Samples:
        """Return samples whose labels are positions in `classes`: each label's own, or of the nearest node above it.

        Args:
            samples: labelled.
            leave_out: whether photos are, with a note, whose labels tell where in the tree, and no class; else that is
                an error.

        Raises:
            DataError: a label that is neither a class nor below one, nor in the tree above; or no photo of a class.
        """
        align = samples_of_classes if leave_out else aligned_by_tree
        return align(samples, self.classes, self.taxonomy)

    @property
    def depths(self) -> tuple[Depth, ...]:
        """Return the depths that the head sees, of all networks, besides the networks' own features."""
        firsts = self.first_depths or (0,) * len(self.backbones)
        return tuple(d for backbone, first in zip(self.backbones, firsts, strict=True) for d in backbone.depths[first:])

    def check_single(self, purpose: str) -> None:
        """Raise `OptionError` where several networks are joined.

        Args:
            purpose: what takes one network, the begin of a sentence: "A teacher".
        """
        check_one_network(purpose, len(self.backbones), self.model)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return (n, c) logits, already divided by the temperature, of (n, width) features.

        Raises:
            WeightsError: they are not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is told
            found = self.head.logits(features[:, self.columns]) / self.temperature
        if not np.isfinite(found).all():
            raise WeightsError(
                "the last layer gives values that are not finite (NaN or infinite). The classifier's file is damaged, "
                "or made of features of other sizes; fit it again, or use another."
            )
        return found

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return (n, c) calibrated probabilities of (n, width) features."""
        return softmax(self.logits(features))

    @property
    def positive(self) -> str | None:
        """Return the class that its figures are of, where there are two; None where that is not known."""
        return None if self.record is None or self.record.report is None else self.record.report.positive

    def answers(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (n,) classes that are answered, of (n, c) probabilities."""
        return answers_of(self.decision, probabilities)

    def sets(self, probabilities: np.ndarray, coverage: Coverage) -> np.ndarray | None:
        """Return (n, c) booleans: which classes photos may be; None where that is not known. See `HeldOutScores`."""
        return None if self.held_out is None else self.held_out.sets(probabilities, coverage)

    def check_coverage(self, coverage: Coverage, *, abstain: bool = False) -> None:
        """Raise `OptionError` or `DataError` where sets of this coverage, by which answers may `abstain`, cannot be."""
        if self.held_out is None:
            raise OptionError(
                f"{option('abstain' if abstain else 'coverage')} needs the probabilities of photos that were held out "
                "when the classifier was fitted, which this file (of an older regraft) does not hold. Fit it again."
            )
        self.held_out.check(coverage)

    def unlike_training(self, features: np.ndarray) -> np.ndarray | None:
        """Return (n,) booleans of features (n, width): which photos are unlike the training photos.

        They are farther from these than 95 % of them from each other. None where no reference is kept.
        """
        if self.reference is None:
            return None
        return self.reference.distances_of(features[:, self.columns]) > self.reference.limit(UNLIKE_LEVEL)

    def decide_by(self, request: DecisionRequest, positive: str | None = None) -> None:
        """Take another decision than that of the fit, one that needs no photos to be chosen; nothing asked: none.

        Args:
            request: what is asked for.
            positive: of two classes the one that is meant where none is named; default the one that the decision of
                the fit is about, else that of its figures.

        Raises:
            OptionError: a request that cannot be met.
        """
        request.check()
        if request.is_given():
            label = None if self.decision is None else getattr(self.decision.rule, "label", None)
            positive = positive or (self.positive if label is None else self.classes[label])
            distances = distances_between(self.classes, self.taxonomy)
            self.decision = request.fixed(self.classes, self._training_shares(request), positive, distances=distances)

    def passed_over_at(self, level: Level, request: DecisionRequest) -> str:
        """Return in words which decision of the classes does not answer at a level; "" where there is none."""
        if self.decision is None or request.is_given():
            return ""
        return (
            f"{printable(self.decision.asked)} decides among the classes: at level {level.number} the most probable "
            "node is answered"
        )

    def decision_at(self, level: Level, request: DecisionRequest, positive: str | None = None) -> Decision | None:
        """Return the decision that is asked for among the nodes of a level; None: the most probable node answers.

        Raises:
            OptionError: a request that cannot be met.
        """
        request.check()
        shares = self._training_shares(request)
        shares = None if shares is None else np.bincount(level.columns, shares)
        return request.fixed(level.nodes, shares, positive, distances=distances_between(level.nodes, self.taxonomy))

    def _training_shares(self, request: DecisionRequest) -> np.ndarray | None:
        counts = () if self.record is None else self.record.class_counts
        if request.balance and not counts:
            raise OptionError(
                f"{option('balance')} needs to know how many photos of each class were learned from, which this file "
                "(of an older regraft) does not say. Fit it again."
            )
        return np.array(counts, dtype=np.float64) / max(sum(counts), 1) if counts else None

    def as_module(self) -> "nn.Module":
        """Return all of it as one PyTorch module in eval mode: for an export, or to be part of another program.

        (b, h, w, 3) uint8 pixels, decoded, resized and cropped as `backbone.preprocess` says -> (b, c) calibrated
        probabilities. Its tensors are the classifier's own. Mirror images are made inside. The rule
        that answers (`decision`) is not: `answers` gives what it makes of these probabilities, or its `in_words` says.

        Raises:
            OptionError: the head is not linear; several networks are joined, which see photos in sizes of their own; or
                answers are of crops, which are not in the pixels of one.
        """
        from regraft.classifier.module import ClassifierModule, NetworkWithHead

        self.check_single("One module")
        parts = TTA[self.tta].parts
        if not set(parts) <= {PLAIN, MIRRORED}:
            raise OptionError(
                f"One module sees a photo as the network does. Got a classifier whose answers are "
                f"{tta_in_words(self.tta)} ({option('tta', self.tta)}). Take one that was fitted with "
                f"{option('tta', NONE)} or {FLIP}."
            )
        columns = self.columns
        assert isinstance(columns, slice)  # of one network
        network = NetworkWithHead(self.backbone, self.head, first=columns.start or 0)
        mirrored = MIRRORED in parts
        return ClassifierModule(network, self.backbone.preprocess, temperature=self.temperature, mirrored=mirrored)

    def was_seen(self, keys: Sequence[bytes], role: str) -> np.ndarray:
        """Return (n,) booleans: which images, by content key, took part in `role` when this was made; b"" is none."""
        known = np.array([bool(key) for key in keys], dtype=bool)
        return known & np.isin(short_keys(keys), self.seen.get(role, _NOTHING))

    def recognises(self, dataset: Dataset, role: str, *, near: bool = True) -> np.ndarray:
        """Return (n,) booleans: which photos took part in `role` when this was made, as they are or edited.

        Args:
            dataset: the photos, and what they show as far as that is known.
            role: "training" or "validation".
            near: False asks for equal files and equal pixels alone.
        """
        found, pictures = self.was_seen(dataset.keys, role), dataset.pictures
        if pictures is None:
            return found
        equal = np.isin(short_keys([key.tobytes() for key in pictures.keys]), self.seen.get(role + _PIXELS, _NOTHING))
        found |= equal & pictures.keys.any(axis=1)
        if near:
            hashes = self.seen.get(role + _HASHES, _NOTHING).astype("<u8").view(np.uint8).reshape(-1, HASH_BYTES)
            rows, photos = pictures.every_hash()
            found[photos[seen_before(rows, hashes)]] = True
        return found


def marks_of(datasets: Mapping[str, Dataset | None]) -> dict[str, np.ndarray]:
    """Return (k,) uint64 arrays that recognise the photos of data sets, by role: enough for that, not to restore them.

    Of each photo the first 8 bytes of its content key and of its picture's, and its perceptual hash, 4 numbers.
    """
    found = {}
    for role, dataset in datasets.items():
        found[role] = short_keys(() if dataset is None else dataset.keys)
        if dataset is not None and dataset.pictures is not None:
            found[role + _PIXELS] = short_keys([key.tobytes() for key in dataset.pictures.keys])
            hashes = np.ascontiguousarray(dataset.pictures.every_hash()[0])
            found[role + _HASHES] = hashes.view("<u8").astype(np.uint64).ravel()
    return found


def check_one_network(purpose: str, count: int, model: str) -> None:
    """Raise `OptionError` for a classifier of `count` networks where one is wanted. See `Classifier.check_single`."""
    if count > 1:
        raise OptionError(
            f"{purpose} is of one network. Got a classifier that joins {count}: {printable(model)}. Take one that was "
            "fitted with one."
        )


def short_keys(keys: Sequence[bytes]) -> np.ndarray:
    """Return (n,) uint64: the first 8 bytes of each content key. Enough to recognise a photo, not to restore it."""
    joined = b"".join(key[:8].ljust(8, b"\0") for key in keys)  # b"" keeps its place
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64)
