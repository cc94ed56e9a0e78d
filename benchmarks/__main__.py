"""Run the benchmarks: `python -m benchmarks [NAME ...]`."""

import argparse
import importlib
import traceback
from pathlib import Path

from benchmarks.environments import NoEnvironmentError
from benchmarks.job import NoPhotosError
from benchmarks.material import REPOSITORY, shared
from benchmarks.record import progress

BENCHMARKS = {  # module: what it measures; the longest last
    "features": "photo files to features, against plain loops and the bound",
    "heads": "the last layer on 50,000 photos of 100 classes: time and memory",
    "conformal": "do sets with a stated coverage hold it, and is what is unlike the training photos marked",
    "near_duplicates": "close pairs among the hashes of up to a million photos: time, memory, share found",
    "decisions": "does a goal hold on photos that were held back from the beginning",
    "depths": "features of several depths: what they cost, and give on six sets of real photos",
    "test_views": "means over mirror images and corners of a photo: what they give and cost",
    "int8": "is OpenVINO in int8 worth an engine: speed, agreement, accuracy of last layers (needs nncf)",
    "exports": "do exported files answer as the classifier does, from the bytes of photos on",
    "same_answers": "do the server, the command and the exported file give the same answers",
    "few_photos": "out-of-fold figures of few photos beside those on all others",
    "suggest": "photos that `suggest` names to be labelled, against photos drawn at random, on three sets",
    "probabilities": "temperature against other calibrators, and weights of classes",
    "comparisons": "how often compare takes chance for proof, and finds a difference, in made-up samples",
    "audit": "what an audit finds of planted faults, its labels beside cleanlab's, and what it takes",
    "review": "wrong labels among the first photos that a reviewer is shown, and seconds to fit again",
    "scale": "rates of one host that docs/scale.md plans with: looking, decoding, network, head, training",
    "cached_trunk": "training steps on cached activations, against the whole network",
    "fine_tuning": "training on cached activations, against the bound, and where the time of a fit goes",
    "growth": "time and memory from 1,000 to 50,000 photos",
    "intervals": "how often the intervals of the figures hold the truth, by simulation",
    "serve": "the server under load: requests, latency, memory, hostile files among the photos",
    "startup": "the shell's commands, and where the time of one prediction goes",
    "job": "the whole job on 1,000 photos, against fastai, Keras, and logistic regression by hand",
}
RESULTS = REPOSITORY / "benchmarks" / "results"
TRIALS = REPOSITORY / "benchmarks" / ".data" / "trial"


def main() -> int:
    """Run what is asked for; one that fails does not stop the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHMARKS)} [default: all]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a trial: few photos, no results kept")
    options = parser.parse_args()
    names = options.names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown or options.rounds < 1:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}" if unknown else "--rounds")
    if shared() is None:
        progress("no folder of real photos and weights (REGRAFT_SHARED): made photos and random weights are used")
    failed = []
    for name in names:
        progress(f"{name}: {BENCHMARKS[name]}")
        try:
            _run(name, TRIALS if options.quick else RESULTS, rounds=options.rounds, quick=options.quick)
        except (NoPhotosError, NoEnvironmentError) as error:
            progress(f"{name} is left out: {error}")
        except Exception:
            traceback.print_exc()
            failed.append(name)
    if failed:
        progress(f"failed: {', '.join(failed)}")
    return len(failed)


def _run(name: str, folder: Path, *, rounds: int, quick: bool) -> None:
    benchmark = importlib.import_module(f"benchmarks.{name}")
    record = benchmark.measure(rounds=rounds, quick=quick)
    path = record.write(folder)
    benchmark.picture(record, folder / f"{name}.png")
    record.show()
    progress(f"wrote {path.relative_to(REPOSITORY)} and {name}.png")


if __name__ == "__main__":
    raise SystemExit(main())
