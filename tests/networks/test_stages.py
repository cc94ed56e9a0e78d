"""Stages: every tensor once, and nothing but the activation passes a cut."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.marks import some_slow
from torch import nn

from regraft.networks.backbone import Backbone
from regraft.networks.backbones import build_untrained
from regraft.networks.stages import _joined, trace_stages

LARGE = ["vgg16", "inception_v3", "resnet50", "vit_tiny_patch16_224"]  # fifteen times through them
NETWORKS = [*LARGE, "mobilenetv2_100", "convnext_atto"]
NETWORKS += ["poolformer_s12"]  # names no groups
Randomise = Callable[[nn.Module, int], nn.Module]


def _hook_count(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


class _Cut:
    """At the first call of a module: note its input, or put another in its place."""

    def __init__(self, module: nn.Module, name: str, replacement: torch.Tensor | None = None) -> None:
        self.activation: torch.Tensor | None = None
        self.calls = 0
        self._replacement = replacement
        self._handle = module.get_submodule(name).register_forward_pre_hook(self._hook)

    def _hook(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self.calls += 1
        if self.calls > 1:
            return None
        self.activation = inputs[0].clone()
        return None if self._replacement is None else (self._replacement, *inputs[1:])

    def __enter__(self) -> "_Cut":
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


@pytest.fixture(scope="module", params=some_slow(NETWORKS, LARGE))
def pair(request: pytest.FixtureRequest, randomise: Randomise) -> tuple[Backbone, nn.Module]:
    """Return a network and another of the same architecture with other weights."""
    first, second = build_untrained(request.param), build_untrained(request.param)
    randomise(first.module, 1)
    randomise(second.module, 2)
    return first, second.module


def test_every_tensor_is_in_exactly_one_stage(pair: tuple[Backbone, nn.Module]) -> None:
    backbone, _ = pair
    module = backbone.module
    stages = backbone.stages()
    listed = [name for stage in stages for name in stage.tensors]
    parameters = dict(module.named_parameters())
    assert sorted(listed) == sorted([*parameters, *dict(module.named_buffers())])
    for stage in stages:
        assert isinstance(module.get_submodule(stage.name), nn.Module)
        assert any(name.startswith(f"{stage.name}.") for name in stage.tensors)
        assert stage.parameters == sum(parameters[n].numel() for n in stage.tensors if n in parameters)
    assert len({stage.name for stage in stages}) == len(stages) >= 5
    assert sum(stage.parameters for stage in stages) == sum(p.numel() for p in parameters.values())
    assert stages[-1].output == (backbone.features,)


def test_nothing_but_the_activation_passes_a_cut(pair: tuple[Backbone, nn.Module]) -> None:
    """Before a cut the first network's weights, behind it the second's.

    The activation at the cut must then be the first network's, and with the second network's activation put in its
    place the features must be the second network's, whatever the image was.
    """
    backbone, second = pair
    first = backbone.module
    stages = backbone.stages()
    generator = torch.Generator().manual_seed(0)
    shape = (1, 3, backbone.preprocess.height, backbone.preprocess.width)
    image, other_image = (torch.randn(shape, generator=generator) for _ in range(2))

    def record(module: nn.Module) -> tuple[list[torch.Tensor], torch.Tensor]:
        cuts = [_Cut(module, stage.name) for stage in stages]
        output = module(image)
        for cut in cuts:
            cut.__exit__()
        return [cut.activation for cut in cuts if cut.activation is not None], output

    with torch.inference_mode():
        activations, features = record(first)
        second_activations, second_features = record(second)
        assert len(activations) == len(second_activations) == len(stages)
        for stage, entering in zip(stages, activations[1:], strict=False):
            assert stage.output == tuple(entering.shape[1:])
        scale = second_features.abs().max().item()
        assert 1e-4 < scale < 1e6
        assert (features - second_features).abs().max() > 1e-2 * scale

        mixed = first
        own = {name: tensor.data for name, tensor in [*mixed.named_parameters(), *mixed.named_buffers()]}
        theirs = dict([*second.named_parameters(), *second.named_buffers()])
        places = dict([*mixed.named_parameters(), *mixed.named_buffers()])
        try:
            for k in reversed(range(len(stages))):
                for name in stages[k].tensors:
                    places[name].data = theirs[name].data
                with _Cut(mixed, stages[k].name, second_activations[k]) as cut:
                    # the other image: what the cut is given is all that the rest may depend on
                    found = mixed(other_image)
                assert cut.calls >= 1
                torch.testing.assert_close(found, second_features, rtol=0, atol=1e-5 * scale)
                with _Cut(mixed, stages[k].name) as cut:
                    mixed(image)
                assert cut.activation is not None
                torch.testing.assert_close(
                    cut.activation, activations[k], rtol=0, atol=1e-5 * activations[k].abs().max().item()
                )
            assert torch.equal(mixed(image), second_features)  # in the end all weights are the second's
        finally:
            for name, tensor in own.items():
                places[name].data = tensor


def test_the_network_is_left_as_it_was(pair: tuple[Backbone, nn.Module]) -> None:
    backbone = replace(pair[0])  # whose stages are not known yet
    before = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    modes = [module.training for module in backbone.module.modules()]
    backbone.stages()
    assert _hook_count(backbone.module) == 0
    assert [module.training for module in backbone.module.modules()] == modes
    assert not any(modes)
    after = backbone.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in backbone.module.parameters())


def test_no_hook_stays_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = build_untrained("test_resnet")

    def breaks(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(backbone.module.layer3, "forward", breaks)
    with pytest.raises(RuntimeError, match="out of memory"):
        backbone.stages()
    assert _hook_count(backbone.module) == 0
    assert not any(module.training for module in backbone.module.modules())


def test_stages_are_traced_once_for_a_network_and_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, runs = build_untrained("test_resnet"), []
    backbone.module.register_forward_hook(lambda *_: runs.append(1))
    first = backbone.stages()
    assert backbone.stages() == first
    assert backbone.stages() is not first  # a list of the caller's own
    assert len(runs) == 1
    smaller = replace(backbone, preprocess=replace(backbone.preprocess, height=64, width=96))
    assert smaller.stages()[0].output[1:] == (16, 24)  # strides 2 and 2
    assert len(runs) == 2


def test_stages_of_resnet50() -> None:
    """Shapes by hand: strides 2 (stem), 2 (pool), 1, 2, 2, 2 from 224; 64, 256, 512, 1024, 2048 channels."""
    stages = build_untrained("resnet50").stages()
    assert [stage.name for stage in stages] == ["conv1", "layer1", "layer2", "layer3", "layer4"]
    # the stem's output is what layer1 receives: after the pooling
    assert [stage.output for stage in stages] == [
        (64, 56, 56),
        (256, 56, 56),
        (512, 28, 28),
        (1024, 14, 14),
        (2048,),
    ]
    assert stages[0].parameters == 64 * 3 * 7 * 7 + 2 * 64
    assert set(stages[0].tensors) == {
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "bn1.num_batches_tracked",
    }


class _Interleaved(nn.Module):
    """Runs a, b, a again, then c."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.unused = nn.Linear(1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.c(self.a(self.b(self.a(images.mean(dim=(2, 3))))))


def test_groups_that_interleave_have_no_cut_between_them() -> None:
    group_of = {f"{m}.{t}": g for g, m in enumerate(("a", "b", "c", "unused")) for t in ("weight", "bias")}
    stages = trace_stages(_Interleaved().eval(), group_of, (3, 4, 4))
    assert [stage.name for stage in stages] == ["a", "c"]
    assert set(stages[0].tensors) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert set(stages[1].tensors) == {"c.weight", "c.bias", "unused.weight", "unused.bias"}
    assert [stage.parameters for stage in stages] == [24, 8 + 2]
    assert [stage.output for stage in stages] == [(3,), (2,)]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([0, 1, 0, 2], [0, 0, 0, 2]),
        ([0, 1, 0, 1, 2], [0, 0, 0, 0, 2]),
        ([0, 1, 2, 1, 0], [0, 0, 0, 0, 0]),
        ([0, 0, 1, 1], [0, 0, 1, 1]),
        # 0 and 1 overlap, 1 and 2 overlap: all are one
        ([0, 1, 0, 2, 1, 2, 3], [0, 0, 0, 0, 0, 0, 3]),
        # 2 runs within what 0 and 1 share
        ([0, 1, 0, 2, 2, 1, 3], [0, 0, 0, 0, 0, 0, 3]),
    ],
)
def test_interleaving_groups_get_one_number(order: list[int], expected: list[int]) -> None:
    assert _joined(order) == expected
