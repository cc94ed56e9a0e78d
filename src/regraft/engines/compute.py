"""Where and how things run: device, engine, batch size, cache."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regraft.cache import size_limit
from regraft.data.loading import BATCH_SIZE
from regraft.engines.kinds import AUTO
from regraft.engines.selection import check_engine
from regraft.errors import OptionError, option
from regraft.files import MAX_FILE_BYTES
from regraft.runtime import pick_device

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
    """

    device: str = "auto"
    engine: str = AUTO
    batch_size: int = BATCH_SIZE
    cache: bool = True
    cache_limit: int | None = None
    max_file_size: int = MAX_FILE_BYTES

    def check(self) -> None:
        """Raise `OptionError` for a value that is not allowed, or a device or engine that cannot be used here."""
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise OptionError(f"{option('batch_size')} must be 1 or more. Got {self.batch_size}.")
        if not isinstance(self.max_file_size, int) or self.max_file_size < 1:
            raise OptionError(
                f"{option('max_file_size')} must be a size in bytes, 1 or more. Got {self.max_file_size!r}."
            )
        if self.cache_limit is not None and (not isinstance(self.cache_limit, int) or self.cache_limit < 0):
            raise OptionError(f"{option('cache_limit')} must be a size in bytes, 0 or more. Got {self.cache_limit!r}.")
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
        """Return how many bytes the cache may hold, 0 where nothing is stored.

        Raises:
            OptionError: the environment variable holds no size.
        """
        if not self.cache:
            return 0
        return size_limit() if self.cache_limit is None else self.cache_limit
