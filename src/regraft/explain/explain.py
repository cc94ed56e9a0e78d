"""Gathers everything that a report shows: pictures of units, probes by depth, mistakes, where the network looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from regraft.attribution.backward_rules import DECONVNET, GUIDED
from regraft.data.samples import Samples
from regraft.data.splits import OUTER_FOLDS
from regraft.errors import DataError, ModelError, OptionError, did_you_mean, option
from regraft.explain.depth import (
    accuracy_by_depth,
    accuracy_by_size,
    advise_by_depth,
    movement,
    same_shape,
)
from regraft.explain.examples import choose_examples, explain_examples
from regraft.explain.explanation import Explanation
from regraft.explain.mistakes import find_mistakes
from regraft.explain.subject import Subject
from regraft.explain.top_activations import (
    MOST_POOLED,
    TopActivations,
    discriminative_units,
    find_top_activations,
    stage_maps_of,
)
from regraft.explain.unit_pictures import StagePictures, draw_units
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import reinitialised
from regraft.progress import Observer, progress
from regraft.transfer.auto_plan import auto_in_words
from regraft.transfer.strategies import strategy_named

METHODS = {"auto": "", "deconvnet": DECONVNET, "guided": GUIDED}
PRETRAINED, RANDOM = "pretrained", "random weights"
_RANDOM_SEED = 1
_PROBED, _PROBED_OF_EACH = 400, 20  # photos that are probed by depth where no units are pictured; of each class
_JOINED = (
    "Several networks are joined under one last layer: what the layers of each see, where it looks and how far it "
    "carries are not shown."
)
_BEFORE = 4  # units of each trained stage that are shown before and after
_MOVED = 1e-6  # relative; less is rounding


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
        units: how many of each stage; 0 pictures none, and takes a third of the time.
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
    found = Explanation(subject, mistakes=find_mistakes(subject))
    if subject.joined and stages:
        raise OptionError(f"{option('stages')} shows one network, and several are joined. Leave it out.")
    if subject.joined:
        found.notes.append(_JOINED)
    elif units:
        _picture_units(found, work, stages, units=units, method=method)
    else:
        _measure_movement(found)
    if subject.labelled:
        _probe(found, work, units=units)
    else:
        named = "units are named by the classifier's answers" if subject.head is not None else "units have no names"
        found.notes.append(f"The photos have no labels: {named}, and how far the network carries is not shown.")
    if not subject.joined:
        _look(found, work)
    return found


def _picture_units(found: Explanation, work: "_Work", stages: Sequence[str], *, units: int, method: str) -> None:
    """Run all photos through the network, and draw what excites its units; of a trained one, what did before, too."""
    subject = found.subject
    activations = work.find_top_activations(subject.backbone, "photos through the network")
    found.filters = first_filters(subject.backbone.module)
    wanted = [name for name in activations.stages if not stages or name in stages]
    chosen = {name: discriminative_units(activations.stages[name], activations.counts, units) for name in wanted}
    rule = METHODS[method] or work.rule(activations)
    found.stages = work.draw(subject.backbone, activations, chosen, rule, "pictures of units")
    before = _measure_movement(found)
    if before is None:
        return
    trained = {name: picked[:_BEFORE] for name, picked in chosen.items() if found.moved.get(name, 0.0) > _MOVED}
    activations = work.find_top_activations(before, "photos through the network before training")
    pictures = work.draw(before, activations, trained, rule, "pictures of units before training")
    found.before = {stage.stage: stage for stage in pictures}


def _measure_movement(found: Explanation) -> Backbone | None:
    """Find how far training moved each stage; return the network before, None where nothing was trained, or no such."""
    subject, before = found.subject, found.subject.pretrained
    if not subject.fine_tuned:
        return None
    if before is None or not same_shape(before, subject.backbone):
        found.notes.append(_no_before(subject, "what training changed, and how far the pretrained network carries"))
        return None
    found.moved = movement(before, subject.backbone)
    return before


def _look(found: Explanation, work: "_Work") -> None:
    """Find where the network looks in photos that are worth a look."""
    subject = found.subject
    if subject.evaluated is None or subject.probabilities is None or subject.head is None:
        return
    evaluated = subject.evaluated
    found.examples = explain_examples(
        choose_examples(subject.probabilities, evaluated.labels if subject.labelled else None, subject.answers),
        evaluated.samples.sources,
        subject.backbone,
        subject.head,
        first=subject.first,
        temperature=subject.temperature,
        decision=subject.decision,
        tta=subject.tta,
        places=stage_maps_of(subject.backbone),
        device=work.device,
        observer=work.observer,
    )
    if found.examples and found.examples[0].cam is None:
        found.notes.append(
            "Where the network looks is shown by occlusion alone: the last layer sees several depths, and "
            "Grad-CAM shows what a single one of them says."
        )


def check_options(backbone: Backbone, stages: Sequence[str], *, method: str, units: int) -> None:
    """Raise `OptionError` for a stage that has no map, an unknown method, or no units."""
    if method not in METHODS:
        raise OptionError(
            f"{option('method')} must be one of {', '.join(METHODS)}. Got {method!r}.{did_you_mean(method, METHODS)}"
        )
    if units < 0:
        raise OptionError(f"{option('units')} must be 0 or more. Got {units}.")
    if not units and stages:
        raise OptionError(f"{option('stages')} goes with {option('units')} of 1 or more. Got {option('units', 0)}.")
    if not units:
        return
    names = [place.stage for place in stage_maps_of(backbone)]
    if not names:
        raise ModelError(
            f"no stage of {backbone.recipe.architecture} gives a map of units by place, so there is nothing to "
            "picture. Take another network."
        )
    for stage in stages:
        if stage not in names:
            raise OptionError(
                f"{option('stages')} must be a stage with a map of units: {', '.join(names)}. Got {stage!r}."
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
    _passes: dict[int, TopActivations] = field(default_factory=dict)

    def find_top_activations(self, backbone: Backbone, task: str) -> TopActivations:
        """Run all photos through `backbone`, once."""
        if id(backbone) not in self._passes:
            self._passes[id(backbone)] = self._run(backbone, self.subject.dataset.samples, task)
        return self._passes[id(backbone)]

    def sample(self, count: int, most: int) -> np.ndarray:
        """Return positions, ascending, of at most `most` of `count` photos, drawn at random."""
        if count <= most:
            return np.arange(count)
        return np.sort(np.random.default_rng(self.seed).permutation(count)[:most])

    def run(self, backbone: Backbone, photos: np.ndarray, task: str) -> TopActivations:
        """Run the photos at positions `photos` (m,) through `backbone`; `sampled` of the result are such positions."""
        found = self._run(backbone, self.subject.dataset.samples.select(photos), task)
        found.sampled = photos[found.sampled]
        return found

    def _run(self, backbone: Backbone, samples: Samples, task: str) -> TopActivations:
        sampled = self.sample(len(samples), MOST_POOLED)
        found = find_top_activations(
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

    def rule(self, activations: TopActivations) -> str:
        """Return which rule shows the last stage's units: a deconvnet's where max-poolings lead there."""
        last = list(activations.stages.values())[-1]
        picture = draw_units(
            self.subject.backbone,
            last,
            discriminative_units(last, activations.counts, 1),
            self.subject.dataset.samples.sources,
            device=self.device,
        )
        halvings = np.log2(self.subject.backbone.preprocess.height / last.place.height)
        return DECONVNET if picture.switches >= halvings / 2 else GUIDED

    def draw(
        self, backbone: Backbone, activations: TopActivations, chosen: Mapping[str, Sequence[int]], rule: str, task: str
    ) -> list[StagePictures]:
        """Return the pictures of `chosen` units by stage."""
        total = sum(int((activations.stages[name].photos[list(units)] >= 0).sum()) for name, units in chosen.items())
        with progress(self.observer, task, total) as advance:
            return [
                draw_units(
                    backbone,
                    activations.stages[name],
                    units,
                    self.subject.dataset.samples.sources,
                    device=self.device,
                    rule=rule,
                    advance=advance,
                )
                for name, units in chosen.items()
            ]


def _probe(found: Explanation, work: _Work, *, units: int) -> None:
    """Evaluate a new last layer at every stage, with pretrained and with random weights, and by number of photos.

    Without pictures of units, which need a pass over all photos, fewer photos are probed by depth.
    """
    subject = found.subject
    network = subject.pretrained if subject.fine_tuned else subject.backbone
    if network is None or (subject.fine_tuned and not found.moved):
        return  # a network that was trained on these photos tells nothing of how far pretraining carries; it is noted
    dataset = subject.dataset
    if len(np.unique(dataset.labels)) < 2:
        found.notes.append("How far the network carries is not shown: all photos are of one class.")
        return
    try:
        dataset.folds(OUTER_FOLDS, seed=work.seed)
        if not subject.joined:
            _probe_depth(found, work, network, units=units)
    except DataError as error:
        found.notes.append(f"How far the network carries cannot be found: {error}")
        return
    if subject.features is not None:
        chosen = work.sample(len(dataset), MOST_POOLED)
        part = dataset.select(chosen)
        found.sizes = accuracy_by_size(subject.features[chosen], part, seed=work.seed, observer=work.observer)


def _probe_depth(found: Explanation, work: _Work, network: Backbone, *, units: int) -> None:
    """Evaluate a new last layer at every stage; of a network that was trained, by number of photos too.

    Raises:
        DataError: some class of the photos that are probed cannot be both learned from and held out.
    """
    subject, observer, task = found.subject, work.observer, "photos through the pretrained network"
    if units:
        activations = work.find_top_activations(network, task)
    else:
        most = min(max(_PROBED, _PROBED_OF_EACH * len(subject.dataset.classes)), MOST_POOLED)
        activations = work.run(network, work.sample(len(subject.dataset), most), task)
    dataset = subject.dataset.select(activations.sampled)
    folds = dataset.folds(OUTER_FOLDS, seed=work.seed)
    random = work.run(reinitialised(network, _RANDOM_SEED), activations.sampled, "photos through random weights")
    for name, pooled in ((PRETRAINED, activations.pooled), (RANDOM, random.pooled)):
        task = f"a last layer on every stage, {name}"
        found.depth[name] = accuracy_by_depth(pooled, dataset, seed=work.seed, task=task, observer=observer)
    found.depth_advice = advise_by_depth(
        found.depth[PRETRAINED],
        dataset.groups,
        folds,
        random=found.depth[RANDOM],
        auto=auto_in_words(found.subject.record),
        trained=_stages_trained(found.subject),
        majority=float(np.bincount(dataset.labels).max() / len(dataset)),
    )
    if subject.features is None:
        last = list(activations.pooled.values())[-1]
        found.sizes = accuracy_by_size(last, dataset, seed=work.seed, observer=observer)


def _stages_trained(subject: Subject) -> set[str]:
    """Return the stages that "auto" tried to train, to the end."""
    record, stages = subject.record, [stage.name for stage in subject.backbone.stages()]
    tried = [] if record is None else [one.strategy for one in record.tried or () if not one.stopped]
    return {stage for strategy in tried for stage in strategy_named(strategy).stages(stages)}


def _no_before(subject: Subject, what: str) -> str:
    if subject.from_random_weights:
        return f"Not shown: {what}. The network was trained from random weights."
    named = option("before", "NETWORK")
    return f"Not shown: {what}. The network as it was before training is not here; name it with {named}."
