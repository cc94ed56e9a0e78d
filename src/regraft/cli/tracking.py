"""`--track mlflow`: every training's losses and rates, and the final figures, in MLflow."""

import contextlib
import re
import sys
from collections.abc import Mapping
from typing import Any

from regraft.cli.console import TerminalObserver
from regraft.errors import OptionError
from regraft.extras import check_installed
from regraft.progress import ProgressRecord


class MlflowObserver(TerminalObserver):
    """Shows progress on the terminal and records it in one MLflow run, where MLFLOW_TRACKING_URI says.

    Args:
        name: of the run.
        arguments: of the command.
        verbose: as of `TerminalObserver`.

    Raises:
        MissingPackageError: mlflow is not installed.
    """

    def __init__(self, name: str, arguments: Mapping[str, str], *, verbose: bool = False) -> None:
        super().__init__(verbose=verbose)
        check_installed("mlflow", "--track mlflow")
        import mlflow

        self._mlflow = mlflow
        try:
            mlflow.start_run(run_name=name)
            mlflow.log_params(dict(arguments))
        except mlflow.exceptions.MlflowException as error:
            raise OptionError(f"--track mlflow: {error}. MLFLOW_TRACKING_URI says where runs are recorded.") from None

    def record(self, training: str, record: ProgressRecord) -> None:
        """Record losses and rate under the training's name."""
        super().record(training, record)
        name = re.sub(r"[^\w ./-]", "_", training)
        values = {"loss" if record.photos else "epoch_loss": record.loss, "rate": record.rate}
        if record.tuning_loss is not None:
            values["tuning_loss"] = record.tuning_loss
        self._mlflow.log_metrics({f"{name}/{key}": value for key, value in values.items()}, step=record.step)

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Record the final figures and close the run."""
        self._mlflow.log_metrics({key: float(one) for key, one in figures.items() if isinstance(one, (int, float))})
        with contextlib.redirect_stdout(sys.stderr):  # it prints the run's address, into the JSON
            self._mlflow.end_run()
