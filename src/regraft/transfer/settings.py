"""How a classifier is made; checked once, before any work."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regraft.data.class_weights import ALLOWED, ClassWeights, is_class_weight
from regraft.data.samples import composed
from regraft.errors import OptionError, goes, listed, option, them
from regraft.evaluation.goals import COST_EXAMPLE, GOAL_EXAMPLE, THRESHOLD_EXAMPLE, TREE_COST, DecisionRequest
from regraft.heads.head_choice import DISCRIMINANT, LOGISTIC
from regraft.images.tta import NONE, PARTS, TTA, parts_of
from regraft.networks.names import NetworkNames
from regraft.options import GROUP, Seconds, check_settings, declared_settings, number, setting, truth, whole_number
from regraft.training.schedule import Schedule
from regraft.transfer.strategies import AUTO, STRATEGIES, strategy_help

if TYPE_CHECKING:  # the command line is made from these fields, and imports no torch
    import numpy as np

    from regraft.engines.compute import Compute

FEATURES = (AUTO, "last", "late", "all")
HEADS = (AUTO, LOGISTIC, DISCRIMINANT)
JOIN, IGNORE = "join", "ignore"  # near-duplicates
STRATIFIED, BY_GROUPS = "stratified", "groups"  # folds
GIVEN, GUESSED = "given", "guessed"  # groups
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_LARGEST_SEED = 2**32 - 1  # that scikit-learn takes
# options that not every strategy uses: which property of a `Strategy` says so, and whether "auto" uses it as well
_USED_BY = {
    **{f"Schedule.{name}": ("trains_network", True) for name in declared_settings(Schedule)},
    "Schedule.views": ("keeps_views", True),
    "features": ("starts_from_features", True),
    "head": ("starts_from_features", True),
    "precision": ("trains_network", True),
    "train_from": ("stages_can_be_chosen", False),
    "train_only": ("stages_can_be_chosen", False),
    "lora": ("adapters", False),
    "budget": ("", True),
}
NAMING = ("positive", "goal", "cost", "threshold", "class_weight")  # options that name classes
USED_BY_CHOICE = ("budget",)  # options that choosing a network uses
DECIDE = ("goal", "cost", "threshold", "balance")  # options that say what is answered


@dataclass(frozen=True)
class FitSettings:
    """How a classifier is made, with defaults that are right for most.

    Attributes:
        strategy: one of `strategies.STRATEGIES`, or "auto", which chooses between some of them.
        features: what the last layer sees: of the network's last layer, of its late or all its depths too, or "auto",
            which chooses between these.
        head: how the last layer is fitted on features: "logistic" regression, linear "discriminant" analysis, or
            "auto": logistic regression, unless that would take hours (`heads.head_choice`).
        tta: the views of a photo that an answer is the mean of (test-time augmentation): a row of `images.tta.TTA`, or
            "auto", which chooses between them on held-out photos.
        seed: of folds, views and training.
        near_duplicates: "join" keeps photos that show the same picture on one side of every split; "ignore" does so for
            photos with equal pixels alone.
        folds: "stratified" gives every fold every class in its share; "groups" leaves one group out at a time.
        grouping: "given" takes the groups that are named; "guessed" guesses them from names, bursts of one camera and
            near-duplicates.
        positive: the class that AUC and average precision are of, where there are two; default the second.
        class_weight: how much the photos of each class count in training: "balanced", so that classes weigh the same,
            or "malignant=5,benign=1"; None for all photos alike. Probabilities stay those of the shares that the
            classes have.
        goal: a least sensitivity, specificity or precision of a class, which decides from which probability on it is
            answered.
        cost: what mistakes cost; the class with the least expected cost is answered.
        threshold: the probability from which on a class is answered.
        balance: True answers the class whose probability exceeds its share of the photos most.
        force: True keeps a classifier that is no better than always saying the largest class.
        train_from: the first stage that is trained, instead of the last two.
        train_only: the one stage that is trained.
        lora: rank of low-rank adapters in the trained stages; 0 trains the weights themselves.
        budget: seconds that each "auto" may spend: on trying networks, and on trying more than the last layer.
        precision: of training: "auto", "fp32", "bf16" or "fp16".
        restart: True throws away the checkpoints of a run that was killed.
        schedule: how the network is trained further.
    """

    strategy: str = setting(
        "frozen",
        help=strategy_help(),
        choices=(AUTO, *STRATEGIES),
    )
    features: str = setting(
        AUTO,
        help="What the last layer sees: the network's last features, those of late or of all depths too; auto: what "
        "held-out photos favour.",
        choices=FEATURES,
    )
    head: str = setting(
        AUTO,
        help="How the last layer is fitted: logistic regression; linear discriminant analysis, which reads the "
        "features a few times only; auto: logistic, unless that would take hours.",
        choices=HEADS,
    )
    tta: str = setting(
        NONE,
        help="What an answer is the mean of: none: the photo alone; flip: it and its mirror image, 2 passes; crops: it "
        "and its four corners, 5 passes; auto: what is proven better on held-out photos. Not flip where left and right "
        "tell classes apart.",
        choices=(*TTA, AUTO),
    )
    seed: int = setting(
        0,
        help="Seed of folds, views and training.",
        allowed=f"a whole number from 0 to {_LARGEST_SEED}",
        check=lambda value: whole_number(value, 0, _LARGEST_SEED),
        low=0,
    )
    near_duplicates: str = setting(
        JOIN,
        help="join: photos that show the same picture (resized, mirrored, turned, edited) stay on one side of a split; "
        "ignore: only those with equal pixels do.",
        choices=(JOIN, IGNORE),
    )
    folds: str = setting(
        STRATIFIED,
        help="stratified: five folds, every class in each in its share, groups whole; groups: each group (a clinic, a "
        "camera, a year) is left out in turn, and reported.",
        choices=(STRATIFIED, BY_GROUPS),
    )
    grouping: str = setting(
        GIVEN,
        help="given: what belongs together is what is named as a group; guessed: it is guessed from file names, bursts "
        "of one camera and near-duplicates, and said.",
        choices=(GIVEN, GUESSED),
        flag="groups",
    )
    positive: str | None = setting(
        None,
        help="Positive class of AUC and average precision. [default: the second of two]",
        allowed="the name of a class",
        check=lambda value: isinstance(value, str),
    )
    class_weight: str | None = setting(
        None,
        help="How much photos of each class count in training: balanced (classes weigh the same), or by name, as "
        "malignant=5,benign=1; others count 1. Probabilities stay those of the shares that the classes have.",
        allowed=ALLOWED,
        check=is_class_weight,
    )
    goal: str | None = setting(
        None,
        help=f"What answers must reach, {GOAL_EXAMPLE!r} (or specificity, precision): the threshold is chosen on "
        "held-out photos.",
        allowed=f"text like {GOAL_EXAMPLE!r}",
        check=lambda value: isinstance(value, str),
    )
    cost: str | None = setting(
        None,
        help=f"What mistakes cost, TRUE:ANSWER=COST with commas between, {COST_EXAMPLE}; others cost 1. The cheapest "
        f"answer is given. {TREE_COST}: its distance from the truth in the tree.",
        allowed=f"text like {COST_EXAMPLE!r}",
        check=lambda value: isinstance(value, str),
    )
    threshold: str | None = setting(
        None,
        help=f"Answer a class from this probability on: 0.2, or {THRESHOLD_EXAMPLE!r}.",
        allowed=f"a probability, or text like {THRESHOLD_EXAMPLE!r}",
        check=lambda value: isinstance(value, str) or number(value, 0, 1),
    )
    balance: bool = setting(
        False,
        help="Answer as if all classes were equally frequent: rare ones are found more often.",
        allowed="True or False",
        check=truth,
    )
    force: bool = setting(
        False,
        help="Keep a classifier that is no better than chance.",
        allowed="True or False",
        check=truth,
    )
    train_from: str | None = setting(
        None,
        help="Train from this stage on; `regraft models NETWORK` lists stages.",
        allowed="the name of a stage",
        check=lambda value: isinstance(value, str),
    )
    train_only: str | None = setting(
        None,
        help="Train this one stage.",
        allowed="the name of a stage",
        check=lambda value: isinstance(value, str),
    )
    lora: int = setting(
        0,
        help="Train adapters of this rank on linear layers instead.",
        allowed="a rank, a whole number from 1",
        check=lambda value: whole_number(value, 0),
        low=0,
    )
    budget: Seconds = setting(
        Seconds(600.0),
        help="Time limit of each auto: for trying networks, and for trying to train more than the last layer.",
        allowed="a number of seconds from 0",
        check=lambda value: number(value, 0) or value == math.inf,
    )
    precision: str = setting("auto", help="fp32, bf16, fp16 or auto.", choices=PRECISIONS)
    restart: bool = setting(
        False,
        help="Discard the checkpoints of a run that was killed.",
        allowed="True or False",
        check=truth,
    )
    schedule: Schedule = field(default_factory=Schedule, metadata=GROUP)

    def __post_init__(self) -> None:
        """Write what names classes as classes are: "ü" as one character."""
        for name in NAMING:
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, composed(value))

    @property
    def decision(self) -> DecisionRequest:
        """Return how answers are to be decided."""
        return DecisionRequest(self.goal, self.cost, self.threshold, bool(self.balance))

    @property
    def tta_choices(self) -> tuple[str, ...]:
        """Return the rows of `images.tta.TTA` that are tried: the one that is named, or all, in order of cost."""
        return tuple(TTA) if self.tta == AUTO else (self.tta,)

    @property
    def passes(self) -> int:
        """Return how many views of each photo go through the network."""
        return sum(PARTS[part].count for part in parts_of(*self.tta_choices))

    def check(self, compute: "Compute", classes: Sequence[str], distances: "np.ndarray | None" = None) -> None:
        """Raise `OptionError` for a value outside what is allowed.

        Args:
            compute: where training runs.
            classes: the names that there are.
            distances: (c, c) in the tree that they lie in; None without a tree.
        """
        from regraft.evaluation.report import check_positive  # here: it imports scipy

        self.check_training(compute)
        check_positive(self.positive, classes)
        self.class_weights(classes)
        request = self.decision
        request.goal_of(classes, self.positive)
        request.fixed(classes, None, self.positive, distances=distances)

    def check_training(self, compute: "Compute") -> None:
        """Raise `OptionError` for a value, or options of training that do not go together or cannot be had here."""
        check_settings(self)
        self._check_together()
        self.decision.check()
        if self.precision == "fp16" and compute.processor.type == "cpu":
            raise OptionError(
                f"{option('precision', 'fp16')} needs a GPU, and training runs on the CPU here ({option('device')}). "
                f"Use {option('precision', 'bf16')} or fp32, or leave it out."
            )
        if not isinstance(self.schedule, Schedule):
            raise OptionError(f"{option('schedule')} must be a regraft.Schedule. Got {self.schedule!r}.")
        self.schedule.check()
        if self.lora:
            from regraft.networks.lora import check_peft

            check_peft()

    def class_weights(self, classes: Sequence[str]) -> ClassWeights | None:
        """Return the weights of `classes` in training; None where all photos count alike.

        Raises:
            OptionError: the option names no class, or one twice.
        """
        return None if self.class_weight is None else ClassWeights.parse(self.class_weight, classes)

    def check_used(
        self,
        strategies: Sequence[str],
        compute: "Compute",
        *,
        named: str = "strategy",
        besides: Sequence[str] = (),
    ) -> None:
        """Raise `OptionError` for options that differ from their defaults and that nothing uses: no silent ones.

        Args:
            strategies: that are to be trained.
            compute: where to.
            named: the option that names these.
            besides: options that something else uses.
        """
        self.check_training(compute)
        ignored: dict[str, list[str]] = {}
        for name in _USED_BY:
            users = strategies_that_use(name)
            if name not in besides and self._is_given(name) and not set(strategies) & set(users):
                shown = users if named == "strategy" else [user for user in users if user != AUTO]
                ignored.setdefault(listed(shown, "or"), []).append(option(name))
        lines = [
            f"{listed(names, 'and')} {goes(names)} {option(named)} {users}. Got {option(named)} "
            f"{','.join(strategies)}, which would ignore {them(names)}. Leave {them(names)} out."
            for users, names in ignored.items()
        ]
        lines += [] if lines else self._without_effect(compute)
        if lines:
            raise OptionError("\n".join(lines))

    def check_networks(self, networks: NetworkNames, *, weights: bool) -> None:
        """Raise `OptionError` for networks that do not go together with each other, with this strategy, or its options.

        Args:
            networks: as they were named.
            weights: whether a file of weights is given.
        """
        networks.check(weights=weights)
        if not networks.joined:
            return
        named = [option(name) for name in ("train_from", "train_only", "lora") if self._is_given(name)]
        if self.strategy not in (AUTO, "frozen"):
            raise OptionError(
                f"{listed(named, 'and') if named else option('strategy', self.strategy)} "
                f"{'train' if len(named) > 1 else 'trains'} one network. Got {len(networks.names)} "
                f"({option('model')}), whose features are joined. Name one, or use {option('strategy', 'frozen')}."
            )
        unused = [name for name in _USED_BY if "frozen" not in strategies_that_use(name)]
        ignored = [option(name) for name in unused if self._is_given(name)]
        if ignored:
            raise OptionError(
                f"{listed(ignored, 'and')} {goes(ignored)} training more than the last layer. Got "
                f"{len(networks.names)} networks ({option('model')}), whose features are joined under a last layer "
                f"alone: it would ignore {them(ignored)}. Leave {them(ignored)} out, or name one network."
            )

    def check_views_named(self) -> None:
        """Raise `OptionError` where views are to be chosen, and several networks stand side by side."""
        if self.tta == AUTO:
            raise OptionError(
                f"{option('tta', AUTO)} chooses views for one network, and here several are compared. Name the views: "
                f"{option('tta')} {', '.join(TTA)}."
            )

    def _without_effect(self, compute: "Compute") -> Iterator[str]:
        """Yield what other options leave without effect."""
        if self._is_given("Schedule.views") and not compute.cache_bytes:
            yield f"{option('views')} goes with the cache: without it no view comes twice. Leave one of them out."
        if self._is_given("Schedule.crop_area") and "crop" not in self.schedule.augment:
            yield f"{option('crop_area')} goes with {option('augment')} crop. Got {','.join(self.schedule.augment)}."

    def _is_given(self, name: str) -> bool:
        """Tell whether an option, as in `_USED_BY`, differs from its default."""
        group, _, own = name.rpartition(".")
        holder = self.schedule if group else self
        return bool(getattr(holder, own) != declared_settings(holder)[own][0].default)

    def _check_together(self) -> None:
        given, kind = option("strategy", self.strategy), STRATEGIES.get(self.strategy)
        if self.train_from is not None and self.train_only is not None:
            raise OptionError(
                f"{option('train_from')} and {option('train_only')} exclude each other: from a stage on, or one stage "
                "alone."
            )
        choosable = ", ".join(name for name, one in STRATEGIES.items() if one.stages_can_be_chosen)
        for name, value in (("train_from", self.train_from), ("train_only", self.train_only)):
            if value is not None and (kind is None or not kind.stages_can_be_chosen):
                raise OptionError(f"{option(name)} goes with {option('strategy', choosable)}. Got {given}.")
        if self.lora and (kind is None or not kind.adapters):
            adapted = " or ".join(name for name, one in STRATEGIES.items() if one.adapters)
            raise OptionError(f"{option('lora')} goes with {option('strategy')} {adapted}. Got {given}.")

    def training_arguments(self, compute: "Compute") -> dict[str, Any]:
        """Return what the trained weights depend on, by the names that the user knows, in JSON types."""
        named = ("strategy", "features", "seed", "folds", "train_from", "train_only", "lora", "budget", "precision")
        chosen = {option(name): getattr(self, name) for name in named if name != "budget" or self.strategy == AUTO}
        if self.tta != NONE:
            chosen[option("tta")] = self.tta
        if self.head != AUTO:  # runs that began before there was this option can be resumed
            chosen[option("head")] = self.head
        if self.class_weight is not None:
            chosen[option("class_weight")] = self.class_weight
        chosen |= {option(f"Schedule.{name}"): getattr(self.schedule, name) for name in declared_settings(Schedule)}
        chosen[option("cache", False)] = not compute.cache  # views from the cache are fewer, and in float16
        return chosen | {option("device"): compute.processor.type}


def strategies_that_use(name: str) -> tuple[str, ...]:
    """Return the strategies that use the option `name`, "auto" too.

    >>> strategies_that_use("Schedule.epochs"), strategies_that_use("budget")
    (('top', 'whole', 'scratch', 'auto'), ('auto',))
    """
    needed, by_auto = _USED_BY[name]
    found = tuple(one.name for one in STRATEGIES.values() if needed and getattr(one, needed))
    return (*found, AUTO) if by_auto else found
