"""The model card of a pretrained network: data, accuracy, recipe and licence."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from regraft.errors import flags_in_messages, option
from regraft.evaluation.intervals import wilson
from regraft.evaluation.report import Report
from regraft.markdown import code, code_block, listed, plain, table, text, write_text
from regraft.plots.svg import curve_chart
from regraft.pretraining.pretrain import PretrainingResult
from regraft.pretraining.timm_export import CONFIG_FILE, WEIGHTS_FILE, save_local_dir
from regraft.training.finetuner import TrainingRecord

CARD_FILE, CURVE_FILE, TRAINING_FILE = "README.md", "curves.svg", "training.json"
WRITTEN = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE, CURVE_FILE, TRAINING_FILE)  # all that lies in the folder
_CLASSES_SHOWN = 20
_EPOCHS_SHOWN = 20


def write_network(result: PretrainingResult, folder: Path, *, half: bool, licence: str | None) -> None:
    """Write a network that was pretrained, with its card, into `folder`.

    Args:
        result: of the pretraining.
        folder: made if it is missing.
        half: weights in float16.
        licence: of the weights; None for that of the network that training started from.

    Raises:
        OutputError: it cannot be written.
    """
    licence = licence or result.backbone.recipe.settings.get("license")
    classes = result.source.dataset.classes
    answers = save_local_dir(result.backbone, result.head, classes, folder, half=half, licence=licence)
    write_card(result, folder, answers=answers, licence=licence)


def write_card(result: PretrainingResult, folder: Path, *, answers: int, licence: str | None) -> None:
    """Write the card, its chart, and both as JSON, beside the network in `folder`.

    Args:
        result: of the pretraining.
        folder: of its files.
        answers: classes of the last layer in its file; 0 where it has none.
        licence: of the weights; None if it is not known.

    Raises:
        OutputError: they cannot be written.
    """
    files = {
        CARD_FILE: "\n".join(_card(result, folder.name, answers, licence)),
        CURVE_FILE: _chart(result.curve, result.report),
        TRAINING_FILE: json.dumps(training_json(result), indent=1, ensure_ascii=False) + "\n",
    }
    for name, content in files.items():
        write_text(folder / name, content)


def training_json(result: PretrainingResult) -> dict[str, Any]:
    """Return arguments, curve and figures in JSON types."""
    figures = result.report.to_json()
    return {
        "arguments": result.arguments,
        "classes": list(result.source.dataset.classes),
        "judged_by": result.source.note,
        "n": figures["n"],
        "accuracy": figures["accuracy"],
        "accuracy_interval": figures["accuracy_interval"],
        "top5_accuracy": result.report.figures.get("top5_accuracy"),
        "top5_accuracy_interval": result.report.intervals.get("top5_accuracy"),
        "seconds": round(result.seconds, 1),
        "images": result.images,
        "curve": [asdict(record) for record in result.curve],
        "teacher": None if result.teacher is None else {"name": result.teacher.name, "license": result.teacher.licence},
        "versions": {name: version(name) for name in ("regraft", "torch", "timm")},
    }


def _card(result: PretrainingResult, name: str, answers: int, licence: str | None) -> list[str]:
    source, backbone = result.source, result.backbone
    classes = source.dataset.classes
    with flags_in_messages({}):  # a command for the shell, whoever has the card written
        model = option("model", f"local-dir:{name}")
    last = f"Its last layer is for {answers:,} classes." if answers else "The file holds no last layer."
    return [
        f"# {text(name)}",
        "",
        f"A {backbone.recipe.architecture} ({_millions(result)} million parameters) trained on "
        f"{len(classes):,} classes by regraft {version('regraft')}. {last} To learn other classes from its features:",
        "",
        *code_block([f"regraft fit PHOTOS {model}"], "bash"),
        "",
        "## Data",
        "",
        f"{len(source.train):,} photos for training, {len(source.validation):,} for validation: {text(source.note)}.",
        f"Classes: {listed(classes, _CLASSES_SHOWN)}.",
        "",
        "## Accuracy",
        "",
        *table(("figure", "value", "95 % interval"), _figures(result)),
        "",
        "The validation photos chose none of the weights: training went to its end, and the mean of the last weights "
        "was kept. Only the temperature of the log loss below was fitted to them.",
        "",
        f"![Validation accuracy by epoch]({CURVE_FILE})",
        "",
        *table(
            ("epoch", "training loss", "validation log loss, calibrated", "validation accuracy"),
            _epochs(result.curve),
        ),
        "",
        f"Training, with validation after each epoch, took {result.seconds / 60:,.1f} minutes for {result.images:,} "
        f"photos, each counted as often as it was seen ({result.images / max(result.seconds, 1e-9):,.0f} images/s). "
        f"[{TRAINING_FILE}]({TRAINING_FILE}) holds every epoch.",
        "",
        "## Recipe",
        "",
        *table(("what", "value"), [(text(key), plain(value)) for key, value in result.arguments.items()]),
        "",
        "## Licence",
        "",
        *_licences(result, licence),
        "",
    ]


def _millions(result: PretrainingResult) -> str:
    return f"{sum(p.numel() for p in result.backbone.module.parameters()) / 1e6:.1f}"


def _figures(result: PretrainingResult) -> list[tuple[str, str, str]]:
    rows = []
    for name, words in (("accuracy", "accuracy"), ("top5_accuracy", "top-5 accuracy")):
        value, interval = result.report.figures.get(name), result.report.intervals.get(name)
        if value is not None:
            bounds = "-" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}"
            rows.append((words, f"{value:.1%}", bounds))
    rows.append(("always the largest class", f"{result.report.majority_share:.1%}", "-"))
    return rows


def _epochs(curve: Sequence[TrainingRecord]) -> list[tuple[str, ...]]:
    step = max(1, -(-len(curve) // _EPOCHS_SHOWN))
    shown = [record for record in curve if record.epoch % step == 0 or record is curve[-1]]
    return [
        (str(one.epoch), f"{one.loss:.3f}", _optional(one.tuning_loss, ".3f"), _optional(one.tuning_accuracy, ".1%"))
        for one in shown
    ]


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _licences(result: PretrainingResult, licence: str | None) -> list[str]:
    lines = [f"The weights: {text(licence or 'not stated; whoever trained them decides')}."]
    start = result.backbone.recipe.settings.get("license")
    if start and start != licence:
        lines.append(f"The weights that training started from: {text(start)}.")
    if result.teacher is not None:
        lines.append(f"The teacher, {code(result.teacher.name)}: {text(result.teacher.licence)}.")
    return lines


def _independent(report: Report) -> float:
    """Return the effective sample size of the accuracy; 0 where its interval is not known.

    Groups widen the interval by the root of the design effect (Kish 1965).
    """
    known = report.intervals["accuracy"]
    if known is None:
        return 0.0
    low, high = wilson(report.accuracy * report.n, report.n)
    return report.n * min(1.0, ((high - low) / max(known[1] - known[0], 1e-9)) ** 2)


def _chart(curve: Sequence[TrainingRecord], report: Report) -> str:
    """Return an SVG to be shown by itself: on white, and large enough to be read."""
    trials = _independent(report)
    points = [
        (float(one.epoch), one.tuning_accuracy, wilson(one.tuning_accuracy * trials, trials) if trials else None)
        for one in curve
        if one.tuning_accuracy is not None
    ]
    chart = curve_chart({"accuracy": points}, x_label="epoch", y_label="validation accuracy")
    opening, rest = chart.split(">", maxsplit=1)
    style = 'style="background:#fff;color:#222;font-family:sans-serif"'
    return f'{opening} width="720" {style}>{rest}\n'
