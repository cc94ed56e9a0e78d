"""Features of many photos by several processes: each computes those of its own photos, and all get all of them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from regraft.data.audit import positions_by_key
from regraft.features.extraction import Features
from regraft.processes import ProcessGroup
from regraft.runtime import BATCH_SIZE


def in_shares(
    keys: Sequence[bytes],
    processes: ProcessGroup,
    work: Callable[[list[int]], Mapping[str, Features]],
    *,
    batch_size: int = BATCH_SIZE,
) -> dict[str, Features]:
    """Return what `work` gives for n photos, each process having worked on its share of them.

    Shares are made of whole batches, the same that one process would run: the last digits of features depend on them.

    Args:
        keys: n content keys; b"" for what is known to be unreadable. Equal photos are worked on once.
        processes: that share the work.
        work: returns named features of the photos at some positions.
        batch_size: photos that are run together.
    """
    if processes.count == 1:
        return dict(work(list(range(len(keys)))))
    places = positions_by_key(keys)
    firsts = [positions[0] for positions in places.values()]
    batches = [firsts[start : start + batch_size] for start in range(0, len(firsts), batch_size)]
    own = [place for batch in processes.own(batches) for place in batch]
    parts = processes.gather((own, dict(work(own))))
    copies = [[places[keys[place]] for place in of_part] for of_part, _ in parts]
    return {name: _joined(len(keys), copies, [found[name] for _, found in parts]) for name in parts[0][1]}


def _joined(count: int, copies: Sequence[Sequence[Sequence[int]]], parts: Sequence[Features]) -> Features:
    """Return the features of `count` photos, of parts whose rows belong to the photos at `copies`."""
    values = np.zeros((count, parts[0].values.shape[1]), dtype=np.float32)
    unreadable: dict[int, str] = {}
    flat: list[int] = []
    for positions, part in zip(copies, parts, strict=True):
        rows = np.repeat(np.arange(len(positions)), [len(same) for same in positions])
        values[[place for same in positions for place in same]] = part.values[rows]
        unreadable |= {place: reason for row, reason in part.unreadable.items() for place in positions[row]}
        flat += [place for row in part.flat for place in positions[row]]
    return Features(
        values=values,
        engine=parts[0].engine,
        unreadable=dict(sorted(unreadable.items())),
        computed=sum(part.computed for part in parts),
        seconds=max(part.seconds for part in parts),
        flat=tuple(sorted(flat)),
    )
