"""Without a network: caches are used as they are, and otherwise the error names what can be done, at once."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from tests.fixtures.networks import folder_of

from regraft.errors import DownloadError, WeightsError
from regraft.networks import hub
from regraft.networks.backbones import load_backbone
from regraft.networks.weights import read_url

Local = Callable[..., str]


@pytest.mark.parametrize("model", ["resnet50", "vgg16.tv_in1k", "hf-hub:owner/name", "hf_hub:owner/name@v2"])
def test_offline_names_the_four_ways_at_once(model: str, offline: None) -> None:
    start = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        load_backbone(model)
    assert time.monotonic() - start < 5
    message = str(caught.value)
    assert message.startswith(f"{model}: the pretrained weights are not on this machine and cannot be downloaded (")
    assert "(no network: huggingface.co is not found)" in message
    assert message.endswith(
        "There are four ways: (1) connect to the network once, after which they stay in the cache; (2) "
        "weights='FILE', a .safetensors file or torchvision / timm state dict of this network; (3) "
        "model='local-dir:FOLDER', a folder with config.json and model.safetensors; (4) model='offline', the network "
        "that is installed with regraft."
    )


def test_a_host_that_does_not_answer_is_asked_once(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], timeout: float, *_: object) -> None:
        assert address == ("huggingface.co", 443)
        assert timeout <= 10
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(DownloadError) as caught:
        load_backbone("resnet50")
    assert caught.value.reason == "no network: huggingface.co does not answer (Connection refused)"


def test_a_connection_that_breaks_off_is_not_taken_for_a_missing_file(
    offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's client says so only after many attempts; there are three names that could be tried after it."""
    asked = []

    def lose(repository: str, name: str, revision: str | None) -> str:
        asked.append(name)
        raise LocalEntryNotFoundError("An error happened while trying to locate the file on the Hub " + "and " * 50)

    monkeypatch.setattr(hub, "check_reachable", lambda _: None)
    monkeypatch.setattr(hub, "hf_hub_download", lose)
    with pytest.raises(DownloadError) as caught:
        load_backbone("resnet50")
    assert asked == ["model.safetensors"]
    assert len(caught.value.reason) <= 160
    assert caught.value.reason.endswith(" and ...")  # cut between two words


class _Refuses(BaseHTTPRequestHandler):
    """A proxy that wants to know who asks."""

    def do_CONNECT(self) -> None:
        self.send_error(407)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_proxy_that_refuses_leads_to_an_installed_network(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{proxy.server_port}"
        own = {"HTTPS_PROXY": address, "HTTP_PROXY": address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        own |= {"NO_PROXY": "", "no_proxy": "", "https_proxy": address}
        ask = "from regraft.networks.registry import default_network as find; print(*find()); print(*find(fetch=False))"
        done = subprocess.run(
            [sys.executable, "-c", ask], env={**os.environ, **own}, capture_output=True, text=True, check=False
        )
        proxy.shutdown()
    assert done.returncode == 0, done.stderr
    for said in done.stdout.splitlines():  # whether it is to be downloaded or only asked for
        assert said.startswith(
            "efficientnet-lite0 network: efficientnet-lite0, which is installed with regraft, for convnext_nano.in12k "
        )
        assert "407" in said


def put_into_hub_cache(tmp_path: Path, repository: str, *files: Path) -> None:
    """Lay files where huggingface_hub keeps them: a reference to a revision, and a snapshot of it."""
    root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    (root / "snapshots" / ("0" * 40)).mkdir(parents=True)
    for file in files:
        shutil.copy(file, root / "snapshots" / ("0" * 40))


def test_hub_network_comes_from_the_cache(tmp_path: Path, local: Local, offline: None) -> None:
    model = local(seed=3)
    put_into_hub_cache(tmp_path, "owner/name", folder_of(model) / "config.json", folder_of(model) / "model.safetensors")
    found = load_backbone("hf-hub:owner/name")
    assert found.fingerprint() == load_backbone(model).fingerprint()
    assert found.preprocess == load_backbone(model).preprocess


def test_timm_network_comes_from_the_cache(tmp_path: Path, offline: None) -> None:
    network = timm.create_model("test_resnet")
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    put_into_hub_cache(tmp_path, "timm/test_resnet.r160_in1k", tmp_path / "model.safetensors")
    backbone = load_backbone("test_resnet")
    assert backbone.source == "hf-hub:timm/test_resnet.r160_in1k"
    assert torch.equal(backbone.module.state_dict()["conv1.0.weight"], network.state_dict()["conv1.0.weight"])
    assert load_backbone("test_resnet.r160_in1k").fingerprint() == backbone.fingerprint()


def test_network_without_published_weights(offline: None) -> None:
    with pytest.raises(WeightsError) as caught:
        load_backbone("coatnet_0_224")
    assert str(caught.value).startswith(
        "coatnet_0_224 has no published pretrained weights. Choose another network, or (2) weights='FILE', "
    )


def test_published_state_dict_comes_from_torch_hubs_cache(tmp_path: Path, offline: None) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({"state_dict": {"module.a": torch.ones(2, dtype=torch.float16)}}, folder / "net.pth")
    state = read_url("net", "https://example.org/net.pth")
    assert list(state) == ["a"]
    assert state["a"].dtype == torch.float32
    assert state["a"].tolist() == [1.0, 1.0]


def test_published_state_dict_that_cannot_be_fetched(offline: None) -> None:
    with pytest.raises(WeightsError) as caught:
        read_url("net", "https://example.org/net.pth")
    message = str(caught.value)
    assert message.startswith("net: the pretrained weights are not on this machine and cannot be downloaded (")
    assert "Name or service not known" in message
    assert "(2) weights='FILE'" in message


def test_a_hub_that_accepts_and_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        with pytest.raises(OSError, match=r"^no network: 127\.0\.0\.1 does not answer \(timed out\)$"):
            hub.check_reachable(f"http://{host}:{port}")
