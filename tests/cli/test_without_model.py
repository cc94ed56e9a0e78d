"""No `--model`: a default network is taken, and said so."""

from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

Run = Callable[..., Result]
Fails = Callable[..., str]
Photos = Callable[..., Path]
SAID = "network: pocket, the small one inside regraft, for convnext_nano.in12k cannot be downloaded ("


def test_fit_takes_the_pocket_network_and_names_the_better_choice(run: Run, photos: Photos, offline: None) -> None:
    done = run("fit", photos(red=8, blue=8), "--strategy", "frozen", "--out", "c.safetensors")
    assert done.exit_code == 0, done.output
    assert SAID in done.stderr
    assert "With a connection, or a network of your own (--model), expect a better classifier." in done.stderr
    assert run("predict", "c.safetensors", "photos/red/0.jpg").exit_code == 0


def test_compare_takes_it_too(run: Run, photos: Photos, offline: None) -> None:
    done = run("compare", photos(red=8, blue=8), "--strategies", "frozen")
    assert done.exit_code == 0, done.output
    assert SAID in done.stderr


def test_a_dry_run_downloads_nothing(run: Run, photos: Photos, offline: None) -> None:
    done = run("fit", photos(red=8, blue=8), "--dry-run")
    assert done.exit_code == 0, done.output
    assert "frozen: trained: the head alone" in done.stdout
    assert "cannot be downloaded" not in done.output


def test_weights_need_their_network(fails: Fails, photos: Photos, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"")
    assert "--weights is a file of one network: name it with --model." in fails(
        "fit", photos(red=8, blue=8), "--weights", "w.pth"
    )
