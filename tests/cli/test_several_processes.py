"""Which of several processes prints: the first one all that it does, the others what went wrong, once."""

import pytest
import typer

from regraft.cli import console, main
from regraft.cli.console import be_silent, complaint, note, result, result_json
from regraft.errors import DataError


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the second of two processes that fit."""
    monkeypatch.setattr(console, "_silent", False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(main.sys, "argv", ["regraft", "fit", "pets"])


def test_a_silent_process_prints_complaints_alone(second: None, capsys: pytest.CaptureFixture[str]) -> None:
    note("before")
    be_silent()
    note("epoch 1")
    result("accuracy 90 %")
    result_json({"accuracy": 0.9})
    complaint("the disk is full")
    assert capsys.readouterr() == ("", "before\nthe disk is full\n")


@pytest.mark.parametrize("speaks", [True, False])
def test_one_process_says_why_all_end(
    second: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], speaks: bool
) -> None:
    def fails() -> None:
        raise DataError("no photos")

    be_silent()
    monkeypatch.setattr(main, "speaks_of_failure", lambda: speaks)
    with pytest.raises(typer.Exit) as ended:
        main.with_exit_codes(fails)()
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == ("error: no photos\n" if speaks else "")


def test_commands_that_each_process_runs_for_itself_speak(
    second: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training program may call `regraft predict` in each of its processes."""

    def fails() -> None:
        raise DataError("no photos")

    monkeypatch.setattr(main.sys, "argv", ["regraft", "predict", "m.safetensors"])
    with pytest.raises(typer.Exit):
        main.with_exit_codes(fails)()
    assert capsys.readouterr().err == "error: no photos\n"


@pytest.mark.parametrize(("rank", "silent"), [("0", False), ("1", True)])
def test_the_process_begins_so(rank: str, silent: bool, second: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that ends by a mistake waits, so that a launcher leaves the one that speaks the time to do so."""
    waited: list[float] = []
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(main.time, "sleep", waited.append)
    monkeypatch.setattr(main, "open_streams", lambda: None)
    monkeypatch.setattr(main, "collect_less_garbage", lambda: None)
    monkeypatch.setattr(main.sys, "argv", ["regraft", "fit", "pets", "--nonsense"])
    monkeypatch.setattr(main.warnings, "showwarning", None)
    with pytest.raises(SystemExit) as ended, main.warnings.catch_warnings():
        main.run()
    assert ended.value.code == 2
    assert console._silent == silent
    assert waited == [main._LAST_WORDS]
