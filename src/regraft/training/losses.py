"""What the answers of a network in training are held against: labels, and what a teacher says of the same views."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from regraft.networks.cutting import Top

HARD_SHARE = 0.3  # of the labels in the loss of answers, beside a teacher's
FEATURE_WEIGHT = 4.0  # of the features in the whole loss: cosine distances are small numbers
Pairs = Sequence[tuple[int, int]]  # photo and view


class Student(nn.Module):
    """The part of a network that is trained, its head, and what the objective adds for the time of training."""

    def __init__(self, top: Top, head: nn.Linear, objective: "Labels") -> None:
        super().__init__()
        self.top = top
        self.head = head
        self.objective = objective

    def forward(self, activation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (b, d) and logits (b, c) of activations (b, ...)."""
        features = self.top(activation)
        return features, self.head(features)


class Labels(nn.Module):
    """Cross-entropy with the labels.

    Args:
        labels: (n,) positions of classes.
        classes: c.
        smoothing: share of the target that is spread over all classes (Szegedy et al. 2016).
    """

    def __init__(self, labels: np.ndarray, classes: int, *, smoothing: float = 0.0) -> None:
        super().__init__()
        self._labels, self._classes, self._smoothing = labels, classes, smoothing

    def wanted(self, pairs: Pairs) -> list[torch.Tensor]:
        """Return what is wanted of a batch: tensors (b, k), which may be mixed."""
        labels = torch.from_numpy(self._labels[[photo for photo, _ in pairs]])
        return [functional.one_hot(labels, self._classes).float()]

    def loss(self, features: torch.Tensor, logits: torch.Tensor, wanted: Sequence[torch.Tensor]) -> torch.Tensor:  # noqa: ARG002
        """Return the mean loss (nats) of features (b, d) and logits (b, c), float32."""
        return functional.cross_entropy(logits, wanted[0], label_smoothing=self._smoothing)


class Teacher(Protocol):
    """What a larger network says of views (`pretraining.teacher`)."""

    features: int

    def of(self, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
        """Return standardised features (b, t) and logits (b, c) of views."""


class Distillation(Labels):
    """Labels, a teacher's softened answers (Hinton et al. 2015), and its features (Romero et al. 2015).

    The student's features go through a linear layer of their own, learned beside them and dropped at the end, and
    their cosine distance to the teacher's is part of the loss. Teacher and student see the same views (Beyer et al.
    2022).

    Args:
        labels: (n,) positions of classes.
        classes: c.
        smoothing: of the labels.
        teacher: what it says.
        features: d of the student.
        temperature: by which both sides' logits are divided.
        seed: of the linear layer.
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

    def wanted(self, pairs: Pairs) -> list[torch.Tensor]:
        """Return labels (b, c), the teacher's softened answers (b, c) and its features (b, t)."""
        features, logits = self._teacher.of(pairs)
        return [*super().wanted(pairs), functional.softmax(logits / self._temperature, dim=1), features]

    def loss(self, features: torch.Tensor, logits: torch.Tensor, wanted: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the mean loss of features (b, d) and logits (b, c), float32."""
        labels, soft, theirs = wanted
        hard = super().loss(features, logits, [labels])
        log_soft = functional.log_softmax(logits / self._temperature, dim=1)
        # the gradient of softened answers shrinks with the square of the temperature (Hinton et al. 2015, section 2)
        answers = self._temperature**2 * functional.kl_div(log_soft, soft, reduction="batchmean")
        alike = functional.cosine_similarity(self.projection(features), theirs).mean()
        return HARD_SHARE * hard + (1 - HARD_SHARE) * answers + FEATURE_WEIGHT * (1 - alike)
