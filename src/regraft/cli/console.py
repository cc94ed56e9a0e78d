"""What the terminal shows: findings and progress on stderr, results on stdout.

Findings are never worth an error: where stderr cannot be written they are dropped, and the work goes on. A result that
cannot be written is one, except where its reader has gone away, as `head` does: then the command ends without a word.
"""

import codecs
import errno
import io
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

import typer

from regraft.cli.bar import Bar, Series, rate_in_words
from regraft.errors import UNSAFE, OutputError, counted, printable
from regraft.progress import Detail, Observer, ProgressRecord

READER_GONE = 141  # exit code: 128 + SIGPIPE, as shells have it
_silent = False  # this process leaves the talking to another one
_CLOSED = OSError(errno.EBADF, "it is closed")


class TerminalObserver(Observer):
    """Shows findings as lines and progress as a bar; where stderr is a file, a line every ten seconds.

    Args:
        verbose: whether to print details too: what runs the network, how fast, and each fold.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._bars: list[Bar] = []  # the last one moves
        self._series: Series | None = None
        self._part = (0, 0.0)  # images and seconds of the series before this pass

    def say(self, text: str) -> None:
        """Print one finding."""
        if self._verbose or not isinstance(text, Detail):
            note(text)

    def begin(self, task: str, total: int) -> None:
        """Start a bar; within another one, which is drawn, lines."""
        self._bars.append(Bar(task, total, terminal=_is_terminal(sys.stderr) and not self._bars, say=note))

    def advance(self, count: int) -> None:
        """Move the bar."""
        self._bars[-1].advance(count)

    def complete(self) -> None:
        """Let the bar reach its end; in a pass of the series, go on to the next."""
        if self._series is not None and self._series.is_open:
            self._series.completed = True
        elif self._bars:
            self._bars[-1].complete()

    def end(self) -> None:
        """Remove the bar and say how it went."""
        bar = self._bars.pop()
        bar.close()
        self._say_how_it_went(bar.name, bar.done, bar.seconds, completed=bar.completed)

    def begin_series(self, task: str, parts: int) -> None:
        """Show the passes that follow as one."""
        self._series = Series(task, parts)

    def begin_part(self, task: str, total: int) -> None:
        """Start the bar of the series with its first pass; go on with it in the others."""
        if self._series is None:
            self.begin(task, total)
            return
        self._series.begin(total)
        if not self._bars:
            self.begin(task, self._series.total)
        self._bars[-1].set_to(name=task, total=self._series.total)
        self._part = (self._bars[-1].done, self._bars[-1].seconds)

    def end_part(self) -> None:
        """Forecast the rest anew: the pass may have stopped early."""
        if self._series is None:
            self.end()
            return
        bar, (done, seconds) = self._bars[-1], self._part
        self._series.end(bar.done)
        bar.set_to(total=self._series.total)
        if self._verbose:
            self._say_how_it_went(bar.name, bar.done - done, bar.seconds - seconds, completed=self._series.completed)

    def reach_part(self, over: int) -> None:
        """Count the passes that are over."""
        if self._series is not None:
            self._series.reach(over)
            for bar in self._bars:
                bar.set_to(total=max(self._series.total, bar.done))

    def end_series(self) -> None:
        """Let the bar reach its end, and say how all went; where nothing was to be done, nothing is said."""
        series, self._series = self._series, None
        if self._bars and series is not None:
            self._bars[-1].set_to(name=series.task)
            self.end()

    def _say_how_it_went(self, name: str, images: int, seconds: float, *, completed: bool) -> None:
        rate = f" ({rate_in_words(images, seconds)})" if self._verbose and images else ""
        what = f"{counted(images, 'image')} in {seconds:.1f} s"
        note(f"{name}: {what}{rate}" if completed else f"{name}: stopped after {what}{rate}")

    def record(self, training: str, record: ProgressRecord) -> None:
        """Print the end of an epoch; not of the trainings of folds, which follow one another."""
        if not record.photos and ", fold " not in training:
            held_out = "" if record.tuning_loss is None else f", {record.tuning_loss:.4f} on the photos held out"
            self.say(f"  epoch {record.epoch}: loss {record.loss:.4f}{held_out}")

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Hear the final figures, which the command prints itself."""


def shell_words(*words: object) -> str:
    r"""Return words as they can be pasted into a shell, names of any letters and bytes too.

    >>> print(shell_words("predict", "my pets.safetensors", "a\nb"))
    predict 'my pets.safetensors' $'a\x0ab'
    """
    if os.name == "nt":  # pragma: no cover (no other shell is tried)
        return subprocess.list2cmdline(map(str, words))
    return " ".join(map(_shell_word, map(str, words)))


def _shell_word(word: str) -> str:
    if UNSAFE.search(word) is None:
        return shlex.quote(word)
    letters = [chr(byte) if byte < 128 and chr(byte).isalnum() else f"\\x{byte:02x}" for byte in os.fsencode(word)]
    return f"$'{''.join(letters)}'"  # as bash and zsh read it


def be_silent() -> None:
    """Print nothing from here on but `complaint`: of several processes that work together the first one speaks."""
    global _silent  # noqa: PLW0603 (of the whole process)
    _silent = True


def note(text: str) -> None:
    """Print to stderr, where nothing that a program reads is printed; what could steer the terminal is escaped."""
    if not _silent:
        complaint(text)


def complaint(text: str) -> None:
    """Print to stderr as `note` does, what must be heard from any process."""
    if sys.stderr is None:  # print would take stdout
        return
    with suppress(OSError, ValueError):  # full, or closed
        print(printable(text, lines=True), file=sys.stderr, flush=True)  # noqa: T201


def result(text: str, *, kept: str = "") -> None:
    """Print to stdout what people read; what could steer the terminal is escaped.

    Args:
        text: one or more lines, without the last line's end.
        kept: a sentence that says where the work is if the text cannot be written.

    Raises:
        OutputError: it cannot be written.
        typer.Exit: its reader has gone away.
    """
    result_exactly(printable(text, lines=True) + "\n", kept=kept)


def result_json(values: Mapping[str, Any], *, kept: str = "") -> None:
    """Print one JSON object to stdout, as `result` does, but exactly."""
    result_exactly(json_text(values) + "\n", kept=kept)


def result_exactly(text: str, *, kept: str = "") -> None:
    """Write to stdout what programs read, as it is; the rest as `result`."""
    if _silent:
        return
    try:
        if sys.stdout is None:
            raise _CLOSED
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise _unwritten(error, kept) from None
    check_written(kept)


def check_written(kept: str = "") -> None:
    """Raise as `result` does if something that was printed to stdout, by whomever, could not be written."""
    raw = _raw(sys.stdout)
    if isinstance(raw, _Patient) and raw.lost and raw.error is not None:
        raw.lost = False  # it is reported once
        raise _unwritten(raw.error, kept)


def check_stdout(remedy: str) -> None:
    """Raise `OutputError` if stdout is closed. Called before expensive work of which nothing else would be left.

    Args:
        remedy: where the result could go instead, a sentence.
    """
    raw = _raw(sys.stdout)
    error = _CLOSED if sys.stdout is None else raw.error if isinstance(raw, _Patient) else None
    if error is not None:
        raise OutputError(f"the result cannot be written to standard output: {error.strerror}. {remedy}")


def json_text(value: Any) -> str:
    """Return JSON (RFC 8259) in one line: numbers that are not finite are null.

    Characters that could steer a terminal are escaped as JSON allows, so that it is read as the same text.
    """
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def open_streams() -> None:
    """Make stdin, stdout and stderr objects that can be used whatever they are connected to, or to nothing.

    The descriptors 0 to 2 that are closed are opened on the null device: else the next file that is opened would get
    the number, and what a library prints would be written into it. stdout and stderr no longer raise when they cannot
    be written, and the process does not fail when it ends and they are flushed; `check_written` tells of stdout.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere == number:
                os.set_inheritable(number, True)
            else:  # pragma: no cover (the lowest number that is free is taken)
                os.dup2(nowhere, number)
                os.close(nowhere)
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_RDONLY), encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _patient(sys.stdout, closed=_CLOSED)
    sys.stderr = _patient(sys.stderr)


class _Patient(io.RawIOBase):
    """Bytes go on to `raw` until they can no longer be written; from then on they are dropped, without an error.

    Attributes:
        error: why nothing can be written, or None.
        lost: something was dropped.
    """

    def __init__(self, raw: Any, error: OSError | None) -> None:
        self._raw, self.error, self.lost = raw, error, False
        self.name = getattr(raw, "name", None)

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.error is None:
            try:
                written: int | None = self._raw.write(data)
                if written is not None:
                    return written
                self.error = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            except OSError as error:
                self.error = error
        self.lost = True
        return size

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return _is_terminal(self._raw)


def _patient(stream: Any, closed: OSError | None = None) -> Any:
    """Return a text stream that never raises; where `stream` is None, one that writes nothing, for it is `closed`."""
    if stream is None:
        raw: Any = io.FileIO(os.open(os.devnull, os.O_WRONLY), "w", closefd=False)
        return io.TextIOWrapper(io.BufferedWriter(_Patient(raw, closed)), "utf-8", _UNENCODABLE)
    if not isinstance(stream, io.TextIOWrapper):  # a notebook's, or a test's
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Patient(_raw(stream), None)),
        encoding=stream.encoding,
        errors=_UNENCODABLE,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _escaped_as_in_json(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for characters that a stream's encoding lacks; "backslashreplace" makes of JSON no JSON."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


_UNENCODABLE = "regraft.json"  # file names may be no UTF-8, and a terminal may lack letters of a name
codecs.register_error(_UNENCODABLE, _escaped_as_in_json)


def _raw(stream: IO[str] | None) -> Any:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)  # under `python -u` there is no buffer between


def _is_terminal(stream: Any) -> bool:
    try:
        return stream is not None and bool(stream.isatty())
    except (OSError, ValueError):
        return False


def _unwritten(error: OSError, kept: str) -> Exception:
    if error.errno == errno.EPIPE or (os.name == "nt" and error.errno == errno.EINVAL):  # as Windows calls it
        return typer.Exit(READER_GONE)
    remedy = f"{kept} " if kept else ""
    return OutputError(
        f"the result could not be written to standard output: {error.strerror or error}. {remedy}"
        "Send standard output to a terminal or a file on a disk with space (> FILE), and run the same command again."
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value
