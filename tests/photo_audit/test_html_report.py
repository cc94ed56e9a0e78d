"""The page of an audit and its tables: true to what was found, safe whatever files are called, complete in itself."""

import base64
import csv
import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.fixtures.pages import Page
from tests.fixtures.scenes import scene

from regraft.data.findings import Finding, in_order
from regraft.data.photo_list import PhotoList
from regraft.evaluation.label_errors import LabelErrors
from regraft.photo_audit import html_report
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.comparisons import comparisons, nearest_of_each_class
from regraft.photo_audit.cues import Cue, Names
from regraft.photo_audit.effects import Effect
from regraft.photo_audit.held_out import HeldOutAnswers
from regraft.photo_audit.html_report import FILES, render, write_audit_report
from regraft.photo_audit.photos import AuditPhotos
from regraft.photo_audit.shortcuts import CueScore, Giveaway
from regraft.photo_audit.thumbnails import thumbnails
from regraft.photo_audit.words import label_findings, shortcut_findings

CLASSES = ("ant", "bee")


def photos_at(folder: Path, names: Sequence[str], labels: Sequence[int]) -> AuditPhotos:
    """Return photos that exist, half of them in each split."""
    paths = [folder / name for name in names]
    for place, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(place % 3, 64).save(path, "JPEG")
    splits = tuple("train" if place % 2 == 0 else "validation" for place in range(len(paths)))
    listed = PhotoList(tuple(paths), tuple(CLASSES[label] for label in labels), splits, str(folder))
    keys = tuple(place.to_bytes(32) for place in range(len(paths)))
    return AuditPhotos(listed, CLASSES, np.array(labels), (None,) * len(paths), keys)


def audit_of(photos: AuditPhotos, wrong: Sequence[int], points: np.ndarray, more: Sequence[Finding] = ()) -> Audit:
    """Return an audit in which the labels of the photos `wrong` are in doubt: each is 25 % its own, 75 % the other."""
    positions = np.arange(len(photos))
    share = np.where(np.isin(positions, wrong), 0.25, 0.875)
    own = photos.labels[:, None] == np.arange(2)[None]
    probabilities = np.where(own, share[:, None], 1 - share[:, None])
    dataset = photos.dataset(positions)
    answers = HeldOutAnswers(positions, dataset, positions % 2, probabilities, np.ones(len(photos), dtype=bool))
    rows = np.array(wrong, dtype=np.int64)
    labels = LabelErrors(rows, 1 - photos.labels[rows], np.full(len(rows), 0.25), np.full(len(rows), 0.625))
    findings = [*label_findings(photos, answers, labels), *more]
    return Audit(photos, tuple(in_order(findings)), (), labels, answers, (), None, points, ())


def line(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)[:, None]


def test_nearest_photos_are_of_each_class_and_never_of_the_same_picture() -> None:
    # on a line; the first photo is asked, and the second shows the same picture
    points = np.array([[0.0], [0.1], [2.0], [-1.0], [5.0], [np.nan]], dtype=np.float32)
    numbers = np.array([7, 7, 8, 9, 10, 11])
    found = nearest_of_each_class(points, np.array([0]), np.arange(6), np.array([0, 0, 0, 1, 1, 1]), numbers)
    assert found == {(0, 0): 2, (0, 1): 3}
    alone = nearest_of_each_class(points, np.array([0]), np.array([0, 1, 5]), np.array([0, 0, 1]), numbers)
    assert alone == {}


def test_a_label_is_compared_with_photos_whose_own_labels_are_not_in_doubt(tmp_path: Path) -> None:
    photos = photos_at(tmp_path, [f"{n}.jpg" for n in range(6)], [0, 0, 0, 1, 1, 1])
    # photo 0 lies at 0; ants: 1 at 1 (in doubt), 2 at 2; bees: 3 at 3, 4 at 4, 5 at 5
    (first, second) = comparisons(audit_of(photos, [0, 1], line(6)))
    assert (first.position, first.given, first.suggested) == (0, "ant", "bee")
    assert (first.probability, first.wrong) == (0.25, 0.625)
    assert first.nearest == (("ant", 2), ("bee", 3))
    assert second.nearest == (("ant", 2), ("bee", 3))


def test_files_are_exact(tmp_path: Path) -> None:
    photos = photos_at(tmp_path / "photos", ["a.jpg", "b;c.jpg", "d.jpg", "e.jpg"], [0, 1, 0, 1])
    names = photos.names(range(4))
    pair = Finding("exact-duplicate", "high", (names[0], names[2]), "=keep one", ("splits",))
    uneven = Finding("imbalance", "low", (), "add some", more={"counts": {"ant": 2, "bee": 2}})
    found = audit_of(photos, [1], line(4), [pair, uneven])
    paths = write_audit_report(found, tmp_path / "new" / "report")
    assert [path.name for path in paths] == list(FILES) == ["audit.html", "findings.csv", "likely-mislabelled.csv"]
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == sorted(FILES)
    assert paths[1].read_text() == (
        "kind,severity,number,file,advice\n"
        f"exact-duplicate,high,1,{names[0]},'=keep one\n"
        f"exact-duplicate,high,1,{names[2]},'=keep one\n"
        f'likely-mislabelled,medium,2,"{names[1]}","labelled bee, looks like ant (given label: 25%): look at it."\n'
        "imbalance,low,3,,add some\n"
    )
    assert paths[2].read_text() == (
        f'file,label,suggested,probability,probability_wrong\n"{names[1]}",bee,ant,0.250000,0.625000\n'
    )


def test_tables_of_photos_without_labels_have_only_their_columns(tmp_path: Path) -> None:
    photos = photos_at(tmp_path, ["a.jpg", "b.jpg"], [0, 1])
    nothing = Audit(photos, (), (), None, None, (), None, line(2), ("no labels were looked at: there are none",))
    page, findings, labels = write_audit_report(nothing, tmp_path / "out")
    assert findings.read_text() == "kind,severity,number,file,advice\n"
    assert labels.read_text() == "file,label,suggested,probability,probability_wrong\n"
    assert "Nothing was found." in Page(page.read_text()).text
    assert "no labels were looked at: there are none" in Page(page.read_text()).text


def test_no_relative_path_starts_a_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos = photos_at(Path(), ["=1+1.jpg", "b.jpg"], [0, 1])
    paths = write_audit_report(audit_of(photos, [0], line(2)), Path("out"))
    for path in paths[1:]:
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        assert [row["file"] for row in rows] == ["./=1+1.jpg"]


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)<script>.jpg",
        '" onerror="alert(1).jpg',
        "a\x1b[2J\u202eb\n.jpg",
        "caf\udce9.jpg",
        "{{ 7 * 7 }}.jpg",
    ],
)
def test_whatever_files_are_called_the_page_stays_one(tmp_path: Path, name: str) -> None:
    photos = photos_at(tmp_path / "photos", [name, "b.jpg", "c.jpg"], [0, 1, 0])
    (page, *_) = write_audit_report(audit_of(photos, [0], line(3)), tmp_path / "out")
    read = Page(page.read_text(encoding="utf-8"))
    assert not read.all("script")
    assert not any(key.startswith("on") for _, attributes in read.tags for key in attributes)
    assert "\x1b" not in read.text
    assert "\u202e" not in read.text
    if "7" in name:
        assert name in read.text


def test_the_page_asks_for_nothing(tmp_path: Path) -> None:
    photos = photos_at(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], [0, 1, 0])
    text = render(audit_of(photos, [0], line(3)))
    read = Page(text)
    assert 'src="http' not in text
    assert "url(" not in text
    # the doubtful photo, and the nearest of each class
    assert len(read.all("img")) == 3
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") and image["alt"] for image in read.all("img"))
    policy = next(meta for meta in read.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")
    anchors = {f"#{tag['id']}" for tag in read.all("h2")}
    assert {link["href"] for link in read.all("a")} <= anchors


def test_sixty_labels_are_shown_and_the_rest_is_counted(tmp_path: Path) -> None:
    photos = photos_at(tmp_path, [f"{n}.jpg" for n in range(70)], [n % 2 for n in range(70)])
    read = Page(render(audit_of(photos, range(63), line(70))))
    assert sum(tag.get("class") == "suspect" for tag in read.all("div")) == 60
    assert "3 more photos are in likely-mislabelled.csv." in read.text
    # 20 photos of 62.5 % each
    assert "Of the first 20 likely wrong labels about 12 are expected to be wrong indeed; roughly" in read.text


def test_photos_that_cannot_be_decoded_are_boxes_with_the_reason(tmp_path: Path) -> None:
    photos = photos_at(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], [0, 1, 0])
    (tmp_path / "b.jpg").write_bytes(b"no photo")
    photos = replace(photos, unreadable={2: "the file is cut off"})
    names = photos.names(range(3))
    broken = Finding("unreadable", "medium", names[2:], "", more={"reasons": {names[2]: "the file is cut off"}})
    same = Finding("near-duplicate", "low", names, "")
    read = Page(render(audit_of(photos, [], line(3), [broken, same])))
    assert len(read.all("img")) == 1
    assert sum(tag.get("class") == "none" for tag in read.all("div")) == 2
    assert read.text.count("the file is cut off") == 2  # in the table, and in the box


def test_pages_have_a_limit_of_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_report, "_MOST", 2)
    photos = photos_at(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], [0, 0, 0])
    same = Finding("near-duplicate", "low", photos.names(range(3)), "")
    assert len(Page(render(audit_of(photos, [], line(3), [same]))).all("img")) == 2


def test_groups_across_splits_come_first_and_forty_are_shown(tmp_path: Path) -> None:
    photos = photos_at(tmp_path, [f"{n}.jpg" for n in range(4)], [0, 1, 0, 1])
    names = photos.names(range(4))
    copies = [Finding("exact-duplicate", "medium", names[:2], "") for _ in range(41)]
    copies.append(Finding("near-duplicate", "high", names[2:], "", ("splits", "classes")))
    read = Page(render(audit_of(photos, [], line(4), copies)))
    assert read.text.index("One picture, in several splits and several classes") < read.text.index("Equal photos")
    assert read.text.count("Equal photos") == 39
    assert "2 more groups are in findings.csv." in read.text


def test_shortcuts_show_photos_with_and_without(tmp_path: Path) -> None:
    photos = photos_at(tmp_path, [f"{n}.jpg" for n in range(20)], [0] * 10 + [1] * 10)
    found = audit_of(photos, [], line(20))
    assert found.answers is not None
    cue = Cue("camera", True, (Names(np.array(["x"] * 20, dtype=object), str),))
    has = np.arange(20) < 8
    score = CueScore(cue, 0.9, (0.8, 0.95), 0.5, Giveaway(0, "were taken with X", has, 0.8, 0.0, clear=True))
    findings = shortcut_findings(photos, found.answers, [score])
    read = Page(render(replace(found, findings=tuple(findings), cues=(score,))))
    assert "Class ant: 80% were taken with X, of the others none." in read.text
    assert "Photos of ant that have it: 6 of 8" in read.text
    assert "Photos of other classes that do not: 6 of 10" in read.text
    assert len(read.all("img")) == 12
    assert "Camera90 %80 to 95 %" in read.text
    nothing = Page(render(replace(found, cues=(replace(score, giveaway=None),))))
    assert "Whoever guesses is right in 50 %." in nothing.text
    assert "None of them is far above that." in nothing.text


def test_effects_say_whether_they_may_be_chance(tmp_path: Path) -> None:
    photos = photos_at(tmp_path, ["a.jpg", "b.jpg"], [0, 1])
    effects = (
        Effect("near-duplicate", "on both sides", "on one side", 200, 0.95, 0.9, -0.05, (-0.08, -0.02)),
        Effect("likely-mislabelled", "all", "fewer", 100, 0.9, 0.91, 0.01, (-0.01, 0.03)),
    )
    read = Page(render(replace(audit_of(photos, [], line(2)), effects=effects)))
    assert (
        "95.0 %on both sides90.0 %on one side\u22125.0 points\u22128.0 to \u22122.0The first figure is too good."
        in read.text
    )
    assert "+1.0 points\u22121.0 to +3.0No clear change: it may be chance." in read.text


@pytest.mark.slow
@pytest.mark.browser
def test_in_a_browser(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    photos = photos_at(tmp_path / "photos", [f"{'long_name_' * 8}{n}.jpg" for n in range(12)], [0] * 6 + [1] * 6)
    copies = Finding("exact-duplicate", "high", photos.names(range(6)), "keep one", ("splits",))
    (page, *_) = write_audit_report(audit_of(photos, [0, 7], line(12), [copies]), tmp_path / "out")
    heard: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 800})
        tab.on("console", lambda message: heard.append(message.text))
        tab.goto(page.as_uri())
        assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
    assert heard == []


def test_thumbnails_are_small_whatever_their_shape(tmp_path: Path) -> None:
    photos = photos_at(tmp_path, ["a.jpg", "b.jpg"], [0, 1])
    Image.new("RGB", (800, 200)).save(tmp_path / "a.jpg")  # four times as wide as high: 160 x 40
    Image.new("RGB", (300, 600)).save(tmp_path / "b.jpg")  # twice as high as wide: 56 x 112
    found = thumbnails(photos, [0, 1, 0])
    sizes = []
    for place in (0, 1):
        data = base64.b64decode(found[place].uri.partition("base64,")[2])
        sizes.append(Image.open(io.BytesIO(data)).size)
    assert sizes == [(160, 40), (56, 112)]
