"""Commands on photos in a store: the same files and answers as of a folder, and no secret in any output."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.fixtures.stores import Bucket, Faults, Proxy
from tests.test_extras import without
from typer.testing import Result

Photos = Callable[..., Path]
Run = Callable[..., Result]
Fails = Callable[..., str]
Copy = Callable[[Path, str], str]
KEY, SECRET = "AKIAOFATEST", "the-secret-of-a-test"  # those of the fixture `bucket`


@pytest.fixture
def data(photos: Photos) -> Path:
    """Return a folder of training and test photos."""
    photos("data/test", first_seed=500, red=3, blue=3)
    return photos("data/train", red=12, blue=12).parent


def written_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def check_no_secret(folder: Path, *results: Result) -> None:
    for done in results:
        assert SECRET not in done.output
        assert KEY not in done.output
    for path in written_below(folder):
        held = path.read_bytes()
        assert SECRET.encode() not in held, path
        assert KEY.encode() not in held, path


@pytest.mark.slow
def test_a_classifier_of_a_bucket_is_that_of_the_folder(
    run: Run, bucket: Bucket, data: Path, tiny_network: str, tmp_path: Path
) -> None:
    """Byte for byte, with caches of their own, and with photos that the store first refuses to give."""
    url = bucket.upload(data, "data")
    options = ("--model", tiny_network, "--strategy", "frozen")
    local = run("fit", data, *options, "--out", "local.safetensors")
    (tmp_path / "cache").rename(tmp_path / "first-cache")
    bucket.proxy.fault = Faults("cut", r"/[05]\.jpg", times=1)
    remote = run("fit", url, *options, "--out", "remote.safetensors", "--predictions", "held-out.csv")
    assert (local.exit_code, remote.exit_code) == (0, 0), remote.output
    assert (tmp_path / "remote.safetensors").read_bytes() == (tmp_path / "local.safetensors").read_bytes()
    assert pd.read_csv(tmp_path / "held-out.csv")["file"][0] == f"{url}/train/blue/0.jpg"
    assert bucket.proxy.asked(r"data/train/.*\.jpg") == 24 + 2 * 2  # each once; 0.jpg and 5.jpg of two classes twice
    assert bucket.proxy.asked(r"data/test/.*\.jpg") == 0
    said = remote.stderr
    assert f"regraft evaluate remote.safetensors {url}\n" in said
    assert f"regraft predict remote.safetensors {url}/train/blue/0.jpg" in said

    first = run("predict", "local.safetensors", data / "test", "--format", "csv")
    second = run("predict", "local.safetensors", f"{url}/test", "--format", "csv")
    assert second.stdout == first.stdout.replace(str(data), url)
    first, second = (run("evaluate", "local.safetensors", place, "--json") for place in (data, url))
    figures, others = json.loads(first.stdout), json.loads(second.stdout)
    assert figures["accuracy"] == others["accuracy"]
    assert figures["confusion"] == others["confusion"]
    check_no_secret(tmp_path, remote, second)


@pytest.mark.slow
def test_features_of_a_bucket_are_those_of_the_folder(
    run: Run, bucket: Bucket, data: Path, tiny_network: str, tmp_path: Path
) -> None:
    url = bucket.upload(data, "data")
    assert run("embed", data, "--model", tiny_network, "--out", "local.parquet").exit_code == 0
    (tmp_path / "cache").rename(tmp_path / "first-cache")
    done = run("embed", url, "--model", tiny_network, "--out", "remote.parquet")
    local, remote = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("local", "remote"))
    assert [path.replace(str(data), url) for path in local["path"]] == remote["path"].tolist()
    assert (local["features"].map(tuple) == remote["features"].map(tuple)).all()
    assert local["split"].tolist() == remote["split"].tolist()
    check_no_secret(tmp_path, done)


@pytest.mark.slow
def test_an_audit_of_a_bucket_writes_a_table_that_fit_reads(
    run: Run, bucket: Bucket, data: Path, tiny_network: str, tmp_path: Path
) -> None:
    (data / "train" / "red" / "99.jpg").write_bytes((data / "train" / "red" / "0.jpg").read_bytes())
    (data / "train" / "red" / "98.jpg").write_bytes(b"no photo")
    url = bucket.upload(data, "data")
    options = ("--model", tiny_network)
    done = run("audit", url, *options, "--report", "audit", "--write-clean", "clean.csv")
    assert done.exit_code == 0, done.output
    kept = pd.read_csv(tmp_path / "clean.csv")
    assert len(kept) == 30
    assert kept["image"].str.startswith(f"{url}/").all()
    assert f"{url}/train/red/98.jpg" in done.output
    fitted = run("fit", "clean.csv", "--image-root", url, *options, "--strategy", "frozen")
    assert fitted.exit_code == 0, fitted.output
    check_no_secret(tmp_path, done, fitted)


@pytest.mark.slow
def test_a_photo_that_cannot_be_read_is_named_in_its_row(
    run: Run, bundle: Path, bucket: Bucket, data: Path, tmp_path: Path
) -> None:
    url = bucket.upload(data / "test", "test")
    bucket.proxy.fault = Faults("403", r"red/1\.jpg", times=99)
    done = run("predict", bundle, url, "--out", "answers.csv")
    assert done.exit_code == 3
    assert f"unreadable: {url}/red/1.jpg: no permission (403)" in done.stderr
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert answers["error"].isna().tolist() == [True] * 4 + [False, True]


@pytest.mark.slow
def test_a_store_that_is_gone_ends_in_one_sentence(fails: Fails, bundle: Path, bucket: Bucket, data: Path) -> None:
    url = bucket.upload(data / "train", "train")
    bucket.proxy.fault = lambda method, path: "503" if path.endswith(".jpg") and method == "GET" else None
    message = fails("predict", bundle, url)
    assert message.startswith("error: the store of s3://pets does not answer: ")
    assert message.count("\n") == 1


def test_refusals_are_one_sentence(fails: Fails, bundle: Path, bucket: Bucket) -> None:
    bucket.proxy.fault = lambda *_: "403"
    for command in (("predict", bundle), ("embed",)):
        message = fails(*command, "s3://pets/data")
        assert message.startswith("error: s3://pets/data: the store of s3://pets refuses access: no permission (403).")
        assert message.count("\n") == 1


@pytest.mark.parametrize(
    "address",
    ["s3://AKIA:hunter2@pets/data", "https://me:hunter2@example.org/a.csv", "https://example.org/a.csv?sig=hunter2"],
)
@pytest.mark.parametrize(
    "words",
    [
        ("fit", "{}"),
        ("compare", "{}"),
        ("pretrain", "{}", "--arch", "resnet18"),
        ("evaluate", "{bundle}", "{}"),
        ("predict", "{bundle}", "{}"),
        ("audit", "{}"),
        ("audit", "{bundle}", "{}"),
        ("embed", "{}"),
        ("similar", "a.jpg", "{}"),
        ("similar", "{}", "photos"),
        ("group", "{}", "--out", "a.csv"),
        ("suggest", "{bundle}", "{}"),
        ("explain", "{bundle}", "{}"),
        ("export", "{bundle}", "--to", "openvino", "--check", "{}"),
        ("serve", "{bundle}", "--review", "{}"),
        ("fit", "photos", "--labels", "{}"),
        ("fit", "labels.csv", "--image-root", "{}"),
        ("fit", "photos", "--out", "{}"),
        ("fit", "photos", "--report", "{}"),
        ("fit", "photos", "--predictions", "{}"),
        ("evaluate", "{bundle}", "photos", "--out", "{}"),
        ("embed", "photos", "--out", "{}"),
        ("audit", "photos", "--write-clean", "{}"),
        ("predict", "{bundle}", "photos", "--out", "{}"),
    ],
    ids=" ".join,
)
def test_no_command_repeats_a_secret(
    run: Run, photos: Photos, tmp_path: Path, words: tuple[str, ...], address: str
) -> None:
    folder = photos("photos", red=2, blue=2)
    (tmp_path / "labels.csv").write_text("image,label\nred/0.jpg,r\nblue/0.jpg,b\n")
    (tmp_path / "a.jpg").write_bytes((folder / "red" / "0.jpg").read_bytes())
    bundle = tmp_path / "a.safetensors"
    bundle.write_bytes(b"no classifier: nothing gets as far")
    done = run(*(word.format(address, bundle=bundle) for word in words))
    assert done.exit_code in (1, 2), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert "hunter2" not in done.output
    assert "AKIA" not in done.output
    assert "Traceback" not in done.output


def test_a_table_of_signed_addresses_is_not_repeated(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,label\nhttps://example.org/1.jpg?sig=hunter2,r\n")
    message = fails("fit", "labels.csv")
    assert "line 2: 'https://...' is an address in the web; photos are not downloaded" in message
    assert "hunter2" not in message


def test_results_are_written_on_this_machine(run: Run, fails: Fails, photos: Photos) -> None:
    folder = photos(red=2, blue=2)
    message = "is an address in a store, and results are written on this machine. Name a path."
    assert fails("fit", folder, "--report", "s3://pets/result") == f"error: --report {message}\n"
    done = run("fit", folder, "--out", "s3://pets/result.safetensors")
    assert done.exit_code == 2
    assert f"the file {message}" in " ".join(done.stderr.replace("\u2502", " ").split())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "address", "package", "extra"),
    [
        ("s3fs", "s3://pets", "s3fs", "storage"),
        ("tenacity", "s3://pets", "tenacity", "storage"),
        ("aiohttp", "https://example.org/a.csv", "aiohttp", "storage"),
        ("gcsfs", "gs://pets", "gcsfs", "gcs"),
        ("huggingface_hub", "hf://datasets/owner/pets", "huggingface-hub", "hub"),
    ],
)
def test_a_missing_package_is_named(module: str, address: str, package: str, extra: str) -> None:
    done = without({module}, "from regraft.cli.main import run\nrun()", "embed", address)
    scheme = address.partition(":")[0]
    assert done.stderr == (
        f"error: what lies at {scheme}:// needs the package {package}, which is not installed: pip install "
        f"'regraft[{extra}]'\n"
    )
    assert done.returncode == 1


@pytest.mark.slow
def test_local_photos_are_read_without_any_of_it(photos: Photos, tiny_network: str, tmp_path: Path) -> None:
    """What opens stores is not imported where none is named."""
    code = (
        "import sys\nfrom regraft.cli.main import run\n"
        "try:\n    run()\nexcept SystemExit:\n"
        "    print(sorted({'fsspec', 's3fs', 'aiohttp', 'tenacity'} & set(sys.modules)))"
    )
    words = ["audit", str(photos(red=3, blue=3)), "--model", "pocket"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_photos_of_a_web_server(run: Run, bundle: Path, web: tuple[Path, Proxy], photos: Photos) -> None:
    folder, proxy = web
    photos("web", red=1, blue=1)
    local = run("predict", bundle, folder / "red" / "0.jpg", "--format", "csv")
    remote = run("predict", bundle, f"{proxy.url}/red/0.jpg", "--format", "csv")
    assert remote.stdout == local.stdout.replace(str(folder), proxy.url)


def test_tables_of_a_store(run: Run, bundle: Path, memory: Copy, photos: Photos) -> None:
    folder = photos("table", first_seed=70, red=2, blue=2)
    (folder / "labels.csv").write_text("image,label\nred/0.jpg,red\nblue/1.jpg,blue\n")
    url = memory(folder, "table")
    local = run("evaluate", bundle, folder / "labels.csv", "--json")
    remote = run("evaluate", bundle, f"{url}/labels.csv", "--json")
    figures, others = json.loads(local.stdout), json.loads(remote.stdout)
    assert figures["confusion"] == others["confusion"] == [[1, 0], [0, 1]]


def test_addresses_of_options_are_kept_to_the_letter(
    fails: Fails, tmp_path: Path, memory: Copy, photos: Photos
) -> None:
    """`pathlib` would make another folder of it, which is there."""
    url = memory(photos("pets", red=1, blue=1), "pets/in")
    (tmp_path / "labels.csv").write_text("image,label\nred/0.jpg,r\nblue/0.jpg,b\n")
    named = url.replace("/in", "//in")
    assert f"--image-root {named} is no folder" in fails("fit", "labels.csv", "--image-root", named)
