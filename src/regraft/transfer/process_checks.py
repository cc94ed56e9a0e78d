"""Whether processes that were started together can train together, and where they do."""

from typing import TYPE_CHECKING

from regraft.engines.compute import Compute
from regraft.errors import OptionError, option
from regraft.processes import ProcessGroup
from regraft.runtime import process_count
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings

if TYPE_CHECKING:
    from regraft.training.distributed import Accelerator


def training_accelerator(settings: FitSettings, compute: Compute) -> "Accelerator":
    """Return device and precision of training.

    Raises:
        OptionError: several processes were started, and do not work together.
    """
    from regraft.training.distributed import accelerator

    check_processes(compute)
    return accelerator(compute.torch_device, settings.precision, compute.processes)


def check_processes(compute: Compute) -> None:
    """Raise `OptionError` where several processes were started that do not work together: each would do all of it."""
    count = process_count()
    if count > compute.processes.count:
        raise OptionError(
            f"this runs in one process, on one device. Got {count} processes. Start it without torchrun; `regraft "
            f"fit` of one network and strategy, named ({option('model')}, {option('strategy')}), and `regraft "
            "pretrain` are what trains on several."
        )


def check_batch_size(schedule: Schedule, processes: ProcessGroup) -> None:
    """Raise `OptionError` for updates that leave a process too few photos to train batch-norm statistics on."""
    if schedule.batch_size < 2 * processes.count:
        raise OptionError(
            f"{option('Schedule.batch_size')} must be {2 * processes.count} or more: two photos for each process. "
            f"Got {schedule.batch_size}."
        )
