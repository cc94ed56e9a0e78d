"""Photos and networks for the benchmarks: the shared ones where they are, else made ones. All of it can be made again.

The folder that REGRAFT_SHARED names (default ../shared, as for the tests) holds `weights/` and `data/`.
"""

import functools
import io
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.record import progress

REPOSITORY = Path(__file__).parents[1]
MADE = REPOSITORY / "benchmarks" / ".data"  # git ignores it, `make clean` removes it
MOBILENET = "mobilenetv2_100"
_WEIGHTS = "mobilenetv2_100.tf_in1k"
_SIZE = (500, 375)  # of most photos of Dogs vs. Cats
_QUALITY = 70  # of made JPEGs: about 20 kB
_PER_FOLDER = 1000
_MADE_PHOTOS = 1000
_CAMERA = (2048, 1536)  # pixels
_CAMERA_PHOTOS, _CAMERA_QUALITY, _CAMERA_NOISE = 32, 85, 3.5  # levels of a sensor's noise


def shared() -> Path | None:
    """Return the folder of real photos and weights, None where there is none."""
    folder = Path(os.environ.get("REGRAFT_SHARED", REPOSITORY.parent / "shared")).expanduser()
    return folder.resolve() if (folder / "weights").is_dir() and (folder / "data").is_dir() else None


def dogs_and_cats() -> list[Path]:
    """Return the labelled photos of Dogs vs. Cats (cat.0.jpg ...), or as many made ones; their order mixes classes."""
    folder = shared()
    if folder is not None:
        found = sorted((folder / "data" / "dogs-vs-cats" / "train").glob("*.jpg"))
    else:
        found = _once(MADE / "photos", _make_photos)
    return [found[place] for place in np.random.default_rng(0).permutation(len(found))]


def some_photos(count: int) -> list[Path]:
    """Return `count` photos, some more than once where there are not as many."""
    photos = dogs_and_cats()
    return [photos[place % len(photos)] for place in range(count)]


def camera_photos() -> list[Path]:
    """Return 32 different photos of 3 megapixels as a camera writes them, made from two that scikit-learn brings."""
    return _once(MADE / "camera", _make_camera_photos)


def label(photo: Path) -> str:
    """Return the class that a photo's name carries: "cat" of cat.0.jpg."""
    return photo.name.partition(".")[0]


def network_folder() -> Path:
    """Return the folder of a MobileNetV2 in timm's format: pretrained, or of random weights where there are none."""
    folder = shared()
    if folder is not None and (folder / "weights" / _WEIGHTS).is_dir():
        return folder / "weights" / _WEIGHTS
    target = MADE / "networks" / MOBILENET
    _once(target, _make_network)
    return target


def network_name(network: str) -> str:
    """Return what timm is to build: a local folder for the MobileNetV2, else a plain name (random weights)."""
    return f"local-dir:{network_folder()}" if network == MOBILENET else network


def crops(count: int) -> Path:
    """Return a folder with `count` different photos of two classes: crops of the others, each about 20 kB.

    They are made once, in parts of 1,000; the folder for each count holds links to them.
    """
    parts = count // _PER_FOLDER
    sources = dogs_and_cats()
    missing = [part for part in range(parts) if not _marker(_part(part)).exists()]
    if missing:
        progress(f"making {len(missing) * _PER_FOLDER:,} photos from crops, once")
    with ProcessPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(functools.partial(_make_crops, sources), missing), start=1):
            if done % 5 == 0:
                progress(f"{done * _PER_FOLDER:,} photos made")
    folder = MADE / f"crops-{count}"
    for part in range(parts):
        for photo in _part(part).glob("*.jpg"):
            link = folder / label(photo) / photo.name
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.hardlink_to(photo)
    return folder


def link_flat(photos: Sequence[Path], target: Path) -> Path:
    """Link `photos` into the folder `target`; their names carry the labels."""
    target.mkdir(parents=True)
    for photo in photos:
        (target / photo.name).symlink_to(photo)
    return target


def link_split(photos: Sequence[Path], target: Path) -> Path:
    """Link `photos` into `train/` and `valid/` of class folders in `target`; every fifth one is held out."""
    for number, photo in enumerate(photos):
        link = target / ("train" if number % 5 else "valid") / label(photo) / photo.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo)
    return target


def _part(part: int) -> Path:
    return MADE / "crops" / f"{part:03d}"


def _marker(folder: Path) -> Path:
    return folder / "complete"


def _once(folder: Path, make: Callable[[Path], None]) -> list[Path]:
    if not _marker(folder).exists():
        folder.mkdir(parents=True, exist_ok=True)
        progress(f"making {folder.relative_to(REPOSITORY)}, once")
        make(folder)
        _marker(folder).touch()
    return sorted(folder.glob("*.jpg"))


def _make_photos(folder: Path) -> None:
    for number in range(_MADE_PHOTOS):
        generator = np.random.default_rng(number)
        name, tint = ("cat", (150, 120, 90)) if number % 2 else ("dog", (90, 120, 150))
        coarse = Image.fromarray(generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
            _SIZE, Image.Resampling.BICUBIC
        )
        pixels = 0.5 * np.asarray(coarse) + 0.5 * np.array(tint) + generator.normal(0, 4, (*_SIZE[::-1], 3))
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{name}.{number}.jpg", quality=_QUALITY)


def _make_camera_photos(folder: Path) -> None:
    from sklearn.datasets import load_sample_images

    scenes = [Image.fromarray(scene) for scene in load_sample_images().images]
    for number in range(_CAMERA_PHOTOS):
        generator = np.random.default_rng(number)
        scene = _crop(scenes[number % len(scenes)], generator).resize(_CAMERA, Image.Resampling.BICUBIC)
        noise = generator.normal(0, _CAMERA_NOISE, (*_CAMERA[::-1], 3))
        image = Image.fromarray((np.asarray(scene) + noise).clip(0, 255).astype(np.uint8))
        image.save(folder / f"{number:02d}.jpg", quality=_CAMERA_QUALITY)


def _make_network(folder: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network: Any = timm.create_model(MOBILENET, num_classes=1000)
    save_file(network.state_dict(), folder / "model.safetensors")
    names = ("input_size", "crop_pct", "mean", "std", "interpolation", "classifier")
    kept = {name: network.pretrained_cfg[name] for name in names}
    config = {"architecture": MOBILENET, "num_classes": 1000, "pretrained_cfg": {**kept, "num_classes": 1000}}
    (folder / "config.json").write_text(json.dumps(config))


def _make_crops(sources: list[Path], part: int) -> None:
    folder = _part(part)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(part * _PER_FOLDER, (part + 1) * _PER_FOLDER):
        source = sources[number % len(sources)]
        with Image.open(source) as image:
            crop = _crop(image.convert("RGB"), np.random.default_rng(number))
        encoded = io.BytesIO()
        crop.save(encoded, "JPEG", quality=_QUALITY)
        (folder / f"{label(source)}.{number}.jpg").write_bytes(encoded.getvalue())
    _marker(folder).touch()


def _crop(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    share = generator.uniform(0.6, 0.95)
    width, height = (max(1, int(side * share)) for side in image.size)
    left, upper = (
        int(generator.integers(0, side - kept + 1)) for side, kept in zip(image.size, (width, height), strict=True)
    )
    return image.resize(_SIZE, Image.Resampling.BILINEAR, box=(left, upper, left + width, upper + height))
