"""Results of any number of photos, in parts: what commands that write them share."""

import os
from collections.abc import Sequence
from pathlib import Path

from regraft.cli.console import note
from regraft.cli.outputs import end_naming_unreadable
from regraft.cluster.parts import ShardJob, write_parts
from regraft.cluster.shards import Shard
from regraft.data.photo_list import list_tables
from regraft.engines.compute import Compute
from regraft.errors import OptionError, counted, printable
from regraft.progress import Observer
from regraft.storage.locations import Location, RemotePath, location

PHOTOS_THAT_CHOOSE = 512  # the engine, before the workers begin


def parts_folder(out: str | None, compute: Compute) -> Location | None:
    """Return the folder that a cluster is to write parts into; None where `out` is a file, or there is no cluster.

    Raises:
        OptionError: a folder or an address, and no cluster.
        StorageError: an address that holds credentials.
    """
    if out is None or out == "-":
        return None
    place = location(out)
    if not (isinstance(place, RemotePath) or out.endswith(("/", os.sep)) or Path(place).is_dir()):
        return None
    if compute.workers is None:
        if isinstance(place, RemotePath):
            raise OptionError(
                "--out is an address in a store, where the workers of a cluster write parts: --on ray. Without it "
                "results are written on this machine: name a path."
            )
        return None
    return place


def check_outside(out: Location, data: Sequence[str]) -> None:
    """Raise `OptionError` where parts would lie below a folder of tables that is read.

    No command would read that folder any more, the same one to go on included: see `tables.tables_in_order`.
    """
    for place in map(location, data):
        if isinstance(out, Path) != isinstance(place, Path) or not place.is_dir():
            continue
        if out.resolve() != place.resolve() and out.resolve().is_relative_to(place.resolve()) and list_tables(place):
            raise OptionError(
                f"--out {printable(out)} lies in {printable(place)}, which then would be a folder of tables with more "
                "below it. Name a place outside of it."
            )


def run_parts(job: ShardJob, shards: Sequence[Shard], out: Location, compute: Compute, observer: Observer) -> None:
    """Write the parts, say so, and name the photos that could not be read.

    Raises:
        Exit: with code 3 where there are such.
    """
    assert compute.workers is not None  # `parts_folder` gave none
    parts = write_parts(job, shards, out, compute.workers, device=compute.processor.type, observer=observer)
    photos = counted(sum(part.photos for part in parts), "photo")
    note(f"wrote {counted(len(parts), 'part')} into {printable(out)} ({photos})")
    end_naming_unreadable(lost for part in parts for lost in part.unreadable)
