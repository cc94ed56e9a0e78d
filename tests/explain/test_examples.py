"""Which photos are worth a look, by hand; and where a network looks in them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fixtures.learning import Listener
from torch import nn

from regraft.attribution.cam import grad_cam
from regraft.classifier.module import NetworkWithHead
from regraft.data.layouts import find_samples
from regraft.engines.pytorch import TorchEngine
from regraft.errors import DataError
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.explain.examples import Example, choose_examples, explain_examples
from regraft.explain.top_activations import stage_maps_of
from regraft.explain.unit_pictures import read_pixels
from regraft.heads.linear import LinearHead
from regraft.images.sources import as_sources
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained, load_backbone

CPU = torch.device("cpu")


def answered(*pairs: tuple[int, float], classes: int = 3) -> np.ndarray:
    """Return (n, c) probabilities from each photo's answer and how sure it is; the rest is spread evenly."""
    found = np.array([[(1 - sure) / (classes - 1)] * classes for _, sure in pairs])
    for photo, (answer, sure) in enumerate(pairs):
        found[photo, answer] = sure
    return found


def kind(found: list[Example], name: str) -> list[int]:
    return [one.photo for one in found if one.kind == name]


def test_photos_by_hand() -> None:
    sure = [0.9, 0.95, 0.8, 0.7, 0.6, 0.99, 0.5, 0.92, 0.55, 0.97, 0.65, 0.58, 0.85, 0.93, 0.75]
    answers = [0, 0, 1, 1, 2, 2, 0, 1, 2, 0, 1, 2, 0, 2, 1]
    truth = np.array([0, 1, 1, 1, 2, 2, 0, 1, 2, 0, 1, 2, 0, 0, 2])  # photos 1, 13 and 14 are mistakes
    found = choose_examples(answered(*zip(answers, sure, strict=True)), truth)
    assert kind(found, "mistake") == [1, 13, 14]  # 0.95, 0.93, 0.75
    assert kind(found, "uncertain") == [6, 8, 11]  # 0.5, 0.55, 0.58
    # four in all are one of each of three classes: the surest
    assert kind(found, "typical") == [9, 7, 5]
    assert [one.kind for one in found] == ["mistake"] * 3 + ["uncertain"] * 3 + ["typical"] * 3
    assert found[0] == Example("mistake", 1, 0, 1, 0.95)
    assert found[-1] == Example("typical", 5, 2, 2, 0.99)


def test_at_most_six_mistakes_the_most_confident_first() -> None:
    sure = [0.7, 0.9, 0.8, 0.95, 0.6, 0.85, 0.65, 0.75]
    found = choose_examples(answered(*((0, one) for one in sure)), np.ones(8, dtype=int))
    assert kind(found, "mistake") == [3, 1, 5, 2, 7, 0]
    assert kind(found, "uncertain") == [4, 6]  # the other mistakes, which are the least certain answers that are left
    assert kind(found, "typical") == []


def test_no_photo_is_shown_twice() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([1, 1, 1], 60)
    found = choose_examples(probabilities, generator.integers(0, 3, 60))
    shown = [one.photo for one in found]
    assert len(set(shown)) == len(shown) == 6 + 3 + 3
    assert [one.probability for one in found] == [float(probabilities[photo].max()) for photo in shown]


def test_without_labels_there_are_no_mistakes() -> None:
    sure = [0.9, 0.5, 0.6, 0.7, 0.4, 0.65, 0.8, 0.55, 0.95]
    answers = [0, 1, 2, 0, 1, 2, 0, 1, 2]
    found = choose_examples(answered(*zip(answers, sure, strict=True)), None)
    assert kind(found, "mistake") == []
    assert kind(found, "uncertain") == [4, 1, 7]
    assert kind(found, "typical") == [0, 8]  # of class 1 none is left
    assert {one.truth for one in found} == {None}


def test_at_most_four_typical_photos() -> None:
    answers = [label for label in range(10) for _ in range(4)]
    probabilities = answered(*((label, 0.9 - 0.01 * place) for place, label in enumerate(answers)), classes=10)
    found = choose_examples(probabilities, np.array(answers))
    assert kind(found, "uncertain") == [39, 38, 37]
    # one of each of the first four classes: the first of four is the surest
    assert kind(found, "typical") == [0, 4, 8, 12]


def test_ties_are_in_the_order_of_the_photos() -> None:
    found = choose_examples(answered(*[(0, 0.8)] * 12), np.array([0, 1] * 6))
    assert kind(found, "mistake") == [1, 3, 5, 7, 9, 11]
    assert kind(found, "uncertain") == [0, 2, 4]


def head_of(backbone: Backbone, classes: int = 3) -> LinearHead:
    generator = np.random.default_rng(0)
    weight = generator.normal(0, 1, (classes, backbone.features)).astype(np.float32)
    return LinearHead(weight, generator.normal(0, 1, classes).astype(np.float32), 0.1)


@pytest.fixture
def vit(tmp_path: Path) -> Backbone:
    """Return a vision transformer with 2 x 2 tokens and a class token, whose last layer sees the class token alone."""
    arguments = {"img_size": 32, "depth": 3, "embed_dim": 24, "num_heads": 2}
    settings = {"input_size": [3, 32, 32], "num_classes": 10}
    config = {"architecture": "vit_tiny_patch16_224", "model_args": arguments, "pretrained_cfg": settings}
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    backbone = build_untrained(f"local-dir:{tmp_path}")
    for part in backbone.module.modules():  # timm's own are so small that all tokens are alike
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0, 0.3)
    return backbone


def test_a_network_with_its_last_layer_is_the_classifier(tiny_network: str) -> None:
    backbone = load_backbone(tiny_network)
    head = head_of(backbone)
    module = NetworkWithHead(backbone, head)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = backbone.module(images).numpy()
        np.testing.assert_allclose(module(images), features @ head.weight.T + head.bias, rtol=1e-4, atol=1e-4)


def test_a_class_token_passes_the_last_map_by(vit: Backbone) -> None:
    """Behind the last block only the class token matters: an earlier map must speak for the answer."""
    places = stage_maps_of(vit)
    assert [(place.height, place.width, place.hook_point.skipped) for place in places] == [(2, 2, 1)] * 4
    generator = np.random.default_rng(0)
    photos = as_sources([generator.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(2)])
    shown = [Example("typical", photo, answer, None, 0.9) for photo in (0, 1) for answer in (0, 1, 2)]
    head = head_of(vit)
    found = explain_examples(shown, photos, vit, head, places=places, device=CPU)
    module = NetworkWithHead(vit, head)
    compared = 0
    for one in found:
        pixels = torch.from_numpy(one.pixels.copy()).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(values)[None, :, None, None] for values in (vit.preprocess.mean, vit.preprocess.std))
        images = (pixels - mean) / std
        last, before = (
            grad_cam(module, place.hook_point.below("network"), images, one.shown.answer) for place in places[:1:-1]
        )
        assert float(last.max()) == 0
        assert one.cam.max() > 0
        if float(before.max()) > 0:
            compared += 1
            np.testing.assert_allclose(one.cam, before[0, 0], rtol=1e-3, atol=1e-4 * float(before.max()))
    assert compared >= 2


def test_one_look_for_each_photo(tiny_network: str, photos: Callable[..., Path]) -> None:
    backbone = load_backbone(tiny_network)
    samples = find_samples(photos(red=2, blue=2))["train"]
    shown = [Example("mistake", 3, 1, 0, 0.9), Example("uncertain", 0, 2, 0, 0.4), Example("typical", 3, 0, 0, 0.9)]
    head, listener = head_of(backbone), Listener()
    before = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    found = explain_examples(
        shown, samples.sources, backbone, head, places=stage_maps_of(backbone), device=CPU, observer=listener
    )
    assert [one.shown for one in found] == shown
    assert listener.heard == [("begin", ("where it looks", 3)), *[("advance", 1)] * 3, ("end", None)]
    module = NetworkWithHead(backbone, head).eval()
    for one in found:
        assert one.pixels.shape == (32, 32, 3)
        assert one.cam.shape == one.covered.shape == (32, 32)
        assert one.cam.min() >= 0
        # the first square of 8 pixels, every 4, is the only one that covers the first pixel
        pixels = one.pixels / 255.0
        image = ((pixels - np.array(backbone.preprocess.mean)) / np.array(backbone.preprocess.std)).astype(np.float32)
        hidden = image.copy()
        hidden[:8, :8] = 0
        with torch.no_grad():
            logits = module(torch.from_numpy(np.stack([image, hidden])).permute(0, 3, 1, 2))[:, one.shown.answer]
        assert one.covered[0, 0] == pytest.approx(float(logits[0] - logits[1]), rel=1e-3, abs=1e-4)
    assert np.array_equal(found[0].pixels, found[2].pixels)
    assert not np.array_equal(found[0].covered, found[2].covered)  # another answer
    state = backbone.module.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.items())
    assert not any(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in backbone.module.modules())


@pytest.mark.parametrize(
    ("temperature", "threshold", "answer"),
    [(1.0, None, 0), (1.0, 0.1, 1), (1.0, 0.05, 1), (0.5, 0.05, 0), (0.5, 0.01, 1), (1.0, 0.2, 0)],
)
def test_the_final_classifier_answers_by_its_rule(
    temperature: float, threshold: float | None, answer: int, tiny_network: str, photos: Callable[..., Path]
) -> None:
    """Logits 2 and 0 give the second class 1 / (1 + e^2) = 0.119, at half the temperature 1 / (1 + e^4) = 0.018."""
    backbone = load_backbone(tiny_network)
    weight, bias = np.zeros((2, backbone.features), dtype=np.float32), np.array([2.0, 0.0], dtype=np.float32)
    decision = None if threshold is None else Decision(ThresholdRule(1, threshold), "a threshold")
    (found,) = explain_examples(
        [Example("mistake", 0, 1, 0, 0.454)],
        find_samples(photos(red=1, blue=1))["train"].sources,
        backbone,
        LinearHead(weight, bias, 0.1),
        temperature=temperature,
        decision=decision,
        places=stage_maps_of(backbone),
        device=CPU,
    )
    assert found.now == answer


def test_the_final_classifier_answers_by_the_mean_of_its_views(tiny_network: str, photos: Callable[..., Path]) -> None:
    """A head whose answer for the photo and for its mirror image differ, and whose mean is the mirror image's."""
    backbone = load_backbone(tiny_network)
    sources = find_samples(photos(red=1, blue=1))["train"].sources
    places = stage_maps_of(backbone)

    def answer(head: LinearHead, tta: str) -> int | None:
        shown = [Example("mistake", 0, 1, 0, 0.9)]
        return explain_examples(shown, sources, backbone, head, tta=tta, places=places, device=CPU)[0].now

    engine = TorchEngine(backbone, CPU)
    image = engine.normalised(read_pixels(sources, [0], engine)[0][None])
    with torch.no_grad():
        plain, mirrored = backbone.module(torch.cat([image, image.flip(3)])).double().numpy()
    away = (mirrored - plain) / np.square(mirrored - plain).sum()  # 1 from the photo to its mirror image
    bias = -float(plain @ away) - 0.25  # logits of the second class: -0.25 and 0.75, on average 0.25
    head = LinearHead(
        np.stack([np.zeros_like(away), away]).astype(np.float32), np.array([0, bias], dtype=np.float32), 0.1
    )
    assert [answer(head, tta) for tta in ("none", "flip", "crops")] == [0, 1, None]


def test_a_photo_that_is_gone_is_named(tiny_network: str, photos: Callable[..., Path]) -> None:
    backbone = load_backbone(tiny_network)
    samples = find_samples(photos(red=2, blue=2))["train"]
    Path(str(samples.sources[1])).write_bytes(b"no photo any more")
    with pytest.raises(DataError, match=r"blue/1\.jpg could be read before, and cannot be read now: "):
        explain_examples(
            [Example("typical", 1, 0, 0, 0.9)],
            samples.sources,
            backbone,
            head_of(backbone),
            places=stage_maps_of(backbone),
            device=CPU,
        )
