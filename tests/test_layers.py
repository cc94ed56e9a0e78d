"""The one rule of the house: a folder imports only folders above it, a file only files before it in its folder."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "regraft"

# From the ground up. A file that is not listed fails the test: it has no place yet.
ORDER = {
    "": [
        "deadline",
        "errors",
        "validation",
        "watchdog",
        "files",
        "markdown",
        "options",
        "progress",
        "runtime",
        "processes",
        "extras",
        "ray_connection",
        "ray_workers",
        "cache",
        "matrices",
    ],
    "evaluation": [
        "calibration",
        "intervals",
        "label_errors",
        "ranking",
        "proportions",
        "calibration_error",
        "decisions",
        "order_statistics",
        "goals",
        "metrics",
        "delong",
        "paired_tests",
        "paired",
        "pairwise",
        "figures",
        "levels",
        "report_lines",
        "bounded_mean",
        "tree_figures",
        "operating_points",
        "trade_offs",
        "conformal",
        "report_fields",
        "report",
        "skill",
    ],
    "plots": [
        "curves",
        "images",
        "learning_curve",
        "page",
        "svg",
    ],
    "storage": [
        "addresses",
        "failures",
        "outages",
        "store",
        "contents",
        "opening",
        "locations",
    ],
    "images": [
        "formats",
        "headers",
        "memory",
        "tta",
        "value_range",
        "resizing",
        "preprocess",
        "perceptual_hash",
        "colours",
        "measures",
        "block_matching",
        "source_files",
        "sources",
        "png",
        "tiff",
        "depth",
        "streaming",
        "reasons",
        "reading",
        "decoding",
        "augment",
        "loading",
    ],
    "data": [
        "class_weights",
        "splits",
        "taxonomy",
        "samples",
        "archives",
        "csv_text",
        "file_names",
        "findings",
        "folders",
        "audit",
        "group_guess",
        "cells",
        "csv_table",
        "columns",
        "taxonomy_file",
        "training_classes",
        "image_paths",
        "other_tables",
        "parquet_table",
        "tar_table",
        "tables",
        "class_folders",
        "layouts",
        "close_pairs",
        "bit_tables",
        "bit_sampling",
        "near_duplicates",
        "nearest_features",
        "scene_parts",
        "dataset",
        "group_folds",
        "photos",
        "photo_list",
        "table_checks",
        "label_table",
        "label_file",
    ],
    "networks": [
        "names",
        "recipe",
        "hook_points",
        "outline",
        "mismatch",
        "graph",
        "hub",
        "tracing",
        "depths",
        "weights",
        "cutting",
        "lora",
        "packaged",
        "registry",
        "stages",
        "building",
        "backbone",
        "plan",
        "backbones",
        "freezing",
    ],
    "heads": [
        "workers",
        "linear",
        "softmax_sums",
        "centred_rows",
        "sharded_rows",
        "ray_shards",
        "coordinates",
        "lbfgs",
        "kinds",
        "logistic",
        "search",
        "discriminant",
        "head_choice",
        "probe",
    ],
    "engines": [
        "engine",
        "microbatches",
        "openvino",
        "pytorch",
        "workload",
        "kinds",
        "agreement",
        "selection",
        "graphs",
        "speed",
        "compute",
    ],
    "attribution": [
        "backward_rules",
        "cam",
        "feature_maps",
        "linearity",
        "deconvnet",
        "receptive_field",
    ],
    "features": [
        "depth_choices",
        "depths",
        "network_cache",
        "neighbours",
        "store",
        "activations",
        "views",
        "shards",
        "passes",
        "network_pass",
        "extraction",
        "shares",
        "joint",
        "pictures",
        "embedding",
        "nearest",
        "similar",
        "vector_files",
    ],
    "training": [
        "checkpoints",
        "distributed",
        "ema",
        "losses",
        "mixup",
        "optimizers",
        "schedule",
        "optimisation",
        "finetuner",
        "loop",
    ],
    "classifier": [
        "labels",
        "group_figures",
        "full_report",
        "tree",
        "record",
        "schema",
        "reference",
        "drift",
        "module",
        "classifier",
        "bundle_networks",
        "bundle",
        "named",
        "summary",
        "predict",
        "evaluate",
        "paired_evaluation",
    ],
    "photo_audit": [
        "cues",
        "photos",
        "duplicates",
        "held_out",
        "effects",
        "quality",
        "shortcuts",
        "words",
        "brief",
        "audit",
        "clean_list",
        "new_photos",
        "thumbnails",
        "comparisons",
        "tables",
        "summary",
        "sections",
        "html_report",
    ],
    "labelling": [
        "clusters",
        "diverse_batch",
        "sources",
        "suggestions",
        "groups",
        "contact_sheet",
    ],
    "transfer": [
        "budget",
        "comparison",
        "strategies",
        "settings",
        "process_checks",
        "experiment",
        "held_out",
        "preparation",
        "feature_choice",
        "forecast",
        "auto_plan",
        "trainers",
        "cross_validation",
        "fold_workers",
        "auto",
        "compare",
        "network_choice",
        "view_choice",
        "fit",
    ],
    "pretraining": [
        "source",
        "timm_export",
        "teacher",
        "pretrain",
        "model_card",
    ],
    "explain": [
        "words",
        "choice",
        "depth",
        "subject",
        "top_activations",
        "unit_pictures",
        "examples",
        "mistakes",
        "explanation",
        "explain",
        "confusion",
        "next_steps",
        "first_page",
        "network_sections",
        "trade_offs",
        "other_figures",
        "html_report",
        "fit_report",
    ],
    "review": [
        "decision",
        "label_export",
        "decisions",
        "current_decisions",
        "places",
        "order",
        "photos",
        "listing",
        "added_photos",
        "retrain",
        "base",
        "trainer",
        "background",
        "session",
    ],
    "publishing": [
        "subject",
        "front_matter",
        "card_figures",
        "card_limits",
        "model_card",
        "push",
    ],
    "exports": [
        "filters",
        "resizing",
        "graph",
        "metadata",
        "silence",
        "onnx_format",
        "openvino_format",
        "pt2_format",
        "formats",
        "request",
        "photos",
        "parity",
        "quantisation",
        "export",
    ],
    "serve": [
        "settings",
        "refusals",
        "allowance",
        "guards",
        "metrics",
        "answers",
        "uploads",
        "fetching",
        "documents",
        "about",
        "schemas",
        "batching",
        "heatmap",
        "page",
        "service",
        "review_answers",
        "review_images",
        "review_routes",
        "app",
        "server",
    ],
    "api": [
        "log",
        "arguments",
        "explanations",
        "estimator",
        "functions",
        "vectors",
        "audits",
        "labelling",
        "publishing",
        "exports",
    ],
    "cluster": [
        "shared_photos",
        "shards",
        "parts",
        "predictions",
        "embeddings",
        "settings",
        "relay",
        "ray_train",
        "training",
        "pretraining",
    ],
    "cli": [
        "bar",
        "console",
        "wrong_usage",
        "options",
        "cache",
        "closing",
        "demo",
        "dry_run",
        "tree_answers",
        "answer_table",
        "formats",
        "held_out_answers",
        "submission_sample",
        "submission_ids",
        "submission_answers",
        "submissions",
        "models",
        "tracking",
        "training_options",
        "outputs",
        "parts",
        "decision",
        "prediction_parts",
        "card",
        "push",
        "dry_run_networks",
        "compare",
        "embed",
        "audit",
        "evaluate",
        "explain",
        "fit",
        "predict",
        "serve",
        "export",
        "pretrain",
        "similar",
        "suggest",
        "group",
        "main",
    ],
}
RANK = {
    ".".join(part for part in ("regraft", folder, file) if part): (floor, place)
    for floor, (folder, files) in enumerate(ORDER.items())
    for place, file in enumerate(files)
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))
MAX_FILE, MAX_FUNCTION, MAX_POSITIONAL = 400, 50, 5


def module_name(path: Path) -> str:
    return ".".join(("regraft", *path.relative_to(PACKAGE).with_suffix("").parts))


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_of(tree: ast.AST) -> set[str]:
    """Return every module that is imported anywhere in the file, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_file_imports_only_what_stands_above_it(path: Path) -> None:
    name = module_name(path)
    assert name in RANK, f"{name} is not in ORDER: give it its place"
    above = {other for other, rank in RANK.items() if rank < RANK[name]}
    inside = {imported for imported in imports_of(parse(path)) if imported in RANK}
    assert inside <= above, f"{name} imports {sorted(inside - above)}, which stand beside or below it"


@pytest.mark.parametrize("folder", [folder for folder in ORDER if folder])
def test_folder_says_what_it_may_import(folder: str) -> None:
    said = ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text())) or ""
    names = list(ORDER)
    above = ["the files beside this folder", *names[1 : names.index(folder)]]
    assert said.replace("\n", " ").endswith(f"May import: {', '.join(above)}.")


def test_every_listed_file_exists() -> None:
    assert set(RANK) == {module_name(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_only_three_files_know_timm(path: Path) -> None:
    knows = any(name.split(".")[0] == "timm" for name in imports_of(parse(path)))
    assert not knows or module_name(path) in {f"regraft.networks.{n}" for n in ("registry", "building", "backbones")}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_lids(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE, f"{path} outgrew its lid: find the missing idea"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef):
            documentation = len((ast.get_docstring(node, clean=False) or "").splitlines())
            signature = node.body[0].lineno - node.lineno
            lines = (node.end_lineno or 0) - node.lineno + 1 - documentation - signature
            assert lines <= MAX_FUNCTION, f"{path}:{node.lineno} {node.name}: {lines} lines"
            command = path.parent.name == "cli"  # typer reads a command's arguments from its signature
            positional = [a for a in node.args.args if a.arg not in ("self", "cls")]
            assert command or len(positional) <= MAX_POSITIONAL, f"{path}:{node.lineno} {node.name}"


@pytest.mark.parametrize(
    "modules",
    [
        "regraft",
        "regraft.errors, regraft.files, regraft.runtime",
        "regraft.data.layouts, regraft.data.photos, regraft.data.audit, regraft.images.augment",
        "regraft.images.block_matching",
        "regraft.evaluation.report",
        "regraft.engines.kinds, regraft.engines.selection, regraft.features.joint",
        "regraft.data.dataset, regraft.data.scene_parts",
        "regraft.classifier.bundle, regraft.classifier.predict, regraft.classifier.evaluate",
        "regraft.serve.server, regraft.serve.app",
        "regraft.labelling.suggestions, regraft.labelling.groups",
        "regraft.cli.main",
    ],
)
def test_no_torch_where_the_answer_must_come_at_once(modules: str) -> None:
    slow = ("torch", "torchvision", "timm", "sklearn", "pandas")
    code = f"import sys, {modules}; print([m for m in {slow} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rule_catches_a_breach() -> None:
    tree = ast.parse("def f():\n    from regraft.features import store\n")
    assert "regraft.features.store" in imports_of(tree)
    assert RANK["regraft.features.store"] > RANK["regraft.data.samples"]
