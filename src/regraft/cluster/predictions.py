"""Answers of a classifier about any number of photos: a part file for each shard, written by the workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictions, Predictor
from regraft.cluster.parts import digest_of, engines_of
from regraft.cluster.shards import Shard
from regraft.engines.compute import Compute
from regraft.engines.workload import SharedChoice
from regraft.errors import DataError, option
from regraft.evaluation.conformal import Coverage
from regraft.evaluation.decisions import Decision
from regraft.evaluation.levels import Level


@dataclass(frozen=True)
class AnswerOptions:
    """What is answered, besides the classifier's own decision.

    Attributes:
        coverage: of sets of classes; None for none.
        abstain: whether unsure answers are withheld.
        level: of the tree of classes; None for the classes.
        decision: among the nodes of the level.
    """

    coverage: Coverage | None = None
    abstain: bool = False
    level: Level | None = None
    decision: Decision | None = None


class PredictionJob:
    """Answers the photos of a shard. See `parts.ShardJob`.

    Args:
        classifier: what answers.
        compute: as of the process that gives the work.
        choices: what runs each network on all workers.
        answers: what is answered.
        write: predictions and names of classes to the contents of a file.
        suffix: the ending of that file.
        digest: identifies the classifier and all options of answers.
        photos: how many there are in all shards, which decides what resizes them.
    """

    def __init__(
        self,
        classifier: Classifier,
        compute: Compute,
        answers: AnswerOptions,
        write: Callable[[Predictions, Sequence[str]], str | bytes],
        *,
        choices: Sequence[SharedChoice],
        suffix: str,
        digest: str,
        photos: int,
    ) -> None:
        self._classifier = replace(
            classifier.for_another_process(), engine_choice=choices[0], joined_choices=tuple(choices[1:])
        )
        self._compute, self._choices = compute.for_workers(), choices
        self._answers, self._write, self.suffix, self._digest = answers, write, suffix, digest
        self._photos = photos
        self._predictor: Predictor | None = None

    @property
    def engines(self) -> str:
        """Return what runs the networks, in words."""
        return engines_of(self._choices)

    def digest(self) -> str:
        """Return what changes when the parts would be others."""
        return digest_of(self._compute, self._choices, self._digest, self._photos, self.suffix)

    def run(self, shard: Shard) -> tuple[bytes, int, list[tuple[str, str]], str]:
        """Return the part of a shard. See `parts.ShardJob`.

        Raises:
            DataError: photos of more than 8 bits whose black and white nobody has said: shards would differ.
        """
        asked, classifier = self._answers, self._classifier
        if self._predictor is None:
            self._predictor = Predictor(classifier, self._compute, coverage=asked.coverage, abstain=asked.abstain)
        sources = shard.photos().sources
        found = self._predictor.predict_with_features(sources, photos=self._photos)
        check_ranges_known(shard, found.ranges, classifier.backbone.preprocess.ranges, self._compute)
        predictions = found.predictions
        classes = classifier.classes if asked.level is None else asked.level.nodes
        if asked.level is not None:
            predictions = predictions.at(asked.level, asked.decision)
        content = self._write(predictions, classes)
        data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
        unreadable = [(str(sources[place]), reason) for place, reason in sorted(predictions.unreadable.items())]
        return data, len(sources), unreadable, self.engines


def check_ranges_known(shard: Shard, found: object, known: object, compute: Compute) -> None:
    """Raise `DataError` where a shard's photos alone have decided which values are black and white."""
    if found != known and compute.value_range is None:
        raise DataError(
            f"{shard}: photos of more than 8 bits, whose values of black and white depend on all photos, and each "
            f"worker sees a part of them. Name them: {option('value_range')} 0:4095, say."
        )
