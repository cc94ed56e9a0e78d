"""Which photos to look at: confident mistakes, the least certain answers, and each class's most typical photos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax

from regraft.attribution.cam import grad_cam, occlusion
from regraft.attribution.feature_maps import StageMap
from regraft.classifier.module import NetworkWithHead
from regraft.engines.pytorch import TorchEngine
from regraft.evaluation.decisions import Decision, answers_of
from regraft.explain.unit_pictures import read_pixels
from regraft.heads.linear import Head
from regraft.images.sources import Source
from regraft.images.tta import MIRRORED, NONE, OF_CORNERS, TTA
from regraft.networks.backbone import Backbone
from regraft.progress import Observer, progress

MISTAKES, UNCERTAIN, TYPICAL = 6, 3, 4  # photos shown of each kind, at most
_WINDOW, _STRIDE = 4, 8  # the covered square is a quarter of the image's side and moves by an eighth


@dataclass(frozen=True)
class Example:
    """A photo that is worth a look.

    Attributes:
        kind: "mistake", "uncertain" or "typical".
        photo: its position.
        answer: the class that was answered.
        truth: the class that it has; None where that is not known.
        probability: of the answer.
    """

    kind: str
    photo: int
    answer: int
    truth: int | None
    probability: float


@dataclass(frozen=True, eq=False)
class ExplainedExample:
    """Where the network looks in one photo.

    Attributes:
        shown: the photo.
        pixels: (h, w, 3) uint8, as the network gets it.
        cam: (h, w) Grad-CAM of the answer; None where the head sees several depths, of which it would show one.
        stage: after which it was taken; "" for none.
        now: what the classifier whose maps these are answers: out-of-fold answers came from others. None where it
            answers by crops of the photo, which are not looked at here.
        covered: (h, w) how much the answer's logit falls when the place is covered.
    """

    shown: Example
    pixels: np.ndarray
    cam: np.ndarray | None
    stage: str
    now: int | None
    covered: np.ndarray


def choose_examples(
    probabilities: np.ndarray, labels: np.ndarray | None, answers: np.ndarray | None = None
) -> list[Example]:
    """Return the most confident mistakes, the least certain, and the most typical photos of each class.

    Args:
        probabilities: (n, c) that the classifier is evaluated by.
        labels: (n,) true classes; None where they are not known: there are no mistakes then.
        answers: (n,) of a rule; None where the most probable class is the answer.
    """
    answers = probabilities.argmax(axis=1) if answers is None else answers
    certain = probabilities[np.arange(len(probabilities)), answers]
    truth = answers if labels is None else labels

    def shown(kind: str, photo: int) -> Example:
        known = None if labels is None else int(labels[photo])
        return Example(kind, photo, int(answers[photo]), known, float(certain[photo]))

    wrong = np.flatnonzero(answers != truth)
    mistakes = wrong[np.argsort(-certain[wrong], kind="stable")][:MISTAKES]
    unsure = [int(photo) for photo in np.argsort(certain, kind="stable") if photo not in set(mistakes.tolist())]
    found = [shown("mistake", int(photo)) for photo in mistakes]
    found += [shown("uncertain", photo) for photo in unsure[:UNCERTAIN]]
    classes = [label for label in range(probabilities.shape[1]) if np.any(truth == label)]
    each = max(1, min(2, TYPICAL // max(len(classes), 1)))
    taken = {one.photo for one in found}
    for label in classes[:TYPICAL]:
        right = [p for p in np.flatnonzero((answers == label) & (truth == label)) if int(p) not in taken]
        right.sort(key=lambda photo: -certain[photo])
        found += [shown("typical", int(photo)) for photo in right[:each]]
    return found


def explain_examples(
    shown: Sequence[Example],
    sources: Sequence[Source],
    backbone: Backbone,
    head: Head,
    *,
    first: int = 0,
    temperature: float = 1.0,
    decision: Decision | None = None,
    tta: str = NONE,
    places: Sequence[StageMap],
    device: torch.device,
    observer: Observer | None = None,
) -> list[ExplainedExample]:
    """Return Grad-CAM and occlusion of each photo's answer.

    Args:
        shown: the photos.
        sources: n photos, which `shown` counts in.
        backbone: the network.
        head: its last layer.
        first: the column of the network's features that is the head's first.
        temperature: the head's logits are divided by it.
        decision: what the classifier answers by; None where the most probable class is the answer.
        tta: the views of a photo over which the classifier averages its logits, a row of `images.tta.TTA`.
        places: where the network's stages are read; the last one whose map the answer depends on is taken.
        device: where it runs.
        observer: hears the progress.
    """
    observer = observer or Observer()
    engine = TorchEngine(backbone, device)
    module = NetworkWithHead(backbone, head, first=first).to(device)
    only_last = head.features == backbone.features
    pixels = read_pixels(sources, sorted({one.photo for one in shown}), engine)
    window = max(backbone.preprocess.height // _WINDOW, 1)
    stride = max(backbone.preprocess.height // _STRIDE, 1)
    found = []
    with progress(observer, "where it looks", len(shown)) as advance:
        for one in shown:
            image = engine.normalised(pixels[one.photo][None])
            cam, stage = _cam(module, places, image, one.answer) if only_last else (None, "")
            with torch.no_grad():
                now = _answer(module, image, temperature, decision, tta)
            covered = occlusion(module, image, one.answer, window=window, stride=stride)
            found.append(
                ExplainedExample(
                    one,
                    pixels[one.photo],
                    None if cam is None else cam[0, 0].cpu().numpy(),
                    stage,
                    now,
                    covered[0, 0].cpu().numpy(),
                )
            )
            advance(1)
    return found


def _answer(
    module: NetworkWithHead, image: torch.Tensor, temperature: float, decision: Decision | None, tta: str
) -> int | None:
    """Return what a classifier answers by its views of an image (1, 3, h, w); None where some are crops."""
    parts = TTA[tta].parts
    if OF_CORNERS in parts:
        return None
    views = torch.cat([image.flip(3) if part == MIRRORED else image for part in parts])
    logits = module(views).mean(dim=0, keepdim=True).double().cpu().numpy()
    return int(answers_of(decision, softmax(logits / temperature, axis=1))[0])


def _cam(
    module: NetworkWithHead, places: Sequence[StageMap], image: torch.Tensor, answer: int
) -> tuple[torch.Tensor, str]:
    """Return Grad-CAM at the last place that speaks for the answer: a class token may pass the last map by."""
    cam, stage = torch.zeros(1, 1, *image.shape[2:]), ""
    for place in reversed(places):
        hook_point = place.hook_point.below(module.inside)
        cam, stage = grad_cam(module, hook_point, image, answer), place.stage
        if float(cam.max()) > 0:
            break
    return cam, stage
