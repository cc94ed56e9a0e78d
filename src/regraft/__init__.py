"""Transfer learning for images. The public names are listed in `__init__.pyi` and imported on first use."""

import os
from importlib.metadata import version

import lazy_loader

from regraft.extras import missing_packages_named

# MKL, which multiplies for PyTorch on x86, else adds up what its threads found in the order in which they end: the same
# training of a batch of one photo gives other bits now and then. It reads this at its first product.
# (Developer Guide for Intel oneMKL, "Conditional Numerical Reproducibility".)
os.environ.setdefault("MKL_CBWR", "AUTO")

_import_on_first_use, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version(__name__)
    with missing_packages_named(f"{__name__}.{name}"):
        return _import_on_first_use(name)
