"""Strategies: how much of a network is trained. A row of the table is a strategy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

AUTO = "auto"  # chooses between the strategies that it may try
_TOP_STAGES = 2  # that `top` trains


def _every(name: str) -> bool:  # noqa: ARG001
    return True


@dataclass(frozen=True)
class Strategy:
    """How much of a network is trained, and how.

    Attributes:
        name: as users say it.
        help: what it does, in a clause.
        stages: from the names of a network's stages, from pixels on, to those that are trained.
        parameters: tells by name which parameters of these learn.
        learning_rate: the highest one, of AdamW, unless the schedule says otherwise.
        adapter_rate: likewise, of low-rank adapters.
        epochs: likewise.
        batch_norm: "held" or "trained" statistics in the trained stages, likewise.
        random_weights: whether it starts from random weights, and not from the pretrained ones.
        stages_can_be_chosen: whether a user may say from which stage on, or which one.
        adapters: whether low-rank adapters may be trained instead.
        tried_by_auto: whether "auto" tries it; the rows stand in order of cost.
    """

    name: str
    help: str
    stages: Callable[[Sequence[str]], Sequence[str]]
    parameters: Callable[[str], bool] = _every
    learning_rate: float = 1e-4
    adapter_rate: float = 1e-3
    epochs: int = 8
    batch_norm: str = "held"
    random_weights: bool = False
    stages_can_be_chosen: bool = False
    adapters: bool = False
    tried_by_auto: bool = False

    @property
    def trains_network(self) -> bool:
        """Whether more than the last layer is trained."""
        return len(self.stages(("stage",))) > 0

    @property
    def starts_from_features(self) -> bool:
        """Whether a last layer on the pretrained network's features comes first, whose features can be chosen."""
        return not self.random_weights

    @property
    def keeps_views(self) -> bool:
        """Whether a part stays frozen before what is trained, so that its activations can be kept."""
        names = tuple(map(str, range(_TOP_STAGES + 1)))
        return 0 < len(self.stages(names)) < len(names)


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("frozen", "replace the last layer", stages=lambda names: names[:0], tried_by_auto=True),
        Strategy(
            "top",
            "train the last two stages too",
            stages=lambda names: names[-_TOP_STAGES:],
            learning_rate=3e-4,
            stages_can_be_chosen=True,
            adapters=True,
            tried_by_auto=True,
        ),
        Strategy("whole", "train the whole network", stages=lambda names: names, adapters=True, tried_by_auto=True),
        Strategy(
            "scratch",
            "train the whole network from random weights",
            stages=lambda names: names,
            learning_rate=1e-3,
            epochs=24,
            batch_norm="trained",
            random_weights=True,
        ),
    )
}


def strategy_named(name: str) -> Strategy:
    """Return the row of the table; for a name that is not in it (of a file), one that trains a pretrained network."""
    return STRATEGIES.get(name) or Strategy(name, "train the network", stages=lambda names: names)


def strategy_help() -> str:
    """Return what each strategy does, a sentence each."""
    tried = ", ".join(name for name, strategy in STRATEGIES.items() if strategy.tried_by_auto)
    own = " ".join(f"{name}: {strategy.help}." for name, strategy in STRATEGIES.items())
    return f"{own} {AUTO}: the cheapest of {tried} that is not proven worse."


@dataclass(frozen=True)
class Candidate:
    """Which part of the network is trained.

    Attributes:
        strategy: one of `STRATEGIES`.
        train_from: the first stage that is trained, instead of the strategy's own.
        train_only: the one stage that is trained.
        lora: rank of low-rank adapters; 0 trains the weights themselves.
    """

    strategy: str
    train_from: str | None = None
    train_only: str | None = None
    lora: int = 0

    @property
    def kind(self) -> Strategy:
        """Return the row of the table."""
        return STRATEGIES[self.strategy]

    def __str__(self) -> str:
        """Return a short name, e.g. "top", "from blocks.3" or "only blocks.0"."""
        where = f"only {self.train_only}" if self.train_only else f"from {self.train_from}" if self.train_from else ""
        name = where or self.strategy
        return f"{name}, rank {self.lora}" if self.lora else name


def auto_candidates() -> tuple[Candidate, ...]:
    """Return what "auto" tries, in order of cost."""
    return tuple(Candidate(name) for name, strategy in STRATEGIES.items() if strategy.tried_by_auto)
