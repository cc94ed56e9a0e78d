"""How often `compare` takes chance for proof, and how often it finds a difference that is there.

Classifiers are made up: what makes a photo hard is shared by all, and each adds noise of its own. Where nothing
differs, the cheapest must be taken, but for one of twenty samples; where one is better, the more often it is taken,
the better. "Any of three figures" is what decided before: bootstrap intervals of accuracy, average precision (of more
classes balanced accuracy) and log loss, without correction.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from benchmarks.chart import Bar, Group, draw
from benchmarks.record import Record, progress, shown
from regraft.evaluation.intervals import bootstrap
from regraft.evaluation.metrics import Predictions, prepare
from regraft.evaluation.paired import paired_differences
from regraft.evaluation.pairwise import PairedDifference, PairOfClassifiers, judge_pairs
from regraft.heads.search import fit_head
from regraft.transfer.comparison import advise

SAMPLES, QUICK_SAMPLES = 500, 20
DRAWS = 50  # of the bootstrap
PROVEN, TAKEN, ANY = "anything proven", "another taken than the cheapest", "any of three figures (before)"
CHANCE, POWER = "taken where nothing differs", "found where one is better"
FIGURES = ("log_loss", "brier", "accuracy", "balanced_accuracy", "auc", "average_precision")


@dataclass(frozen=True)
class Sample:
    """What k classifiers say of n photos.

    Attributes:
        probabilities: (k, n, c).
        labels: (n,).
        groups: (n,) or None.
        folds: (n,) or None.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None = None
    folds: np.ndarray | None = None


@dataclass(frozen=True)
class Case:
    """Made-up classifiers and photos.

    Attributes:
        photos: n.
        classes: c.
        share: of the photos that are of the second of two classes.
        skills: of each classifier: the true class's logit is higher by it.
        group: photos that are alike in part; 1 for none.
        before: whether the rule that decided before is tried, too, which takes long.
    """

    photos: int
    classes: int = 2
    share: float = 0.5
    skills: tuple[float, ...] = (1.5, 1.5)
    group: int = 1
    before: bool = False
    figures = FIGURES

    def draw(self, generator: np.random.Generator) -> Sample:
        """Return photos of at least two of each class, and answers."""
        n, c = self.photos, self.classes
        chances = np.array([1 - self.share, self.share]) if c == 2 else np.full(c, 1 / c)
        labels = np.zeros(n, dtype=int)
        while np.bincount(labels, minlength=c).min() < 2:
            labels = generator.choice(c, n, p=chances)
        groups = np.arange(n) // self.group if self.group > 1 else None
        hard = self._noise(generator)
        logits = [skill * np.eye(c)[labels] + hard + 0.7 * self._noise(generator) for skill in self.skills]
        return Sample(softmax(1.2 * np.array(logits), axis=2), labels, groups)

    def _noise(self, generator: np.random.Generator) -> np.ndarray:
        own = generator.normal(size=(self.photos, self.classes))
        if self.group == 1:
            return own
        shared = generator.normal(size=(-(-self.photos // self.group), self.classes))
        mixed: np.ndarray = np.sqrt(0.5) * (own + shared[np.arange(self.photos) // self.group])
        return mixed


@dataclass(frozen=True)
class Skewed:
    """Two classifiers of the same mean log loss: one photo in ten costs the second 1 nat more, others a ninth less.

    Attributes:
        photos: n.
    """

    photos: int
    figures = ("log_loss",)  # in others they differ

    def draw(self, generator: np.random.Generator) -> Sample:
        """Return photos of two classes, and answers."""
        losses = 0.12 + generator.exponential(0.3, self.photos)
        costs = np.where(generator.random(self.photos) < 0.1, 1.0, -1 / 9)
        labels = np.arange(self.photos) % 2
        truth = np.exp(-np.stack([losses, losses + costs]))
        found = np.stack([1 - truth, truth], axis=2)
        return Sample(np.where((labels == 1)[None, :, None], found, found[..., ::-1]), labels)


@dataclass(frozen=True)
class CrossValidated:
    """Last layers on features of networks, out-of-fold: learning from these photos is part of the chance.

    Attributes:
        photos: n.
        noise: of the features of each of k networks.
    """

    photos: int
    noise: tuple[float, ...] = (2.0, 2.0)
    figures = FIGURES

    def draw(self, generator: np.random.Generator) -> Sample:
        """Return photos of two classes, and answers by five folds."""
        n = self.photos
        labels, folds = np.arange(n) % 2, np.arange(n) // 2 % 5
        shared = generator.normal(size=(n, 10)) + 0.5 * labels[:, None]
        mixing = generator.normal(size=(10, 20))  # the same for all: another would be a better or a worse network
        answers = np.zeros((len(self.noise), n, 2))
        for number, noise in enumerate(self.noise):
            features = (shared @ mixing + noise * generator.normal(size=(n, 20))).astype("f4")
            for fold in range(5):
                head = fit_head(features[folds != fold], labels[folds != fold], 2, strength=1.0)
                answers[number, folds == fold] = softmax(head.logits(features[folds == fold]), axis=1)
        return Sample(answers, labels, folds=folds)


NULL: dict[str, Case | Skewed | CrossValidated] = {
    "30 photos": Case(30),
    "60 photos": Case(60, before=True),
    "60 photos, 15 % positive": Case(60, share=0.15),
    "200 photos": Case(200, before=True),
    "200 photos, 96 % right": Case(200, skills=(3.2, 3.2)),
    "100 photos of 5 classes": Case(100, classes=5),
    "100 photos in 10 groups": Case(100, group=10),
    "300 photos in 30 groups, 15 % positive": Case(300, share=0.15, group=10),
    "4 classifiers, 100 photos": Case(100, skills=(1.5,) * 4),
    "8 classifiers, 100 photos": Case(100, skills=(1.5,) * 8),
    "rare, large losses, 60 photos": Skewed(60),
    "rare, large losses, 300 photos": Skewed(300),
    "last layers out-of-fold, 80 photos": CrossValidated(80),
    "last layers of 4 networks, 80 photos": CrossValidated(80, (2.0,) * 4),
}
BETTER: dict[str, Case | Skewed | CrossValidated] = {
    "60 photos": Case(60, skills=(1.5, 2.0), before=True),
    "200 photos": Case(200, skills=(1.5, 1.8), before=True),
    "1,000 photos": Case(1000, skills=(1.5, 1.65)),
    "200 photos, 15 % positive": Case(200, share=0.15, skills=(1.5, 1.8)),
    "300 photos in 30 groups": Case(300, skills=(1.5, 2.0), group=10),
    "last layers out-of-fold, 80 photos": CrossValidated(80, noise=(2.0, 0.7)),
    "last layers out-of-fold, 200 photos": CrossValidated(200, noise=(2.0, 0.9)),
    "4 classifiers, the last better, 200 photos": Case(200, skills=(1.5, 1.5, 1.5, 1.8)),
}


def pairs_of(sample: Sample) -> list[PairedDifference]:
    """Return the differences of all pairs, as `compare` has them; rankings are left out where there are many."""
    found, positive = sample.probabilities, _positive(sample) if len(sample.probabilities) == 2 else None

    def pair(a: int, b: int) -> PairOfClassifiers:
        differences = paired_differences(
            found[a],
            found[b],
            sample.labels,
            positive=positive,
            groups=sample.groups,
            folds=sample.folds,
            resamples=DRAWS,
        )
        return PairOfClassifiers(str(a), str(b), differences, len(sample.labels))

    return judge_pairs([pair(a, b) for b in range(len(found)) for a in range(b + 1, len(found))])


def _positive(sample: Sample) -> int | None:
    return 1 if sample.probabilities.shape[2] == 2 else None


def is_another_taken(pairs: list[PairedDifference], sample: Sample) -> bool:
    """Tell whether the advice is to take another classifier than the first."""
    names = [str(number) for number in range(len(sample.probabilities))]
    return not advise([], pairs, names, sample.probabilities.shape[2]).startswith(f"Take {names[0]}")


def is_any_proven(sample: Sample) -> bool:
    """Tell whether two classifiers differ by what decided before."""
    positive = _positive(sample)
    ours, theirs = (prepare(Predictions(sample.labels, one, positive)) for one in sample.probabilities)
    names = ("accuracy", "log_loss", "average_precision" if positive else "balanced_accuracy")
    found = bootstrap(
        lambda weights: {name: ours[name](weights) - theirs[name](weights) for name in names},
        len(sample.labels),
        resamples=DRAWS,
        groups=sample.groups,
    )
    return any(interval is not None and not interval[0] <= 0 <= interval[1] for interval in found.values())


def shares(case: Case | Skewed | CrossValidated, samples: int) -> dict[str, float]:
    """Return how often, in percent, something is proven, the first is not taken, and each figure differs.

    Figures are those of the last classifier and the first, each by itself, without correction.
    """
    generator, counts = np.random.default_rng(0), dict.fromkeys((PROVEN, TAKEN, *FIGURES, ANY), 0)
    before = isinstance(case, Case) and case.before
    known = {PROVEN, TAKEN, *([ANY] if before else [])}
    for _ in range(samples):
        sample = case.draw(generator)
        pairs = pairs_of(sample)
        counts[PROVEN] += any(pair.decides and pair.verdict != "not proven" for pair in pairs)
        counts[TAKEN] += is_another_taken(pairs, sample)
        counts[ANY] += before and is_any_proven(sample)
        for pair in pairs:
            if pair.metric in case.figures and (pair.a, pair.b) == (str(len(sample.probabilities) - 1), "0"):
                counts[pair.metric] += pair.p_value is not None and pair.p_value <= 0.05
                known.add(pair.metric)
    return {name: 100 * count / samples for name, count in counts.items() if name in known}


def measure(*, rounds: int, quick: bool) -> Record:  # noqa: ARG001 (one round of many samples)
    """Draw every case many times."""
    samples = QUICK_SAMPLES if quick else SAMPLES
    question = "Comparisons: how often chance is taken for proof, and a difference is found"
    record = Record("comparisons", question, {"samples": samples, "draws": DRAWS})
    for kind, cases in ((CHANCE, NULL), (POWER, BETTER)):
        for name, case in cases.items():
            found = shares(case, samples)
            for by, share in found.items():
                record.add(f"{kind}: {name}", by, "%", [share])
            progress(f"comparisons: {kind}: {name}: {shown(found[PROVEN])} %")
    record.notes += [
        f"{samples} samples each: 5 % is known to {200 * np.sqrt(0.05 * 0.95 / samples):.1f} points",
        f"{PROVEN}: any pair in the figure that decides, log loss, after Holm's correction for all pairs",
        "figures: each by itself at 5 %, the last classifier and the first",
    ]
    return record


def picture(record: Record, path: Path) -> None:
    """Draw what the advice comes to: chance on the left, power on the right."""
    columns = []
    for kind in (CHANCE, POWER):
        chosen = [one for one in record.measurements if one.by in (PROVEN, ANY) and one.of.startswith(kind)]
        groups: dict[str, list[Bar]] = {}
        for one in chosen:
            now = one.by == PROVEN
            bar = Bar("now" if now else "before", one.median, f"{one.median:.1f}", "ours" if now else "other")
            groups.setdefault(one.of.removeprefix(f"{kind}: "), []).append(bar)
        columns.append([Group(name, bars) for name, bars in groups.items()])
    draw(
        path,
        "Percent of samples. Left: chance taken for proof. Right: a difference that is found",
        columns,
        footnote=record.footnote(),
    )
