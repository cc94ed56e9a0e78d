"""One exception type per meaning. Each message says what, where, allowed, got and the remedy."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

SHOWN = 20  # names listed in one message before "and N more"

# C0 and C1 controls, DEL, what turns the direction of text, line and paragraph separators, halves of characters
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff]")


class RegraftError(Exception):
    """Base of every error that a user's input or environment can cause."""


class DataError(RegraftError, ValueError):
    """The photos or their labels cannot be used as they are."""


class SmallClassesError(DataError):
    """Classes of too few photos to learn from some and evaluate on others.

    Attributes:
        classes: their names.
    """

    def __init__(self, message: str, classes: Sequence[str]) -> None:
        super().__init__(message)
        self.classes = tuple(classes)

    def __reduce__(self) -> tuple[object, ...]:
        """Return what makes it again in another process."""
        return type(self), (str(self), self.classes)


class StorageError(RegraftError):
    """A store of photos elsewhere does not answer, refuses access, or is no store.

    It is neither an `OSError` nor a `DataError`: what leaves out a photo or a folder must not leave out a whole store.
    """


class ModelError(RegraftError, ValueError):
    """No such network."""


class WeightsError(RegraftError, ValueError):
    """The pretrained weights are absent or belong to another network."""


class DownloadError(WeightsError):
    """The pretrained weights are not on this machine and cannot be downloaded.

    Attributes:
        reason: why not, in a few words.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        """Return what makes it again in another process."""
        return type(self), (str(self), self.reason)


class HubError(RegraftError, OSError):
    """The Hugging Face hub cannot be reached, or does not take what it is given."""


class BundleError(RegraftError, ValueError):
    """A file that is no regraft model, is damaged, or was written by a newer version."""


class OptionError(RegraftError, ValueError):
    """An option or argument outside its allowed values."""


class MissingPackageError(RegraftError, ModuleNotFoundError):
    """A package that not every installation of regraft has is needed."""


class OutputError(RegraftError, OSError):
    """A result cannot be written where it was asked for."""


class SanityError(RegraftError, ValueError):
    """The classifier is no better than always answering the largest class."""


class GoalError(RegraftError, ValueError):
    """No threshold meets the goal that was asked for."""


class EngineError(RegraftError, RuntimeError):
    """An engine cannot run a network, or does not give its features."""


class ExportError(RegraftError, RuntimeError):
    """A classifier cannot be written in a format, or what was written does not answer as the classifier does."""


class FrozenTensorError(RegraftError, RuntimeError):
    """A tensor that was to stay as it is changed during training."""


class TrainingError(RegraftError, RuntimeError):
    """Training cannot go on: values that are not finite, or a device without memory for one photo."""


class ProcessError(RegraftError, RuntimeError):
    """Another one of the processes that train together has ended, or does not answer."""


class ClusterError(RegraftError, RuntimeError):
    """A cluster does not answer, or the workers that it lends end before their work."""


class ResumeError(RegraftError, ValueError):
    """An unfinished run lies where this one is to go, and it was started differently."""


_flags: Mapping[str, str] | None = None  # by option, while the command line speaks; None for Python


def option(name: str, value: object = None) -> str:
    """Return how the user knows an option: as a field or argument in Python, as a flag on the command line.

    Every message of the library names options by it, so that each user reads the names that they typed.

    Args:
        name: of the field; with its class before it where the command line calls it otherwise, as in
            "Schedule.batch_size".
        value: given to it, if the message says so.

    >>> option("Schedule.batch_size"), option("strategy", "top"), option("cache", False)
    ('batch_size', "strategy='top'", 'cache=False')
    >>> with flags_in_messages({"Schedule.batch_size": "--train-batch-size"}):
    ...     option("Schedule.batch_size"), option("strategy", "top"), option("cache", False)
    ('--train-batch-size', '--strategy top', '--no-cache')
    """
    field = name.rpartition(".")[2]
    if _flags is None:
        return field if value is None else f"{field}={value!r}"
    flag = _flags.get(name, f"--{field.replace('_', '-')}")
    if isinstance(value, bool):
        return flag if value else flag.replace("--", "--no-", 1)
    return flag if value is None else f"{flag} {value}"


@contextmanager
def flags_in_messages(flags: Mapping[str, str]) -> Iterator[None]:
    """Have messages name options by flags of the command line, in all threads of this process.

    Args:
        flags: of the options whose flag is not made of their name: "Schedule.batch_size" and "--train-batch-size".
    """
    global _flags  # noqa: PLW0603 (whoever writes a message cannot know who reads it)
    before, _flags = _flags, flags
    try:
        yield
    finally:
        _flags = before


def take_flags(flags: Mapping[str, str] | None) -> None:
    """Have messages of this process name options as in the one that started it, where `current_flags` was `flags`."""
    global _flags  # noqa: PLW0603 (as above)
    _flags = flags


def current_flags() -> Mapping[str, str] | None:
    """Return what `flags_in_messages` is given here, for a process that is started; None where Python's names stand."""
    return _flags


def printable(text: object, *, lines: bool = False) -> str:
    r"""Return `text` with every character that could steer a terminal, or forge a line of output, as an escape.

    Escaped are control characters (ESC, BEL, CR, backspace, DEL, C1), bidirectional marks, overrides and isolates, line
    ends of every kind, tabs, and lone surrogates, which stand for bytes of file names that are no UTF-8. Other text,
    wide and combining characters too, stays as it is, and so do backslashes.

    Args:
        text: a name, or what `str` makes one of.
        lines: keep "\n" and "\t", for text that is made of lines.

    >>> print(printable("a\x1b[2J\u202eb\n.jpg"))
    a\x1b[2J\u202eb\n.jpg
    """

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        return character if lines and character in "\n\t" else character.encode("unicode_escape").decode("ascii")

    return UNSAFE.sub(escape, str(text))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "photo"), counted(1200, "photo")
    ('1 photo', '1,200 photos')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], last: str) -> str:
    """Return "a, b or c", where `last` is "or"."""
    return f" {last} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def goes(names: Sequence[str]) -> str:
    """Return the verb of a sentence on options that go with others."""
    return "goes with" if len(names) == 1 else "go with"


def them(names: Sequence[str]) -> str:
    """Return the pronoun of options."""
    return "it" if len(names) == 1 else "them"


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """Return " Did you mean 'a' or 'b'?" for the closest `candidates`, or "" where none is close.

    >>> did_you_mean("resnet5O", ["resnet50", "vgg16"])
    " Did you mean 'resnet50'?"
    """
    lowered = {candidate.lower(): candidate for candidate in candidates}
    close = [lowered[key] for key in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)]
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def shortlist(names: Sequence[object], shown: int = SHOWN) -> str:
    """Return the first `shown` names, one `printable` line each, indented, and how many more there are.

    >>> print(shortlist(["a.jpg", "b.jpg", "c.jpg"], shown=2))
      a.jpg
      b.jpg
      and 1 more
    """
    lines = [f"  {printable(name)}" for name in names[:shown]]
    if len(names) > shown:
        lines.append(f"  and {len(names) - shown:,} more")
    return "\n".join(lines)


def first_few(names: Sequence[str], shown: int) -> str:
    """Return the first `shown` names in one line, and how many more there are.

    >>> first_few(["ant", "bee", "cat"], 2), first_few(["ant", "bee"], 2)
    ('ant, bee and 1 more', 'ant, bee')
    """
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
