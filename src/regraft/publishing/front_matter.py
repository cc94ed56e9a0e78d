"""The front matter of a model card, as the Hugging Face hub reads it: made and checked by the hub's own classes."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from regraft.errors import OptionError, RegraftError, option, printable
from regraft.evaluation.report import Report
from regraft.networks.hub import repository_of
from regraft.networks.names import is_on_hub, parts_of_name
from regraft.publishing.subject import CardSubject

TASK = "image-classification"
_LIBRARY = "regraft"
_TAGS = [TASK, _LIBRARY, "transfer-learning", "vision"]
_METRICS = {  # by our name: the hub's name, as far as it knows one
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "auc": "roc_auc",
    "average_precision": "average_precision",
    "log_loss": "log_loss",
    "brier": "brier_score",
    "ece": "expected_calibration_error",
}
_DIGITS = 4
_LONGEST = 100  # characters of a licence's name
# The hub refuses others (https://huggingface.co/docs/hub/repositories-licenses): these are "other", by their name.
_OF_THE_HUB = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
lgpl lgpl-2.1 lgpl-3.0 isc h-research lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa
unlicense zlib pddl unknown other
"""
LICENCES = frozenset(_OF_THE_HUB.split())


def check_licence(licence: str | None) -> None:
    """Raise `OptionError` unless a licence is one short line."""
    if licence is not None and (not licence.strip() or len(licence) > _LONGEST or printable(licence) != licence):
        raise OptionError(
            f"{option('licence')} must be the name of a licence, like apache-2.0 or cc-by-4.0. Got "
            f"{printable(licence)[:_LONGEST]!r}."
        )


def licence_of(subject: CardSubject) -> str | None:
    """Return the licence of a card: the author's, else that of the networks' weights, where it is one for all."""
    if subject.licence is not None:
        return subject.licence
    known = {licence for _, licence in subject.network_licences}
    return known.pop() or None if len(known) == 1 else None


def front_matter(subject: CardSubject) -> ModelCardData:
    """Return what the hub sorts and shows a model by. Nothing in it names a photo, a class or a folder."""
    licence = licence_of(subject)
    known = licence is None or licence.lower() in LICENCES
    own: dict[str, Any] = {"license": licence and licence.lower()}
    if not known:
        own = {"license": "other", "license_name": licence}
    results = [] if subject.report is None else _results(subject.report)
    return ModelCardData(
        **own,
        library_name=_LIBRARY,
        pipeline_tag=TASK,
        tags=[*_TAGS, *sorted({backbone.recipe.architecture for backbone in subject.classifier.backbones})],
        **_base_models(subject),
        metrics=list(dict.fromkeys(one.metric_type for one in results)) or None,
        model_name=printable(subject.title) if results else None,
        eval_results=results or None,
    )


def _base_models(subject: CardSubject) -> dict[str, Any]:
    """Return the repositories of the hub that the networks' weights are from, where they are."""
    classifier = subject.classifier
    named = parts_of_name(classifier.model, len(classifier.backbones))
    sources = [backbone.source.partition(",")[0] for backbone in classifier.backbones]  # what follows: trained further
    found = []
    for name, source in zip(named, sources, strict=True):
        on_hub = next((one for one in (name, source) if is_on_hub(one)), None)
        found += [] if on_hub is None else [repository_of(on_hub)[0]]
    if not found:
        return {}
    return {"base_model": found[0] if len(found) == 1 else found, "base_model_relation": "finetune"}


def _results(report: Report) -> list[EvalResult]:
    found = []
    for metric, title, value, interval in report.rows():
        if value is None or metric.name not in _METRICS or title == "always the largest class":
            continue
        bounds = None if interval is None else {"interval_95": [round(bound, _DIGITS) for bound in interval]}
        found.append(
            EvalResult(
                task_type=TASK,
                task_name="Image classification",
                dataset_type="imagefolder",
                dataset_name=f"the author's photos ({len(report.classes):,} classes)",
                dataset_split=report.estimate,
                dataset_args={"photos": report.n},
                metric_type=_METRICS[metric.name],
                metric_name=metric.title.partition(" (")[0],
                metric_value=round(value, _DIGITS),
                metric_args=bounds,
            )
        )
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the hub's classes from warning, in its own words, of what is told here in ours."""
    logger = logging.getLogger("huggingface_hub.repocard")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def with_front_matter(data: ModelCardData, body: str) -> str:
    """Return a card. What the hub's own class reads from it is what was written.

    Raises:
        RegraftError: it is not: the hub's class is another than this one was made for.
    """
    content = f"---\n{data.to_yaml()}\n---\n\n{body}"
    card = ModelCard(content)
    if card.data.to_yaml() != data.to_yaml() or card.text != f"\n{body}":
        raise RegraftError("huggingface_hub does not read back the front matter that it wrote. Update it, or regraft.")
    return content


def read_front_matter(content: str) -> str:
    """Return what is wrong with the front matter of a card that somebody wrote; "" where the hub can read it."""
    try:
        with _quiet():
            ModelCard(content)
    except Exception as error:  # of YAML, of its types, of its values: the hub's class raises nearly anything
        return printable(str(error).strip().partition("\n")[0] or type(error).__name__)
    return ""
