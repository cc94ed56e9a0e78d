"""Pictures of units: what each unit sees of a photo, and photos that changed meanwhile."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import photo

from regraft.data.layouts import find_samples
from regraft.data.samples import Samples
from regraft.engines.pytorch import TorchEngine
from regraft.errors import DataError
from regraft.explain.explanation import Explanation
from regraft.explain.top_activations import StageUnits, find_top_activations
from regraft.explain.unit_pictures import draw_units, read_pixels
from regraft.images.decoding import decode
from regraft.networks.backbone import Backbone
from regraft.networks.backbones import load_backbone

Explained = Callable[..., Explanation]
CPU = torch.device("cpu")


@pytest.fixture
def backbone(tiny_network: str) -> Backbone:
    return load_backbone(tiny_network)


@pytest.fixture
def samples(photos: Callable[..., Path]) -> Samples:
    return find_samples(photos(red=2, blue=2))["train"]


def first_stage(backbone: Backbone, samples: Samples) -> StageUnits:
    found = find_top_activations(
        backbone, samples.sources, samples.labels, classes=2, sampled=np.arange(len(samples)), device=CPU
    )
    return next(iter(found.stages.values()))


def test_a_patch_is_what_the_unit_sees_of_the_photo(explained: Explained) -> None:
    found = explained(units=2)
    subject = found.subject
    first, last = found.stages[0], found.stages[-1]
    height, width = first.side
    for unit in first.units:
        for place, patch in zip(unit.photos, unit.patches, strict=True):
            whole = subject.backbone.preprocess.pixels(
                Image.open(str(subject.dataset.samples.sources[place])).convert("RGB")
            )
            assert patch.shape[0] <= height
            assert patch.shape[1] <= width
            windows = np.lib.stride_tricks.sliding_window_view(whole, patch.shape)[:, :, 0]
            assert (windows == patch).all(axis=(2, 3, 4)).any()
    assert [projection.shape[1:] for projection in last.units[0].projections] == [
        patch.shape[:2] for patch in last.units[0].patches
    ]


def test_the_strongest_photos_of_each_chosen_unit(backbone: Backbone, samples: Samples) -> None:
    """Four photos: fewer than the nine that are kept, each of them once."""
    units, made = first_stage(backbone, samples), []
    found = draw_units(backbone, units, [3, 1], samples.sources, device=CPU, advance=made.append)
    assert [picture.unit for picture in found.units] == [3, 1]
    for picture in found.units:
        assert picture.photos == units.photos[picture.unit, :4].tolist()
        assert sorted(picture.photos) == [0, 1, 2, 3]
        expected = units.activations[picture.unit, :4].tolist()
        assert picture.activations == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert len(picture.patches) == len(picture.projections) == 4
    assert (found.stage, found.refusal, sum(made)) == (units.place.stage, "", 8)


def test_a_photo_that_changed_meanwhile_is_noticed(backbone: Backbone, samples: Samples) -> None:
    units = first_stage(backbone, samples)
    for number, source in enumerate(samples.sources):
        photo(Path(str(source)), "green", 100 + number)
    with pytest.raises(DataError, match=r"the photo has changed meanwhile\. Run the same command again\."):
        draw_units(backbone, units, range(8), samples.sources, device=CPU)


def test_pixels_by_position(backbone: Backbone, samples: Samples) -> None:
    found = read_pixels(samples.sources, [3, 1], TorchEngine(backbone, CPU))
    assert sorted(found) == [1, 3]
    for place, pixels in found.items():
        assert np.array_equal(pixels, decode(samples.sources[place], backbone.preprocess))
