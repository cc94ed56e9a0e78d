"""What the strategies say where the schedule leaves it open."""

from regraft.transfer.strategies import BATCH_NORM, EPOCHS, RATES


def test_defaults_depend_on_what_is_trained() -> None:
    assert RATES == {"top": 3e-4, "whole": 1e-4, "scratch": 1e-3}
    assert EPOCHS == {"top": 8, "whole": 8, "scratch": 24}
    assert {name for name, kind in BATCH_NORM.items() if kind == "trained"} == {"scratch"}  # it has no statistics yet
