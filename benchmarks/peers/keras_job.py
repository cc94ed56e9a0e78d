"""One frozen epoch with validation by Keras, as its guide to transfer learning does it, with random weights.

    python keras_job.py FOLDER OUT

FOLDER holds `train/` and `valid/` of class folders; OUT is the file that the model is saved to. Keras downloads its
weights from where a benchmark may not reach: these are random, which is no slower and no faster.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras

SIZE = (224, 224)


def main(folder: Path, out: Path) -> None:
    """Train and print one JSON object."""
    started = time.perf_counter()
    keras.utils.set_random_seed(0)
    train, valid = (
        keras.utils.image_dataset_from_directory(folder / name, image_size=SIZE, batch_size=32, verbose=False)
        for name in ("train", "valid")
    )
    body = keras.applications.MobileNetV2(input_shape=(*SIZE, 3), include_top=False, weights=None)
    body.trainable = False
    pixels = keras.Input(shape=(*SIZE, 3))
    values = body(keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels), training=False)
    pooled = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(values))
    model = keras.Model(pixels, keras.layers.Dense(len(train.class_names), activation="softmax")(pooled))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, validation_data=valid, epochs=1, verbose=0)
    model.save(out)
    now = {"inner": time.perf_counter() - started, "wall": time.time() - float(os.environ["BENCHMARK_STARTED"])}
    told = {"epochs": [now], "versions": {name: version(name) for name in ("keras", "tensorflow-cpu")}}
    print(json.dumps(told))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
