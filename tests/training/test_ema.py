"""The running mean of weights, by hand."""

import pytest
import torch

from regraft.training.ema import WeightAverage, named


@pytest.fixture
def layer() -> torch.nn.Linear:
    layer = torch.nn.Linear(1, 1)
    layer.bias.requires_grad_(False)
    with torch.no_grad():
        layer.weight.fill_(0.0)
    return layer


def follow(layer: torch.nn.Linear, average: WeightAverage, values: list[float], span: float) -> list[float]:
    """Return the mean after each step, at which the weight has the value given."""
    found = []
    for step, value in enumerate(values, 1):
        with torch.no_grad():
            layer.weight.fill_(value)
        average.update(step, span)
        found.append(float(average.mean["weight"]))
    return found


def test_the_mean_is_plain_at_first_and_then_runs(layer: torch.nn.Linear) -> None:
    """With a span of 2 each value weighs 1/2, then 1/3 at least: 0, 6 -> 3; 3, 6 -> 4; 4, 1 -> 3."""
    assert follow(layer, WeightAverage(layer, ()), [6.0, 6.0, 1.0], 2.0) == pytest.approx([3.0, 4.0, 3.0])


def test_without_a_span_it_is_the_last_value(layer: torch.nn.Linear) -> None:
    assert follow(layer, WeightAverage(layer, ()), [6.0, 1.0], 0.0) == [6.0, 1.0]


def test_only_what_is_trained_is_kept(layer: torch.nn.Linear) -> None:
    average = WeightAverage(layer, ())
    assert set(average.trained()) == {"weight"}
    assert set(average.state()) == {"now.weight", "average.weight", "best.weight"}
    norm = torch.nn.BatchNorm1d(1).requires_grad_(False)
    assert set(WeightAverage(norm, {"running_mean"}).trained()) == {"running_mean"}


def test_it_is_resumed_where_it_was(layer: torch.nn.Linear) -> None:
    average = WeightAverage(layer, ())
    follow(layer, average, [6.0], 2.0)
    average.mark_best()
    follow(layer, average, [1.0], 2.0)
    state = {name: tensor.detach().clone() for name, tensor in average.state().items()}
    again = WeightAverage(layer, ())
    with torch.no_grad():
        layer.weight.fill_(9.0)
    again.resume(state)
    resumed = (layer.weight, again.mean["weight"], again.best["weight"])
    assert [float(tensor.detach()) for tensor in resumed] == [1.0, 2.0, 3.0]
    again.load(again.best)
    assert float(layer.weight.detach()) == 3.0


def test_weights_that_are_not_finite_are_found(layer: torch.nn.Linear) -> None:
    average = WeightAverage(layer, ())
    assert average.are_finite()
    follow(layer, average, [3e38], 0.0)
    assert average.are_finite()
    for value in ("inf", "-inf", "nan"):
        follow(layer, average, [float(value)], 0.0)
        assert not average.are_finite()
    counted = torch.nn.BatchNorm1d(1)  # a whole number
    assert WeightAverage(counted, {"running_mean", "num_batches_tracked"}).are_finite()


def test_tensors_are_found_by_prefix() -> None:
    one, other = torch.zeros(1), torch.ones(1)
    assert named({"now.a.b": one, "best.a": other}, "now.") == {"a.b": one}
