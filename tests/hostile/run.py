"""Feeds hostile inputs to regraft in a process of its own: `python -m tests.hostile.run FAMILY FOLDER [LIMIT]`.

What the process needs is imported before it is watched. Prints one JSON object: see `watching.Log.report`.
"""

import importlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

FAMILIES = {  # by module and function, imported when it is asked for
    "images": ("tests.hostile.families", "images"),
    "bundles": ("tests.hostile.families", "bundles"),
    "configs": ("tests.hostile.families", "configs"),
    "caches": ("tests.hostile.caching", "damaged_caches"),
    "costly": ("tests.hostile.costly", "show"),
    "breaches": ("tests.hostile.breaches", "breaches"),
}
LIMIT = 10.0  # seconds for an input


def main(family: str, folder: Path, limit: float) -> dict[str, Any]:
    """Return what came of the inputs of `family` in `folder`."""
    warnings.simplefilter("ignore")  # of Pillow, for what it then refuses
    os.environ["REGRAFT_CACHE"] = str(folder / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    module, function = FAMILIES[family]
    found: dict[str, Any] = getattr(importlib.import_module(module), function)(folder, limit)
    return found


if __name__ == "__main__":
    limit = float(sys.argv[3]) if len(sys.argv) > 3 else LIMIT
    sys.stdout.write(json.dumps(main(sys.argv[1], Path(sys.argv[2]), limit)) + "\n")
