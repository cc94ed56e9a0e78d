"""`regraft fit --dry-run`: how many photos, what is trained, and how long it will take."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regraft.cli.console import note, result, result_json
from regraft.data.samples import Samples
from regraft.engines.compute import Compute
from regraft.errors import counted, printable
from regraft.transfer.settings import BY_GROUPS, FitSettings
from regraft.transfer.strategies import AUTO

if TYPE_CHECKING:
    from regraft.networks.backbone import Backbone
    from regraft.networks.plan import Plan
    from regraft.transfer.auto_plan import AutoPlan
    from regraft.transfer.forecast import Forecast, Trial
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
    from regraft.classifier.named import outline_network
    from regraft.transfer.auto_plan import AutoPlan, forecast_all
    from regraft.transfer.experiment import plan_of
    from regraft.transfer.fit import candidate_of
    from regraft.transfer.forecast import Trial
    from regraft.transfer.strategies import auto_candidates

    name = _network(model)
    backbone = outline_network(name)  # neither plan nor speed depends on the weights
    candidate = candidate_of(settings)
    candidates = auto_candidates() if candidate is None else (candidate,)
    plans = {one: plan_of(one, backbone, settings.schedule) for one in candidates}
    photos = {split: len(samples) for split, samples in splits.items()}
    trial = Trial(backbone, splits["train"].sources, settings, compute)
    features = trial.features(sum(photos.values()))
    auto: AutoPlan | None = None
    if candidate is None:
        forecasts = forecast_all(trial, plans, photos=photos["train"], folds=_fold_count(splits["train"], settings))
        auto = AutoPlan.of(forecasts, settings.budget)
    else:
        folds = 0 if "validation" in photos else _fold_count(splits["train"], settings)
        forecasts = {candidate: trial.forecast(candidate, plans[candidate], photos=photos["train"], folds=folds)}
    least, most = _from_to(features, forecasts, auto)
    if json:
        found: list[dict[str, Any]] = [
            {"strategy": str(one), "seconds": round(features + forecast.seconds, 1), **plans[one].to_json()}
            for one, forecast in forecasts.items()
        ]
        about: dict[str, Any] = {"photos": photos, "network": name, "seconds": [round(least, 1), round(most, 1)]}
        about |= {} if auto is None else {"over_budget": [auto.over_budget(one).to_json() for one in auto.skipped]}
        result_json({**about, "plans": found})
        return
    total = sum(parameter.numel() for parameter in backbone.module.parameters())
    lines = [_photos_in_words(splits, settings), f"network: {printable(name)}, {_millions(total)} parameters", ""]
    inputs, classes = inputs_of_layer(backbone, settings.features), len(splits["train"].classes)
    layer = f"{_up_to(settings.features)}{(inputs + 1) * classes:,} parameters"
    for one, forecast in forecasts.items():
        tried = auto is not None and one.kind.trains_network
        lines.append(
            f"{one}: {_trained_in_words(plans[one], total, layer)}; {_time_of(features, forecast, tried=tried)}"
        )
    lines += [f"{one} cannot be tried with this network" for one in plans if one not in forecasts]
    lines += ["", *([] if auto is None else [_auto_in_words(features, auto)]), _time_in_words(least, most, trial)]
    if verbose:
        for one in forecasts:
            lines += ["", f"{one}: {plans[one].summary()}", *plans[one].lines()]
    result("\n".join(map(printable, lines)))


def inputs_of_layer(backbone: "Backbone", features: str) -> int:
    """Return how many features a new last layer sees of a network, at most where they are chosen while it is fitted.

    Args:
        backbone: the network, without depths; its weights do not matter.
        features: of which depths: of `FitSettings`.
    """
    from regraft.features.depth_choices import first_depths
    from regraft.features.depths import find_depths
    from regraft.networks.hook_points import LAST

    if features == LAST:
        return backbone.features
    depths = find_depths(backbone)
    choices = first_depths([backbone.with_depths(depths)])
    chosen = choices.values() if features == AUTO else [choices[features]]
    return backbone.features + max(sum(depth.units for depth in depths[first:]) for (first,) in chosen)


def inputs_in_words(inputs: int, features: str) -> str:
    """Return how many features a network gives, as `inputs_of_layer` counts them."""
    return f"{_up_to(features)}{inputs:,} features"


def _up_to(features: str) -> str:
    return "up to " if features == AUTO else ""


def _network(model: str) -> str:
    """Return the name of the network that would be taken, which is said where none is named."""
    from regraft.networks.names import own_name
    from regraft.networks.registry import default_network

    if model:
        return own_name(model)
    name, said = default_network(fetch=False)
    note(said)
    return name


def _fold_count(samples: Samples, settings: FitSettings) -> int:
    """Return how many times a part of the photos is left out; guessed groups are not known yet."""
    from regraft.data.splits import OUTER_FOLDS

    if settings.folds != BY_GROUPS or samples.groups is None:
        return OUTER_FOLDS
    return len(set(samples.groups.tolist()))


def _photos_in_words(splits: Mapping[str, Samples], settings: FitSettings) -> str:
    train = splits["train"]
    said = f"{counted(len(train), 'photo')} of {len(train.classes):,} classes to learn from"
    if "validation" in splits:
        return f"{said}, {counted(len(splits['validation']), 'other')} to evaluate on"
    if settings.folds == BY_GROUPS:
        return f"{said}, each evaluated by a classifier trained without its group"
    return f"{said}, each evaluated by a classifier trained without it (five folds)"


def _trained_in_words(plan: "Plan", total: int, layer: str) -> str:
    """Return which part of a network is trained.

    Args:
        plan: of the network.
        total: its parameters.
        layer: how many the new last layer has.
    """
    stages, learned = plan.trained_stages, sum(one.size for one in plan.tensors if one.learning_rate > 0)
    if not stages:
        return f"a new last layer is trained ({layer}), the network stays as it is"
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
    features: float, forecasts: Mapping["Candidate", "Forecast"], auto: "AutoPlan | None"
) -> tuple[float, float]:
    """Return the least and the most seconds that all takes, of which `features` are those of the features."""
    if auto is None:
        (forecast,) = forecasts.values()
        return (features + forecast.seconds,) * 2
    tried = [one for candidate, one in forecasts.items() if str(candidate) not in auto.skipped]
    return features, features + min(auto.budget, sum(one.trying for one in tried)) + max(one.final for one in tried)


def _time_of(features: float, forecast: "Forecast", *, tried: bool) -> str:
    from regraft.transfer.forecast import seconds_in_words

    if tried:
        return f"{seconds_in_words(forecast.trying)} to try, {seconds_in_words(forecast.final)} more if it is taken"
    return seconds_in_words(features + forecast.seconds)


def _auto_in_words(features: float, auto: "AutoPlan") -> str:
    """Return what `auto` tries and skips, in a line."""
    from regraft.transfer.forecast import seconds_in_words

    first, tried = f"the last layer alone ({seconds_in_words(features)})", auto.tried_in_words
    begin = f"auto: {first}, then {tried}" if tried else f"auto: {first}"
    return "; ".join(filter(None, [begin, auto.skipped_in_words]))


def _time_in_words(least: float, most: float, trial: "Trial") -> str:
    from regraft.transfer.forecast import seconds_in_words

    span = [seconds_in_words(least), seconds_in_words(most)]
    said = span[0] if span[0] == span[1] else f"from {span[0]} to {span[1].removeprefix('about ')}"
    machine = f"this machine ({trial.device.type}{', which other programs keep busy' if trial.busy else ''})"
    return (
        f"time: {said}: an estimate, from a trial of {trial.images} images on {machine}; a faster engine, or features "
        "in the cache, make it less"
    )
