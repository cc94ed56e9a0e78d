"""The model card of a classifier: what it says, that it says nothing else, and that nobody's words are lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from tests.fixtures.pages import Page
from tests.test_markdown import HOSTILE

from regraft.classifier.bundle import save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.group_figures import GroupFigures
from regraft.classifier.record import FitRecord
from regraft.data.findings import FindingCount
from regraft.errors import OptionError, OutputError
from regraft.evaluation.decisions import Decision, ThresholdRule
from regraft.evaluation.operating_points import operating_points
from regraft.evaluation.report import Report
from regraft.heads.linear import LinearHead
from regraft.publishing.front_matter import check_licence
from regraft.publishing.model_card import is_as_written, marked, model_card, write_card
from regraft.publishing.subject import CardSubject

Make = Callable[..., Classifier]


def report_of(classes: tuple[str, ...], right: int = 18, each: int = 20, **more: object) -> Report:
    """Return a report in which each class has `each` photos, `right` of them answered right, the others the next."""
    count = len(classes)
    labels = np.repeat(np.arange(count), each)
    answers = np.where(np.arange(count * each) % each < right, labels, (labels + 1) % count)
    probabilities = np.full((count * each, count), 0.2 / (count - 1))
    probabilities[np.arange(count * each), answers] = 0.8
    return Report.from_probabilities(probabilities, labels, classes, resamples=20, **{"estimate": "validation", **more})


@pytest.fixture
def subject(classifier: Make) -> Callable[..., CardSubject]:
    """Return a function that makes the subject of a card, of these classes and with these fields of its record."""

    def make(*classes: str, title: str = "pets", report: Report | None = None, **known: object) -> CardSubject:
        made = classifier()
        weight = np.zeros((len(classes), made.backbone.features), dtype=np.float32)
        record = FitRecord(report=report, model="pocket", strategy="frozen", temperature=1.0, **known)
        made = replace(
            made,
            head=LinearHead(weight, np.zeros(len(classes), dtype=np.float32), 0.1),
            classes=classes,
            model="pocket",
            strategy="frozen",
            record=record,
        )
        return CardSubject(made, title, f"{title}.safetensors", "ab" * 32, {"regraft": "1.2", "python": "3.11"})

    return make


Subject = Callable[..., CardSubject]


def shown(card: str) -> Page:
    """Return a card as it is read, without its front matter."""
    return Page(MarkdownIt("commonmark").enable("table").render(ModelCard(card).text))


def test_a_card_has_its_figures(subject: Subject) -> None:
    report = report_of(("cat", "dog"))
    card = model_card(subject("cat", "dog", report=report, class_counts=(30, 40), unreadable=("cat/x.jpg",), seed=7))
    page = shown(card)
    assert "36 of 40 photos were answered right: 90.0 % (76.9 to 96.0 %)." in page.text  # Wilson's interval of 36 of 40
    assert "Always answering cat, the largest class, would be right in 50.0 %." in page.text
    assert "cat taken for dog twice, the other way round twice." in page.text
    assert "cat 20 90.0 % 69.9 to 97.2 %" in page.text  # of 18 of 20
    assert "cat 30 20 dog 40 20 all 70 40" in page.text
    assert "1 file could not be read and took no part." in page.text
    assert "x.jpg" not in card
    assert "seed 7" in page.text
    assert "regraft 1.2, python 3.11" in page.text
    assert "None" not in card.replace("None of these photos", "")
    assert "nan" not in card.lower().replace("nano", "")


def test_the_front_matter_is_the_hubs(subject: Subject, tmp_path: Path) -> None:
    made = subject("cat", "dog", report=report_of(("cat", "dog")))
    made.classifier.backbone.source = "hf-hub:timm/resnet18.a1_in1k@v2, trained further"
    made.classifier.backbone.recipe.settings["license"] = "apache-2.0"
    (tmp_path / "README.md").write_text(model_card(made), encoding="utf-8")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("regraft", "image-classification", "apache-2.0")
    assert (data.base_model, data.get("base_model_relation")) == ("timm/resnet18.a1_in1k", "finetune")
    assert "test_resnet" in data.tags
    named = replace(made, classifier=replace(made.classifier, model="hf-hub:ann/net"))
    assert ModelCard(model_card(named)).data.base_model == "ann/net"
    assert data.model_name == "pets"
    (accuracy,) = [one for one in data.eval_results or [] if one.metric_type == "accuracy"]
    assert (accuracy.metric_value, accuracy.dataset_split, accuracy.dataset_args) == (0.9, "validation", {"photos": 40})
    assert accuracy.metric_args == {"interval_95": [0.7695, 0.9604]}  # Wilson's
    assert len({one.metric_type for one in data.eval_results or []}) == len(data.eval_results or [])


@pytest.mark.parametrize(
    ("licence", "shown_as"),
    [("MIT", ("mit", None)), ("Our own 1.0", ("other", "Our own 1.0")), (None, (None, None))],
)
def test_the_licence_is_one_that_the_hub_knows(
    licence: str | None, shown_as: tuple[str | None, str | None], subject: Subject
) -> None:
    made = replace(subject("cat", "dog"), licence=licence)
    made.classifier.backbone.recipe.settings.pop("license", None)
    card = model_card(made)
    assert (ModelCard(card).data.license, ModelCard(card).data.license_name) == shown_as
    assert f"This classifier: {licence or 'not stated; whoever made it decides'}." in shown(card).text


@pytest.mark.parametrize("licence", ["", " ", "a\nb", "x" * 101])
def test_what_is_no_licence(licence: str) -> None:
    with pytest.raises(OptionError, match=r"^licence must be the name of a licence, like apache-2\.0"):
        check_licence(licence)


def test_without_figures_nothing_is_claimed(subject: Subject) -> None:
    page = shown(model_card(subject("cat", "dog")))
    assert "No figures. Its file holds none: nothing is known of how good it is." in page.text
    assert "How good it is" not in page.text
    assert "Class by class" not in page.text


def test_hostile_names_stay_names(subject: Subject) -> None:
    classes = (*HOSTILE, "---\nlicense: mit\n---", "<!-- regraft card -->", "\u202egnp.exe")
    report = report_of(classes, 15, decided_by="the rule of <b>[us](http://example.org)</b>")
    groups = (GroupFigures("<i>", 20, 0.5, (0.3, 0.7)), GroupFigures("b", 20, 1.0, (0.8, 1.0)))
    findings = (FindingCount("<u>strange</u>", "high", 3),)
    made = subject(
        *classes,
        title="<h1>`x`|[y](z)",
        report=report,
        by_group=groups,
        group_column="<img src=x>",
        findings=findings,
        reason="because of `|` <s>",
        trained="trained: <blink>",
        class_counts=(20,) * len(classes),
    )
    card = model_card(made)
    page = shown(card)
    for name in HOSTILE:
        assert page.text.count(name) >= 3, name  # in the list of classes and two tables
    assert "---\\nlicense: mit\\n---" in page.text
    assert "\\u202egnp.exe" in page.text
    assert "\u202e" not in card
    known = {"h1", "h2", "p", "strong", "code", "pre", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    assert {tag for tag, _ in page.tags} <= known
    assert len(page.all("h1")) == 1
    assert len({len(page.all("th")), 0}) == 2
    assert ModelCard(card).data.license != "mit"
    assert is_as_written(card)


def test_a_rule_is_told_by_what_it_finds(subject: Subject) -> None:
    """Of 20 malignant ones 15 answered with 0.8 and 5 with 0.2: from 0.1 on all are answered so, and all others."""
    classes = ("benign", "malignant")
    labels = np.repeat([0, 1], 20)
    malignant = np.where(np.arange(40) % 20 < 15, np.where(labels == 1, 0.8, 0.05), 0.2)
    probabilities = np.stack([1 - malignant, malignant], axis=1)
    rule = ThresholdRule(1, 0.1)
    report = Report.from_probabilities(
        probabilities,
        labels,
        classes,
        estimate="validation",
        resamples=20,
        decisions=rule.answers(probabilities),
        decided_by="sensitivity>=0.9 for malignant",
    )
    points = operating_points(labels, probabilities, classes, 1)
    made = subject(*classes, report=replace(report, operating_points=points))
    made.classifier.decision = Decision(rule, "sensitivity>=0.9 for malignant")
    page = shown(model_card(made))
    assert "20 of 20 photos of malignant were found: 100.0 %" in page.text
    assert (
        "The price: 5 of 20 others were taken for malignant. In all, 35 of 40 photos were answered right: 87.5 %"
        in (page.text)
    )
    assert "sensitivity>=0.9 for malignant: malignant from a probability of 10 % on, else benign." in page.text


def test_limits_follow_from_what_is_known(subject: Subject) -> None:
    made = subject("cat", "dog", report=report_of(("cat", "dog"), 5, 8))
    few = shown(model_card(made))
    assert "Few photos. 8 photos of a class evaluated it at most" in few.text
    assert "Unlike photos are not noticed." in few.text
    assert "was not tested: its figures are of photos from the same source" in few.text
    left_out = (GroupFigures("1", 9, 0.5, (0.3, 0.7)), GroupFigures("2", 9, 1.0, (0.7, 1.0)))
    record = replace(made.classifier.record, by_group=left_out, group_column="clinic")
    clinics = shown(model_card(replace(made, classifier=replace(made.classifier, record=record))))
    assert (
        "It was tested on each clinic of its photos after learning from the others; others than these 2" in clinics.text
    )
    assert "from 50.0 % (30.0 to 70.0 %) of 9 photos to 100.0 % (70.0 to 100.0 %) of 9 photos." in clinics.text


def test_many_classes_take_little_room(subject: Subject) -> None:
    names = tuple(f"kind {number}" for number in range(300))
    card = model_card(subject(*names, report=report_of(names, 1, 2), class_counts=(2,) * 300))
    assert "kind 19 and 280 more" in card
    assert "300 classes: 600 photos were learned from, 2 to 2 of a class; 600 photos were evaluated on" in card
    assert len(card.splitlines()) < 250


def test_a_card_that_was_changed_is_kept(subject: Subject, tmp_path: Path) -> None:
    made, path = subject("cat", "dog"), tmp_path / "pets.md"
    write_card(made, path)
    first = path.read_text(encoding="utf-8")
    write_card(made, path)
    assert path.read_text(encoding="utf-8") == first
    path.write_bytes(first.replace("\n", "\r\n").encode())  # as an editor may save it
    write_card(made, path)
    for changed, how in (
        (first + "\nMore.\n", "was changed since regraft wrote it"),
        (first.replace("# pets", "# Pets"), "was changed since regraft wrote it"),
        ("# Pets\n", "was not written by it"),
        ("", "was not written by it"),
    ):
        path.write_text(changed, encoding="utf-8")
        with pytest.raises(OutputError) as caught:
            write_card(made, path)
        assert str(caught.value) == (
            f"{path} {how}, and would be replaced. Name another place (out='FILE.md'), or replace it (force=True)."
        )
        assert path.read_text(encoding="utf-8") == changed
    write_card(made, path, force=True)
    assert path.read_text(encoding="utf-8") == first


def test_a_mark_is_of_the_text_as_it_is_now() -> None:
    once = marked("# Cats", "ab" * 32)
    assert is_as_written(once)
    assert marked(once, "ab" * 32) == once
    assert not is_as_written(once.replace("Cats", "Dogs"))
    assert is_as_written(marked(once.replace("Cats", "Dogs"), "cd" * 32))


def test_of_a_file(classifier: Make, tmp_path: Path) -> None:
    file = tmp_path / "pets.safetensors"
    save_bundle(classifier(), file)
    card = model_card(CardSubject.of_file(file))
    assert "# pets" in card
    assert "regraft predict pets.safetensors PHOTOS --out answers.csv" in card
    assert str(tmp_path) not in card
    assert "| versions | regraft " in card
