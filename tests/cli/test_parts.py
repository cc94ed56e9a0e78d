"""Answers and vectors in parts: what is refused before a cluster is asked for anything."""

from collections.abc import Callable
from pathlib import Path

import pytest

Photos = Callable[..., Path]
Fails = Callable[..., str]


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_a_store_needs_a_cluster(fails: Fails, photos: Photos, bundle: Path, command: str) -> None:
    given = (bundle, photos(red=1)) if command == "predict" else (photos(red=1),)
    assert "--out is an address in a store, where the workers of a cluster write parts: --on ray. Without it" in fails(
        command, *given, "--out", "s3://bucket/out"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--like", "sample.csv"), "--like is for a submission, which is one file and not parts. Leave it out."),
        (("--clip", "0.01"), "--clip is for a submission"),
        (("--format", "json"), "--format json is not of parts. Allowed are csv, tsv, jsonl, parquet."),
        (("--format", "kaggle"), "--format kaggle is not of parts"),
    ],
)
def test_what_parts_do_not_hold(
    fails: Fails, photos: Photos, bundle: Path, more: tuple[str, ...], message: str
) -> None:
    parts = bundle.with_name("parts")
    bundle.with_name("sample.csv").write_text("id,label\n")
    assert message in fails("predict", bundle, photos(red=1), "--out", "parts/", "--on", "ray", *more)
    assert not parts.exists()


def test_figures_are_of_one_file(fails: Fails, photos: Photos, tmp_path: Path) -> None:
    assert "--json is of one file." in fails("embed", photos(red=1), "--out", "parts/", "--on", "ray", "--json")
    assert not (tmp_path / "parts").exists()


def test_what_names_no_cluster(fails: Fails, photos: Photos, bundle: Path) -> None:
    message = "--on must be ray, or ray:ADDRESS, as in ray:10.0.0.1:6379. Got 'dask'."
    assert message in fails("predict", bundle, photos(red=1), "--on", "dask")
