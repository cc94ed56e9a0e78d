"""The command line as a user has it: arguments in; exit code, stdout and stderr out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from regraft.cli.main import app

Run = Callable[..., Result]
Photos = Callable[..., Path]
REPORTED = {  # the least that --json has of an evaluation
    "n",
    "classes",
    "accuracy",
    "accuracy_interval",
    "balanced_accuracy",
    "log_loss",
    "brier",
    "ece",
    "per_class",
    "confusion",
    "auc",
    "average_precision",
    "estimate",
    "model",
    "strategy",
    "seconds",
    "images_per_second",
    "unreadable",
}


def exchange_labels(folder: Path, count: int) -> Path:
    """Put so many red photos of class folders among the blue ones, and as many of these among the red ones."""
    kept = folder / "kept.jpg"
    for number in range(count):
        a, b = (folder / label / f"{number}.jpg" for label in ("red", "blue"))
        a.rename(kept)
        b.rename(a)
        kept.rename(b)
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `regraft` with these arguments in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def fails(run: Run) -> Callable[..., str]:
    """Run `regraft`, see that it ends with one message and exit code 1, and return the message."""

    def invoke(*arguments: object) -> str:
        done = run(*arguments)
        assert done.exit_code == 1, done.output
        assert "Traceback" not in done.output
        assert done.stdout == ""
        message = done.stderr[done.stderr.index("error: ") :]
        assert message.count("error: ") == 1
        return message

    return invoke


@pytest.fixture(scope="session")
def fitted_files() -> dict[str, bytes]:
    """Return classifiers that were fitted before, by network and photos: equal runs give equal files."""
    return {}


@pytest.fixture
def bundle(run: Run, photos: Photos, tiny_network: str, tmp_path: Path, fitted_files: dict[str, bytes]) -> Path:
    learned, file = photos("learned", red=12, blue=12), tmp_path / "model.safetensors"
    if tiny_network not in fitted_files:
        done = run("fit", learned, "--model", tiny_network, "--out", file.name)
        assert done.exit_code == 0, done.output
        fitted_files[tiny_network] = file.read_bytes()
        assert run("cache", "--clear").exit_code == 0  # as where it was fitted before
    file.write_bytes(fitted_files[tiny_network])
    return file


@pytest.fixture(autouse=True)
def _quick(few_draws: None, few_strengths: None) -> None:
    """Resample and try less: where that is what is tested, the functions themselves are called."""
