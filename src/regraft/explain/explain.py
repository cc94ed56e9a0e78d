"""Everything that a report shows, gathered: one pass over the photos, pictures of units, probes by depth, mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from regraft.attribution.backward_rules import DECONVNET, GUIDED
from regraft.data.samples import Samples
from regraft.data.splits import stratified_folds
from regraft.errors import DataError, ModelError, OptionError, did_you_mean
from regraft.evaluation.intervals import Interval
from regraft.explain.depth import (
    Carried,
    DepthPoint,
    accuracy_by_depth,
    accuracy_by_size,
    how_far,
    movement,
    same_shape,
)
from regraft.explain.examples import Looked, choose_photos, look_at
from regraft.explain.top_activations import MOST_POOLED, Survey, stage_maps_of, survey, telling_units
from regraft.explain.unit_pictures import StagePictures, draw_units
from regraft.heads.linear import Head
from regraft.heads.probe import OUTER_FOLDS, Labelled
from regraft.networks.backbones import Backbone
from regraft.progress import Observer, progress

METHODS = {"auto": "", "deconvnet": DECONVNET, "guided": GUIDED}
PRETRAINED, RANDOM = "pretrained", "random weights"
_RANDOM_SEED = 1
_BEFORE = 4  # units of each trained stage that are shown before and after
_MOVED = 1e-6  # relative; less is rounding


@dataclass(frozen=True, eq=False)
class Judged:
    """Answers that judge a classifier.

    Attributes:
        samples: n photos.
        probabilities: (n, c).
        known: whether the samples' labels are true ones.
        note: how the answers came about, in a sentence for the report.
    """

    samples: Samples
    probabilities: np.ndarray
    known: bool
    note: str


@dataclass(frozen=True, eq=False)
class Subject:
    """What is explained.

    Attributes:
        backbone: the network as it is now.
        samples: n photos, with their true labels or, if `known` is False, with the classifier's answers.
        groups: (n,) what is not independent, or None.
        known: whether the labels are true ones.
        model: the network as the user named it.
        head: the classifier's last layer; None for a network alone.
        pretrained: the network before it was trained further; None if it was not, or is not at hand.
        strategy: how the classifier was trained; "frozen" where the network is as it was pretrained.
        judged: answers to look at; None for a network alone.
        numbers: figures that the report begins with, in JSON types, by title.
    """

    backbone: Backbone
    samples: Samples
    groups: np.ndarray | None
    known: bool
    model: str
    head: Head | None = None
    pretrained: Backbone | None = None
    strategy: str = "frozen"
    judged: Judged | None = None
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def tuned(self) -> bool:
        """Return whether the network was trained further."""
        return self.strategy != "frozen"


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
        carried: what these say; None without labels.
        sizes: accuracy of a new last layer by the number of labelled photos of each class.
        looked: where the network looks.
        notes: what is left out, and why.
    """

    subject: Subject
    filters: np.ndarray | None = None
    stages: list[StagePictures] = field(default_factory=list)
    before: dict[str, StagePictures] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    depth: dict[str, list[DepthPoint]] = field(default_factory=dict)
    carried: Carried | None = None
    sizes: list[tuple[int, float, Interval | None]] = field(default_factory=list)
    looked: list[Looked] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return what was found, without pictures, in JSON types."""
        classes, labels = self.subject.samples.classes, self.subject.samples.labels
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
                            "photos": [str(self.subject.samples.sources[photo]) for photo in unit.photos],
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
            "carries_to": None if self.carried is None else self.carried.stage,
            "advice": None if self.carried is None else self.carried.advice,
            "learning_curve": [
                {"size": size, "accuracy": accuracy, "interval": interval and list(interval)}
                for size, accuracy, interval in self.sizes
            ],
            "moved": self.moved,
            "notes": self.notes,
        }


def explain(
    subject: Subject,
    *,
    stages: Sequence[str] = (),
    units: int = 16,
    method: str = "auto",
    device: torch.device,
    batch_size: int = 32,
    seed: int = 0,
    observer: Observer | None = None,
) -> Explanation:
    """Look into a network by photos.

    Args:
        subject: network, photos and answers.
        stages: which are pictured; none for all that have a map.
        units: how many of each stage.
        method: "deconvnet", "guided", or "auto": a deconvnet where most of the network's steps down in size are
            max-poolings, whose switches it needs, else guided backpropagation (Springenberg et al. 2015).
        device: where it runs.
        batch_size: photos at a time.
        seed: of folds, of the sample that is probed, and of the choice of photos by number.
        observer: hears the progress.

    Raises:
        OptionError: no such stage or method.
        DataError: no photo can be read.
    """
    observer = observer or Observer()
    check_options(subject.backbone, stages, method=method, units=units)
    work = _Work(subject, device, batch_size, seed, observer)
    found = Explanation(subject)
    surveyed = work.survey(subject.backbone, "photos through the network")
    found.filters = first_filters(subject.backbone.module)
    wanted = [name for name in surveyed.stages if not stages or name in stages]
    chosen = {name: telling_units(surveyed.stages[name], surveyed.counts, units) for name in wanted}
    rule = METHODS[method] or work.rule(surveyed)
    found.stages = work.draw(subject.backbone, surveyed, chosen, rule, "pictures of units")
    _compare_with_before(found, work, chosen, rule)
    if subject.known:
        _probe(found, work)
    else:
        named = "units are named by the classifier's answers" if subject.head is not None else "units have no names"
        found.notes.append(f"The photos have no labels: {named}, and how far the network carries is not shown.")
    if subject.judged is not None and subject.head is not None:
        judged = subject.judged
        shown = choose_photos(judged.probabilities, judged.samples.labels if judged.known else None)
        found.looked = look_at(
            shown,
            judged.samples.sources,
            subject.backbone,
            subject.head,
            places=stage_maps_of(subject.backbone),
            device=device,
            observer=observer,
        )
    return found


def check_options(backbone: Backbone, stages: Sequence[str], *, method: str, units: int) -> None:
    """Raise `OptionError` for a stage that has no map, an unknown method, or no units."""
    if method not in METHODS:
        raise OptionError(
            f"--method must be one of {', '.join(METHODS)}. Got {method!r}.{did_you_mean(method, METHODS)}"
        )
    if units < 1:
        raise OptionError(f"--units must be 1 or more. Got {units}.")
    names = [place.stage for place in stage_maps_of(backbone)]
    if not names:
        raise ModelError(
            f"no stage of {backbone.recipe.architecture} gives a map of units by place, so there is nothing to "
            "picture. Take another network."
        )
    for stage in stages:
        if stage not in names:
            raise OptionError(
                f"--stage must be a stage with a map of units: {', '.join(names)}. Got {stage!r}."
                f"{did_you_mean(stage, names)}"
            )


def first_filters(module: nn.Module) -> np.ndarray | None:
    """Return the filters (c, 3, k, k) of the first layer that looks at pixels; None if none of them is wider than 1."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and part.in_channels == 3 and part.kernel_size[0] > 1:
            return np.asarray(part.weight.detach().float().cpu().numpy())
    return None


@dataclass(frozen=True, eq=False)
class _Work:
    """How photos go through networks here."""

    subject: Subject
    device: torch.device
    batch_size: int
    seed: int
    observer: Observer

    _surveys: dict[int, Survey] = field(default_factory=dict)

    def survey(self, backbone: Backbone, task: str) -> Survey:
        """Run all photos through `backbone`, once."""
        if id(backbone) not in self._surveys:
            self._surveys[id(backbone)] = self._survey(backbone, self.subject.samples, task)
        return self._surveys[id(backbone)]

    def pooled(self, backbone: Backbone, photos: np.ndarray, task: str) -> dict[str, np.ndarray]:
        """Return, by stage, the pooled activations (m, units) of the photos at positions `photos` (m,)."""
        return self._survey(backbone, self.subject.samples.select(photos), task).pooled

    def _survey(self, backbone: Backbone, samples: Samples, task: str) -> Survey:
        sampled = np.arange(len(samples))
        if len(samples) > MOST_POOLED:
            sampled = np.sort(np.random.default_rng(self.seed).permutation(len(samples))[:MOST_POOLED])
        found = survey(
            backbone,
            samples.sources,
            samples.labels,
            classes=len(samples.classes),
            sampled=sampled,
            device=self.device,
            batch_size=self.batch_size,
            task=task,
            observer=self.observer,
        )
        if len(found.unreadable) == len(samples):
            raise DataError(f"not one of the {len(samples):,} photos in {samples.where} can be read.")
        return found

    def rule(self, surveyed: Survey) -> str:
        """Return which rule shows the last stage's units: a deconvnet's where max-poolings lead there."""
        last = list(surveyed.stages.values())[-1]
        picture = draw_units(
            self.subject.backbone,
            last,
            telling_units(last, surveyed.counts, 1),
            self.subject.samples.sources,
            device=self.device,
        )
        halvings = np.log2(self.subject.backbone.preprocess.height / last.place.height)
        return DECONVNET if picture.switches >= halvings / 2 else GUIDED

    def draw(
        self, backbone: Backbone, surveyed: Survey, chosen: Mapping[str, Sequence[int]], rule: str, task: str
    ) -> list[StagePictures]:
        """Return the pictures of `chosen` units by stage."""
        total = sum(int((surveyed.stages[name].photos[list(units)] >= 0).sum()) for name, units in chosen.items())
        with progress(self.observer, task, total) as advance:
            return [
                draw_units(
                    backbone,
                    surveyed.stages[name],
                    units,
                    self.subject.samples.sources,
                    device=self.device,
                    rule=rule,
                    advance=advance,
                )
                for name, units in chosen.items()
            ]


def _compare_with_before(found: Explanation, work: _Work, chosen: Mapping[str, Sequence[int]], rule: str) -> None:
    subject = found.subject
    if not subject.tuned:
        return
    before = subject.pretrained
    if before is None or not same_shape(before, subject.backbone):
        found.notes.append(_no_before(subject, "what training changed, and how far the pretrained network carries"))
        return
    found.moved = movement(before, subject.backbone)
    trained = {name: units[:_BEFORE] for name, units in chosen.items() if found.moved.get(name, 0.0) > _MOVED}
    surveyed = work.survey(before, "photos through the network before training")
    pictures = work.draw(before, surveyed, trained, rule, "pictures of units before training")
    found.before = {stage.stage: stage for stage in pictures}


def _probe(found: Explanation, work: _Work) -> None:
    """Judge a new last layer at every stage, with the pretrained and with random weights, and by number of photos."""
    subject, observer = found.subject, work.observer
    network = subject.pretrained if subject.tuned else subject.backbone
    if network is None:
        return  # a network that was trained on these photos tells nothing of how far pretraining carries; it is noted
    surveyed = work.survey(network, "photos through the pretrained network")
    photos = surveyed.sampled
    labels, classes = subject.samples.labels[photos], subject.samples.classes
    if len(np.unique(labels)) < 2:
        found.notes.append("How far the network carries is not shown: all photos are of one class.")
        return
    groups = None if subject.groups is None else subject.groups[photos]
    try:
        folds = stratified_folds(labels, classes, count=OUTER_FOLDS, seed=work.seed, groups=groups)
    except DataError as error:
        found.notes.append(f"How far the network carries cannot be judged: {error}")
        return
    random = work.pooled(network.at_random(_RANDOM_SEED), photos, "photos through random weights")
    for name, pooled in ((PRETRAINED, surveyed.pooled), (RANDOM, random)):
        data = {stage: Labelled(values, labels, groups, classes) for stage, values in pooled.items()}
        task = f"a last layer on every stage, {name}"
        found.depth[name] = accuracy_by_depth(data, folds, seed=work.seed, task=task, observer=observer)
    found.carried = how_far(found.depth[PRETRAINED], groups, random=found.depth[RANDOM])
    last = Labelled(list(surveyed.pooled.values())[-1], labels, groups, classes)
    found.sizes = accuracy_by_size(last, folds, seed=work.seed, observer=observer)


def _no_before(subject: Subject, what: str) -> str:
    if subject.strategy == "scratch":
        return f"Not shown: {what}. The network was trained from random weights."
    return f"Not shown: {what}. The network as it was before training is not at hand; --before NETWORK names it."
