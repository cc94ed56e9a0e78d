"""A reviewer at the page finds wrong labels that were planted among a thousand real photos, and retrains."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from tests.serve.conftest import Start

from regraft.classifier.bundle import save_bundle
from regraft.data.columns import Columns
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.networks.backbones import load_backbone
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings

WRONG, LOOKED_AT, WANTED = 30, 60, 22


@pytest.mark.shared
@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.graphs
def test_wrong_labels_are_found_corrected_and_learned(
    shared: Path, start: Start, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    """The reviewer knows what the photos show, looks at the first 60 that are shown, and corrects what is wrong."""
    folder = shared / "data" / "dogs-vs-cats" / "train"
    files = sorted(path.name for path in folder.glob("*.jpg"))
    truth = {name: name.partition(".")[0] for name in files}
    wrong = {files[place] for place in np.random.default_rng(17).choice(len(files), WRONG, replace=False)}
    other = {"cat": "dog", "dog": "cat"}
    table = tmp_path / "labels.csv"
    rows = [f"{name},{other[truth[name]] if name in wrong else truth[name]}\n" for name in files]
    table.write_text(f"image,label\n{''.join(rows)}")
    model = f"local-dir:{shared / 'weights' / 'mobilenetv2_100.tf_in1k'}"
    made = fit(
        find_samples(table, Columns(image_root=folder)),
        lambda: load_backbone(model),
        model=model,
        settings=FitSettings(),
        compute=Compute(device="cpu"),
    )
    save_bundle(made.classifier, tmp_path / "pets.safetensors")
    _, port = start("--review", str(table), "--image-root", str(folder), file=tmp_path / "pets.safetensors")
    page = open_page(f"http://127.0.0.1:{port}/review", script="localStorage['regraft-reviewer'] ??= 'ada'")
    expect(page.locator(".card")).to_have_count(60, timeout=120_000)
    expect(page.locator(".card").first).to_be_focused()
    found = 0
    for _ in range(LOOKED_AT):
        name = page.locator(".card:focus .file").inner_text()
        found += name in wrong
        page.keyboard.press({"cat": "1", "dog": "2"}[truth[name]] if name in wrong else "c")
    # a request that gets no answer is given up after 30 s, and made again: that no decision is lost is what counts
    expect(page.locator(".card[data-kind=saved]")).to_have_count(LOOKED_AT, timeout=120_000)
    expect(page.locator("#progress-words")).to_have_text("60 of 1,000 photos decided", timeout=60_000)
    assert found >= WANTED
    expect(page.locator("#retrain")).to_be_enabled(timeout=120_000)
    page.get_by_role("button", name="Retrain").click()
    expect(page.locator("#result-about")).to_contain_text(f"{found} photos relabelled, 0 left out.", timeout=120_000)
    accuracy = page.locator("#figures tr").first
    expect(accuracy).to_contain_text(re.compile(r"\+\d\.\d points, 95 % interval"))
