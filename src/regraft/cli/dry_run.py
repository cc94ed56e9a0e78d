"""`regraft fit --dry-run`: how many photos, what is trained, and how long it will take."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regraft.cli.console import counted, note, result, result_json
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import ModelError, printable
from regraft.transfer.settings import FitSettings

if TYPE_CHECKING:
    from regraft.networks.freezing import Plan
    from regraft.transfer.forecast import Forecast
    from regraft.transfer.strategies import Candidate


def print_plans(
    model: str, splits: Mapping[str, Samples], settings: FitSettings, compute: Compute, *, json: bool, verbose: bool
) -> None:
    """Print what would be done, without a download.

    Args:
        model: the network; "" for the default one.
        splits: photos.
        settings: how to train.
        compute: where to.
        json: whether to print one JSON object.
        verbose: whether to name every tensor.
    """
    from regraft.networks.backbones import build_untrained
    from regraft.networks.registry import default_network, own_name
    from regraft.transfer.experiment import plan_of
    from regraft.transfer.fit import candidate_of
    from regraft.transfer.forecast import Trial
    from regraft.transfer.strategies import auto_candidates

    name = own_name(model)
    if not name:
        name, said = default_network(fetch=False)
        note(said)
    backbone = build_untrained(name)  # neither plan nor speed depends on the weights
    candidate = candidate_of(settings)
    candidates = auto_candidates() if candidate is None else (candidate,)
    plans = {one: plan_of(one, backbone, settings.schedule) for one in candidates}
    photos = {split: len(samples) for split, samples in splits.items()}
    trial = Trial(backbone, splits["train"].sources, settings, compute)
    forecasts: dict[Candidate, Forecast] = {}
    for one, plan in plans.items():
        try:
            forecasts[one] = trial.forecast(one, plan, train=photos["train"], validation=photos.get("validation", 0))
        except ModelError:  # it cannot be cut; "auto" goes without
            if one is candidate or not forecasts:
                raise
            note(f"{one} cannot be tried with this network")
    plans = {one: plans[one] for one in forecasts}
    least, most = _from_to(forecasts, settings, chosen=candidate is not None)
    if json:
        found: list[dict[str, Any]] = [
            {"strategy": str(one), "seconds": round(forecasts[one].seconds, 1), **plan.to_json()}
            for one, plan in plans.items()
        ]
        result_json({"photos": photos, "network": name, "seconds": [round(least, 1), round(most, 1)], "plans": found})
        return
    total = sum(parameter.numel() for parameter in backbone.module.parameters())
    lines = [_photos_in_words(splits), f"network: {printable(name)}, {_millions(total)} parameters", ""]
    outputs = (backbone.features + 1) * len(splits["train"].classes)
    for one, plan in plans.items():
        lines.append(f"{one}: {_trained_in_words(plan, total, outputs)}; {_time_of(forecasts[one])}")
    lines += ["", _time_in_words(least, most, compute)]
    if verbose:
        for one, plan in plans.items():
            lines += ["", f"{one}: {plan.summary()}", *plan.lines()]
    result("\n".join(map(printable, lines)))


def _photos_in_words(splits: Mapping[str, Samples]) -> str:
    train = splits["train"]
    said = f"{counted(len(train), 'photo')} of {len(train.classes):,} classes to learn from"
    if "validation" in splits:
        return f"{said}, {counted(len(splits['validation']), 'other')} to evaluate on"
    return f"{said}, each evaluated by a classifier trained without it (five folds)"


def _trained_in_words(plan: "Plan", total: int, outputs: int) -> str:
    """Return which part of a network is trained.

    Args:
        plan: of the network.
        total: its parameters.
        outputs: those of the new last layer.
    """
    stages, learned = plan.trained_stages, sum(one.size for one in plan.tensors if one.learning_rate > 0)
    if not stages:
        return f"a new last layer is trained ({outputs:,} parameters), the network stays as it is"
    where = f"stage {stages[0]}" if len(stages) == 1 else f"stages {stages[0]} to {stages[-1]}"
    if len(stages) == len(plan.stages):
        where = "the whole network"
    if plan.lora:
        return f"adapters of rank {plan.lora} in {where} and a new last layer are trained, all else stays as it is"
    rest = "" if learned == total else f" of {_millions(total)}"
    return f"{where} and a new last layer are trained ({_millions(learned)}{rest} parameters)"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} million" if count >= 100_000 else f"{count:,}"


def _from_to(
    forecasts: Mapping["Candidate", "Forecast"], settings: FitSettings, *, chosen: bool
) -> tuple[float, float]:
    """Return the least and the most seconds that all takes."""
    seconds = [forecast.seconds for forecast in forecasts.values()]
    if chosen:
        return seconds[0], seconds[0]
    first, *others = forecasts.values()
    tried = min(settings.budget, sum(one.folds for one in others))
    return first.seconds, first.features + tried + (max(one.final for one in others) if tried else 0.0)


def _time_of(forecast: "Forecast") -> str:
    from regraft.transfer.forecast import seconds_in_words

    return seconds_in_words(forecast.seconds)


def _time_in_words(least: float, most: float, compute: Compute) -> str:
    from regraft.engines.speed import is_busy
    from regraft.transfer.forecast import IMAGES, seconds_in_words

    span = [seconds_in_words(least), seconds_in_words(most)]
    said = span[0] if span[0] == span[1] else f"from {span[0]} to {span[1].removeprefix('about ')}"
    machine = f"this machine ({compute.torch_device.type}{', which other programs keep busy' if is_busy() else ''})"
    return (
        f"time: {said}: an estimate, from a trial of {IMAGES} images on {machine}; a faster engine, or features in the "
        "cache, make it less"
    )
