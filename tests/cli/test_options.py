"""Options that several commands share."""

from regraft.cli.options import Split
from regraft.data.layouts import SPLITS


def test_every_split_can_be_named() -> None:
    assert [split.value for split in Split] == list(SPLITS)
