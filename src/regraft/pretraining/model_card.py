"""The card of a pretrained network: what it was trained on and how, how far it can be trusted, and what it is for."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from regraft.evaluation.intervals import wilson
from regraft.evaluation.report import Report
from regraft.files import atomic_write
from regraft.plots.svg import curve_chart
from regraft.pretraining.pretrain import Pretrained
from regraft.training.finetuner import Record

CARD_FILE, CURVE_FILE, TRAINING_FILE = "README.md", "curves.svg", "training.json"
_CLASSES_SHOWN = 20
_EPOCHS_SHOWN = 20


def write_card(found: Pretrained, folder: Path, *, answers: int, licence: str | None) -> None:
    """Write the card, its chart, and the same in JSON, beside the network in `folder`.

    Args:
        found: the network and how it came about.
        folder: of its files.
        answers: how many classes its file answers for, 0 where the last layer is not in it.
        licence: of the weights; None where nothing was said.

    Raises:
        OutputError: they cannot be written.
    """
    files = {
        CARD_FILE: "\n".join(_card(found, folder.name, answers, licence)),
        CURVE_FILE: _chart(found.curve, found.report),
        TRAINING_FILE: json.dumps(training_json(found), indent=1, ensure_ascii=False) + "\n",
    }
    for name, text in files.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def training_json(found: Pretrained) -> dict[str, Any]:
    """Return recipe, curve and figures in JSON types."""
    figures = found.report.to_json()
    return {
        "arguments": found.about,
        "classes": list(found.source.samples.classes),
        "judged_by": found.source.judges,
        "n": figures["n"],
        "accuracy": figures["accuracy"],
        "accuracy_interval": figures["accuracy_interval"],
        "top5_accuracy": found.report.figures.get("top5_accuracy"),
        "top5_accuracy_interval": found.report.intervals.get("top5_accuracy"),
        "seconds": round(found.seconds, 1),
        "images": found.images,
        "curve": [asdict(record) for record in found.curve],
        "teacher": None if found.teacher is None else {"name": found.teacher.name, "license": found.teacher.licence},
        "versions": {name: version(name) for name in ("regraft", "torch", "timm")},
    }


def _card(found: Pretrained, name: str, answers: int, licence: str | None) -> list[str]:
    source, backbone = found.source, found.backbone
    classes = source.samples.classes
    between = "; " if any("," in name for name in classes) else ", "
    shown = between.join(classes[:_CLASSES_SHOWN])
    more = f"{between}and {len(classes) - _CLASSES_SHOWN:,} more" if len(classes) > _CLASSES_SHOWN else ""
    last = f"The last layer answers for {answers:,} classes." if answers else "The file holds no last layer."
    return [
        f"# {name}",
        "",
        f"A {backbone.recipe.architecture} ({_millions(found)} million parameters) that learned to tell "
        f"{len(classes):,} classes apart, trained by regraft {version('regraft')}. {last} "
        "To learn other classes from its features:",
        "",
        "```bash",
        f"regraft fit PHOTOS --model local-dir:{name}",
        "```",
        "",
        "## Data",
        "",
        f"{len(source.learn):,} photos were learned from; {len(source.judge):,} judge: {source.judges}.",
        f"Classes: {shown}{more}.",
        "",
        "## How good it is",
        "",
        *_table(("figure", "value", "95 % interval"), _figures(found)),
        "",
        "The photos that judge chose none of the weights: training went to its end, and the mean of the last ones was "
        "kept. Only the temperature of the log loss below was fitted to them.",
        "",
        f"![Share of right answers by epoch]({CURVE_FILE})",
        "",
        *_table(
            ("epoch", "training loss", "log loss of the photos that judge, at its best temperature", "right"),
            _epochs(found.curve),
        ),
        "",
        f"Training, with the judging after each epoch, took {found.seconds / 60:,.1f} minutes for {found.images:,} "
        f"photos, each counted as often as it was seen ({found.images / max(found.seconds, 1e-9):,.0f} images/s). "
        f"[{TRAINING_FILE}]({TRAINING_FILE}) holds every epoch.",
        "",
        "## Recipe",
        "",
        *_table(("what", "value"), [(key, _plain(value)) for key, value in found.about.items()]),
        "",
        "## Licence",
        "",
        *_licences(found, licence),
        "",
    ]


def _millions(found: Pretrained) -> str:
    return f"{sum(p.numel() for p in found.backbone.module.parameters()) / 1e6:.1f}"


def _figures(found: Pretrained) -> list[tuple[str, str, str]]:
    rows = []
    for name, words in (("accuracy", "accuracy"), ("top5_accuracy", "among the first five")):
        value, interval = found.report.figures.get(name), found.report.intervals.get(name)
        if value is not None:
            bounds = "-" if interval is None else f"{interval[0]:.1%} to {interval[1]:.1%}"
            rows.append((words, f"{value:.1%}", bounds))
    return rows


def _epochs(curve: Sequence[Record]) -> list[tuple[str, ...]]:
    step = max(1, -(-len(curve) // _EPOCHS_SHOWN))
    shown = [record for record in curve if record.epoch % step == 0 or record is curve[-1]]
    return [
        (str(one.epoch), f"{one.loss:.3f}", _optional(one.tuning_loss, ".3f"), _optional(one.tuning_accuracy, ".1%"))
        for one in shown
    ]


def _optional(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _licences(found: Pretrained, licence: str | None) -> list[str]:
    lines = [f"The weights: {licence or 'not stated; whoever trained them decides'}."]
    start = found.backbone.recipe.settings.get("license")
    if start and start != licence:
        lines.append(f"Those that training started from: {start}.")
    if found.teacher is not None:
        lines.append(f"Their teacher, `{found.teacher.name}`: {found.teacher.licence}.")
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return str(value).replace("|", "\\|")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _independent(report: Report) -> float:
    """Return of how many independent photos the accuracy is as sure as it is; 0 where nothing is known of it.

    Groups make its interval wider by the root of the design effect (Kish 1965).
    """
    known = report.intervals["accuracy"]
    if known is None:
        return 0.0
    low, high = wilson(report.accuracy * report.n, report.n)
    return report.n * min(1.0, ((high - low) / max(known[1] - known[0], 1e-9)) ** 2)


def _chart(curve: Sequence[Record], report: Report) -> str:
    """Return an SVG that stands by itself: with a white ground, and large enough to be read."""
    trials = _independent(report)
    points = [
        (float(one.epoch), one.tuning_accuracy, wilson(one.tuning_accuracy * trials, trials) if trials else None)
        for one in curve
        if one.tuning_accuracy is not None
    ]
    chart = curve_chart({"right": points}, x_label="epoch", y_label="right answers of the photos that judge")
    opening, rest = chart.split(">", maxsplit=1)
    style = 'style="background:#fff;color:#222;font-family:sans-serif"'
    return f'{opening} width="720" {style}>{rest}\n'
