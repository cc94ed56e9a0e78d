"""Objectives of training: cross-entropy with labels, and distillation from a teacher's outputs for the same views."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from regraft.networks.cutting import Top

HARD_SHARE = 0.3  # of the labels in the loss of the logits, beside a teacher
FEATURE_WEIGHT = 4.0  # of the features in the whole loss: cosine distances are small numbers
Pairs = Sequence[tuple[int, int]]  # photo and view


class TrainingModel(nn.Module):
    """The part of a network that is trained, its head, and the layers that the objective adds during training."""

    def __init__(self, top: Top, head: nn.Linear, objective: "LabelLoss") -> None:
        super().__init__()
        self.top = top
        self.head = head
        self.objective = objective

    def forward(self, activation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (b, d) and logits (b, c) of activations (b, ...).

        The head computes in float32: in bfloat16 a logit of 10 is rounded to a sixteenth, and the loss shows it.
        """
        features = self.top(activation).float()
        with torch.autocast(features.device.type, enabled=False):
            return features, self.head(features)


class LabelLoss(nn.Module):
    """Cross-entropy with the labels.

    Attributes:
        labels: as given.

    Args:
        labels: (n,) positions of classes.
        classes: c.
        smoothing: share of the target that is spread over all classes (Szegedy et al. 2016).
        weights: (c,) how much the loss of a photo of each class counts, of the logits plus their logarithms, so that
            the logits are those of the shares that the classes have (see `data.class_weights`); None for all alike.
    """

    def __init__(
        self, labels: np.ndarray, classes: int, *, smoothing: float = 0.0, weights: np.ndarray | None = None
    ) -> None:
        super().__init__()
        self._weights = None if weights is None else torch.from_numpy(weights).float()
        self._shift = None if weights is None else torch.from_numpy(np.log(weights)).float()
        self.labels, self._classes, self._smoothing = labels, classes, smoothing

    def targets(self, pairs: Pairs) -> list[torch.Tensor]:
        """Return the targets of a batch: tensors (b, k), which may be mixed."""
        labels = torch.from_numpy(self.labels[[photo for photo, _ in pairs]])
        return [functional.one_hot(labels, self._classes).float()]

    def loss(self, features: torch.Tensor, logits: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:  # noqa: ARG002
        """Return the mean loss (nats) of features (b, d) and logits (b, c), float32."""
        if self._weights is not None and self._shift is not None:
            weighted = targets[0] * self._weights.to(logits.device)
            mass = weighted.sum(dim=1)
            shifted = logits + self._shift.to(logits.device)
            losses = functional.cross_entropy(
                shifted, weighted / mass[:, None], label_smoothing=self._smoothing, reduction="none"
            )
            return (mass * losses).mean()
        return functional.cross_entropy(logits, targets[0], label_smoothing=self._smoothing)


class Teacher(Protocol):
    """Outputs of a larger network for views (`pretraining.teacher`)."""

    features: int

    def of(self, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        """Return standardised features (b, t) and logits (b, c) of views."""


class DistillationLoss(LabelLoss):
    """Labels, a teacher's softened probabilities (Hinton et al. 2015), and its features (Romero et al. 2015).

    The student's features go through a linear projection, trained with them and dropped at the end, and their cosine
    distance to the teacher's is part of the loss. Teacher and student see the same views (Beyer et al.
    2022).

    Args:
        labels: (n,) positions of classes.
        classes: c.
        smoothing: of the labels.
        teacher: its outputs.
        features: d of the student.
        temperature: divides the logits of teacher and student.
        seed: of the projection.
    """

    def __init__(
        self,
        labels: np.ndarray,
        classes: int,
        *,
        smoothing: float,
        teacher: Teacher,
        features: int,
        temperature: float,
        seed: int,
    ) -> None:
        super().__init__(labels, classes, smoothing=smoothing)
        self._teacher, self._temperature = teacher, temperature
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.projection = nn.Linear(features, teacher.features)

    def targets(self, pairs: Pairs) -> list[torch.Tensor]:
        """Return labels (b, c), the teacher's softened probabilities (b, c) and its features (b, t)."""
        features, logits = self._teacher.of(pairs)
        return [*super().targets(pairs), functional.softmax(logits / self._temperature, dim=1), features]

    def loss(self, features: torch.Tensor, logits: torch.Tensor, targets: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the mean loss of features (b, d) and logits (b, c), float32."""
        labels, soft, teacher_features = targets
        hard = super().loss(features, logits, [labels])
        log_soft = functional.log_softmax(logits / self._temperature, dim=1)
        # softened gradients shrink with the square of the temperature (Hinton et al. 2015, section 2)
        softened = self._temperature**2 * functional.kl_div(log_soft, soft, reduction="batchmean")
        similarity = functional.cosine_similarity(self.projection(features), teacher_features).mean()
        return HARD_SHARE * hard + (1 - HARD_SHARE) * softened + FEATURE_WEIGHT * (1 - similarity)
