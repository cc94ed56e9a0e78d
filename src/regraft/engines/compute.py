"""Where and how things run: device, engine, batch size, cache."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regraft.cache import size_limit
from regraft.data.loading import BATCH_SIZE
from regraft.engines.selection import AUTO, ENGINES, check_engine
from regraft.files import MAX_FILE_BYTES
from regraft.options import Bytes, check_settings, setting, whole_number
from regraft.runtime import pick_device

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Compute:
    """Where and how photos are read and networks run, with defaults that are right for most.

    Attributes:
        device: "auto", "cpu", "cuda" or "mps".
        engine: what runs the network where nothing is trained, one of `engines.selection.ENGINES`.
        batch_size: images per step through the network where nothing is trained.
        cache: False computes all features and activations anew and keeps none.
        cache_limit: bytes that the cache may hold; None for what `cache.size_limit` says.
        max_file_size: bytes that a photo's file may have; a larger one counts as unreadable.
    """

    device: str = setting(
        "auto",
        help="auto, cpu, cuda or mps.",
        allowed="the name of a device",
        check=lambda value: isinstance(value, str),
    )
    engine: str = setting(
        AUTO,
        help="What runs the network where nothing is trained: auto (the fastest that is right), "
        f"{', '.join(ENGINES[1:-1])} or {ENGINES[-1]}.",
        choices=ENGINES,
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
        check=lambda value: isinstance(value, bool),
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

    def check(self) -> None:
        """Raise `OptionError` for a value that is not allowed, or a device or engine that is not here."""
        check_settings(self)
        check_engine(self.engine, self.torch_device)

    @property
    def torch_device(self) -> "torch.device":
        """Return the device that `device` names.

        Raises:
            OptionError: no such device on this machine.
        """
        return pick_device(self.device)

    @property
    def cache_bytes(self) -> int:
        """Return how many bytes the cache may hold, 0 where nothing is kept.

        Raises:
            OptionError: the environment's limit is no size.
        """
        if not self.cache:
            return 0
        return size_limit() if self.cache_limit is None else self.cache_limit
