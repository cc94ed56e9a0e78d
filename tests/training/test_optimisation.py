"""One step of training, by hand: rates of stages, decay of matrices alone, clipping, parts of a batch."""

import pytest
import torch
from torch import nn

from regraft.engines import microbatches
from regraft.networks.plan import Plan, TensorPlan
from regraft.training.distributed import accelerator
from regraft.training.optimisation import TrainingStep
from regraft.training.schedule import Schedule

CPU = torch.device("cpu")
SGD = Schedule(optimizer="sgd", weight_decay=0.0, clip=0.0)


class Model(nn.Module):
    """One weight of a network, which learns at half the rate, and a head: y = head (weight x)."""

    def __init__(self) -> None:
        super().__init__()
        self.top = nn.Module()
        self.top.network = nn.Linear(1, 1, bias=False)
        self.head = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.top.network.weight.fill_(2.0)
            self.head.weight.fill_(3.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.top.network(x))

    @property
    def weights(self) -> tuple[float, float]:
        return float(self.top.network.weight.detach()), float(self.head.weight.detach())


PLAN = Plan("a", ("a",), (TensorPlan("weight", "parameter", "a", "trained", 0.5, 1),))
X, Y = torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.tensor([[1.0], [0.0], [2.0], [1.0]])


def step_of(model: Model, schedule: Schedule = SGD, rate: float = 0.001) -> TrainingStep:
    return TrainingStep(model, PLAN, schedule, accelerator(CPU, "fp32"), rate=rate)


def take(step: TrainingStep, model: Model, factor: float = 1.0) -> float:
    return step.step(
        4, 4, lambda rows: ((model(X[rows]) - Y[rows]) ** 2).mean(), factor=factor, seed=0, where="epoch 1"
    )


def gradients(weight: float = 2.0, head: float = 3.0) -> tuple[float, float]:
    """Return d/dw and d/dh of mean (h w x - y)^2."""
    error = (head * weight * X - Y).double()
    return float((2 * error * head * X).mean()), float((2 * error * weight * X).mean())


def test_a_step_of_plain_descent() -> None:
    """Nesterov's first step with momentum 0.9 is 1.9 times the gradient."""
    model = Model()
    loss = take(step_of(model), model, factor=0.5)
    assert loss == pytest.approx(float(((6 * X - Y) ** 2).mean()))
    by_weight, by_head = gradients()
    assert model.weights == pytest.approx(
        (2 - 1.9 * 0.001 * 0.5 * 0.5 * by_weight, 3 - 1.9 * 0.001 * 0.5 * by_head), rel=1e-6
    )


def test_the_gradient_is_clipped_as_one_vector() -> None:
    model = Model()
    take(step_of(model, Schedule(optimizer="sgd", weight_decay=0.0, clip=1.0)), model)
    by_weight, by_head = gradients()
    norm = (by_weight**2 + by_head**2) ** 0.5
    assert norm > 1
    assert model.weights == pytest.approx(
        (2 - 1.9 * 0.001 * 0.5 * by_weight / norm, 3 - 1.9 * 0.001 * by_head / norm), rel=1e-5
    )


def test_parts_of_a_batch_give_the_step_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parted = Model(), Model()
    loss = take(step_of(whole), whole)
    step, seen = step_of(parted), []

    def loss_of(rows: slice) -> torch.Tensor:
        if rows.stop - rows.start > 2:
            raise torch.OutOfMemoryError
        seen.append(rows)
        return ((parted(X[rows]) - Y[rows]) ** 2).mean()

    monkeypatch.setattr(microbatches.torch.cuda, "is_available", lambda: False)
    assert step.step(4, 4, loss_of, factor=1.0, seed=0, where="") == pytest.approx(loss)
    assert seen == [slice(0, 2), slice(2, 4)]
    assert parted.weights == pytest.approx(whole.weights, rel=1e-6)


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    model = Model()
    step = step_of(model)
    assert step.step(4, 4, lambda _: model.head.weight.sum() * torch.inf, factor=1.0, seed=0, where="") == float("inf")
    assert model.weights == (2.0, 3.0)


def test_what_was_resumed_goes_on_as_it_would_have() -> None:
    straight, stopped, resumed = Model(), Model(), Model()
    first = step_of(straight)
    for _ in range(2):
        take(first, straight)
    second = step_of(stopped)
    take(second, stopped)
    resumed.load_state_dict(stopped.state_dict())
    third = step_of(resumed)
    third.resume(*second.state())
    take(third, resumed)
    assert resumed.weights == straight.weights


def test_filters_with_their_channels_last_are_resumed_as_they_were() -> None:
    """A checkpoint holds its tensors in the usual order."""
    image = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))

    def trained(*, resumed: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Module()
        model.head = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        plan, schedule = Plan("a", ("a",), ()), Schedule()
        step = TrainingStep(model, plan, schedule, accelerator(CPU, "fp32"), rate=0.1)
        for number in range(3):
            if resumed and number == 2:
                tensors, scale = step.state()
                step = TrainingStep(model, plan, schedule, accelerator(CPU, "fp32"), rate=0.1)
                step.resume(
                    {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()},
                    scale,
                )
            step.step(4, 4, lambda rows: model.head(image[rows]).square().mean(), factor=1.0, seed=0, where="")
        return model.head.weight.detach()

    assert torch.equal(trained(resumed=True), trained(resumed=False))
