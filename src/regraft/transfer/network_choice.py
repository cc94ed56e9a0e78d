"""Which of several networks is taken: the cheapest that is not proven worse than another, within a time.

What a network costs is the number of multiply-adds of one image in its own size: unlike seconds, it is the same on
every machine and in every run. Where there are more than `SAMPLE` photos, a part of them ranks the networks first, so
that a budget that does not suffice for all is spent on those that promise most. They are ranked by the log loss of a
new last layer on their last features, out-of-fold: that is what the classifier will be made of, and takes a second,
where the pass through the network takes many. (k nearest neighbours would need no training, but see all features as
equally important, which a last layer does not.) The best-ranked networks then get the features of all photos and the
nested cross-validation of every fit.

Out-of-fold figures stay honest: each fold is answered by the network that would be chosen from the other folds'
answers. Only the ranking has seen labels of all folds, and only where the budget leaves networks out by it.
"""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from regraft.classifier.record import NetworkTrial
from regraft.data.dataset import Dataset
from regraft.data.samples import Samples
from regraft.data.splits import OUTER_FOLDS
from regraft.engines.compute import Compute
from regraft.errors import DataError, option, printable
from regraft.evaluation.metrics import photo_log_loss
from regraft.evaluation.paired_tests import fold_widening, mean_test
from regraft.features.depth_choices import columns_from, first_depths
from regraft.features.extraction import Features
from regraft.features.joint import JointExtractor
from regraft.heads.head_choice import choose_head
from regraft.heads.probe import CalibratedHeads
from regraft.networks.backbone import Backbone
from regraft.networks.hook_points import LAST
from regraft.progress import Observer
from regraft.training.checkpoints import Run
from regraft.transfer.auto import cheapest
from regraft.transfer.budget import Clock, PersistentClock
from regraft.transfer.cross_validation import cross_validate
from regraft.transfer.experiment import Experiment, outer_folds
from regraft.transfer.preparation import ExtractedSplits, check_differ, extract_splits, open_splits, prepare_network
from regraft.transfer.settings import FitSettings
from regraft.transfer.strategies import Candidate
from regraft.transfer.trainers import trainer_of

SAMPLE = 500  # photos that networks are ranked on
_LARGE = 2**28  # bytes of features of one network
_LEAST_OF_EACH = 3  # class; more photos are taken where that needs them
_FOLDER = "networks"  # of what is kept of the choice, in that of the run


@dataclass(frozen=True, eq=False)
class NetworkChoice:
    """Which network is taken, and what was tried.

    Attributes:
        experiment: of the network, whose features are known.
        model: its name.
        tried: all networks, the cheapest first.
        others: (n, c) out-of-fold probabilities of another network, in the folds that it would be taken for if they
            were not known; NaN elsewhere.
    """

    experiment: Experiment
    model: str
    tried: tuple[NetworkTrial, ...]
    others: np.ndarray

    def answer_folds(self, probabilities: np.ndarray) -> np.ndarray:
        """Return out-of-fold probabilities (n, c) of the network, those of `others` in their places."""
        return np.where(np.isnan(self.others), probabilities, self.others)


def choose_network(
    splits: Mapping[str, Samples],
    loaders: Mapping[str, Callable[[], Backbone]],
    *,
    settings: FitSettings,
    compute: Compute,
    observer: Observer,
    folder: Path | None = None,
) -> NetworkChoice:
    """Look at all photos, try networks with a new last layer, and return the cheapest that is not proven worse.

    Two networks are compared by the mean difference of their log losses, photo by photo, out-of-fold on the training
    photos, as `auto.choose` compares strategies.

    Args:
        splits: "train", and "validation" if photos that take no part in choosing are to evaluate.
        loaders: what loads each network, by its name.
        settings: `budget` is for all networks but the first, and for all processes of a run that is killed and resumed.
        compute: where networks run.
        observer: hears the plan, findings and progress.
        folder: of the run: what was left out for the budget stays so when a killed run is resumed. None keeps nothing.

    Raises:
        DataError: as `fit`, or no class can be both learned from and held out.
        OptionError, ResumeError: as `fit`.
    """
    settings.check_views_named()
    dataset, validation = open_splits(splits, settings, compute, observer)
    try:
        outer_folds(dataset, settings)
    except DataError as error:  # validation photos evaluate, but may not choose
        raise DataError(
            f"{error}\nNetworks are compared on training photos that were held out. Name one network "
            f"({option('model')}), which needs none."
        ) from error
    networks = {name: load() for name, load in loaders.items()}
    check_differ(networks)
    costs = {name: multiply_adds(network) for name, network in networks.items()}
    trials = _Trials(networks, costs, settings, compute, observer)
    trials.open_run(folder, dataset)
    return trials.choose(dataset, validation)


class _Trials:
    """Tries networks one after the other.

    Args:
        networks: by name.
        costs: multiply-adds of each.
        settings: how to train.
        compute: where.
        observer: hears the plan, findings and progress.
    """

    def __init__(
        self,
        networks: Mapping[str, Backbone],
        costs: Mapping[str, int],
        settings: FitSettings,
        compute: Compute,
        observer: Observer,
    ) -> None:
        self._networks, self._costs = networks, costs
        self._settings, self._compute, self._observer = settings, compute, observer
        self._order = sorted(networks, key=lambda name: costs[name])
        self._scores: dict[str, float] = {}
        self._rates: dict[str, float] = {}  # seconds of one photo
        self._seconds = dict.fromkeys(networks, 0.0)
        self._left_out: dict[str, str] = {}

    def open_run(self, folder: Path | None, dataset: Dataset) -> None:
        """Keep decisions that depend on the time in a folder of the run in `folder`."""
        settings = self._settings
        if folder is not None:
            if settings.restart:
                Run(folder, {}, restart=True, observer=Observer())  # here, before anything is kept
            with contextlib.suppress(OSError):  # then nothing is kept, which the run itself will say
                folder.mkdir(exist_ok=True)
        arguments = settings.training_arguments(self._compute) | {option("budget"): settings.budget}
        arguments |= {"photos": dataset.digest()}
        arguments |= {option("model", name): one.fingerprint()[:12] for name, one in self._networks.items()}
        place = None if folder is None else folder / _FOLDER
        self._run = Run(place, arguments, restart=False, observer=Observer())
        self._settings = replace(settings, restart=False)  # what is kept from here on is of this run
        self._clock = PersistentClock(settings.budget, self._run, [_FOLDER, "clock"])

    def choose(self, dataset: Dataset, validation: Dataset | None) -> NetworkChoice:
        """Return the network that is taken."""
        self._say_plan(dataset)
        ranked = self._rank(dataset)
        settings, compute, observer = self._settings, self._compute, self._observer
        extracted: dict[str, ExtractedSplits] = {}
        for name in ranked:
            if extracted and not self._may_begin(name, "all photos", self._rate(name) * len(dataset)):
                continue
            started = time.monotonic()
            found = extract_splits(
                dataset, validation, [self._networks[name]], settings=settings, compute=compute, observer=observer
            )
            dataset, validation = found.dataset, found.validation
            extracted[name] = replace(found, features=_on_disk(found.features))
            self._passed(name, started)
        # what any network's features joined stays on one side of every fold, and what one could not read is left out
        silent = Observer()
        experiments = {
            name: found.of(dataset, validation).experiment(settings, compute, silent if number else observer)
            for number, (name, found) in enumerate(extracted.items())
        }
        return self._choice(experiments)

    def _rate(self, name: str) -> float:
        """Return the seconds of one photo; by its cost and those of others where none of its own are known."""
        others = [rate / self._costs[other] for other, rate in self._rates.items()]
        return self._rates.get(name, max(others, default=0.0) * self._costs[name])

    def _may_begin(self, name: str, what: str, needed: float) -> bool:
        """Return whether there is time for work of about `needed` seconds, or was when the run came here first."""
        job, work = [_FOLDER, what, name], f"{name}, {what}"
        verdict = self._run.fact(job) or ("begun" if self._clock.left() > needed else "left out")
        self._run.record_fact(job, work, verdict)
        if verdict != "begun":
            self._left_out[name] = f"{option('budget')} does not suffice"
        return verdict == "begun"

    def _passed(self, name: str, started: float) -> None:
        self._seconds[name] += time.monotonic() - started
        self._clock.tick()

    def _say_plan(self, dataset: Dataset) -> None:
        networks = ", ".join(f"{printable(n)} ({in_millions(self._costs[n])})" for n in self._order)
        how = "tried"
        if len(dataset) > SAMPLE:
            sample = len(sample_of(dataset))
            how = f"ranked on {sample:,} of {len(dataset):,} photos first, then tried on all, the best first"
        self._observer.say(
            f"networks, the cheapest first (multiply-adds of an image): {networks}; {how}, within {option('budget')} "
            f"({self._settings.budget:g} s), with a new last layer"
        )

    def _rank(self, dataset: Dataset) -> list[str]:
        """Return the networks, best first by their scores; the cheapest first where all photos are few enough."""
        if len(dataset) <= SAMPLE:
            return self._order
        sample = dataset.select(sample_of(dataset))
        for name in self._order:
            if self._scores and not self._may_begin(name, "sample", 0.0):
                continue
            started = time.monotonic()
            self._scores[name] = self._score(name, dataset, sample)
            self._passed(name, started)
        return sorted(self._scores, key=lambda name: self._scores[name])

    def _score(self, name: str, dataset: Dataset, sample: Dataset) -> float:
        """Return the mean log loss of a last layer on the network's last features, out-of-fold on the sample."""
        network = prepare_network(self._networks[name], dataset, self._settings)
        extractor = JointExtractor([network], self._compute, self._observer)
        extractor.choose(dataset.samples.sources, dataset.keys, dataset.labels)  # what will run all of them
        sample, features = extractor.of_dataset(sample)
        if features.computed:
            self._rates[name] = features.seconds / features.computed
        own = features.values[:, columns_from([network], first_depths([network])[LAST])]
        seed, weights = self._settings.seed, self._settings.class_weights(sample.classes)
        choice = choose_head(self._settings.head, len(own), own.shape[1], len(sample.classes))
        heads = CalibratedHeads(own, sample, seed=seed, class_weights=weights, head=choice.head)
        folds = sample.possible_folds(OUTER_FOLDS, seed=seed)
        losses = []
        for fold in np.unique(folds[folds >= 0]):
            head, held_out = heads.of(np.flatnonzero(folds != fold)), folds == fold
            losses.append(photo_log_loss(sample.labels[held_out], head.probabilities(own[held_out])))
        return float(np.concatenate(losses).mean()) if losses else math.inf  # then the cheapest is tried first

    def _choice(self, experiments: Mapping[str, Experiment]) -> NetworkChoice:
        first = next(iter(experiments.values()))
        dataset, folds = first.dataset, first.folds()
        answers: dict[str, np.ndarray] = {}
        for name, experiment in experiments.items():
            started = time.monotonic()
            trainer = trainer_of(Candidate("frozen"), experiment)
            outcome = cross_validate(trainer, dataset, folds, clock=Clock(float("inf")), seed=self._settings.seed)
            answers[name] = outcome.probabilities
            self._seconds[name] += time.monotonic() - started
        losses = {name: photo_log_loss(dataset.labels, found) for name, found in answers.items()}
        groups = dataset.groups
        chosen = cheapest_network(losses, self._costs, groups, folds)
        others = np.full((len(dataset), len(dataset.classes)), np.nan)
        for fold in np.unique(folds):
            rest, held_out = folds != fold, folds == fold
            known = {name: loss[rest] for name, loss in losses.items()}
            without = cheapest_network(known, self._costs, None if groups is None else groups[rest], folds[rest])
            if without != chosen:
                others[held_out] = answers[without][held_out]
        tried = tuple(self._trial(name, losses, chosen, groups, folds) for name in self._order)
        for trial in tried:
            self._observer.say(_in_words(trial))
        self._observer.say(f"network: {printable(chosen)}, the cheapest that is not proven worse than another")
        experiment = experiments[chosen]
        experiment.observer = self._observer
        experiment.features = replace(experiment.features, values=np.array(experiment.features.values))
        return NetworkChoice(experiment, chosen, tried, others)

    def _trial(
        self,
        name: str,
        losses: Mapping[str, np.ndarray],
        chosen: str,
        groups: np.ndarray | None,
        folds: np.ndarray,
    ) -> NetworkTrial:
        trial = NetworkTrial(
            model=name,
            multiply_adds=self._costs[name],
            sample_log_loss=self._scores.get(name),
            left_out=self._left_out.get(name, ""),
            seconds=round(self._seconds[name], 3),
        )
        if name not in losses:
            return trial
        worse, _ = mean_test(losses[name] - losses[chosen], groups, widening=fold_widening(folds))
        found = (worse.low, worse.high) if name != chosen and np.isfinite([worse.low, worse.high]).all() else None
        log_loss = float(losses[name].mean())
        return replace(trial, log_loss=log_loss, log_loss_difference=worse.value, log_loss_interval=found)


def _on_disk(features: Features) -> Features:
    """Return large features as a temporary file: those of many networks together would fill the memory."""
    values = features.values
    if values.nbytes < _LARGE:
        return features
    with contextlib.suppress(OSError), tempfile.TemporaryFile() as file:  # else they stay in memory
        values.tofile(file)
        file.flush()
        return replace(features, values=np.memmap(file, values.dtype, "r", shape=values.shape))
    return features


def multiply_adds(backbone: Backbone) -> int:
    """Return how many multiplications with an addition one image takes, in convolutions and matrix products."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    height, width = backbone.preprocess.height, backbone.preprocess.width
    device = next(backbone.module.parameters()).device
    # fused attention is not counted
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.module(torch.zeros(1, 3, height, width, device=device))
    return int(counter.get_total_flops()) // 2


def sample_of(dataset: Dataset) -> np.ndarray:
    """Return the positions of about `SAMPLE` photos, in order: of each class its share, and a few at least.

    They are those whose content keys come first: the same ones whatever the photos' order and names.
    """
    order = np.array(sorted(range(len(dataset)), key=lambda place: dataset.keys[place]), dtype=np.int64)
    chosen = []
    for label in range(len(dataset.classes)):
        own = order[dataset.labels[order] == label]
        chosen.append(own[: max(round(SAMPLE * len(own) / len(dataset)), _LEAST_OF_EACH)])
    return np.sort(np.concatenate(chosen))


def cheapest_network(
    losses: Mapping[str, np.ndarray],
    costs: Mapping[str, int],
    groups: np.ndarray | None,
    folds: np.ndarray | None = None,
) -> str:
    """Return the cheapest network that no other is proven better than; of equally cheap ones the better one.

    Args:
        losses: (n,) log loss of each photo, by network.
        costs: multiply-adds, by network.
        groups: (n,) what is not independent, or None.
        folds: (n,) numbers of what was answered by the same classifier; None where one answered all.
    """
    ordered = sorted(losses, key=lambda name: (costs[name], float(losses[name].mean())))
    return str(cheapest(cast(Any, {name: losses[name] for name in ordered}), groups, folds))


def _in_words(trial: NetworkTrial) -> str:
    """Return what a network came to."""
    name = f"  {printable(trial.model)}"
    ranked = "" if trial.sample_log_loss is None else f"; log loss on the sample {trial.sample_log_loss:.3f}"
    took = f"; {trial.seconds:.1f} s"
    if trial.log_loss is None:
        return f"{name}: left out, as {trial.left_out}{ranked}{took}"
    worse = ""
    if trial.log_loss_interval is not None:
        worse = (
            f", {trial.log_loss_difference:+.3f} [{trial.log_loss_interval[0]:+.3f}, {trial.log_loss_interval[1]:+.3f}]"
        )
    return f"{name}: log loss {trial.log_loss:.3f}{worse}{ranked}{took}"


def in_millions(count: int) -> str:
    """Return a large number in words, as people say it.

    >>> [in_millions(count) for count in (88_000, 7_400_000, 300_400_000, 4_100_000_000)]
    ['0.088 million', '7.4 million', '300 million', '4.1 billion']
    """
    if count >= 1e9:
        return f"{count / 1e9:,.1f} billion"
    return f"{count / 1e6:,.0f} million" if count >= 1e7 else f"{count / 1e6:.2g} million"
