"""A network by its name, or a classifier by its file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.classifier.bundle import save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.named import check_named, load_named, network_of
from regraft.errors import BundleError, ModelError, OptionError
from regraft.networks.backbone import Backbone


def test_a_file_or_a_name(
    classifier: Callable[..., Classifier], backbone: Backbone, tiny_network: str, tmp_path: Path
) -> None:
    made, file = classifier(), tmp_path / "pets.safetensors"
    save_bundle(made, file)
    found = load_named(str(file))
    assert isinstance(found, Classifier)
    network, earlier = network_of(found)
    assert network.fingerprint() == made.backbone.fingerprint()
    assert earlier == made.engine_choice
    loaded = load_named(tiny_network)
    assert isinstance(loaded, Backbone)
    assert network_of(loaded) == (loaded, None)
    assert loaded.fingerprint() == backbone.fingerprint()


def test_what_cannot_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.safetensors").touch()
    with pytest.raises(BundleError, match=r"^pest\.safetensors does not exist\. Did you mean 'pets\.safetensors'\?"):
        check_named("pest.safetensors")
    with pytest.raises(OptionError, match=r"^weights is for a network, and pets\.safetensors is a classifier, which"):
        check_named("pets.safetensors", Path("w.pth"))
    check_named("resnet5O")  # a network's name is looked up when it is loaded
    with pytest.raises(ModelError, match="There is no network named 'resnet5O'"):
        load_named("resnet5O")
