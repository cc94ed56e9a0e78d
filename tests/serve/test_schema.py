"""Requests that are drawn from the server's own description of itself, and others that it does not describe."""

import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serve.conftest import Start

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of the libraries that draw


def test_answers_are_as_described(start: Start, reviewed_file: Path, photos: Callable[..., Path]) -> None:
    """Statuses, types and bodies are those of /openapi.json, and nothing that is drawn is the server's fault."""
    hypothesis, schemathesis = pytest.importorskip("hypothesis"), pytest.importorskip("schemathesis")
    checks = pytest.importorskip("schemathesis.specs.openapi.checks")
    _, port = start("--review", str(photos(red=4, blue=4)), file=reviewed_file)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/openapi.json")
    schema = schemathesis.openapi.from_dict(json.loads(connection.getresponse().read()))
    connection.close()
    settings = hypothesis.settings(max_examples=50, deadline=None, derandomize=True, database=None)
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()

        def answers(case: Any) -> None:  # not all that is described is accepted: a photo is more than any bytes
            case.call_and_validate(
                base_url=f"http://127.0.0.1:{port}", excluded_checks=[checks.positive_data_acceptance]
            )

        settings(hypothesis.given(case=operation.as_strategy())(answers))()
        asked.append(operation.path)
    plain = {"/predict", "/heatmap", "/model", "/health", "/ready", "/metrics", "/similar"}
    photos_of = {f"/review/photos{rest}" for rest in ("", "/{id}", "/{id}/image")}
    others = ("state", "decisions", "undo", "labels.csv", "look", "retrain", "use", "classifier")
    assert set(asked) == plain | photos_of | {f"/review/{name}" for name in others}
