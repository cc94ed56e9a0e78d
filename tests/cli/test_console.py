"""Words that commands print."""

import pytest

from regraft.cli.console import counted


@pytest.mark.parametrize(("count", "text"), [(0, "0 photos"), (1, "1 photo"), (2, "2 photos"), (1000, "1,000 photos")])
def test_counted(count: int, text: str) -> None:
    assert counted(count, "photo") == text
