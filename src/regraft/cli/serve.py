"""`regraft serve`: a classifier that answers by HTTP."""

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regraft.cli import options
from regraft.cli.console import note
from regraft.cli.training_options import CommandOptions, with_options
from regraft.data.columns import Columns
from regraft.engines.compute import Compute
from regraft.errors import OptionError, current_flags, flags_in_messages, option, printable
from regraft.extras import EXTRAS, check_installed
from regraft.files import read_regular
from regraft.serve.settings import ServeSettings
from regraft.storage.locations import local_path

if TYPE_CHECKING:
    from regraft.serve.server import ReviewRequest

TOKEN_VARIABLE = "REGRAFT_TOKEN"
_SHORTEST_TOKEN = 16  # characters
_LONGEST_TOKEN = 4096
_COMPUTE = ("device", "engine", "batch_size", "value_range")


@with_options(ServeSettings, Columns, Compute, only=(*(field.name for field in fields(ServeSettings)), *_COMPUTE))
def serve(
    bundle: options.Bundle,
    *,
    host: Annotated[str, typer.Option(help="Address to answer at; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes one that is free.", min=0, max=65535)] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help=f"File with the token that requests must have. [default: that of {TOKEN_VARIABLE}, else none]",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    review: Annotated[
        str | None,
        typer.Option(
            help="Folder or table of photos that people may review in the browser, at /review.", metavar="DATA"
        ),
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(
            help="File that what reviewers decide is kept in. [default: DATA-review.sqlite beside DATA]",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    given: CommandOptions,
) -> None:
    """Answer photos by HTTP, as `regraft predict` would: POST them to /predict. /docs says how, and tries it out.

    Photos that are asked about stay in memory and are not kept; those that reviewers add are. Without --host only
    programs of this machine are answered.
    """
    settings = given.serve_settings()
    settings.check()
    compute = replace(given.compute(), cache=False, max_file_size=settings.max_body)
    token = _token(token_file)
    for module, (_, extra) in EXTRAS.items():
        if extra == "serve":
            check_installed(module, "regraft serve")

    from regraft.classifier.named import bundle_file
    from regraft.review.decision import FIELDS
    from regraft.serve.guards import is_loopback
    from regraft.serve.server import Server

    if token is None and not is_loopback(host):
        note(
            f"warning: whoever reaches {printable(host)} is answered. --token-file FILE, or {TOKEN_VARIABLE}, asks for "
            "a token."
        )
        if review is not None:
            note("warning: and they may decide about the photos, and add some.")
    file, flags = bundle_file(bundle, note), current_flags()
    reviewed = _review(review, decisions, given)
    server = Server(
        file, compute, settings, host, port, token=token, review=reviewed, flags=flags, verbose=given.verbose
    )
    with flags_in_messages({**(flags or {}), **{name: name for name in FIELDS}}):
        server.run(note)


def _review(data: str | None, decisions: Path | None, given: CommandOptions) -> "ReviewRequest | None":
    """Return what is reviewed, once it is clear that it is there and that decisions can be kept; None for nothing.

    Raises:
        DataError, OptionError, OutputError: it is not.
    """
    columns = given.columns()
    if data is None:
        named = [option(name) for name in ("decisions",) if decisions is not None]
        named += ["options of tables"] if columns != Columns() else []
        if named:
            raise OptionError(f"{' and '.join(named)}: go with {option('review')} DATA. Name DATA, or leave them out.")
        return None
    given.serve_settings().check_review()

    from regraft.data.layouts import split_names
    from regraft.review.decisions import DecisionStore
    from regraft.review.places import ReviewPlaces
    from regraft.serve.server import ReviewRequest

    path = local_path(data, option("review"))
    if not path.exists():
        raise OptionError(f"{option('review', printable(data))}: there is no such folder or table. Name one.")
    if path.is_file() or columns != Columns():
        split_names(data, columns)  # says why it is no table
    places = ReviewPlaces.of(data, columns, decisions)
    with DecisionStore(places.decisions):
        note(f"decisions are kept in {printable(places.decisions)}")
    return ReviewRequest(data, columns, decisions, given.compute(), given.serve_settings().max_pixels)


def _token(file: Path | None) -> str | None:
    """Return the secret that requests must have; None for none.

    Raises:
        OptionError: too short, or of characters that a header cannot have.
    """
    if file is None and TOKEN_VARIABLE not in os.environ:
        return None
    said = TOKEN_VARIABLE if file is None else f"--token-file {printable(file)}"
    text = os.environ[TOKEN_VARIABLE] if file is None else read_regular(file, limit=_LONGEST_TOKEN).decode("latin-1")
    token = text.strip()
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise OptionError(
            f"{said}: a token has {_SHORTEST_TOKEN} characters or more, of ASCII, and no blanks. Got {len(token)} "
            "characters. Make one: python3 -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token
