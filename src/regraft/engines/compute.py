"""Where and how things run: device, engine, batch size, cache."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from regraft.cache import size_limit
from regraft.engines.kinds import AUTO, engine_help, engine_names
from regraft.errors import OptionError, option
from regraft.files import MAX_FILE_BYTES
from regraft.options import GROUP, Bytes, Interval, check_settings, interval, setting, truth, whole_number
from regraft.processes import ALONE, ProcessGroup, join_processes
from regraft.ray_workers import RayWorkers, is_cluster, workers_on
from regraft.runtime import BATCH_SIZE, DEVICES, Device, find_device, pick_device, process_count

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Compute:
    """Where and how photos are read and networks run. The defaults suit most uses.

    Attributes:
        device: "auto", "cpu", "cuda" or "mps".
        engine: what runs the network where nothing is trained, one of `engines.kinds.engine_names`.
        batch_size: images per step through the network where nothing is trained.
        cache: False computes all features and activations anew and stores none.
        cache_limit: bytes that the cache may hold; None for `cache.size_limit`.
        max_file_size: bytes that a photo's file may have; a larger one counts as unreadable.
        value_range: (low, high) the values of black and white in photos of more than 8 bits; None for those of the data
            set, or those that the classifier was trained with.
        on: "ray", or "ray:ADDRESS", for a cluster whose workers read the photos and run the network where nothing is
            trained; "" for this process.
        processes: that were started together and run a part of the photos each, see `together`; this one alone if not.
    """

    device: str = setting(
        "auto",
        help="auto, cpu, cuda or mps.",
        allowed=f"one of {', '.join(DEVICES)}",
        check=lambda value: isinstance(value, str),
    )
    engine: str = setting(
        AUTO,
        help=engine_help(),
        allowed=f"one of {', '.join(engine_names())}",
        check=lambda value: isinstance(value, str),
    )
    batch_size: int = setting(
        BATCH_SIZE,
        help="Images per step through the network.",
        allowed="1 or more",
        check=lambda value: whole_number(value, 1),
        low=1,
    )
    cache: bool = setting(
        True,
        help="Keep features on disk for the next run.",
        allowed="True or False",
        check=truth,
    )
    cache_limit: Bytes | None = setting(
        None,
        help="How much the cache may hold, e.g. 20GB. [default: 10GB]",
        allowed="a size in bytes, 0 or more",
        check=lambda value: whole_number(value, 0),
    )
    max_file_size: Bytes = setting(
        Bytes(MAX_FILE_BYTES),
        help="Largest file of a photo, e.g. 500MB. A larger one counts as unreadable.",
        allowed="a size in bytes, 1 or more",
        check=lambda value: whole_number(value, 1),
    )
    value_range: Interval | None = setting(
        None,
        help="Values of black and white in photos of more than 8 bits. [default: those of the data set]",
        allowed="two numbers, the lower first",
        check=interval,
        flag="range",
    )
    on: str = setting(
        "",
        help="Have photos read and run by a Ray cluster: ray, or ray:ADDRESS.",
        allowed="ray, or ray:ADDRESS, as in ray:10.0.0.1:6379",
        check=is_cluster,
    )
    processes: ProcessGroup = field(default=ALONE, metadata=GROUP, repr=False, compare=False)

    def together(self) -> "Compute":
        """Return the same for all processes that a launcher has started together; itself where there is one."""
        return self if process_count() == 1 else replace(self, processes=join_processes(self.torch_device))

    def alone(self) -> "Compute":
        """Return the same for this process alone."""
        return self if self.processes.count == 1 else replace(self, processes=ALONE)

    def for_workers(self) -> "Compute":
        """Return the same for a worker of `workers`: on a device of this kind, and the engine is chosen for it."""
        return replace(self, on="", device=self.processor.type, engine=AUTO)

    @property
    def workers(self) -> RayWorkers | None:
        """Return the cluster's workers that `on` names; None where this process works itself."""
        return workers_on(self.on)

    def check(self) -> None:
        """Raise `OptionError` for a value that is not allowed, or a device or engine that is not here."""
        from regraft.engines.selection import check_engine  # here, because the command line is made from the fields

        check_settings(self)
        check_engine(self.engine, self.processor)
        if self.cache_limit and not self.cache:
            raise OptionError(
                f"{option('cache_limit')} is of the cache, which {option('cache', False)} does without. Leave one of "
                "them out."
            )
        if self.cache and self.cache_limit is None:
            size_limit()  # a mistake in it is reported before the work

    @property
    def processor(self) -> Device:
        """Return the device that `device` names; of processes that share GPUs, this one's.

        Raises:
            OptionError: no such device on this machine.
        """
        own = self.processes.device
        return find_device(self.device) if own is None else Device.of(own)

    @property
    def torch_device(self) -> "torch.device":
        """Return `processor`, as PyTorch has it.

        Raises:
            OptionError: no such device on this machine.
        """
        own = self.processes.device
        return pick_device(self.device) if own is None else own

    @property
    def cache_bytes(self) -> int:
        """Return how many bytes the cache may hold, 0 where nothing is stored.

        Raises:
            OptionError: the environment variable holds no size.
        """
        if not self.cache:
            return 0
        return size_limit() if self.cache_limit is None else self.cache_limit
