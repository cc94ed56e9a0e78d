"""`regraft push`: a classifier and its card, uploaded to the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from regraft.cli import options
from regraft.cli.card import Licence
from regraft.cli.console import note, result, result_json, shell_words


def push(
    file: Annotated[Path, typer.Argument(help="A file that `regraft fit --out` wrote.", show_default=False)],
    repository: Annotated[str, typer.Argument(help="Repository of the hub: owner/name.", show_default=False)],
    *,
    private: Annotated[
        bool, typer.Option("--private", help="Make it private: only those whom you let in can read it.")
    ] = False,
    message: Annotated[str | None, typer.Option(help="What the commit is called.", show_default=False)] = None,
    readme: Annotated[
        Path | None,
        typer.Option(
            help="A card of your own. [default: the one beside the classifier if it was changed, else a new one]",
            metavar="FILE.md",
            show_default=False,
        ),
    ] = None,
    licence: Licence = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a card that was changed on the hub.", show_default=False)
    ] = False,
    json: options.Json = False,
) -> None:
    """Upload a classifier and its model card to the Hugging Face hub, where others load it as hf-hub:owner/name.

    Log in once with `hf auth login`, or set HF_TOKEN. No photo is uploaded; its card says what the file tells of them.
    """
    from regraft.publishing.push import check_repository
    from regraft.publishing.push import push as upload

    check_repository(repository)
    done = upload(
        file.expanduser(),
        repository,
        private=private,
        message=message,
        readme=readme,
        licence=licence,
        force=force,
        say=note,
    )
    if json:
        result_json({"repository": done.repository, "url": done.url, "commit": done.commit, "private": done.private})
    else:
        result(done.url)
    who = "those whom you let in" if done.private else "everybody"
    note(f"{who} can use it: {shell_words('regraft', 'predict', f'hf-hub:{done.repository}')} PHOTOS")
