"""What a worker makes of a shard does not depend on how many photos the shard has."""

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.cluster.test_shards import table_of, tar_of
from tests.data.test_tar_table import write_tar

from regraft.classifier.classifier import Classifier
from regraft.classifier.predict import Predictions, Predictor
from regraft.cluster import shards
from regraft.cluster.embeddings import EmbeddingJob
from regraft.cluster.predictions import AnswerOptions, PredictionJob
from regraft.cluster.shards import Shard, count_photos, find_shards
from regraft.engines.compute import Compute
from regraft.engines.workload import CheckPhotos, SharedChoice
from regraft.errors import EngineError
from regraft.features import passes
from regraft.features.embedding import Embedder
from regraft.features.extraction import FeatureExtractor
from regraft.features.network_pass import NetworkThere
from regraft.heads.linear import LinearHead
from regraft.images.resizing import TORCHVISION
from regraft.images.tta import PLAIN
from regraft.networks.backbone import Backbone

Photos = Callable[..., Path]
EXACT = Compute(device="cpu", engine="torch-float32", cache=False)
CHOICE = SharedChoice("torch-float32", "cpu, of another machine", CheckPhotos("none", lambda: np.zeros((0, 8, 8, 3))))


@pytest.fixture
def divided(photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Shard], list[Shard]]:
    """Return twelve photos as one shard, and in three; eight are enough to be resized as many are."""
    monkeypatch.setattr("regraft.images.resizing.MANY_PHOTOS", 8)
    file = table_of(photos(red=6, blue=6), tmp_path / "t.parquet", rows_of_a_group=4)
    whole = find_shards([file])
    monkeypatch.setattr(shards, "PHOTOS_OF_A_SHARD", 4)
    return whole, find_shards([file])


def check_equal(run: Callable[[list[Shard], int], np.ndarray], whole: list[Shard], parts: list[Shard]) -> None:
    """Check that parts have the values of the whole, and that they would not if each were alone."""
    expected = run(whole, count_photos(whole))
    close = 1e-5 * np.abs(expected).max()
    assert [len(whole), len(parts), count_photos(parts)] == [1, 3, len(expected)]
    np.testing.assert_allclose(run(parts, count_photos(parts)), expected, rtol=0, atol=close)
    assert np.abs(run(parts, 4) - expected).max() > 10 * close


def test_vectors_are_those_of_all_photos_together(backbone: Backbone, divided: tuple[list[Shard], list[Shard]]) -> None:
    def run(given: list[Shard], photos: int) -> np.ndarray:
        job = EmbeddingJob(backbone, "tiny", EXACT, choice=CHOICE, features="last", photos=photos)
        tables = [pq.read_table(io.BytesIO(job.run(shard)[0])) for shard in given]
        return np.array([row for table in tables for row in table["features"].to_pylist()])

    check_equal(run, *divided)


def classifier_of(*backbones: Backbone) -> Classifier:
    first, *others = backbones
    weight = np.random.default_rng(0).normal(size=(2, sum(one.features for one in backbones))).astype(np.float32)
    head = LinearHead(weight, np.zeros(2, np.float32), 1.0)
    return Classifier(first, head, ("a", "b"), 1.0, "t", "frozen", joined=tuple(others))


def write(predictions: Predictions, _: Sequence[str]) -> bytes:
    return predictions.probabilities.tobytes()


def test_answers_are_those_of_all_photos_together(backbone: Backbone, divided: tuple[list[Shard], list[Shard]]) -> None:
    classifier = classifier_of(backbone)

    def run(given: list[Shard], photos: int) -> np.ndarray:
        job = PredictionJob(
            classifier, EXACT, AnswerOptions(), write, choices=[CHOICE], suffix=".bin", digest="", photos=photos
        )
        return np.concatenate([np.frombuffer(job.run(shard)[0]).reshape(-1, 2) for shard in given])

    check_equal(run, *divided)


def test_parts_of_archives_of_nothing_have_the_columns_of_others(
    backbone: Backbone, photos: Photos, tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards/train-0.tar", {})
    tar_of(photos(red=2, blue=2), tmp_path / "shards/train-1.tar")
    empty, full = find_shards([tmp_path / "shards"])
    vectors = EmbeddingJob(backbone, "tiny", EXACT, choice=CHOICE, features="last", photos=4)
    answers = PredictionJob(
        classifier_of(backbone), EXACT, AnswerOptions(), write, choices=[CHOICE], suffix="", digest="", photos=4
    )
    for job in (vectors, answers):  # a worker may begin with either
        for shards_in_turn in ([empty, full], [full, empty]):
            found = {shard: job.run(shard)[:3] for shard in shards_in_turn}
            assert found[empty][1:] == (0, [])
            assert found[full][1:] == (4, [])
    tables = [pq.read_table(io.BytesIO(vectors.run(shard)[0])) for shard in (empty, full)]
    assert tables[0].schema == tables[1].schema
    assert tables[0].schema.names == ["key", "path", "label", "split", "features"]
    assert tables[1]["split"].to_pylist() == ["train"] * 4


def test_jobs_of_other_options_have_other_digests(backbone: Backbone) -> None:
    digests = [
        EmbeddingJob(
            backbone.with_ranges(ranges), model, EXACT, choice=CHOICE, features=features, photos=photos
        ).digest()
        for ranges, model, features, photos in (
            ((), "tiny", "last", 12),
            ((), "other", "last", 12),
            ((), "tiny", "all", 12),
            ((), "tiny", "last", 13),
            ((("grey", 0.0, 4095.0),), "tiny", "last", 12),
        )
    ]
    assert len(set(digests)) == len(digests)


NAMED = Compute(device="cpu", engine="openvino-float32", cache=False)


def test_workers_run_what_was_chosen_for_all_whatever_their_own_photos_say(
    backbone: Backbone, divided: tuple[list[Shard], list[Shard]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here each comparison with the reference fails once the choice is made, as it may on photos near the limit."""
    (whole,), parts = divided
    sources, classifier = whole.photos().sources, classifier_of(backbone, backbone)
    embedder, predictor = Embedder(backbone, NAMED), Predictor(classifier, NAMED)
    (opened,) = embedder.open(sources)
    vectors, answers = embedder.all_of(opened).vectors, predictor.predict(sources).probabilities
    extractor = FeatureExtractor(backbone, NAMED)
    features = extractor.extract(sources, opened.keys).values
    jobs = pickle.dumps(
        (
            EmbeddingJob(backbone, "tiny", NAMED, choice=embedder.choice, features="last", photos=12),
            PredictionJob(
                classifier,
                replace(NAMED, engine="auto"),
                AnswerOptions(),
                write,
                choices=predictor.choose(sources),
                suffix=".bin",
                digest="",
                photos=12,
            ),
            NetworkThere(backbone.for_another_process(), NAMED, extractor.choice, 12, (PLAIN,), TORCHVISION),
        )
    )
    monkeypatch.setattr("regraft.engines.agreement.Agreement.suffices", lambda *_: False)
    with pytest.raises(EngineError, match="does not give this network's features"):
        Embedder(backbone, NAMED).open(parts[1].photos().sources)
    ran = set()
    run = passes.run_ahead
    monkeypatch.setattr(passes, "run_ahead", lambda engine, batches: (ran.add(engine.name), run(engine, batches))[1])
    embed, predict, there = pickle.loads(jobs)
    done = [embed.run(shard) for shard in parts]
    assert {engine for *_, engine in done} == {"openvino-cpu-float32"}
    tables = [pq.read_table(io.BytesIO(data)) for data, *_ in done]
    found = np.array([row for table in tables for row in table["features"].to_pylist()])
    np.testing.assert_allclose(found, vectors, rtol=0, atol=1e-5 * np.abs(vectors).max())
    ran.clear()
    found = np.concatenate([np.frombuffer(predict.run(shard)[0]).reshape(-1, 2) for shard in parts])
    np.testing.assert_allclose(found, answers, rtol=0, atol=1e-5)
    assert predict.engines == "openvino-float32 + openvino-float32"
    assert ran == {"openvino-cpu-float32"}
    ran.clear()
    found = np.concatenate([one.vectors for one in there()(sources)])
    assert ran == {"openvino-cpu-float32"}
    np.testing.assert_allclose(found, features, rtol=0, atol=1e-5 * np.abs(features).max())


def test_engines_are_chosen_by_photos_as_they_will_be_read(backbone: Backbone, tmp_path: Path) -> None:
    """By the values of black and white that are given, not by each photo's own."""
    grey = np.random.default_rng(0).integers(1000, 3000, (64, 64)).astype(np.uint16)
    Image.fromarray(grey).save(photo := tmp_path / "scan.png")
    predictor = Predictor(classifier_of(backbone), replace(NAMED, value_range=(0, 4095)))
    ((seen,),) = [choice.check.read() for choice in predictor.choose([photo])]
    values = seen / 255 * 4095
    assert 900 < values.min() < 1600
    assert 2400 < values.max() < 3100
