"""`regraft models`: what people start from, names, and what a network is made of."""

import json
import re
from collections.abc import Callable

import pytest
import timm
import torch
from tests.marks import some_slow
from typer.testing import Result

from regraft.cache import engines_folder
from regraft.engines import speed
from regraft.networks.backbones import build_untrained
from regraft.networks.names import POCKET
from regraft.networks.registry import INSTALLED, POPULAR, STRONG, StartingPoint, licence_of, network_names

Run = Callable[..., Result]


@pytest.mark.slow
def test_models_lists_and_describes(run: Run) -> None:
    described = run("models", "vgg16").stdout
    assert described.startswith(
        "vgg16: 134.3 million parameters, 4,096 features\nlicence of its weights: bsd-3-clause\n"
    )
    assert "resnet18.a1_in1k" in run("models", "resnet1").stdout.splitlines()
    failed = run("models", "no-such-network")
    assert failed.exit_code == 1
    assert "No network's name contains 'no-such-network'. `regraft models --all` lists all." in failed.stderr
    assert "No network's name contains 'resnt50'. Did you mean 'resnet50'" in run("models", "resnt50").stderr
    assert "Did you mean 'pocket'" in run("models", "pokcet").stderr


def test_installed_networks_are_described_by_either_name(run: Run) -> None:
    described = run("models", "offline").stdout
    assert described == run("models", "efficientnet-lite0").stdout
    assert described.startswith("tf_efficientnet_lite0: 3.4 million parameters, 1,280 features\n")
    assert "licence of its weights: apache-2.0\ninput: 224 x 224 pixels, bicubic, centre crop of 87.5%" in described
    stages = [line.split()[0] for line in described.partition("before each):\n")[2].splitlines()]
    assert stages == ["conv_stem", *(f"blocks.{number}" for number in range(7))]  # the last convolution in the last


def test_all_of_them(run: Run) -> None:
    names = run("models", "--all").stdout.splitlines()
    assert names == network_names()
    assert len(names) > 1500


def test_what_people_start_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[str] = []

    def measure(name: str, device: torch.device) -> float:
        timed.append(name)
        return {POCKET: 1234.5, STRONG: 12.34}.get(name, 100.0)

    monkeypatch.setattr(speed, "measure", measure)
    monkeypatch.setattr(speed, "is_busy", lambda: False)
    done = run("models")
    assert done.exit_code == 0, done.output
    lines = [re.split("  +", line) for line in done.stdout.splitlines()]
    assert lines[0] == ["network", "parameters", "download", "licence", "images/s here", "has learned"]
    assert lines[1] == ["pocket", "4.6 million", "none", "apache-2.0", "1,230", "200 classes, 64 x 64 pixels"]
    assert ["efficientnet-lite0", "3.4 million", "none", "apache-2.0", "100", "1,000 classes"] in lines
    assert [STRONG, "15.0 million", "90 MB", "apache-2.0", "12.3", "11,821 classes"] in lines
    assert ["vgg16.tv_in1k", "134.3 million", "553 MB", "bsd-3-clause", "100", "1,000 classes"] in lines
    assert f"all {len(network_names()):,}: regraft models --all" in done.stdout
    assert (
        f"without --model: {STRONG}; where it cannot be downloaded efficientnet-lite0 (--model offline)" in done.stdout
    )
    assert timed == [one.name for one in POPULAR]
    assert run("models").stdout == done.stdout
    assert len(timed) == len(POPULAR)  # each once


@pytest.mark.parametrize("one", some_slow(POPULAR, POPULAR[3:]), ids=lambda one: one.name)
def test_what_is_told_of_them_is_so(one: StartingPoint) -> None:
    if one.name in INSTALLED:
        assert sum(p.numel() for p in build_untrained(one.name).module.parameters()) == one.parameters
        assert one.megabytes == 0
        return
    with torch.device("meta"):
        whole, backbone = timm.create_model(one.name), timm.create_model(one.name, num_classes=0)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == one.parameters
    size = sum(tensor.numel() * tensor.element_size() for tensor in whole.state_dict().values())
    assert round(size / 1e6) == one.megabytes
    settings = timm.get_pretrained_cfg(one.name)
    assert licence_of(one.name) == settings.license
    assert one.classes == (f"{settings.num_classes:,} classes" if settings.num_classes else "photos without labels")


def test_a_licence_that_nobody_states() -> None:
    unstated = next(name for name in timm.list_pretrained() if timm.get_pretrained_cfg(name).license is None)
    assert licence_of(unstated) == "unknown"


def test_speeds_are_measured_and_kept(tiny_network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "is_busy", lambda: False)
    cpu = torch.device("cpu")
    found = speed.Speeds(cpu).of(tiny_network)
    assert found > 0
    assert speed.Speeds(cpu).of(tiny_network) == found  # to the last digit: it was not measured again
    (file,) = (engines_folder() / "speeds").iterdir()
    assert json.loads(file.read_text()) == {tiny_network: found}
    for damaged in ("{damaged", json.dumps({tiny_network: "fast"}), "[]"):
        file.write_text(damaged)
        assert speed.Speeds(cpu).of(tiny_network) > 0


def test_what_a_busy_machine_does_is_not_kept(run: Run, tiny_network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (1000.0, 0.0, 0.0))
    monkeypatch.setattr("regraft.networks.registry.POPULAR", (StartingPoint(tiny_network, 1, 1, "5 classes"),))
    assert "other programs kept the machine busy: they are lower than they would be" in run("models").stdout
    assert not (engines_folder() / "speeds").exists()
