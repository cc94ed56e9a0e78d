"""Packages that not every installation has: which of regraft's extras brings each, and what is said where one lacks."""

import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from regraft.errors import MissingPackageError, printable
from regraft.runtime import is_installed

EXTRAS = {  # by the module that is imported: its package and the extra that brings it
    "aiohttp": ("aiohttp", "storage"),
    "fastapi": ("fastapi", "serve"),
    "fastapi_offline": ("fastapi-offline", "serve"),
    "fsspec": ("fsspec", "storage"),
    "gcsfs": ("gcsfs", "gcs"),
    "huggingface_hub": ("huggingface-hub", "hub"),
    "jinja2": ("jinja2", "train"),
    "markupsafe": ("markupsafe", "train"),
    "matplotlib": ("matplotlib", "train"),
    "mlflow": ("mlflow", "mlflow"),
    "nncf": ("nncf", "int8"),
    "onnx": ("onnx", "export"),
    "onnxruntime": ("onnxruntime", "export"),
    "onnxscript": ("onnxscript", "export"),
    "pandas": ("pandas", "train"),
    "peft": ("peft", "lora"),
    "pillow_heif": ("pillow-heif", "heif"),
    "prometheus_client": ("prometheus-client", "serve"),
    "pydantic": ("pydantic", "serve"),
    "python_multipart": ("python-multipart", "serve"),
    "ray": ("ray", "cluster"),
    "s3fs": ("s3fs", "storage"),
    "starlette": ("starlette", "serve"),
    "tenacity": ("tenacity", "storage"),
    "timm": ("timm", "train"),
    "torch": ("torch", "train"),
    "torchvision": ("torchvision", "train"),
    "uvicorn": ("uvicorn", "serve"),
}


def check_installed(module: str, user: str) -> None:
    """Raise `MissingPackageError` if a module of `EXTRAS` cannot be imported.

    Args:
        module: one of `EXTRAS`.
        user: what needs it, as the user knows it.
    """
    if not is_installed(module):
        raise MissingPackageError(_missing(module, user))


@contextmanager
def missing_packages_named(user: str) -> Iterator[None]:
    """Let a package that is missing in this block, or in a function that this decorates, end with the remedy.

    Modules that no extra brings, and parts that an installed package lacks, keep Python's own error.

    Args:
        user: what needs it, as the user knows it: "regraft fit".

    Raises:
        MissingPackageError: a module of `EXTRAS` was imported and is not installed, or cannot be imported here.
    """
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        name = error.name if isinstance(error, ImportError) else None
        left_over = name in EXTRAS and not is_installed(name)  # of a package that was removed by halves
        if name in EXTRAS and (isinstance(error, ModuleNotFoundError) or left_over):
            raise MissingPackageError(_missing(name, user)) from None
        broken = _broken(error)
        if broken is None:
            raise
        reason = textwrap.shorten(printable(str(error).strip() or type(error).__name__), 200, placeholder=" ...")
        package = EXTRAS[broken][0]
        raise MissingPackageError(
            f"{user} needs the package {package}, which is installed but cannot be imported ({reason.rstrip('.')}). "
            f"Remove and install it: pip uninstall {package} && {install_command(broken)}"
        ) from None


def _broken(error: BaseException) -> str | None:
    """Return the module of `EXTRAS` in whose import an error arose: the innermost; None where it arose elsewhere."""
    found = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and module in EXTRAS:
            found = module
    return found


def install_command(module: str) -> str:
    """Return what a user types to get a module of `EXTRAS`.

    >>> install_command("torch")
    "pip install 'regraft[train]'"
    """
    return f"pip install 'regraft[{EXTRAS[module][1]}]'"


def _missing(module: str, user: str) -> str:
    return f"{user} needs the package {EXTRAS[module][0]}, which is not installed: {install_command(module)}"
