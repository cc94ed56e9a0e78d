"""`regraft.card`, `regraft.push` and what `regraft.load` finds on the hub; the commands' tests have the rest."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fixtures.hub import Hub, Repository
from tests.fixtures.networks import folder_of

import regraft
from regraft.classifier.bundle import load_bundle, save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.named import load_network
from regraft.errors import DownloadError, OptionError
from regraft.networks.backbones import reinitialised

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
Make = Callable[..., Classifier]


def test_a_card_of_a_classifier_in_memory_and_of_its_file(classifier: Make, tmp_path: Path) -> None:
    made, file = classifier(), tmp_path / "pets.safetensors"
    save_bundle(made, file)
    card = regraft.card(file, tmp_path / "card.md", licence="mit")
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == card
    assert "license: mit\n" in card
    assert "classifier = regraft.load('pets.safetensors')" in card
    assert "# classifier\n" in regraft.card(made)


@pytest.mark.slow
def test_push_and_load(classifier: Make, tmp_path: Path, hub: Hub) -> None:
    made, file = classifier(), tmp_path / "pets.safetensors"
    save_bundle(made, file)
    done = regraft.push(file, "ann/pets", private=True)
    assert (done.repository, done.url, done.private) == ("ann/pets", f"{hub.address}/ann/pets", True)
    assert hub.repositories["ann/pets"].commits[-1][0] == done.commit
    there = regraft.load(f"hf-hub:ann/pets@{done.commit}")
    assert there.classifier_.classes == made.classes
    network = load_network("hf-hub:ann/pets", limit=0)
    assert network.fingerprint() == made.backbone.fingerprint() == load_network(str(file), limit=0).fingerprint()
    assert network.depths == ()


def test_a_network_of_several_is_none_to_start_from(classifier: Make, tmp_path: Path) -> None:
    made = classifier()
    weight = np.concatenate([made.head.weight, made.head.weight], axis=1)
    made = replace(
        made,
        head=replace(made.head, weight=weight),
        joined=(reinitialised(made.backbone, 1),),
        joined_choices=(None,),
        first_depths=(0, 0),
    )
    save_bundle(made, tmp_path / "both.safetensors")
    with pytest.raises(
        OptionError, match=r"^A network to start from is of one network\. Got a classifier that joins 2"
    ):
        load_network(str(tmp_path / "both.safetensors"), limit=0)


def test_a_repository_may_hold_a_network(tmp_path: Path, local: Callable[..., str], hub: Hub) -> None:
    folder = folder_of(local())
    hub.repositories["ann/net"] = Repository()
    hub.repositories["ann/net"].commit({file.name: file.read_bytes() for file in folder.iterdir()})
    assert (
        load_network("hf-hub:ann/net", limit=0).fingerprint()
        == load_network(f"local-dir:{folder}", limit=0).fingerprint()
    )
    asked = len(hub.asked)
    load_network("hf-hub:ann/net", limit=0)
    assert len(hub.asked) == asked  # a network that is here is not asked for
    with pytest.raises(DownloadError, match="There are four ways"):
        load_network("hf-hub:ann/nothing", limit=0)


def test_load_bundle_is_of_files(tmp_path: Path) -> None:
    with pytest.raises(regraft.BundleError):
        load_bundle(Path("hf-hub:ann/pets"))
