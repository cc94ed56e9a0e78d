"""`regraft models`: names, and what a network is made of."""

from collections.abc import Callable

from typer.testing import Result

Run = Callable[..., Result]


def test_models_lists_and_describes(run: Run) -> None:
    assert run("models", "vgg16").stdout.startswith("vgg16: 134.3 million parameters, 4,096 features")
    assert "resnet18.a1_in1k" in run("models", "resnet1").stdout.splitlines()
    failed = run("models", "no-such-network")
    assert failed.exit_code == 1
    assert "No network's name contains 'no-such-network'. `regraft models` lists all." in failed.stderr
