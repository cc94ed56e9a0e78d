"""How many workers of a cluster train together."""

from dataclasses import dataclass

from regraft.engines.compute import Compute
from regraft.errors import OptionError, option
from regraft.options import check_settings, setting, whole_number
from regraft.ray_connection import PREFIX
from regraft.runtime import process_count


@dataclass(frozen=True)
class TrainingWorkers:
    """Who trains.

    Attributes:
        workers: how many workers of the cluster train together, and do all else that the command does with photos;
            None for this process, which leaves to the cluster what `Compute.on` says.
    """

    workers: int | None = setting(
        None,
        help="Train by so many workers of the cluster together, each with a GPU where it has some. "
        "[default: this process trains]",
        allowed="1 or more",
        check=lambda value: whole_number(value, 1),
        low=1,
    )

    def check(self, compute: Compute) -> None:
        """Raise `OptionError` for workers without a cluster, or within processes that work together already."""
        check_settings(self)
        if self.workers is None:
            return
        if not compute.on:
            raise OptionError(
                f"{option('workers', self.workers)} goes with {option('on')}: workers are of a Ray cluster. Add "
                f"{option('on', PREFIX)} for this machine or {option('on', 'ray:10.0.0.1:6379')} for the cluster at an "
                "address, or leave it out."
            )
        if (count := process_count()) > 1:
            raise OptionError(
                f"{option('workers', self.workers)} starts processes that train together, and here {count} work "
                "together already. Start it without torchrun, or leave it out."
            )
