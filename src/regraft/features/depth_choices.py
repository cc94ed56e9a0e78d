"""Which of the depths that a network's features are read at a last layer sees."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from regraft.heads.linear import Columns
from regraft.networks.backbone import Backbone
from regraft.networks.hook_points import ALL, LAST, LATE

_LATE = 1 / 3  # of the depths


def first_depths(backbones: Sequence[Backbone]) -> dict[str, tuple[int, ...]]:
    """Return, by the name of each choice of features, the number of the first depth of each network that is used.

    The last layer's own features are always used: the number of depths stands for these alone.
    """
    counts = [len(backbone.depths) for backbone in backbones]
    return {
        LAST: tuple(counts),
        LATE: tuple(count - math.ceil(_LATE * count) for count in counts),
        ALL: tuple(0 for _ in counts),
    }


def distinct(choices: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return choices of features, of those that come to the same the first one alone.

    >>> distinct({"last": (1,), "late": (0,), "all": (0,)})
    {'last': (1,), 'late': (0,)}
    """
    names = {first: name for name, first in reversed(list(choices.items()))}
    return {name: first for name, first in choices.items() if names[first] == name}


def columns_from(backbones: Sequence[Backbone], first: Sequence[int]) -> Columns:
    """Return the columns of a feature matrix that a choice of features uses.

    Args:
        backbones: the networks whose features stand side by side, each with its depths before its own.
        first: the number of the first depth of each that is used.
    """
    starts = [sum(depth.units for depth in b.depths[:number]) for b, number in zip(backbones, first, strict=True)]
    if len(backbones) == 1:
        return slice(starts[0], None)  # a view
    offsets = np.cumsum([0, *(backbone.width for backbone in backbones)])
    parts = [
        np.arange(offset + start, offset + backbone.width)
        for offset, start, backbone in zip(offsets, starts, backbones, strict=False)
    ]
    return np.concatenate(parts)
