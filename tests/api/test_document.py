"""The examples in docs/python.md are typed, in order, in a folder that holds what they speak of.

`...` stands for anything, as in Python's own doctests. A tiny network stands in for the one inside regraft.
"""

import doctest
from pathlib import Path

import pytest
from tests.fixtures.examples import write_examples

import regraft

DOCUMENT = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which the examples are typed: photos with and without labels, and a table."""
    write_examples(tmp_path, photos=12, labelled=5)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("few_draws", "few_strengths")
@pytest.mark.slow
def test_examples_do_what_they_show(folder: Path, tiny_network: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = DOCUMENT.read_text().replace('"pocket"', repr(tiny_network))
    test = doctest.DocTestParser().get_doctest(text, {}, DOCUMENT.name, str(DOCUMENT), 0)
    assert len(test.examples) > 15
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test)
    assert runner.failures == 0, capsys.readouterr().out
    report = (folder / "report" / "report.html").read_text()
    assert "The figures when it was fitted" in report
    assert "The figures on these photos" in report


def test_every_public_function_is_in_the_document() -> None:
    text = DOCUMENT.read_text()
    functions = {
        "TransferClassifier",
        "load",
        "compare",
        "evaluate",
        "evaluate_paired",
        "embed",
        "similar",
        "suggest",
        "group",
        "audit",
        "drift",
        "RegraftError",
    }
    assert functions <= set(regraft.__all__)
    assert [name for name in functions if f"regraft.{name}" not in text] == []
    methods = ("fit", "predict", "predict_proba", "photos", "score", "save", "explain", "report_", "classes_", "log_")
    assert [name for name in methods if name not in text] == []
