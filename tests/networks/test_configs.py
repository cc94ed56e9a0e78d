"""A local folder's config.json: what is wrong with it is said by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regraft.errors import ModelError
from regraft.networks.backbones import build_untrained, load_backbone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": 7}, r"names an unknown architecture, 7\."),
        ({"architecture": None}, r"names an unknown architecture, None\."),
        ({"model_args": [1]}, "is not in timm's format"),
        ({"pretrained_cfg": 3}, "is not in timm's format"),
        (
            {"pretrained_cfg": {"input_size": "big"}},
            r"input_size in .* must be \[3, height, width\] of at most 2048 pixels\. Got 'big'\.",
        ),
        ({"pretrained_cfg": {"input_size": [1, 64, 64]}}, r"input_size in .* Got \[1, 64, 64\]\."),
        ({"pretrained_cfg": {"mean": "big"}}, r"mean in .* must be three numbers\. Got 'big'\."),
        ({"pretrained_cfg": {"mean": [0.5]}}, r"mean in .* must be three numbers\. Got \[0\.5\]\."),
        ({"pretrained_cfg": {"std": [0.5, 0.5, 0]}}, r"std in .* must be three numbers above 0\."),
        ({"pretrained_cfg": {"crop_pct": 0}}, r"crop_pct in .* must be a number above 0, at most 2\. Got 0\."),
        (
            {"pretrained_cfg": {"interpolation": "weird"}},
            r"interpolation in .* must be one of .*bicubic.* Got 'weird'\.",
        ),
        ({"model_args": {"bogus": 1}}, r"test_resnet cannot be built with the arguments \{'bogus': 1\}"),
    ],
)
def test_config_with_wrong_contents(local: Callable[..., str], change: dict[str, Any], message: str) -> None:
    model = local("test_resnet")
    file = Path(model.removeprefix("local-dir:")) / "config.json"
    config = json.loads(file.read_text())
    if isinstance(change.get("pretrained_cfg"), dict):
        change = {"pretrained_cfg": config["pretrained_cfg"] | change["pretrained_cfg"]}
    file.write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=message):
        load_backbone(model)


def test_a_setting_that_a_newer_timm_wrote_is_passed_over(local: Callable[..., str]) -> None:
    model = local("test_resnet")
    file = Path(model.removeprefix("local-dir:")) / "config.json"
    config = json.loads(file.read_text())
    config["pretrained_cfg"]["bogus"] = 1
    file.write_text(json.dumps(config))
    assert load_backbone(model).features == build_untrained("test_resnet").features
