"""`regraft models`: which networks there are, and where one can be cut."""

from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli.console import note, result
from regraft.errors import ModelError, printable

if TYPE_CHECKING:
    from regraft.networks.backbones import Backbone


def models(
    name: Annotated[
        str, typer.Argument(help="Part of a name to search for, or one network to describe.", show_default=False)
    ] = "",
) -> None:
    """List pretrained networks by part of a name, or describe one."""
    from regraft.networks.backbones import build_untrained
    from regraft.networks.registry import LOCAL_PREFIX, POCKET, is_network, network_names

    if name == POCKET or name.startswith(LOCAL_PREFIX) or is_network(name):
        _describe(build_untrained(name))
        tags = network_names(f"{name}.*")
        if tags:
            note(f"pretrained: {', '.join(tags)}")
        return
    names = network_names(name)
    if not names:
        raise ModelError(f"No network's name contains {name!r}. `regraft models` lists all.")
    result("\n".join(names))


def _describe(backbone: "Backbone") -> None:
    stages = backbone.stages()
    total = sum(stage.parameters for stage in stages)
    width = max(len(stage.name) for stage in stages)
    name = printable(backbone.recipe.architecture)
    result(f"{name}: {total / 1e6:.1f} million parameters, {backbone.features:,} features")
    result(f"input: {backbone.preprocess}")
    result("stages, from pixels to features (a cut lies before each):")
    for stage in stages:
        shape = " x ".join(str(size) for size in stage.output)
        result(f"  {stage.name:<{width}}  {stage.parameters:>12,} parameters  -> {shape}")
