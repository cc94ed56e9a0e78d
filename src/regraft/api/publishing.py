"""`card` and `push`: a classifier for others, with its model card."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regraft.api.estimator import TransferClassifier
from regraft.api.log import LOGGER
from regraft.classifier.bundle import save_bundle
from regraft.classifier.classifier import Classifier
from regraft.classifier.named import bundle_file
from regraft.extras import missing_packages_named
from regraft.publishing.front_matter import check_licence
from regraft.publishing.model_card import model_card, write_card
from regraft.publishing.push import Upload
from regraft.publishing.push import push as upload
from regraft.publishing.subject import CardSubject

_UNNAMED = "classifier.safetensors"


@missing_packages_named("regraft.card")
def card(
    classifier: TransferClassifier | Classifier | str | Path,
    out: str | Path | None = None,
    *,
    licence: str | None = None,
    force: bool = False,
) -> str:
    """Return the model card of a classifier: Markdown with the front matter of the Hugging Face hub.

    Args:
        classifier: fitted, or the file of one, or "hf-hub:owner/name".
        out: a file to write it to, too.
        licence: that you give the classifier; None for that of its network's weights.
        force: replace a card that somebody wrote or changed.

    Raises:
        BundleError: a file that is no classifier.
        OptionError: no name of a licence.
        OutputError: it cannot be written there, or would replace what somebody wrote.
    """
    check_licence(licence)
    with _file_of(classifier) as file:
        subject = CardSubject.of_file(file, licence=licence)
    if out is not None:
        write_card(subject, Path(out).expanduser(), force=force)
    return model_card(subject)


@missing_packages_named("regraft.push")
def push(
    classifier: TransferClassifier | Classifier | str | Path,
    repository: str,
    *,
    private: bool = False,
    message: str | None = None,
    readme: str | Path | None = None,
    licence: str | None = None,
    force: bool = False,
) -> Upload:
    """Upload a classifier and its card to the Hugging Face hub, where `load("hf-hub:owner/name")` finds it.

    Args:
        classifier: fitted, or the file of one.
        repository: "owner/name", which is made if there is none.
        private: make it private.
        message: of the commit.
        readme: a file with a card of your own; None for the one beside the classifier's file if it was changed, else a
            new one.
        licence: that you give the classifier; None for that of its network's weights.
        force: replace a card that was changed on the hub.

    Raises:
        BundleError: a file that is no classifier.
        HubError: nobody is logged in, there is no connection, or the hub refuses it.
        OptionError: a name, a licence or a card that cannot be used.
        OutputError: the card on the hub was changed there.
    """
    with _file_of(classifier) as file:
        return upload(
            file,
            repository,
            private=private,
            message=message,
            readme=None if readme is None else Path(readme).expanduser(),
            licence=licence,
            force=force,
            say=LOGGER.info,
        )


@contextmanager
def _file_of(classifier: TransferClassifier | Classifier | str | Path) -> Iterator[Path]:
    """Yield the file of a classifier; of one that is only in memory a temporary one."""
    if isinstance(classifier, TransferClassifier):
        classifier = classifier._fitted()
    if not isinstance(classifier, Classifier):
        yield bundle_file(classifier)
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, _UNNAMED)
        save_bundle(classifier, file)
        yield file
