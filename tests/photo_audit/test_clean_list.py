"""The table of what to keep: read back, and learned from."""

import csv
import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.photo_audit.conftest import Found, audited, classes, save, tinted
from tests.photo_audit.made import made

from regraft.data.columns import Columns
from regraft.data.findings import Finding
from regraft.data.layouts import find_samples
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, OutputError
from regraft.features.embedding import Embedder
from regraft.networks.backbones import load_backbone
from regraft.photo_audit.audit import Audit
from regraft.photo_audit.clean_list import check_clean_list, write_clean_list
from regraft.photo_audit.photos import AuditPhotos, find_audit_photos
from regraft.transfer.fit import fit
from regraft.transfer.settings import FitSettings

FROZEN = FitSettings(strategy="frozen")


def audit_of(photos: AuditPhotos, *findings: Finding) -> Audit:
    return Audit(photos, findings, (), None, None, (), None, np.zeros((len(photos), 1)), ())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_is_kept_is_read_back(faulty: Found, tmp_path: Path) -> None:
    table = tmp_path / "clean.csv"
    kept = write_clean_list(faulty.audit, table)
    rows = rows_of(table)
    # left out: the broken photo, both of the contradiction, train's copy of val's photo, and that of the test split's
    gone = {"day/broken.jpg", "day/5.jpg", "night/contradiction.jpg", "day/3.jpg", "night/4.jpg"}
    assert kept == len(rows) == len(faulty.audit.photos) - 5
    samples = find_samples(table, splits=("train", "validation", "test"))
    for split, folder in (("train", "train"), ("validation", "val"), ("test", "test")):
        found = samples[split]
        assert found.classes == ("day", "night")
        names = {
            f"{found.classes[label]}/{Path(str(source)).name}"
            for source, label in zip(found.sources, found.labels.tolist(), strict=True)
        }
        there = {
            path.relative_to(faulty.folder / folder).as_posix() for path in (faulty.folder / folder).rglob("*.jpg")
        }
        assert names == (there - gone if split == "train" else there)
        assert all(Path(str(source)).is_absolute() for source in found.sources)
        assert found.groups is None


def test_likely_wrong_labels_stay_and_are_named(faulty: Found, tmp_path: Path) -> None:
    write_clean_list(faulty.audit, tmp_path / "clean.csv")
    notes = {row["image"]: row["finding"] for row in rows_of(tmp_path / "clean.csv")}
    assert notes[str(faulty.folder / "train/day/wrong2.jpg")] == "likely night"
    named = {one.files[0] for one in faulty.audit.of("likely-mislabelled")}
    assert {image for image, note in notes.items() if note} == named & notes.keys()


def test_groups_are_read_back_by_the_column_group(tmp_path: Path) -> None:
    folder = classes(tmp_path / "photos", 3)
    groups = ["p1", "p1", None, "p2", "p2", "NA,1"]
    found = find_audit_photos(folder)
    photos = dataclasses.replace(found, groups=tuple(groups), keys=tuple(b"%d" % k for k in range(6)))
    assert write_clean_list(audit_of(photos), tmp_path / "clean.csv") == 6
    assert list(rows_of(tmp_path / "clean.csv")[0]) == ["image", "label", "group", "finding"]
    (samples,) = find_samples(tmp_path / "clean.csv", Columns(group="group")).values()
    assert samples.groups is not None
    names = [samples.group_names[n] if n < len(samples.group_names) else None for n in samples.groups.tolist()]
    by_name = dict(zip(map(str, samples.sources), names, strict=True))
    assert [by_name[str(source.absolute())] for source in found.sources] == groups  # type: ignore[union-attr]


def test_photos_without_a_label_are_left_out_and_without_a_split_are_trained_on(tmp_path: Path) -> None:
    photos = made([0, 1, -1, 1], splits=[None, "validation", "test", "train"])
    assert write_clean_list(audit_of(photos), tmp_path / "clean.csv") == 3
    assert [(row["label"], row["split"]) for row in rows_of(tmp_path / "clean.csv")] == [
        ("a", "train"),
        ("b", "validation"),
        ("b", "train"),
    ]
    nothing = made([-1, -1])
    assert write_clean_list(audit_of(nothing), tmp_path / "empty.csv") == 0
    assert (tmp_path / "empty.csv").read_text() == "image,label,finding\n"


HOSTILE = [
    "a,b.jpg",
    'say "a".jpg',
    "two\nlines.jpg",
    "=1+1.jpg",
    "+1.jpg",
    "@a.jpg",
    "ü 猫.jpg",
    "cr\rhere.jpg",
    "'x'.jpg",
    " blank .jpg",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_exact(name: str, tmp_path: Path) -> None:
    folder = classes(tmp_path / "photos", 2)
    shutil.copy(folder / "day" / "0.jpg", folder / "night" / name)
    label = '=cat,"1"'
    (folder / "night").rename(folder / label)
    photos = find_audit_photos(folder)
    photos = dataclasses.replace(photos, keys=tuple(b"%d" % k for k in range(5)))
    assert write_clean_list(audit_of(photos), tmp_path / "clean.csv") == 5
    (samples,) = find_samples(tmp_path / "clean.csv").values()
    assert set(samples.classes) == {"day", label}
    found = {Path(str(source)): samples.classes[k] for source, k in zip(samples.sources, samples.labels, strict=True)}
    assert found[folder / label / name] == label
    assert set(found) == set(folder.rglob("*.jpg"))


def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    folder = classes(tmp_path / "photos", 2)
    shutil.copy(folder / "day" / "0.jpg", folder / "night" / os.fsdecode(b"\xe9.jpg"))
    photos = dataclasses.replace(find_audit_photos(folder), keys=tuple(b"%d" % k for k in range(5)))
    with pytest.raises(OptionError, match="names that are no UTF-8 cannot stand in a table"):
        check_clean_list(photos, tmp_path / "clean.csv")
    assert not (tmp_path / "clean.csv").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]  # nor what it was written into


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_clean_list(audit_of(made([0, 1])), tmp_path / "nowhere" / "clean.csv")


def test_paths_are_those_of_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path / "photos", 1)
    monkeypatch.chdir(tmp_path)
    photos = dataclasses.replace(find_audit_photos("photos"), keys=(b"1", b"2"))
    (tmp_path / "elsewhere").mkdir()
    write_clean_list(audit_of(photos), tmp_path / "elsewhere" / "clean.csv")
    assert {row["image"] for row in rows_of(tmp_path / "elsewhere" / "clean.csv")} == {
        str(path) for path in (tmp_path / "photos").rglob("*.jpg")
    }


def test_only_a_table_of_files_can_be_written(tmp_path: Path) -> None:
    photos = made([0, 1])
    check_clean_list(photos, Path("a.CSV"))
    for name in ("clean.txt", "clean", "clean.csv.gz"):
        with pytest.raises(OptionError, match=r"must end in \.csv"):
            check_clean_list(photos, Path(name))


def test_photos_without_labels_are_no_training_data() -> None:
    with pytest.raises(OptionError, match="writes a table of photos and their labels, and made has none"):
        check_clean_list(made([-1, -1]), Path("clean.csv"))


def test_photos_in_a_table_have_no_names_that_another_table_could_give(tmp_path: Path) -> None:
    import pandas as pd

    data = save(tinted(0, "day"), tmp_path / "x.jpg").read_bytes()
    rows = [{"image": {"bytes": data, "path": None}, "label": f"c{k % 2}"} for k in range(4)]
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    photos = find_audit_photos(tmp_path / "t.parquet")
    with pytest.raises(OptionError, match="lie inside a table"):
        check_clean_list(photos, tmp_path / "clean.csv")


@pytest.mark.slow
def test_fit_learns_from_it(tmp_path: Path, pocket: Embedder) -> None:
    folder = classes(tmp_path / "photos", 10)
    shutil.copy(folder / "day" / "0.jpg", folder / "night" / "contradiction.jpg")
    compute = Compute(device="cpu", engine="torch-float32", cache=False)
    with pytest.raises(DataError):
        fit(find_samples(folder), lambda: load_backbone("pocket"), model="pocket", settings=FROZEN, compute=compute)
    found = audited(folder, pocket)
    assert write_clean_list(found.audit, tmp_path / "clean.csv") == 19
    splits = find_samples(tmp_path / "clean.csv")
    result = fit(splits, lambda: load_backbone("pocket"), model="pocket", settings=FROZEN, compute=compute)
    assert result.report.n == 19
    assert result.classifier.classes == ("day", "night")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cat", "nan"], "read as if these classes were no value: 'nan'"),
        (["cat", "dog", "cat and dog"], "several labels"),
    ],
)
def test_classes_that_no_table_would_give_back(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        for place in range(2):
            save(tinted(place, "day"), tmp_path / name / f"{place}.jpg")
    with pytest.raises(OptionError, match=r"^write_clean") as error:
        check_clean_list(find_audit_photos(tmp_path), tmp_path / "clean.csv")
    assert said in str(error.value)


def test_a_line_end_within_a_name_is_kept(tmp_path: Path) -> None:
    for name in ("a\rb.jpg", "c.jpg"):
        for label in ("day", "night"):
            save(tinted(len(name), label), tmp_path / "photos" / label / name)
    photos = dataclasses.replace(find_audit_photos(tmp_path / "photos"), keys=tuple(b"%d" % k for k in range(4)))
    assert write_clean_list(audit_of(photos), tmp_path / "clean.csv") == 4
    found = find_samples(tmp_path / "clean.csv")["train"]
    assert sorted(map(str, found.sources)) == sorted(map(str, photos.sources))
