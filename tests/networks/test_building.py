"""What timm is asked for: a network's own arguments, of bounded size, and nothing that names a file or an address."""

import inspect
import json
import pickle
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules import module as registration

from regraft.errors import ModelError
from regraft.networks import building
from regraft.networks.backbones import build_untrained, load_backbone, rebuild_backbone
from regraft.networks.building import check_arguments, create, strict_loading
from regraft.networks.recipe import Recipe


def refused(arguments: dict[str, Any], architecture: str = "test_resnet") -> str:
    """Return why a network cannot be built with these arguments; timm is not asked."""
    with pytest.raises(ModelError) as caught:
        check_arguments(Recipe(architecture, arguments, {}))
    message = str(caught.value)
    assert message.startswith(f"{architecture} cannot be built with the arguments ")
    assert message.endswith(". Correct model_args in its config.json, or arguments.")
    return message


@pytest.mark.parametrize(
    "name",
    [
        *(
            "checkpoint_path",
            "pretrained",
            "pretrained_cfg",
            "pretrained_cfg_overlay",
            "cache_dir",
            "pretrained_strict",
        ),
        *("pretrained_filter_fn", "features_only", "feature_cfg", "kwargs_filter", "model_cfg", "hf_hub_id", "url"),
        *("file", "state_dict", "scriptable", "exportable", "no_jit", "num_classes", "self", "device", "dtype"),
        *("out_indices", "pruned", "pretrained_model_args", "__class__", "", "a b\x1b[2J"),
    ],
)
@pytest.mark.parametrize("architecture", ["test_resnet", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_arguments_that_are_not_the_networks_own(name: str, architecture: str) -> None:
    message = refused({name: "x"}, architecture)
    assert "is none of its arguments." in message
    assert "\x1b" not in message


def test_all_that_is_allowed_is_a_parameter_of_the_class() -> None:
    """Against the class's own signature: every other name in it would reach files, hubs or devices."""
    (message,) = [refused({"bogus": 1})]
    allowed = message.split("Allowed are ")[1].removesuffix(". Correct model_args in its config.json, or arguments.")
    kind = type(timm.create_model("test_resnet"))
    named = set(inspect.signature(kind.__init__).parameters) - {"self", "num_classes", "device", "dtype"}
    assert set(allowed.split(", ")) == named


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (100_000_000, "must be a number up to 16,384. Got 100000000"),
        (-100_000_000, "must be a number up to 16,384"),
        (float("nan"), "must be a number up to 16,384. Got nan"),
        (float("inf"), "must be a number up to 16,384. Got inf"),
        ([1] * 1001, "must have at most 1,000 items, at most 3 lists deep"),
        ([[[[1]]]], "must have at most 1,000 items, at most 3 lists deep"),
        ([2, [3, 10**9]], "must be a number up to 16,384"),
        ("/etc/passwd", "must be a short name of letters and digits. Got '/etc/passwd'"),
        ("a" * 65, "must be a short name of letters and digits"),
        ({"a": "../x"}, "must be a short name of letters and digits. Got '../x'"),
        (b"x", "must be numbers, names or lists of them. Got bytes"),
    ],
)
def test_values_are_bounded(value: Any, told: str) -> None:
    assert told in refused({"layers": value})


def test_photos_have_three_channels() -> None:
    check_arguments(Recipe("test_resnet", {"in_chans": 3}, {}))
    assert "in_chans must be 3, for photos are red, green and blue. Got 1" in refused({"in_chans": 1})


def test_arguments_that_describe_a_network_are_taken() -> None:
    recipe = Recipe("test_resnet", {"channels": [8, 16, 16, 24], "act_layer": "silu", "drop_path_rate": 0.1}, {})
    module = create(recipe, classes=0)
    assert module.num_features == 24
    assert any(isinstance(part, nn.SiLU) for part in module.modules())


def test_arguments_of_a_class_that_hands_them_on() -> None:
    recipe = Recipe("deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 1}, {})
    assert len(create(recipe, classes=0).blocks) == 1


TIME = "that takes longer than 1 seconds"
LAYERS_OR_TIME = "(more than 20,000 layers|longer than 1 seconds)"


@pytest.mark.parametrize(
    ("architecture", "arguments", "told"),
    [
        pytest.param(
            "test_resnet",
            {"layers": [16_000] * 4},
            LAYERS_OR_TIME,
            marks=pytest.mark.slow,
        ),
        (
            "vit_tiny_patch16_224",
            {"depth": 16_000},
            LAYERS_OR_TIME,
        ),
        ("vit_tiny_patch16_224", {"embed_dim": 16_000, "depth": 20, "num_heads": 100}, "it gets more than the 10,000,"),
        ("vit_tiny_patch16_224", {"mlp_ratio": 16_000.0, "depth": 200}, "it gets more than the 10,000,"),
        ("tiny_vit_5m_224", {"window_sizes": [7, 200, 14, 7]}, TIME),
        pytest.param("tiny_vit_5m_224", {"window_sizes": [64] * 4}, TIME, marks=pytest.mark.slow),
        ("test_resnet", {"channels": [0, 0, 0, 0]}, ""),
        ("test_resnet", {"channels": [-1, 2, 3, 4]}, ""),
        ("test_resnet", {"layers": "many"}, ""),
        ("test_resnet", {"act_layer": "nothing"}, ""),
        ("test_resnet", {"global_pool": "nothing"}, ""),
        ("test_resnet", {"output_stride": 3}, ""),
        ("vit_tiny_patch16_224", {"img_size": "x"}, ""),
        ("vit_tiny_patch16_224", {"patch_size": 0}, ""),
        ("vit_tiny_patch16_224", {"block_fn": "x"}, ""),
    ],
)
def test_building_ends_soon_and_says_why(
    architecture: str, arguments: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_LONGEST_BUILDING", 1.0)
    started, gradients = time.thread_time(), torch.is_grad_enabled()
    with pytest.raises(ModelError, match=f"cannot be built with the arguments .*{told}"):
        create(Recipe(architecture, arguments, {}), classes=0)
    assert time.thread_time() - started < 7  # two attempts, and what comes before and after
    assert torch.is_grad_enabled() == gradients  # PyTorch is as it was
    assert torch.zeros(1).device.type == "cpu"
    assert sys.gettrace() is None or "deadline" not in str(sys.gettrace())


def test_a_network_that_is_larger_than_its_file() -> None:
    """A file of 100 weights does not make a network of 100 million."""
    state = {"weight": torch.zeros(100)}
    with pytest.raises(ModelError, match="it gets more than the 50,000,100 parameters that it may have"):
        create(Recipe("vgg16", {}, {}), classes=0, state=state)


def test_other_threads_build_what_they_like() -> None:
    """The bounds are for the thread that builds."""
    built: list[nn.Module] = []
    thread = threading.Thread(target=lambda: built.append(nn.Sequential(*(nn.Identity() for _ in range(300)))))
    recipe = Recipe("test_resnet", {}, {})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(building, "_MOST_MODULES", 200)
        with building._bounded(recipe, 10**9):  # from inside, as nothing else gives another thread its turn
            thread.start()
            thread.join()
    assert len(built[0]) == 300


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_LONGEST_BUILDING", 1.0)
    hooks = [
        registration._global_module_registration_hooks,
        registration._global_parameter_registration_hooks,
        registration._global_buffer_registration_hooks,
    ]
    original = nn.Module.load_state_dict
    with strict_loading("test_resnet", "a file"):
        create(Recipe("test_resnet", {"layers": [1, 1, 1, 1]}, {}), classes=0)
        with pytest.raises(ModelError):
            create(Recipe("test_resnet", {"layers": [16_000] * 4}, {}), classes=0)
    assert all(not there for there in hooks)
    assert nn.Module.load_state_dict is original


# --- the doors to it ---


def change(model: str, arguments: dict[str, Any]) -> str:
    file = Path(model.removeprefix("local-dir:")) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_args": arguments}))
    return model


@pytest.mark.parametrize("load", [load_backbone, build_untrained])
def test_a_folders_arguments_pass_the_same_check(local: Callable[..., str], load: Callable[[str], object]) -> None:
    model = change(local(), {"pretrained_cfg_overlay": {"url": "https://example.org/x.pth"}})
    with pytest.raises(ModelError, match="'pretrained_cfg_overlay' is none of its arguments"):
        load(model)


def test_a_deep_or_endless_config_is_refused(local: Callable[..., str]) -> None:
    model = local()
    file = Path(model.removeprefix("local-dir:")) / "config.json"
    for text in ("[" * 100_000, '{"a": NaN}', "\x00", "{}" + " " * 10_000_001):
        file.write_text(text)
        with pytest.raises(ModelError, match="is not in timm's format"):
            load_backbone(model)
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="does not exist"):
        load_backbone(model)


class Marked:
    """Pickled, it makes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.marker,)


def test_a_loader_that_unpickles_is_never_reached(
    local: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As timm 1.0.20 to 1.0.25 load `checkpoint_path`; the stand-in does run what it reads."""
    marker, weights = tmp_path / "ran", tmp_path / "weights.pth"
    weights.write_bytes(pickle.dumps(Marked(marker)))

    def unpickling(_: nn.Module, path: str, *__: object, **___: object) -> None:
        pickle.loads(Path(path).read_bytes())

    monkeypatch.setattr("timm.models._factory.load_checkpoint", unpickling)
    timm.create_model("test_resnet", checkpoint_path=str(weights))
    assert marker.exists()
    marker.unlink()
    hostile = {"checkpoint_path": str(weights)}
    with pytest.raises(ModelError, match="'checkpoint_path' is none of its arguments"):
        load_backbone(change(local(), hostile))
    with pytest.raises(ModelError, match="'checkpoint_path' is none of its arguments"):
        rebuild_backbone(Recipe("test_resnet", hostile, {}), load_backbone(local(name="sound")).preprocess, {})
    assert not marker.exists()
