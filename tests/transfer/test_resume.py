"""A killed run: the same command resumes it, and what would train otherwise is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.damages import zeroed
from tests.marks import some_slow

from regraft.cache import clear
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import ResumeError, TrainingError
from regraft.features import activations
from regraft.networks.backbones import load_backbone
from regraft.progress import Observer
from regraft.training.finetuner import Finetuner
from regraft.training.schedule import Schedule
from regraft.transfer import fit as fitting
from regraft.transfer.fit import FitResult
from regraft.transfer.settings import FitSettings

Photos = Callable[..., Path]
Fit = Callable[..., FitResult]
pytestmark = pytest.mark.usefixtures("few_draws", "few_strengths")
PLAIN: dict[str, Any] = {"strategy": "top", "force": True, "schedule": Schedule(epochs=2, views=2, batch_size=8)}


@pytest.fixture
def network(tiny_network: str, tmp_path: Path) -> Path:
    """Return the folder of a network that a test may change."""
    return Path(shutil.copytree(tiny_network.removeprefix("local-dir:"), tmp_path / "network"))


@pytest.fixture
def fit(network: Path, tmp_path: Path) -> Fit:
    def run(data: Path, folder: str = "m.unfinished", observer: Observer | None = None, **changed: Any) -> FitResult:
        compute = {name: changed.pop(name) for name in ("cache", "engine") if name in changed}
        return fitting.fit(
            find_samples(data),
            lambda: load_backbone(f"local-dir:{network}"),
            model="net",
            settings=FitSettings(**{**PLAIN, **changed}),
            compute=Compute(**compute),
            folder=tmp_path / folder,
            observer=observer,
        )

    return run


@pytest.fixture
def killed(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Return what starts a run that ends before its third training."""

    def run(data: Path, **changed: Any) -> None:
        begun, started = Finetuner.train, []

        def breaks(self: Finetuner) -> Any:
            started.append(self)
            if len(started) == 3:
                raise TrainingError("the power is gone")
            return begun(self)

        with monkeypatch.context() as patch:
            patch.setattr(Finetuner, "train", breaks)
            with pytest.raises(TrainingError, match="the power is gone"):
                fit(data, **changed)

    return run  # type: ignore[return-value]


def weights(result: FitResult) -> dict[str, bytes]:
    tensors = result.classifier.backbone.module.state_dict()
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()} | {
        "head": result.classifier.head.weight.tobytes()
    }


def refused(fit: Fit, data: Path, **changed: Any) -> list[str]:
    """Return the lines that name what has changed."""
    with pytest.raises(ResumeError) as caught:
        fit(data, **changed)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("m.unfinished holds an unfinished run that was started differently:")
    assert lines[-1].endswith("or with restart=True to begin anew.")
    return lines[1:-1]


@pytest.mark.parametrize("cache", some_slow(["as it was", "emptied"], {"as it was"}))
def test_the_same_command_resumes_bit_for_bit(fit: Fit, killed: Fit, photos: Photos, cache: str) -> None:
    data = photos(red=10, blue=10)
    killed(data)
    if cache == "emptied":
        clear()
    assert weights(fit(data)) == weights(fit(data, folder="whole"))  # which fills the cache in the first case


@pytest.mark.parametrize(
    "pattern",
    [
        "m.unfinished/*.safetensors",
        pytest.param("cache/features/*.views", marks=pytest.mark.slow),
        pytest.param("cache/features/*/*s", marks=pytest.mark.slow),
    ],
)
def test_what_is_damaged_meanwhile_is_done_again_bit_for_bit(
    fit: Fit, killed: Fit, photos: Photos, *, tmp_path: Path, listener: Any, pattern: str
) -> None:
    data = photos(red=10, blue=10)
    killed(data)
    undisturbed = weights(fit(data, folder="whole"))
    found = sorted(tmp_path.glob(pattern))
    assert found
    for path in found:
        zeroed(path)
    assert weights(fit(data, observer=listener)) == undisturbed
    reported = [line for line in listener.said if "damaged" in line]
    assert [sum(str(path) in line for line in reported) for path in found] == [1] * len(found)


@pytest.mark.slow
def test_another_cache_is_named(fit: Fit, killed: Fit, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views from the cache are few and in float16, others ever new and in float32."""
    data = photos(red=10, blue=10)
    killed(data)
    assert refused(fit, data, cache=False) == ["  cache=False: False then, True now"]
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "1KB")
    (line,) = refused(fit, data)
    assert line.startswith("  activations at blocks.")
    assert line.endswith(" (cache=False, cache_limit): 'cached' then, 'computed' now")
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "20GB")
    fit(data)  # a limit that changes nothing does not matter


@pytest.mark.slow
def test_a_larger_cache_is_named_too(fit: Fit, killed: Fit, photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    data = photos(red=10, blue=10)
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "1KB")
    killed(data)
    monkeypatch.setenv("REGRAFT_CACHE_LIMIT", "10GB")
    assert refused(fit, data)[0].endswith("'computed' then, 'cached' now")


@pytest.mark.slow
def test_a_disk_that_has_room_again_does_not_change_the_run(
    fit: Fit, killed: Fit, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    data = photos(red=10, blue=10)
    with monkeypatch.context() as patch:
        patch.setattr(activations, "_reserve", full)
        killed(data)
        undisturbed = weights(fit(data, folder="whole"))
    assert weights(fit(data)) == undisturbed


def test_other_validation_photos_are_named(fit: Fit, killed: Fit, photos: Photos) -> None:
    """They decide whether a sixth of the training photos is held out."""
    photos("data/train", red=10, blue=10)
    data = photos("data/val", first_seed=500, red=3, blue=3).parent
    killed(photos("data/train", red=10, blue=10))
    (line,) = refused(fit, data)
    assert line.startswith("  validation photos: None then, '6 photos, 2 classes, ")


@pytest.mark.slow
def test_another_engine_is_named(fit: Fit, killed: Fit, photos: Photos) -> None:
    """What `auto` comes to may be another engine by now; whoever names the first one resumes the run."""
    data = photos(red=10, blue=10)
    killed(data, engine="torch-bfloat16")
    (line,) = refused(fit, data)
    assert line == "  engine of net (engine): 'torch-cpu-bfloat16' then, 'torch-cpu-float32' now"
    assert fit(data, engine="torch-bfloat16").record.engine == "torch-cpu-bfloat16"


def test_another_preprocessing_is_named(fit: Fit, killed: Fit, photos: Photos, network: Path) -> None:
    data = photos(red=10, blue=10)
    killed(data)
    config = json.loads((network / "config.json").read_text())
    config["pretrained_cfg"]["crop_pct"] = 0.5
    (network / "config.json").write_text(json.dumps(config))
    (line,) = refused(fit, data)
    assert line.startswith("  preprocessing of net: {")
    assert "'crop_pct': 0.5" in line.partition(" then, ")[2]
