"""`regraft card`: a model card of a classifier."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.console import note
from regraft.cli.outputs import check_keeps_inputs
from regraft.errors import printable
from regraft.files import check_output
from regraft.networks.names import is_on_hub

Licence = Annotated[
    str | None,
    typer.Option(
        help="Licence that you give the classifier: apache-2.0, cc-by-4.0 ... [default: that of its network's weights]",
        show_default=False,
    ),
]
_FILE = "MODEL_CARD.md"


def card(
    bundle: options.Bundle,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write. [default: beside the classifier, with .md as its ending]",
            parser=options.file_path(_FILE),
            metavar="FILE.md",
            show_default=False,
        ),
    ] = None,
    licence: Licence = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a card that somebody wrote or changed.", show_default=False)
    ] = False,
) -> None:
    """Write a model card of a classifier: figures, limits, photos, how it was made, how to use it.

    It is Markdown with the front matter of the Hugging Face hub. Add words of your own: a card that was changed is not
    replaced, and `regraft push` uploads it.
    """
    from regraft.classifier.named import bundle_file
    from regraft.publishing.front_matter import check_licence
    from regraft.publishing.model_card import card_beside, write_card
    from regraft.publishing.subject import CardSubject

    check_licence(licence)
    named = str(bundle)
    on_hub = is_on_hub(named)
    name = named.partition("@")[0].rpartition("/")[2] if on_hub else None
    path = out or (Path(f"{name}.md") if on_hub else card_beside(bundle))
    check_output(path, option="--out")
    check_keeps_inputs(path, [bundle], [])
    subject = CardSubject.of_file(
        bundle_file(bundle, note), title=name, place=named if on_hub else None, licence=licence
    )
    write_card(subject, path, force=force)
    note(f"wrote {printable(path)}")
