"""What MLflow hears, and what it may not print."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Photos = Callable[..., Path]
Run = Callable[..., Result]
QUICK = ["--epochs", "2", "--views", "2"]


@pytest.mark.slow
def test_mlflow_hears_losses_and_figures(
    run: Run, photos: Photos, tiny_network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    place = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(place)
    fit = ["fit", photos(red=15, blue=15), "--model", tiny_network, "--strategy", "top", *QUICK]
    done = run(*fit, "--track", "mlflow", "--json")
    assert done.exit_code == 0, done.stderr
    (recorded,) = mlflow.search_runs(output_format="list")
    assert recorded.data.metrics["accuracy"] == json.loads(done.stdout)["accuracy"]
    assert recorded.data.params["epochs"] == "2"
    assert any(name.endswith("fold 1 of 5/epoch_loss") for name in recorded.data.metrics)


@pytest.mark.slow
def test_what_mlflow_prints_is_no_result(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import mlflow

    from regraft.cli.tracking import MlflowObserver

    for name in ("start_run", "log_params", "log_metrics"):
        monkeypatch.setattr(mlflow, name, lambda *_, **__: None)
    monkeypatch.setattr(mlflow, "end_run", lambda: print("View run at: http"))  # noqa: T201
    MlflowObserver("a run", {}).finish({})
    assert capsys.readouterr() == ("", "View run at: http\n")
