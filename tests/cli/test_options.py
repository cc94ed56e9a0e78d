"""Options that several commands share."""

import pytest
from typer.main import get_command

from regraft.cli.main import app
from regraft.cli.options import Split
from regraft.data.layouts import SPLITS
from regraft.networks.names import ALIASES, OFFLINE, POCKET


def test_every_split_can_be_named() -> None:
    assert [split.value for split in Split] == list(SPLITS)


@pytest.mark.parametrize("command", ["fit", "compare", "embed", "similar"])
def test_the_network_that_is_taken_without_a_connection_is_the_one_that_help_names(command: str) -> None:
    (option,) = [one for one in get_command(app).commands[command].params if one.name == "model"]
    (alias,) = [name for name, network in ALIASES.items() if network == OFFLINE]
    assert option.show_default == f"a strong one; {alias} without a connection"
    if command != "compare":  # which names no networks
        assert f"{alias} ({OFFLINE})" in option.help
        assert POCKET in option.help
