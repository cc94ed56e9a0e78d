"""A choice of one process for several: all run that engine, whatever the photos of one would say of it, or none."""

import pickle
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.engines.workshop import COSINES, CPU, Pixels, Workshop

from regraft.data.audit import inspect
from regraft.engines.compute import Compute
from regraft.engines.workload import CheckPhotos, SharedChoice, machine
from regraft.errors import EngineError
from regraft.features.extraction import FeatureExtractor
from regraft.networks.backbone import Backbone

NONE = np.zeros((0, 8, 8, 3), np.uint8)


def chosen(there: str, pixels: np.ndarray, name: str = "openvino-bfloat16") -> tuple[SharedChoice, list[str]]:
    """Return what a process on a machine like `there` has chosen for all, and what tells that its photos are read."""
    read: list[str] = []

    def photos() -> np.ndarray:
        read.append("its photos")
        return pixels

    return SharedChoice(name, there, CheckPhotos(f"{name} {len(pixels)}", photos)), read


@pytest.mark.parametrize("wanted", ["auto", "openvino-bfloat16", "torch-float32"])
@pytest.mark.parametrize("options", [{}, {"photos": 1, "keep": False}])
def test_it_is_not_judged_by_the_photos_of_one(workshop: Workshop, wanted: str, options: dict[str, Any]) -> None:
    COSINES.update(bfloat16=0.5)
    choice, read = chosen(machine(CPU), NONE)
    found = workshop.choose(wanted, earlier=choice, **options)
    assert (found, workshop.done, read) == ("openvino-cpu-bfloat16", [], [])


def test_another_kind_of_machine_compares_it_on_the_photos_of_the_choice(workshop: Workshop) -> None:
    workshop.choose("openvino-bfloat16")  # its own photos agree, which is stored
    workshop.done.clear()
    choice, read = chosen("cpu, another", workshop.pixels)
    assert workshop.choose(earlier=choice) == "openvino-cpu-bfloat16"
    assert (read, "photos" in workshop.done) == (["its photos"], False)
    COSINES.update(bfloat16=0.98)
    choice, _ = chosen("cpu, another", workshop.pixels[:9])
    with pytest.raises(EngineError) as caught:
        workshop.choose(earlier=choice)
    assert str(caught.value) == (
        f"{socket.gethostname()} is another kind of machine than the one that chose what all run. "
        "engine='openvino-bfloat16' does not give this network's features: cosine to torch-float32 on 9 photos: "
        "mean 0.9800, lowest 0.9800, and at least 0.99 on average is needed. Name an engine that runs on all: "
        "engine='torch-float32'."
    )


@pytest.mark.parametrize(
    ("there", "name", "words"),
    [
        ("cuda, a GPU", "torch-float32", r"was to run on cuda, and what works here has cpu\. .* have: device='cpu'\.$"),
        (
            "cpu, another",
            "torch-float16",
            r"needs a GPU\. .* that runs on all: engine='torch-float32'\.$",
        ),
        ("cpu, another", "openvino-float32", r"No photo could be read that .* on all: engine='torch-float32'\.$"),
    ],
)
def test_what_another_kind_of_machine_cannot_do_is_an_error(
    workshop: Workshop, there: str, name: str, words: str
) -> None:
    """Not another engine, whose values would differ a little. It names the machine, and what helps."""
    choice, _ = chosen(there, NONE, name)
    with pytest.raises(EngineError, match=rf"^{re.escape(socket.gethostname())} is another kind .* {words}"):
        workshop.choose(earlier=choice)


def test_what_fails_on_another_kind_of_machine_has_a_remedy(workshop: Workshop) -> None:
    COSINES.update(bfloat16=EngineError("It cannot be converted."))
    choice, _ = chosen("cpu, another", workshop.pixels)
    with pytest.raises(EngineError, match=r"^.* is another kind of .* It cannot be converted\. Name an engine that"):
        workshop.choose(earlier=choice)


def test_the_reference_runs_everywhere(workshop: Workshop) -> None:
    choice, _ = chosen("cpu, another", NONE, "torch-float32")
    assert workshop.choose("openvino-bfloat16", earlier=choice) == "torch-cpu-float32"


def test_photos_of_a_choice_go_to_another_process_as_pixels(pixels: Pixels) -> None:
    images = pixels(3, 8, 8)
    choice, read = chosen("there", images)
    assert read == []
    copies = [pickle.loads(pickle.dumps(choice)).check for _ in range(2)]
    for check in (choice.check, *copies):
        assert check.digest == "openvino-bfloat16 3"
        assert np.array_equal(check.read(), images)
    assert read == ["its photos"]  # once, by who sends it


def test_nothing_is_chosen_by_photos_that_cannot_be_read(backbone: Backbone, tmp_path: Path, pixels: Pixels) -> None:
    """An engine that is named is compared with the first photos that can, and binds no other process before."""
    broken, whole = tmp_path / "broken.jpg", tmp_path / "whole.jpg"
    Image.fromarray(pixels(1, 40, 40)[0]).save(whole)
    broken.write_bytes(whole.read_bytes()[:200])
    extractor = FeatureExtractor(backbone, Compute(device="cpu", engine="openvino-float32", cache=False))
    extractor.choose([broken], inspect((broken,)).keys)
    with pytest.raises(EngineError, match=r"^engine='openvino-float32' cannot be compared .* Leave engine out, or"):
        _ = extractor.choice
    assert extractor.choose([whole], inspect((whole,)).keys).name == "openvino-cpu-float32"
    choice = extractor.choice
    assert (choice.engine, choice.machine, len(choice.check.read())) == ("openvino-float32", machine(CPU), 1)
