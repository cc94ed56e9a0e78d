"""`regraft embed`: the vectors by which a network describes photos, in a file for one's own use."""

import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.classifier.named import check_named, load_named, network_of
from regraft.cli import options
from regraft.cli.console import note, result_json
from regraft.cli.outputs import check_keeps_inputs, end_naming_unreadable
from regraft.cli.parts import PHOTOS_THAT_CHOOSE, check_outside, parts_folder, run_parts
from regraft.cli.training_options import COMPUTE, CommandOptions, networks_or_default, with_options
from regraft.data.columns import Columns
from regraft.data.folders import entries
from regraft.data.parquet_table import PARQUET_SUFFIX
from regraft.data.photo_list import PhotoList, list_photos, none_readable
from regraft.engines.compute import Compute
from regraft.errors import DataError, OptionError, counted, printable
from regraft.features.vector_files import check_vector_file, open_vector_file
from regraft.files import check_output, size_in_words
from regraft.images.formats import IMAGE_SUFFIXES
from regraft.storage.locations import Location, RemotePath, location

if TYPE_CHECKING:
    from regraft.features.embedding import Embedder


class Depths(StrEnum):
    """Of which depths of a network the vectors are: names of `networks.depths`, which imports torch."""

    last = "last"
    late = "late"
    all = "all"


_FILE = "features.parquet"
VECTORS = (*COMPUTE, "cache_limit")  # of `Compute`: what commands have that compare or write vectors
NOT_OF_VECTORS = ("group_column",)  # of `Columns`: they split nothing


@with_options(Columns, Compute, only=VECTORS, without=NOT_OF_VECTORS)
def embed(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder of photos, with labels as for `regraft fit` or without; a table; one photo; or a 'glob'.",
            show_default=False,
        ),
    ],
    *,
    model: options.NetworkOrFile = "",
    weights: options.Weights = None,
    out: Annotated[
        str,
        typer.Option(help="The file: .parquet or .npz; with --on a folder/ of Parquet parts, too.", metavar="FILE"),
    ] = _FILE,
    features: Annotated[
        Depths, typer.Option(help="Features of the last layer, of its late or of all its depths too.")
    ] = Depths.last,
    json: options.Json = False,
    given: CommandOptions,
) -> None:
    """Write the vectors by which a network describes photos into a file, for one's own use.

    A row for each photo: its path, its label and its split where it has them, and its features. Photos of all splits
    are written. One that cannot be read is named and left out, and the exit code is 3.
    """
    started = time.monotonic()
    parts = parts_folder(out, given.compute())
    if parts is not None:
        if json:
            raise OptionError("--json is of one file. Leave it out: the parts say what they hold.")
        _embed_parts(data, parts, model, weights, features, given)
        return
    file = options.file_path(_FILE)(out)
    check_vector_file(file, option="--out")
    check_output(file, option="--out")
    check_model(model, weights)
    photos = list_photos(data, given.columns())
    check_keeps_inputs(file, [data, model, weights], photos.sources)
    _check_no_table_of(file, location(data))
    say_what_was_found(photos)

    from regraft.networks.names import without_folders

    embedder, model = new_embedder(model, weights, given, features)
    (opened,) = embedder.open(photos.sources, labels=photos.labels)
    unreadable: dict[int, str] = {}
    computed = 0
    with open_vector_file(file, photos, embedder.about(without_folders(model))) as rows:
        for block in embedder.blocks(opened):
            rows.add(block.positions, block.vectors)
            unreadable |= block.unreadable
            computed += block.computed
        written, lost = photos.without(unreadable)
        if not written:
            raise DataError(none_readable(photos, lost))
    if json:
        figures = {
            "out": str(out),
            "photos": len(written),
            **embedder.about(model),
            "labels": written.counts(),
            "splits": written.split_counts(),
            "unreadable": [str(photo) for photo, _ in lost],
            "computed": computed,
            "seconds": time.monotonic() - started,
        }
        result_json(figures, kept=f"The vectors are kept: {printable(out)}.")
    vectors = (
        f"{counted(len(written), 'photo')} x {embedder.dimension:,} features, {size_in_words(file.stat().st_size)}"
    )
    note(f"wrote {printable(out)} ({vectors}; {counted(computed, 'photo')} went through the network)")
    end_naming_unreadable(lost)


def _embed_parts(
    data: str, out: Location, model: str, weights: Path | None, features: str, given: CommandOptions
) -> None:
    """Have the workers of a cluster write the vectors in parts."""
    check_model(model, weights)

    from regraft.cluster.embeddings import EmbeddingJob
    from regraft.cluster.shards import count_photos, find_shards, first_photos
    from regraft.networks.names import without_folders

    compute = given.compute()
    check_outside(out, [data])
    shards = find_shards([data], given.columns())
    embedder, model = new_embedder(model, weights, given, features, compute=replace(compute, on=""))
    first = first_photos(shards, PHOTOS_THAT_CHOOSE)
    total = count_photos(shards)
    embedder.open(first.sources, labels=first.labels, photos=total)
    job = EmbeddingJob(
        embedder.backbone,
        without_folders(model),
        compute,
        choice=embedder.choice,
        features=str(features),
        photos=total,
    )
    run_parts(job, shards, out, compute, given.observer())


def check_model(model: str, weights: Path | None) -> None:
    """Raise `OptionError` or `BundleError` for a file or weights that cannot be meant. Imports nothing slow."""
    if weights is not None and not model:
        raise OptionError("--weights is a file of one network: name it with --model.")
    check_named(model, weights)


def say_what_was_found(photos: PhotoList) -> None:
    """Print how many photos there are, their labels and splits, and what was assumed of them."""
    note(printable(photos))
    for line in photos.notes:
        note(line)


def new_embedder(
    model: str,
    weights: Path | None,
    given: CommandOptions,
    features: str = Depths.last,
    *,
    compute: "Compute | None" = None,
) -> "tuple[Embedder, str]":
    """Return what makes vectors, and the name of its network: the one that is named, or that is taken when none is."""
    from regraft.features.embedding import Embedder

    compute = compute or given.compute()
    name = model or networks_or_default([])[0]
    backbone, earlier = network_of(load_named(name, weights, say=note))
    return Embedder(backbone, compute, given.observer(), earlier=earlier, features=str(features)), name


def _check_no_table_of(out: Path, data: Location) -> None:
    """Raise `OptionError` where a Parquet file would make a folder of class folders, or of tables, another table.

    That folder is DATA itself, or one within it that holds folders, as a split does.
    """
    if isinstance(data, RemotePath):
        return
    folder = out.parent.resolve()
    if out.suffix.lower() != PARQUET_SUFFIX or not data.is_dir() or not folder.is_relative_to(data.resolve()):
        return
    inside = entries(folder)
    if any(path.suffix.lower() in IMAGE_SUFFIXES for path in inside):  # see `tables.parquet_files`
        return
    if folder == data.resolve() or any(path.is_dir() for path in inside):
        raise OptionError(
            f"--out {printable(out)} would lie in {printable(out.parent)} itself, which other commands would then take "
            f"for a folder of tables. Name a place outside of {printable(data)}."
        )
