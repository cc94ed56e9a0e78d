"""The report: everything in one file, true to what was found, and safe whatever files and classes are called."""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import photo
from tests.explain.made import explanation_of, report_of
from tests.fixtures.pages import Page

from regraft.classifier.record import FeatureTrial, NetworkTrial
from regraft.explain import explain, html_report
from regraft.explain.depth import DepthAdvice, advise_by_depth
from regraft.explain.examples import Example, ExplainedExample
from regraft.explain.explanation import Explanation
from regraft.explain.html_report import render, write_report
from regraft.explain.mistakes import Doubt, Mistake, Mistakes
from regraft.explain.network_sections import CAVEAT, looked
from regraft.explain.subject import OF_FIT
from regraft.photo_audit.thumbnails import Thumbnail
from regraft.transfer import auto
from regraft.transfer.auto_plan import AutoPlan, auto_in_words

Explained = Callable[..., Explanation]


def page_of(found: Explanation) -> Explanation:
    """Return an explanation whose page can be made: its network has a name."""
    backbone: Any = SimpleNamespace(recipe=SimpleNamespace(architecture="small"))
    return replace(found, subject=replace(found.subject, backbone=backbone))


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.slow
def test_the_page_holds_all_that_it_shows(explained: Explained, tmp_path: Path) -> None:
    found = explained(units=2)
    path = write_report(found, tmp_path)
    page = Page(path.read_text())
    assert path.name == "report.html"
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".html"] == ["report.html"]
    images = page.all("img")
    assert all(str(image["src"]).startswith("data:image/") for image in images)
    assert all(image["alt"] for image in images)
    for image in images:
        kind, data = str(image["src"]).removeprefix("data:image/").split(";base64,")
        assert Image.open(io.BytesIO(base64.b64decode(data))).format == kind.upper()
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert all(str(link["href"]).startswith("#") for link in page.all("a"))
    assert page.all("script") == [{}]  # it sorts a table, and is allowed by its hash alone
    policy = next(meta for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")
    script = re.search(r"<script>(.*?)</script>", path.read_text(), re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert str(policy["content"]).endswith(f"; script-src 'sha256-{digest}'")
    anchors = {attributes.get("id") for _, attributes in page.tags}
    assert {str(link["href"])[1:] for link in page.all("a")} <= anchors
    ids = [attributes["id"] for tag, attributes in page.tags if attributes.get("id") and tag != "path"]
    assert len(ids) == len(set(ids))


def test_the_page_says_what_was_found(explained: Explained) -> None:
    found = explained(units=2)
    text = words(Page(render(found)).text)
    report = found.subject.reports[OF_FIT]
    assert f"{100 * report.accuracy:.1f} %" in text
    assert found.depth_advice is not None
    assert found.depth_advice.advice in text
    assert words(CAVEAT) in text
    for stage in found.stages:
        assert stage.stage in text
        for unit in stage.units:
            labels = [found.subject.dataset.labels[photo] for photo in unit.photos]
            classes = found.subject.dataset.classes
            most = max(set(labels), key=labels.count)
            first = f"unit {unit.unit}: {labels.count(most)} of {len(unit.photos)} patches are "
            assert any(first + name in text for name in classes)
    assert "out-of-fold" in text
    assert "How much is trained" not in text  # the strategy was named: nothing was to be chosen
    for group in ("The least sure answers", "The surest right answers", "The first layer's filters"):
        assert group in text


@pytest.mark.slow
def test_classes_and_files_may_be_called_anything(explained: Explained, tmp_path: Path) -> None:
    for place, (name, colour) in enumerate({"<b>cats": "red", '"dogs" & co': "blue"}.items()):
        for number in range(6):
            photo(tmp_path / "odd" / name / f"<i>{number}.jpg", colour, 100 * place + number)
    text = render(explained(folder=tmp_path / "odd", units=1))
    assert "<b>cats" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;cats" in text


@pytest.mark.slow
def test_what_auto_tried_and_left_out_is_shown(explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the network's stages `top` trained the last two, to the end; `whole` would have taken ten times the budget."""
    heard: dict[str, Any] = {}

    def advise(*given: Any, **named: Any) -> DepthAdvice:
        heard.update(named)
        return advise_by_depth(*given, **named)

    monkeypatch.setattr(explain, "advise_by_depth", advise)
    monkeypatch.setattr(auto, "PROVABLE", 0)  # the photos are told apart without fail
    monkeypatch.setattr(auto, "plan_auto", lambda *_, budget: AutoPlan({"top": 1.0, "whole": 10 * budget}, budget))
    found = explained(strategy="auto", units=1)
    assert heard["trained"] == {stage.name for stage in found.subject.backbone.stages()[-2:]}
    assert heard["auto"] == auto_in_words(found.subject.record)
    assert heard["auto"].startswith("auto tried frozen and top and took ")
    assert "; whole was skipped: it would take about 1.7 h, budget=" in heard["auto"]
    html = render(found)
    page = Page(html)
    assert {"href": "#choice"} in page.all("a")
    assert {"id": "choice"} in page.all("details")
    text = words(page.text)
    assert ", chosen by auto); 0 of " in text
    assert "training whole would take longer than budget. Each was evaluated" in text
    assert re.search(r"whole ?train the whole network ?skipped ?budget=\d+ lets it ?would take about 1\.7 h", text)
    section = Page(html.partition('id="choice"')[2])  # the features were chosen, too
    assert [row.get("class") for row in section.all("tr")].count("taken") == 1


@pytest.mark.slow
def test_the_choices_of_network_and_features_are_shown(explained: Explained) -> None:
    found = explained(units=1)
    record = found.subject.record
    assert record is not None
    features = (
        FeatureTrial("last", 0.75, 0.6, -0.05, (-0.1, -0.01), 0.1, (0.02, 0.2)),
        FeatureTrial("late", 0.8, 0.5, 0.0, None, 0.0, None),
    )
    networks = (
        NetworkTrial(model="<b>cheap", multiply_adds=20_000_000, log_loss=0.9, log_loss_difference=0.4, seconds=123.0),
        NetworkTrial(model=record.model, multiply_adds=50_000_000, log_loss=0.5, log_loss_difference=0.0),
        NetworkTrial(model="dear", multiply_adds=60_000_000, left_out="budget does not suffice"),
    )
    told = replace(record, features="late", stages=("layer3",), features_tried=features, networks_tried=networks)
    html = render(replace(found, subject=replace(found.subject, record=told)))
    page, text = Page(html), words(Page(html).text)
    assert [row.get("class") for row in page.all("tr")].count("taken") == 2
    for anchor in ("networks", "features"):
        assert {"href": f"#{anchor}"} in page.all("a")
        assert {"id": anchor} in page.all("details")
    assert "The last layer sees the network's last features, and those of depths from layer3 on." in text
    assert re.search(
        r"last ?the network's last features alone ?not taken ?75\.0 % ?-5\.0 points ?-10\.0 to -1\.0", text
    )
    assert re.search(r"dear ?left out ?budget does not suffice ?60 million", text)
    assert "&lt;b&gt;cheap" in html
    assert "123" not in text.partition("Which network")[2].partition("What the last layer sees")[0]  # no seconds
    plain = replace(record, features="last", stages=(), features_tried=(), networks_tried=())
    text = words(Page(render(replace(found, subject=replace(found.subject, record=plain)))).text)
    assert "Which network" not in text
    assert "What the last layer sees" not in text


@pytest.mark.slow
def test_what_training_changed_is_shown(explained: Explained) -> None:
    found = explained(strategy="top", units=2)
    trained = [name for name, moved in found.moved.items() if moved > 0]
    assert found.subject.record is not None
    plan = found.subject.record.trained
    assert trained == list(found.moved)[-2:]  # top: the last two stages
    assert trained[0] in plan
    assert list(found.before) == [name for name in trained if name in {stage.stage for stage in found.stages}]
    after = {stage.stage: [unit.unit for unit in stage.units] for stage in found.stages}
    for name, stage in found.before.items():
        assert [unit.unit for unit in stage.units] == after[name][:4]
    text = words(Page(render(found)).text)
    assert "What training changed" in text
    assert "the same units before and after" in text


@pytest.mark.slow
def test_units_are_shown_only_if_they_are_asked_for(explained: Explained) -> None:
    found = explained(strategy="top", units=0)
    assert (found.stages, found.before) == ([], {})
    assert max(found.moved.values()) > 0  # what training changed is still said
    assert set(found.depth) == {"pretrained", "random weights"}
    page = Page(render(found))
    assert "What the units see" not in page.text
    assert "How far training moved" in str(page.all("svg"))
    assert page.all("details") == [{"class": "plain"}, {"id": "features"}]


@pytest.mark.slow
def test_units_are_in_a_closed_section_and_in_a_second_file_where_they_are_many(
    explained: Explained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = explained(units=2)
    whole = Page(render(found))
    assert {"id": "units"} in whole.all("details")  # without "open"
    monkeypatch.setattr(html_report, "_MOST_BYTES", 1000)
    path = write_report(found, tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir() if one.suffix == ".html") == ["report.html", "units.html"]
    page, beside = Page(path.read_text()), Page((tmp_path / "units.html").read_text())
    assert {"href": "units.html"} in page.all("a")
    assert {"href": "report.html"} in beside.all("a")
    units = 2 * sum(len(stage.units) for stage in found.stages) + 1  # patches and projections, and the first filters
    assert len(whole.all("img")) - len(page.all("img")) == units == len(beside.all("img"))
    assert beside.all("script") == []
    assert all(str(image["src"]).startswith("data:image/") for image in beside.all("img"))
    monkeypatch.undo()
    without = page_of(explanation_of([[18, 2], [4, 16]], ("cat", "dog")))
    write_report(without, tmp_path)  # the pictures of the earlier report go
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".html"] == ["report.html"]
    (tmp_path / "units.html").write_text("<h1>Units of the army</h1>")  # somebody's own
    write_report(without, tmp_path)
    assert (tmp_path / "units.html").read_text() == "<h1>Units of the army</h1>"


@pytest.mark.parametrize(
    ("changed", "whose", "more"),
    [
        ({}, "the", ", and its accuracy lies in the interval in about 85 of 100 cases, not in 95"),
        ({"folds": 5, "independent": False}, "the 5", ""),
        ({"estimate": "test"}, "", None),
    ],
)
def test_what_intervals_hold_is_said(changed: dict[str, Any], whose: str, more: str | None) -> None:
    report = replace(report_of([[18, 2], [4, 16]], ("cat", "dog")), **changed)
    found = page_of(explanation_of([[18, 2], [4, 16]], ("cat", "dog"), reports={OF_FIT: report}))
    answered = (
        f"Figures are those of {whose} classifiers that answered, each of which learned from a part of the photos. The "
        f"one that was written learned from all of them: it is a little better as a rule{more}. "
    )
    assert (
        "Beside each figure stands its 95 % interval: where it would lie, in 19 of 20 cases, for endlessly many photos "
        f"like these. {'' if more is None else answered}How many"
    ) in words(Page(render(found)).text)


@pytest.mark.slow
def test_no_backtick_is_seen(explained: Explained) -> None:
    found = explained(units=1)
    found.depth_advice = DepthAdvice("one", falls=False, advice="`regraft compare` tells more.")
    html = render(found)
    assert "<code>regraft compare</code> tells more." in html
    assert "`" not in Page(html).text


@pytest.mark.parametrize(
    ("doubted", "now", "said"),
    [
        (
            True,
            0,
            "dog 90.0 %, labelled cat, which is in doubt; the final classifier, having learned that label, answers",
        ),
        (False, 0, "dog 90.0 %, labelled cat; the final classifier answers cat"),
        (False, 1, "dog 90.0 %, labelled cat ("),
    ],
)
def test_a_label_in_doubt_is_not_taken_for_the_truth(doubted: bool, now: int, said: str) -> None:
    found = explanation_of([[18, 2], [4, 16]], ("cat", "dog"))
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    example = Example("mistake", 18, answer=1, truth=0, probability=0.9)
    found.examples = [ExplainedExample(example, pixels, None, "", now, np.zeros((8, 8)))]
    doubts = (Doubt("cat/18.jpg", Thumbnail("", "gone"), "cat", "dog", "0.0 %", "99 %", "97 %"),)
    found.mistakes = Mistakes((), 6, doubts if doubted else (), int(doubted), 0.97)
    assert looked(found)[0]["photos"][0]["caption"].startswith(said)


@pytest.mark.parametrize(
    ("error", "interval", "said"),
    [
        (0.041, (0.0, 0.09), "As far as these photos can tell, yes."),
        (0.154, (0.051, 0.2), "Not quite: they are 15.4 points beside the truth on average."),
        (0.041, None, "When it says"),
    ],
)
def test_whether_probabilities_can_be_trusted_is_answered(error: float, interval: Any, said: str) -> None:
    """By whether the interval of the calibration error begins at 0."""
    report = report_of([[18, 2], [4, 16]], ("cat", "dog"))
    report = replace(report, figures={**report.figures, "ece": error}, intervals={**report.intervals, "ece": interval})
    text = words(
        Page(render(page_of(explanation_of([[18, 2], [4, 16]], ("cat", "dog"), reports={OF_FIT: report})))).text
    )
    assert said in text
    assert ("As far as these" in text, "Not quite" in text) == (said.startswith("As far"), said.startswith("Not quite"))


def test_a_table_of_mistakes_can_be_sorted(tmp_path: Path) -> None:
    found = explanation_of([[18, 2], [4, 16]], ("cat", "dog"))
    picture = Thumbnail("", "gone")
    one = Mistake("cat/`a`<b>.jpg", picture, "cat", "dog", 0.9996, 0.0004, in_doubt=True)
    found.mistakes = Mistakes((one,), 3, (Doubt("a.jpg", picture, "cat", "dog", "0.0 %", "99 %", "97 %"),), 1, 0.97)
    html = render(page_of(found))
    page = Page(html)
    kinds = [head["data-kind"] for head in page.all("th") if "data-kind" in head]
    assert kinds == ["text", "text", "number", "number", "text"]
    values = [cell["data-value"] for cell in page.all("td") if "data-value" in cell]
    assert values == ["cat", "dog", "0.999600", "0.000400", "cat/a<b>.jpg"]
    text = words(page.text)
    assert "cat/ a<b>.jpg" in text.replace("/", "/ ")
    assert "label in doubt" in text
    assert {"href": "#labels"} in page.all("a")
    assert "Check this label" in text


@pytest.mark.slow
def test_from_random_weights_there_is_no_before(explained: Explained) -> None:
    found = explained(strategy="scratch", units=1)
    assert found.moved == {}
    assert found.depth == {}
    assert any("trained from random weights" in note for note in found.notes)
    assert "trained from random weights" in render(found)


@pytest.mark.slow
def test_the_method_can_be_chosen_and_is_named(explained: Explained) -> None:
    by_default, chosen = explained(units=1), explained(units=1, method="deconvnet")
    # no max-pooling in this network: auto takes guided backpropagation
    assert all(stage.method.startswith("guided") for stage in by_default.stages)
    assert all(stage.method.startswith("deconvnet, generalised: SiLU") for stage in chosen.stages)
    assert "by guided backpropagation" in words(Page(render(by_default)).text)
    assert "whose switches a deconvnet needs" in words(Page(render(by_default)).text)
    assert "by deconvnet, generalised: SiLU taken as a rectifier with a soft gate" in words(Page(render(chosen)).text)
