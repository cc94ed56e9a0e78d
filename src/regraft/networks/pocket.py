"""The pocket network: a small pretrained network inside the package, for whoever has no connection."""

from importlib.resources import files
from pathlib import Path

POCKET = "pocket"


def pocket_folder() -> Path:
    """Return the folder of its config.json, weights and card."""
    return Path(str(files("regraft"))) / POCKET
