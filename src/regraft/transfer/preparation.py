"""From samples and names of networks to an experiment: photos are looked at first, then run through the networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from regraft.data.dataset import Dataset, open_datasets
from regraft.data.group_guess import guess_groups
from regraft.data.samples import Samples
from regraft.data.taxonomy import distances_between
from regraft.engines.compute import Compute
from regraft.engines.kinds import AUTO
from regraft.engines.selection import choice_of
from regraft.engines.workload import EngineChoice
from regraft.errors import DataError, OptionError, option
from regraft.evaluation.goals import check_goal_photos
from regraft.features.depth_choices import columns_from, first_depths
from regraft.features.depths import find_depths
from regraft.features.extraction import Features
from regraft.features.joint import JointExtractor, mean_features
from regraft.features.pictures import join_parts_of_pictures, join_pictures
from regraft.images.tta import NONE, PLAIN, parts_of
from regraft.networks.backbone import Backbone
from regraft.networks.hook_points import LAST
from regraft.photo_audit.brief import findings_of_photos, lines_of_fit
from regraft.progress import Observer
from regraft.transfer.experiment import Experiment, outer_folds
from regraft.transfer.process_checks import check_processes
from regraft.transfer.settings import BY_GROUPS, GUESSED, JOIN, FitSettings


def prepare_experiment(
    splits: Mapping[str, Samples],
    load: Callable[[], Backbone],
    settings: FitSettings,
    compute: Compute,
    observer: Observer,
    *,
    joined: Sequence[Callable[[], Backbone]] = (),
) -> Experiment:
    """Look at all photos, load the network, and run the photos through it: mistakes are reported before it runs.

    See `open_splits` and `extract_splits`.
    """
    dataset, validation = open_splits(splits, settings, compute, observer)
    with compute.processes.first_process_first():  # it downloads what the others then find
        networks = [one() for one in (load, *joined)]
    found = extract_splits(dataset, validation, networks, settings=settings, compute=compute, observer=observer)
    return found.experiment(settings, compute, observer)


def open_splits(
    splits: Mapping[str, Samples], settings: FitSettings, compute: Compute, observer: Observer
) -> tuple[Dataset, Dataset | None]:
    """Look at all photos, and return those that are learned from and those that evaluate, None where there are none.

    Args:
        splits: "train", and "validation" if photos that take no part in learning are to evaluate.
        settings: checked here.
        compute: checked here.
        observer: hears findings and progress.

    Raises:
        DataError: the photos cannot be used.
        OptionError: a setting that is not allowed or does not go with these photos, or several processes.
    """
    if "train" not in splits:
        raise DataError(
            f"there is nothing to train on: no train split, only {', '.join(splits) or 'none at all'}. Name the "
            "folder or file of the training photos."
        )
    samples = splits["train"]
    samples.check_trainable()
    settings.check(compute, samples.classes, distances_between(samples.classes, samples.taxonomy))
    compute.check()
    check_processes(compute)  # a strategy that trains nothing would run, and write its file, in each
    _check_groups(splits, settings)
    parts = [samples, splits["validation"].aligned(samples.classes)] if "validation" in splits else [samples]
    opened = open_datasets(
        parts,
        observer,
        max_file_size=compute.max_file_size,
        value_range=compute.value_range,
        processes=compute.processes,
        workers=compute.workers,
    )
    opened = join_pictures(opened, compute, observer, near=settings.near_duplicates == JOIN)
    dataset, *rest = _with_guessed_groups(opened, observer) if settings.grouping == GUESSED else opened
    dataset.samples.check_trainable()
    if not rest:
        outer_folds(dataset, settings)
    else:
        check_validation(rest[0], dataset)
    evaluated = rest[0] if rest else dataset
    if (goal := settings.decision.goal_of(dataset.classes, settings.positive)) is not None:  # before all that is costly
        check_goal_photos(goal, evaluated.labels, evaluated.classes, evaluated.groups)
    for line in lines_of_fit(findings_of_photos(dataset, seed=settings.seed)):
        observer.say(line)
    return dataset, rest[0] if rest else None


def _check_groups(splits: Mapping[str, Samples], settings: FitSettings) -> None:
    """Raise `OptionError` for options of folds and groups that do not go with these photos."""
    if settings.folds == BY_GROUPS and "validation" in splits:
        raise OptionError(
            f"{option('folds', BY_GROUPS)} evaluates on groups of training photos that are left out in turn, and here "
            f"the photos of {splits['validation'].where} evaluate. Leave {option('folds')} out, or the validation "
            "photos."
        )
    given = [samples for samples in splits.values() if samples.grouped_by]
    if settings.grouping == GUESSED and given:
        raise OptionError(
            f"{option('FitSettings.grouping', GUESSED)} guesses what belongs together, and {given[0].where} says it "
            f"({given[0].grouped_by!r}). Leave one of them out: the guess, or the groups ({option('group_column')})."
        )


def _with_guessed_groups(parts: Sequence[Dataset], observer: Observer) -> list[Dataset]:
    """Return data sets in the groups that are guessed of all their photos, and say which."""
    pictures = [part.pictures.numbers for part in parts if part.pictures is not None]
    guess = guess_groups(
        [source for part in parts for source in part.samples.sources],
        np.concatenate([part.labels for part in parts]),
        [header for part in parts for header in part.headers],
        np.concatenate(pictures) if len(pictures) == len(parts) else None,
        [name for part in parts for name in part.samples.names_of_groups()],
    )
    if guess is None:
        observer.say("no groups are guessed: neither names, bursts nor near-duplicates join photos")
        return list(parts)
    observer.say(f"{guess.words}. It is a guess: where it is wrong, name the groups ({option('group_column')}).")
    ends = np.cumsum([len(part) for part in parts])[:-1]
    split = np.split(guess.groups, ends)
    return [part.regrouped(own, guess.names) for part, own in zip(parts, split, strict=True)]


def prepare_network(backbone: Backbone, dataset: Dataset, settings: FitSettings) -> Backbone:
    """Return a network with the values of black and white of these photos, and the depths that a head may see."""
    backbone = backbone.with_ranges(dataset.ranges)
    return backbone if settings.features == LAST else backbone.with_depths(find_depths(backbone))


@dataclass(frozen=True, eq=False)
class ExtractedSplits:
    """The features of the photos that are learned from, and of those that evaluate, before the two are compared.

    Attributes:
        networks: what gave them, side by side.
        dataset: what is learned from.
        features: of these.
        validation: what evaluates, if anything does; what `dataset` has too is among it.
        validation_features: of these.
        engine_choices: of each network; None for one that was named.
        tta: the views of a photo that features are the means of, a row of `images.tta.TTA`.
        other_views: as of `Experiment`.
    """

    networks: tuple[Backbone, ...]
    dataset: Dataset
    features: Features
    validation: Dataset | None
    validation_features: Features | None
    engine_choices: tuple[EngineChoice | None, ...]
    tta: str = NONE
    other_views: Mapping[str, tuple[Features, Features | None]] = field(default_factory=dict)

    def of(self, dataset: Dataset, validation: Dataset | None) -> "ExtractedSplits":
        """Return the same of the photos that are left of these, with what has become known of them."""

        def of_these(features: Features, evaluating: Features | None) -> tuple[Features, Features | None]:
            if validation is not None and self.validation is not None and evaluating is not None:
                evaluating = _rows(evaluating, self.validation, validation)
            return _rows(features, self.dataset, dataset), evaluating

        features, evaluating = of_these(self.features, self.validation_features)
        return replace(
            self,
            dataset=dataset,
            features=features,
            validation=self.validation if validation is None else validation,
            validation_features=evaluating,
            other_views={tta: of_these(*both) for tta, both in self.other_views.items()},
        )

    def experiment(self, settings: FitSettings, compute: Compute, observer: Observer) -> Experiment:
        """Return what is to be learned from them; of the validation photos what training has, too, is left out.

        Raises:
            DataError: no validation photos are left that can evaluate.
        """
        validation, validation_features, others = self.validation, self.validation_features, self.other_views
        if validation is not None and validation_features is not None:
            copies, related = check_validation(validation, self.dataset)
            kept = ~(copies | related)
            validation_features = validation_features.select(kept)
            others = {tta: (one, part and part.select(kept)) for tta, (one, part) in others.items()}
            files = validation.same_files(self.dataset)
            reasons = {
                "are also training photos": files,
                "show the same picture as a training photo": copies & ~files,
                "are of groups that are also in training": related,
            }
            validation = validation.leave_out(reasons, observer)
        return Experiment(
            backbone=self.networks[0],
            dataset=self.dataset,
            features=self.features,
            validation=validation,
            validation_features=validation_features,
            settings=settings,
            compute=compute,
            observer=observer,
            engine_choice=self.engine_choices[0],
            joined=self.networks[1:],
            joined_choices=self.engine_choices[1:],
            tta=self.tta,
            other_views=others,
        )


def _rows(features: Features, before: Dataset, after: Dataset) -> Features:
    """Return the features of the photos of `before` that are in `after`, too."""
    return features if len(before) == len(after) else features.select(np.isin(before.positions, after.positions))


def extract_splits(
    dataset: Dataset,
    validation: Dataset | None,
    networks: Sequence[Backbone],
    *,
    settings: FitSettings,
    compute: Compute,
    observer: Observer,
) -> ExtractedSplits:
    """Run all photos through networks, and join those that show parts of one scene.

    Args:
        dataset: what is learned from.
        validation: what evaluates, if anything does.
        networks: as they were loaded.
        settings: how to train.
        compute: where to.
        observer: hears findings and progress.

    Raises:
        DataError: too many photos cannot be decoded.
        EngineError: the engine that was asked for does not give this network's features.
        OptionError: a network is there twice.
    """
    check_differ({f"{one.recipe.architecture} (network {number})": one for number, one in enumerate(networks, 1)})
    networks = [prepare_network(one, dataset, settings) for one in networks]
    extractor = JointExtractor(networks, compute, observer)
    every = [part for part in (dataset, validation) if part is not None]
    engines = extractor.choose(
        [source for part in every for source in part.samples.sources],
        [key for part in every for key in part.keys],
        np.concatenate([part.labels for part in every]),
    )
    photos = sum(map(len, every))
    chosen = [choice_of(one, compute.processor, photos) if compute.engine == AUTO else None for one in engines]
    choices = settings.tta_choices
    parts = parts_of(*choices)
    dataset, views = extractor.parts_of_dataset(dataset, parts)
    dataset.samples.check_trainable()  # again: what could not be decoded is gone
    evaluating: dict[str, Features] = {}
    if validation is not None:
        validation, evaluating = extractor.parts_of_dataset(validation, parts)
    if settings.near_duplicates == JOIN:
        own = columns_from(networks, first_depths(networks)[LAST])  # by which near-duplicates are found
        found = [part[PLAIN].values[:, own] for part in (views, evaluating) if part]
        every = [part for part in (dataset, validation) if part is not None]
        dataset, *rest = join_parts_of_pictures(every, found, compute, observer)
        validation = rest[0] if rest else None
    means = {
        tta: (mean_features(views, tta), mean_features(evaluating, tta) if evaluating else None) for tta in choices
    }
    taken, *others = choices
    return ExtractedSplits(
        networks=tuple(networks),
        dataset=dataset,
        features=means[taken][0],
        validation=validation,
        validation_features=means[taken][1],
        engine_choices=tuple(chosen),
        tta=taken,
        other_views={tta: means[tta] for tta in others},
    )


def check_differ(networks: Mapping[str, Backbone]) -> None:
    """Raise `OptionError` if two networks, by name, are the same."""
    names: dict[str, str] = {}
    for name, network in networks.items():
        first = names.setdefault(network.fingerprint(), name)
        if first != name:
            raise OptionError(f"{first} and {name} are the same network. Name it once ({option('model')}).")


def check_validation(validation: Dataset, trained: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return which validation photos, (n,) masks, are in `trained` too and which are of its groups.

    Raises:
        DataError: the others cannot evaluate a classifier.
    """
    copies, related = validation.overlap(trained)
    where = validation.samples.where
    instead = "the validation folder: the figures are then out-of-fold."
    if (copies | related).all():
        group = " or of a group that is also in training" if related.any() else ""
        raise DataError(
            f"{where}: every validation photo is also a training photo{group}, so none is left to evaluate on. "
            f"Remove {'what training has' if group else 'the copies'}, or {instead}"
        )
    counts = validation.samples.select(~(copies | related)).counts()
    absent = [name for name, count in counts.items() if not count]
    if len(absent) == len(counts) - 1:
        besides = " besides those that training has" if (copies | related).any() else ""
        raise DataError(
            f"{where} has photos of one class only{besides}; there are none of: {', '.join(absent[:20])}. A "
            f"classifier cannot be evaluated on one class. Add photos of the others, or remove {instead}"
        )
    return copies, related
