"""`regraft models`: what people start from, which networks there are, and where one can be cut."""

from typing import Annotated

import typer

from regraft.cli.console import note, result
from regraft.errors import ModelError, did_you_mean, printable


def models(
    name: Annotated[
        str, typer.Argument(help="Part of a name to search for, or one network to describe.", show_default=False)
    ] = "",
    *,
    all_names: Annotated[bool, typer.Option("--all", help="List the names of all pretrained networks.")] = False,
) -> None:
    """List the networks that people start from, search all of them by part of a name, or describe one."""
    from regraft.networks.names import LOCAL_PREFIX
    from regraft.networks.registry import installed_network, is_network, network_names

    if not name and not all_names:
        _list_popular(len(network_names()))
        return
    if installed_network(name) or name.startswith(LOCAL_PREFIX) or is_network(name):
        _describe(name)
        tags = network_names(f"{name}.*")
        if tags:
            note(f"pretrained: {', '.join(tags)}")
        return
    names = network_names(name)
    if not names:
        close = did_you_mean(name, {one.partition(".")[0] for one in network_names()})
        raise ModelError(f"No network's name contains {name!r}.{close} `regraft models --all` lists all.")
    result("\n".join(names))


def _list_popular(count: int) -> None:
    """Print a table of what people start from; `count` is how many networks there are."""
    from regraft.engines.speed import Speeds
    from regraft.networks.names import OFFLINE
    from regraft.networks.registry import POPULAR, STRONG, licence_of
    from regraft.runtime import cpu_count, pick_device

    device = pick_device()
    speeds = Speeds(device)
    width = max(len(one.name) for one in POPULAR)
    result(f"{'network':<{width}}  {'parameters':>13}  download  {'licence':<12}  images/s here  has learned")
    for one in POPULAR:  # line by line: each takes seconds, the first time
        download = f"{one.megabytes:,} MB" if one.megabytes else "none"
        parameters, rate = f"{one.parameters / 1e6:.1f} million", f"{float(f'{speeds.of(one.name):.3g}'):,g}"
        known = f"{one.name:<{width}}  {parameters:>13}  {download:>8}  {licence_of(one.name):<12}"
        result(f"{known}  {rate:>13}  {one.classes}")
    where = f"{cpu_count()} processors" if device.type == "cpu" else str(device)
    result(
        f"\nimages/s: timed once on this machine ({where}), blank images through PyTorch in float32; `fit` has faster "
        f"engines, and reads the photos too"
    )
    if speeds.doubtful:
        result("  other programs kept the machine busy: they are lower than they would be; timed again the next time")
    result(
        f"licence: of the weights, as timm states it\n"
        f"without --model: {STRONG}; where it cannot be downloaded {OFFLINE} (--model offline)\n"
        f"all {count:,}: regraft models --all; one and its stages: regraft models NETWORK"
    )


def _describe(name: str) -> None:
    from regraft.networks.backbones import build_untrained
    from regraft.networks.registry import licence_of

    backbone = build_untrained(name)
    stages = backbone.stages()
    total = sum(stage.parameters for stage in stages)
    width = max(len(stage.name) for stage in stages)
    architecture = printable(backbone.recipe.architecture)
    result(f"{architecture}: {total / 1e6:.1f} million parameters, {backbone.features:,} features")
    result(f"licence of its weights: {printable(licence_of(name))}")
    result(f"input: {backbone.preprocess}")
    result("stages, from pixels to features (a cut lies before each):")
    for stage in stages:
        shape = " x ".join(str(size) for size in stage.output)
        result(f"  {stage.name:<{width}}  {stage.parameters:>12,} parameters  -> {shape}")
