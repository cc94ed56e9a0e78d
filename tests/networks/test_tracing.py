"""Hooks and modes: what is seen on the way, and that nothing is left behind, after success and after failure."""

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import regraft
from regraft.errors import ModelError
from regraft.networks.hook_points import HookPoint
from regraft.networks.tracing import as_hook_point, blank_images, check_takes, evaluating, forward_hooks, hooked, run_to

SOURCE = Path(regraft.__file__).parent


class Twice(nn.Module):
    """Runs a, b, a: 2 (x + 1) + 1 in eval mode; the dropout gives zeros in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = Plus(1.0), Times(2.0), nn.Identity()
        self.dropout = nn.Dropout(1.0)
        self.requires_grad_(False)
        self.b.factor.requires_grad_(True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.a(self.b(self.a(images))))


class Plus(nn.Module):
    def __init__(self, term: float) -> None:
        super().__init__()
        self.term = nn.Parameter(torch.tensor(term))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + self.term


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.factor


def state(module: nn.Module) -> list[object]:
    """Return what a user would see changed: modes, hooks, what is trained, gradients, values."""
    hooks = [(list(part._forward_hooks), list(part._forward_pre_hooks)) for part in module.modules()]
    parameters = [(name, p.requires_grad, p.grad, p.tolist()) for name, p in module.named_parameters()]
    return [[part.training for part in module.modules()], hooks, parameters]


@pytest.fixture
def network() -> Twice:
    """Return a network in both modes, with a hook of its user."""
    module = Twice().eval()
    module.a.train()
    module.a.register_forward_hook(lambda *_: None)
    return module


IMAGE = torch.full((1, 3, 2, 2), 5.0)  # 6 behind a, 12 behind b, 13 at the end


@contextmanager
def hooks_of_all(module: nn.Module) -> Iterator[None]:
    with forward_hooks(module, before=[("", lambda _: None), ("a", lambda _: None)], after=[("b", lambda _: None)]):
        yield


@contextmanager
def both_sides(module: nn.Module) -> Iterator[None]:
    with hooked(module, [HookPoint("a"), HookPoint("b", "input")], lambda _, activation: activation + 1):
        yield


CONTEXTS: dict[str, Callable[[nn.Module], Any]] = {
    "forward_hooks": hooks_of_all,
    "hooked": both_sides,
    "evaluating": evaluating,
}


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("failure", [False, True])
def test_nothing_is_left_behind(network: Twice, context: str, failure: bool) -> None:
    def use() -> None:
        with CONTEXTS[context](network):
            network(IMAGE)
            assert state(network) != before
            if failure:
                raise RuntimeError("out of memory")

    before = state(network)
    if failure:
        with pytest.raises(RuntimeError, match="out of memory"):
            use()
    else:
        use()
    assert state(network) == before
    assert network(IMAGE).tolist() == torch.full((1, 3, 2, 2), 13.0).tolist()


def test_nothing_is_left_behind_where_a_module_does_not_exist(network: Twice) -> None:
    before = state(network)
    with pytest.raises(AttributeError), forward_hooks(network, before=[("a", lambda _: None), ("c", lambda _: None)]):
        pass
    with pytest.raises(AttributeError), hooked(network, [HookPoint("a"), HookPoint("c")], lambda *_: None):
        pass
    assert state(network) == before


def test_functions_hear_every_run_and_may_replace_what_passes(network: Twice) -> None:
    heard: list[tuple[str, float]] = []

    def before(inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        heard.append(("before a", inputs[0].mean().item()))
        return (inputs[0] + 1,)

    def after(output: torch.Tensor) -> torch.Tensor:
        heard.append(("after b", output.mean().item()))
        return output + 100

    with forward_hooks(network, before=[("a", before)], after=[("b", after)]):
        found = network(IMAGE)
    # 5 + 1, a: 7, b: 14, + 100 = 114, + 1, a: 116
    assert heard == [("before a", 5), ("after b", 14), ("before a", 114)]
    assert found.mean().item() == 116


def test_an_activation_is_received_once_in_each_run(network: Twice) -> None:
    received: list[tuple[int, float]] = []
    points = [HookPoint("b"), HookPoint("a"), HookPoint("a", "input")]

    def receive(number: int, activation: torch.Tensor) -> torch.Tensor | None:
        received.append((number, activation.mean().item()))
        return activation * 10 if number == 0 else None

    with hooked(network, points, receive):
        assert network(IMAGE).mean().item() == 121  # 12 becomes 120
        assert network(IMAGE).mean().item() == 121
    assert received == [(2, 5), (1, 6), (0, 12)] * 2


@pytest.mark.parametrize(
    ("point", "expected"),
    [(HookPoint("a"), 6), (HookPoint("b", "input"), 6), (HookPoint("b"), 12), (HookPoint("a", "input"), 5)],
)
def test_a_run_to_a_point_stops_there(network: Twice, point: HookPoint, expected: float) -> None:
    runs: list[int] = []
    network.dropout.register_forward_hook(lambda *_: runs.append(1))
    before = state(network)
    assert run_to(network, point, IMAGE).mean().item() == expected
    assert state(network) == before
    assert runs == []


def test_a_run_that_does_not_stop_or_fails(network: Twice) -> None:
    before = state(network)
    with pytest.raises(ModelError, match=r"^the network never runs unused\. Choose another stage\.$"):
        run_to(network, HookPoint("unused"), IMAGE)
    with pytest.raises(TypeError):
        run_to(network, HookPoint("b"), None)  # type: ignore[arg-type]
    assert state(network) == before


def test_eval_mode_is_for_every_part(network: Twice) -> None:
    with evaluating(network):
        assert not any(part.training for part in network.modules())


def test_blank_images_are_of_the_networks_precision() -> None:
    assert blank_images(nn.Linear(1, 1).double(), (3, 4, 5), 2).equal(torch.zeros(2, 3, 4, 5, dtype=torch.float64))
    assert blank_images(nn.ReLU(), (3, 4, 5)).equal(torch.zeros(1, 3, 4, 5))  # without parameters


def test_a_network_that_takes_no_image_of_a_size() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 5), nn.BatchNorm2d(2))
    network[0].eval()
    before = state(network)
    check_takes(network, 5, 6, "no {}.")
    with pytest.raises(ModelError, match=r"^it cannot look at 4 pixels: .*Kernel size can't be greater.*! Another\.$"):
        check_takes(network, 4, 4, "it cannot look at 4 pixels: {}! Another.")
    assert state(network) == before
    assert network[1].num_batches_tracked == 0


def test_a_hook_point_in_a_larger_network(network: Twice) -> None:
    whole = nn.Sequential(nn.Identity(), network)
    assert run_to(whole, HookPoint("b", "input").below("1"), IMAGE).mean().item() == 6
    assert as_hook_point(whole, "1.b") == HookPoint("1.b")
    with pytest.raises(ModelError, match=r"Got 'b'\."):
        as_hook_point(whole, HookPoint("b"))


def calls(path: Path) -> set[str]:
    """Return the names of the methods that a file calls."""
    called = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {function.attr for function in called if isinstance(function, ast.Attribute)}


def test_hooks_are_registered_in_one_file() -> None:
    registering = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if any(name.startswith("register_") and name.endswith("_hook") for name in calls(path))
    }
    # `building` bounds what timm registers: hooks on registration itself, of no module
    assert registering == {"networks/tracing.py", "networks/building.py"}
    assert not {name for name in calls(SOURCE / "networks/building.py") if "forward" in name or "backward" in name}


def test_modes_are_changed_in_few_files() -> None:
    changing = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if "eval" in calls(path)}
    assert changing == {
        "networks/tracing.py",  # for a time
        "networks/building.py",  # for good: of a network that was just built
        "networks/backbones.py",  # the same, after its classifier was dropped
        "networks/backbone.py",  # and after its weights were exchanged
        "engines/pytorch.py",  # for good: an engine only answers
        "training/finetuner.py",  # the loop of training, which changes modes with every epoch
    }
