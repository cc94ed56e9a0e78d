"""A classifier and its card, uploaded to a repository of the Hugging Face hub in one commit."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from regraft.classifier.named import HUB_BUNDLE
from regraft.errors import HubError, OptionError, OutputError, RegraftError, option, printable
from regraft.files import is_file
from regraft.networks.hub import HUB_ERRORS, check_reachable, newest_file, reason_of, repository_of
from regraft.networks.names import HUB_PREFIXES
from regraft.publishing.front_matter import check_licence, read_front_matter
from regraft.publishing.model_card import (
    LARGEST,
    card_beside,
    classifier_of,
    is_as_written,
    marked,
    model_card,
    read_card,
)
from regraft.publishing.subject import CardSubject

CARD = "README.md"  # of a repository
_REPOSITORY = re.compile(r"[^/@]+/[^/@]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# besides: a card that the hub refuses, what uploads large files, and a server that answers as no hub does
_FAILURES: tuple[type[BaseException], ...] = (
    *HUB_ERRORS,
    ValueError,
    RuntimeError,
)  # of a card that the hub refuses, and of what uploads large files
_REASONS = {
    401: "the hub does not know the token: log in again (hf auth login)",
    403: "whom the token belongs to may not write there: name a repository of yours, or take a token that may write",
    412: "somebody else has changed the repository in between: run the same command again",
}


@dataclass(frozen=True)
class Upload:
    """What was uploaded.

    Attributes:
        repository: "owner/name".
        url: of its page.
        commit: hex, the revision that holds it.
        private: whether only those who are let in can read it.
    """

    repository: str
    url: str
    commit: str
    private: bool


def check_repository(repository: str) -> str:
    """Return "owner/name" of what a user calls a repository.

    Raises:
        OptionError: it is no name of a repository of models.
    """
    name = repository.partition(":")[2] if repository.startswith(HUB_PREFIXES) else repository
    try:
        repository_of(f"{HUB_PREFIXES[0]}{name}")
    except RegraftError:
        name = ""
    if _REPOSITORY.fullmatch(name) is None:
        raise OptionError(
            f"a repository of the hub is named owner/name, of letters, digits, '-', '_' and '.', as ann/pets. Got "
            f"{printable(repository)[:200]!r}."
        )
    return name


def push(
    file: Path,
    repository: str,
    *,
    private: bool = False,
    message: str | None = None,
    readme: Path | None = None,
    licence: str | None = None,
    force: bool = False,
    say: Callable[[str], object] = lambda _: None,
) -> Upload:
    """Upload the classifier in `file`, and its card, which is made where nobody has written one.

    Args:
        file: of the classifier.
        repository: "owner/name", which is made if there is none.
        private: make it private; one that is there must be.
        message: of the commit.
        readme: a card that somebody wrote; None for the one beside the file if it was changed, else a new one.
        licence: that the author gives the classifier, for a new card.
        force: replace a card that was changed on the hub.
        say: is told what is uploaded.

    Raises:
        BundleError: the file is no classifier.
        HubError: nobody is logged in, there is no connection, or the hub refuses it.
        OptionError: a name or a card that cannot be used.
        OutputError: the card on the hub was changed there, or the one beside the file is of another classifier.
    """
    repository = check_repository(repository)
    check_licence(licence)
    if message is not None and not message.strip():
        raise OptionError(f"{option('message')} must say something. Leave it out for a message of its own.")
    subject = CardSubject.of_file(
        file, title=repository.partition("/")[2], place=f"{HUB_PREFIXES[0]}{repository}", licence=licence
    )
    text = _card(subject, file, readme, say)
    with _refusals(file, repository):
        _check_access()
        api = HfApi()
        api.create_repo(repository, private=private or None, repo_type="model", exist_ok=True)
        known = api.model_info(repository)
        if private and not known.private:
            raise HubError(
                f"{repository} is there already, and everybody can read it: {option('private', True)} makes a new one "
                "private. Make it private on its page first, or name another."
            )
        _check_card_there(repository, text, force=force)
        say(f"uploading {HUB_BUNDLE} ({file.stat().st_size / 1e6:.1f} MB) and {CARD} to {repository}")
        operations = [
            CommitOperationAdd(HUB_BUNDLE, str(file)),
            CommitOperationAdd(CARD, text.encode(errors="backslashreplace")),
        ]
        done = api.create_commit(
            repository,
            operations,
            commit_message=message or "A classifier by regraft, with its card",
            parent_commit=known.sha if _COMMIT.fullmatch(known.sha or "") else None,
        )
        return Upload(repository, f"{constants.ENDPOINT}/{repository}", done.oid, bool(known.private))


def _card(subject: CardSubject, file: Path, card: Path | None, say: Callable[[str], object]) -> str:
    """Return the card that is uploaded, marked as it is, so that a later change on the hub is seen."""
    beside = card_beside(file)
    if card is None and is_file(beside):
        there = read_card(beside)
        of, said = classifier_of(there), printable(beside)
        if of is None:
            say(f"{said} was not written by regraft, and is left here. As the card: {option('readme', said)}")
        elif not is_as_written(there):
            if of != subject.digest:
                raise OutputError(
                    f"{said} was changed since regraft wrote it, for another classifier than {printable(file)} holds "
                    f"now. Write the card anew (`regraft card` with {option('force', True)}), or name one "
                    f"({option('readme')})."
                )
            card = beside
    if card is None:
        return model_card(subject)
    if subject.licence is not None:
        raise OptionError(
            f"{option('licence')} is for a card that is written anew. Got {printable(card)}, which somebody wrote: "
            "change its front matter."
        )
    there = read_card(card)
    if wrong := read_front_matter(there):
        raise OptionError(f"{printable(card)}: the hub cannot read its front matter ({wrong}). Correct it.")
    say(f"card: {printable(card)}")
    return marked(there, subject.digest)


def _check_access() -> None:
    if get_token() is None:
        raise HubError(
            "nobody is logged in to the Hugging Face hub: run `hf auth login`, or set HF_TOKEN to a token that may "
            f"write ({constants.ENDPOINT}/settings/tokens)."
        )
    if constants.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    check_reachable(constants.ENDPOINT)


def _check_card_there(repository: str, text: str, *, force: bool) -> None:
    """Raise `OutputError` where the card on the hub was changed there and would be replaced by another."""
    there, _ = newest_file(repository, CARD)
    if there is None or force:
        return
    with there.open(encoding="utf-8", errors="replace") as stream:
        content = stream.read(LARGEST + 1)  # none that regraft wrote is as long
    if len(content) > LARGEST or (not is_as_written(content) and content.strip() != text.strip()):
        raise OutputError(
            f"{CARD} of {repository} was changed on the hub, or not written by regraft, and would be replaced. Copy "
            f"what is to be kept into a card of yours ({option('readme', 'FILE.md')}), and replace it: "
            f"{option('force', True)}."
        )


@contextmanager
def _refusals(file: Path, repository: str) -> Iterator[None]:
    """Turn every way in which an upload fails into one sentence."""
    try:
        yield
    except RegraftError:
        raise
    except _FAILURES as error:
        raise HubError(
            f"{printable(file)} was not uploaded to {repository}: {_reason(error)}. Nothing was committed."
        ) from None


def _reason(error: BaseException) -> str:
    """Return in a few words why; what uploads large files puts another error before the hub's."""
    found: Any = error
    while not isinstance(found, HfHubHTTPError) and found.__cause__ is not None:
        found = found.__cause__
    response = getattr(found, "response", None)
    if (known := _REASONS.get(getattr(response, "status_code", 0))) is not None:
        return known
    if isinstance(error, KeyError):
        return f"what answers at {constants.ENDPOINT} is no hub"
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    if isinstance(error, ValueError) and len(lines) > 1:  # of the front matter: the first line says that it is wrong
        return printable(f"the hub refuses the card: {lines[1]}"[:300].rstrip("."))
    return reason_of(found)
