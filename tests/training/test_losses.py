"""Objectives by formulas written out in NumPy and SciPy."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax

from regraft.training.losses import FEATURE_WEIGHT, HARD_SHARE, DistillationLoss, LabelLoss, TrainingModel

LABELS = np.array([2, 0, 1, 1])
PAIRS = [(0, 3), (3, 0), (2, 1)]


class Fixed:
    """A teacher of four photos whose views are all alike."""

    features = 5

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.seen = torch.randn(4, 5, generator=generator)
        self.logits = 3 * torch.randn(4, 3, generator=generator)

    def of(self, pairs: object) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [photo for photo, _ in pairs]  # type: ignore[attr-defined]
        return self.seen[rows], self.logits[rows]


def student() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, 4, generator=generator), torch.randn(3, 3, generator=generator)


def distillation(temperature: float) -> DistillationLoss:
    return DistillationLoss(LABELS, 3, smoothing=0.0, teacher=Fixed(), features=4, temperature=temperature, seed=0)


def test_logits_are_float32_whatever_the_network_computes_in() -> None:
    """8 bits hold no 10.03; the nearest they have are 10 and 10.0625."""
    head = torch.nn.Linear(1, 1)
    with torch.no_grad():
        head.weight.fill_(10.03)
        head.bias.fill_(0.0)
    model = TrainingModel(torch.nn.Identity(), head, LabelLoss(LABELS, 1))  # type: ignore[arg-type]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, logits = model(torch.ones(1, 1, dtype=torch.bfloat16))
    assert features.dtype == logits.dtype == torch.float32
    assert float(logits.detach()) == pytest.approx(10.03)


def test_weights_multiply_each_photos_loss_of_logits_plus_their_logarithms() -> None:
    """Two photos, by hand: logits (0, ln 2) and (0, 0), labels 0 and 1, weights 1/2 and 2.

    Plus log w they are in proportion (1/2 : 4) and (1/2 : 2): losses ln 9 and ln 5/4, times 1/2 and 2.
    """
    objective = LabelLoss(np.array([0, 1]), 2, weights=np.array([0.5, 2.0]))
    logits = torch.tensor([[0.0, np.log(2)], [0.0, 0.0]])
    targets = objective.targets([(0, 0), (1, 0)])
    expected = (0.5 * np.log(9) + 2 * np.log(5 / 4)) / 2
    assert float(objective.loss(logits, logits, targets)) == pytest.approx(expected, rel=1e-6)


def test_mixed_and_smoothed_targets_are_weighted_part_by_part() -> None:
    """A target of 0.7 of class 0 and 0.3 of class 1 costs 0.7 and 0.3 of what photos of these classes do."""
    objective = LabelLoss(LABELS, 3, smoothing=0.1, weights=np.array([0.5, 3.0, 1.0]))
    features, logits = student()
    pure = [objective.loss(features[:1], logits[:1], [torch.eye(3)[[label]]]) for label in (0, 1)]
    mixed = objective.loss(features[:1], logits[:1], [torch.tensor([[0.7, 0.3, 0.0]])])
    assert float(mixed) == pytest.approx(0.7 * float(pure[0]) + 0.3 * float(pure[1]), rel=1e-5)
    logged = log_softmax(logits[0].numpy() + np.log([0.5, 3.0, 1.0]))
    assert float(pure[1]) == pytest.approx(-3.0 * (0.9 * logged[1] + 0.1 * logged.mean()), rel=1e-5)


def test_least_weighted_loss_gives_the_probabilities_of_the_classes_own_shares() -> None:
    """Three photos of class 0 and one of class 1 that look alike: whatever the weights, 3 : 1."""
    objective = LabelLoss(np.array([0, 0, 0, 1]), 2, weights=np.array([0.5, 2.5]))
    targets = objective.targets([(photo, 0) for photo in range(4)])
    logits = torch.tensor([np.log(3.0), 0.0]).float().requires_grad_()
    shown = logits.expand(4, 2)
    (slope,) = torch.autograd.grad(objective.loss(shown, shown, targets), logits)
    assert slope.abs().max() < 1e-6
    (slope,) = torch.autograd.grad(LabelLoss(LABELS, 2).loss(shown, shown + 0.1 * torch.eye(2)[0], targets), logits)
    assert slope.abs().max() > 1e-2  # else nothing is shown


def test_labels_are_cross_entropy_with_smoothing() -> None:
    objective = LabelLoss(LABELS, 3, smoothing=0.3)
    features, logits = student()
    (targets,) = objective.targets(PAIRS)
    assert targets.tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 0]]
    smooth = 0.7 * targets.numpy() + 0.1
    expected = -(smooth * log_softmax(logits.numpy(), axis=1)).sum(axis=1).mean()
    assert float(objective.loss(features, logits, [targets])) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_its_three_parts(temperature: float) -> None:
    objective, teacher = distillation(temperature), Fixed()
    features, logits = student()
    found = float(objective.loss(features, logits, objective.targets(PAIRS)).detach())
    rows = [0, 3, 2]
    hard = -log_softmax(logits.numpy(), axis=1)[np.arange(3), LABELS[rows]].mean()
    theirs, ours = (softmax(one.numpy() / temperature, axis=1) for one in (teacher.logits[rows], logits))
    soft = temperature**2 * rel_entr(theirs, ours).sum(axis=1).mean()
    weight, bias = (tensor.detach().numpy() for tensor in (objective.projection.weight, objective.projection.bias))
    mine, teachers = features.numpy() @ weight.T + bias, teacher.seen[rows].numpy()
    cosines = (mine * teachers).sum(axis=1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(teachers, axis=1)
    expected = HARD_SHARE * hard + (1 - HARD_SHARE) * soft + FEATURE_WEIGHT * (1 - cosines.mean())
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_student_equal_to_its_teacher_has_the_label_loss_alone() -> None:
    objective, teacher = distillation(2.0), Fixed()
    rows = [0, 3, 2]
    objective.projection = torch.nn.Linear(4, 5)
    features = torch.linalg.lstsq(
        objective.projection.weight, (teacher.seen[rows] - objective.projection.bias).T
    ).solution.T  # as near as four numbers come to five
    logits = teacher.logits[rows]
    targets = objective.targets(PAIRS)
    targets[2] = objective.projection(features)
    hard = float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(LABELS[rows])))
    assert float(objective.loss(features, logits, targets).detach()) == pytest.approx(HARD_SHARE * hard, abs=1e-5)


def test_the_projection_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = distillation(1.0).projection.weight
    torch.manual_seed(6)
    assert torch.equal(first, distillation(1.0).projection.weight)
