"""Embed and fit by hand: timm's network, a DataLoader, scikit-learn's logistic regression with five folds.

    python by_hand.py NETWORK FOLDER OUT

FOLDER holds `train/` and `valid/` of class folders; OUT is the file that the classifier is pickled to.
"""

import json
import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder


def main(network: str, folder: Path, out: Path) -> None:
    """Embed all photos, evaluate by five folds and on the photos held out, and print one JSON object."""
    started = time.perf_counter()
    module = timm.create_model(network, pretrained=True, num_classes=0).eval()
    transform = create_transform(**resolve_model_data_config(module))  # type: ignore[no-untyped-call]
    features, labels = {}, {}
    for name in ("train", "valid"):
        photos = ImageFolder(str(folder / name), transform)
        with torch.inference_mode():
            rows = [module(pixels) for pixels, _ in DataLoader(photos, batch_size=32, num_workers=2)]
        features[name], labels[name] = torch.cat(rows).numpy(), np.array(photos.targets)
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    held_out = head.fit(features["train"], labels["train"]).score(features["valid"], labels["valid"])
    everything, truth = np.concatenate(list(features.values())), np.concatenate(list(labels.values()))
    folds = cross_val_score(head, everything, truth, cv=5)
    out.write_bytes(pickle.dumps(head.fit(everything, truth)))
    now = {"inner": time.perf_counter() - started, "wall": time.time() - float(os.environ["BENCHMARK_STARTED"])}
    print(json.dumps({"epochs": [{"accuracy": float(held_out), **now}], "folds": float(np.mean(folds))}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
