"""Everything that a report shows, as data."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regraft.explain.depth import DepthAdvice, DepthPoint, LearningCurve
from regraft.explain.examples import ExplainedExample
from regraft.explain.mistakes import Mistakes
from regraft.explain.subject import Subject
from regraft.explain.unit_pictures import StagePictures


@dataclass(eq=False)
class Explanation:
    """What a report shows.

    Attributes:
        subject: what is explained.
        filters: (c, 3, k, k) of the first layer; None where it does not look at pixels by filters.
        stages: the pictures of units by stage.
        before: of the trained stages, the same units before training.
        moved: by stage, how far training moved the weights, relative to their size.
        depth: by name ("pretrained", "random weights"), accuracy by stage.
        depth_advice: what these say; None without labels.
        sizes: how accurate a new last layer is by the number of labelled photos of each class; None where unknown.
        mistakes: photos that were answered wrong, and labels in doubt.
        examples: photos that are worth a look, and where the network looks in them.
        notes: what is left out, and why.
    """

    subject: Subject
    filters: np.ndarray | None = None
    stages: list[StagePictures] = field(default_factory=list)
    before: dict[str, StagePictures] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    depth: dict[str, list[DepthPoint]] = field(default_factory=dict)
    depth_advice: DepthAdvice | None = None
    sizes: LearningCurve | None = None
    mistakes: Mistakes = field(default_factory=Mistakes)
    examples: list[ExplainedExample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return what was found, without pictures, in JSON types."""
        classes, labels = self.subject.dataset.classes, self.subject.dataset.labels
        return {
            "stages": [
                {
                    "stage": stage.stage,
                    "method": stage.method,
                    "refusal": stage.refusal,
                    "receptive_field": list(stage.side),
                    "units": [
                        {
                            "unit": unit.unit,
                            "activations": unit.activations,
                            "photos": [str(self.subject.dataset.samples.sources[photo]) for photo in unit.photos],
                            "classes": [classes[labels[photo]] for photo in unit.photos],
                        }
                        for unit in stage.units
                    ],
                }
                for stage in self.stages
            ],
            "depth": {
                name: [
                    {"stage": p.stage, "accuracy": p.accuracy, "interval": p.interval and list(p.interval)}
                    for p in points
                ]
                for name, points in self.depth.items()
            },
            "carries_to": None if self.depth_advice is None else self.depth_advice.stage,
            "advice": None if self.depth_advice is None else self.depth_advice.advice,
            "learning_curve": [
                {"size": size, "accuracy": accuracy, "interval": interval and list(interval)}
                for size, accuracy, interval in (self.sizes.points if self.sizes is not None else [])
            ],
            "moved": self.moved,
            "notes": self.notes,
        }
