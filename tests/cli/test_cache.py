"""`regraft cache`: what lies there, and emptying it."""

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Run = Callable[..., Result]
Photos = Callable[..., Path]


def test_cache_is_shown_and_emptied(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    assert run("predict", bundle, photos("new", red=5)).exit_code == 0
    assert "test_efficientnet  5 photos" in run("cache").stdout
    assert run("cache", "--clear").stdout.startswith("freed ")
    assert "photos" not in run("cache").stdout
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []
    assert bundle.exists()


def test_cache_counts_and_empties_converted_networks(run: Run, bundle: Path, photos: Photos, tmp_path: Path) -> None:
    assert "networks converted" not in run("cache").stdout
    done = run("predict", bundle, photos("new", red=2), "--engine", "openvino-float32")
    assert done.exit_code == 0, done.output
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    converted = sum(path.stat().st_size for path in kept if "engines" in path.parts)
    shards = sum(path.stat().st_size for path in kept if path.suffix == ".safetensors")
    first, second, *_ = run("cache").stdout.splitlines()
    assert first == f"{tmp_path / 'cache'}: {(converted + shards) / 1e6:.1f} of 10,000 MB"
    assert second == f"  networks converted for faster engines: {converted / 1e6:.1f} MB"
    everything = sum(path.stat().st_size for path in kept)
    assert run("cache", "--clear").stdout == f"freed {everything / 1e6:.1f} MB in {tmp_path / 'cache'}\n"
    assert run("cache").stdout == f"{tmp_path / 'cache'}: 0.0 of 10,000 MB\n"
