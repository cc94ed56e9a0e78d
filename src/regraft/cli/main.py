"""The `regraft` command: its sub-commands, and how errors end."""

import atexit
import functools
import gc
import importlib
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from regraft.cli.console import be_silent, check_written, complaint, note, open_streams, result
from regraft.cli.wrong_usage import unknown_command, unknown_option
from regraft.engines.compute import Compute
from regraft.errors import RegraftError, flags_in_messages, printable
from regraft.extras import missing_packages_named
from regraft.options import flags_of
from regraft.processes import speaks_of_failure
from regraft.runtime import is_first_process, process_count
from regraft.training.schedule import Schedule
from regraft.transfer.settings import FitSettings

# one file and one function each, in the order of the help
COMMANDS = (
    "demo",
    "audit",
    "fit",
    "compare",
    "evaluate",
    "predict",
    "serve",
    "explain",
    "card",
    "push",
    "export",
    "embed",
    "similar",
    "suggest",
    "group",
    "pretrain",
    "models",
    "cache",
)
TOGETHER = ("fit", "pretrain")  # what several processes do together; of all else each does its own
# flags that are not made of the option's name
FLAGS = flags_of(FitSettings, Schedule, Compute) | {
    "DistillationSettings.model": "--teacher",
    "DistillationSettings.size": "--teacher-size",
    "stages": "--stage",
    "build_untrained.arguments": "--model-args",
}
ONE_FOLDER = (
    "Name one folder (or table): all photos below it are read. A pattern such as *.jpg becomes many names before "
    "regraft sees it: name the folder instead."
)
_SHOWN = 200  # characters of a message that quotes each of a thousand names
_LAST_WORDS = 3.0  # seconds: a launcher ends all processes with the first, which need not be the one that says why
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def with_exit_codes(command: Callable[..., None]) -> Callable[..., None]:
    """Let a user's mistake end `command` with one message and exit code 1, Ctrl-C with 130; no traceback."""

    @functools.wraps(command)
    def wrapped(*args: object, **kwargs: object) -> None:
        try:
            with flags_in_messages(FLAGS), missing_packages_named(f"regraft {command.__name__}"):
                command(*args, **kwargs)
        except RegraftError as error:
            _say_failure(f"error: {error}")
            raise typer.Exit(FAILED) from None
        except OSError as error:
            _say_failure(f"error: {_refusal(error)}")
            raise typer.Exit(FAILED) from None
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's; torch itself may not be imported here
                raise
            _say_failure(
                "error: the device is out of memory. Use a smaller --batch-size, a smaller network or --device cpu."
            )
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            note("\ninterrupted. What was computed is kept; run the same command again to resume.")
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def _say_failure(text: str) -> None:
    """Print why the command fails; of several processes that work together one does."""
    if not _work_together() or speaks_of_failure():
        complaint(text)


def _work_together() -> bool:
    return process_count() > 1 and len(sys.argv) > 1 and sys.argv[1] in TOGETHER


def _refusal(error: OSError) -> str:
    """Return what the operating system, or a server, refused, and the remedy."""
    reason = printable(error.strerror or error or type(error).__name__)
    if error.filename is None:  # a stream, a process, a connection
        return f"{reason}. Check the space on the disks, the connection and your permissions, and run it again."
    return f"{printable(error.filename)}: {reason}. Check that it exists and that you may use it."


@contextmanager
def _report_wrong_usage() -> Iterator[None]:
    """Print typer's messages of wrong usage, which quote what was typed, as all others are printed."""
    try:
        yield
    except Exception as error:
        if not hasattr(error, "show"):  # theirs; their class has another place in each version of typer
            raise
        _say_one_folder(error)
        _say_what_is_meant(error)
        text = io.StringIO()
        error.show(file=text)
        note(text.getvalue().rstrip("\n"))
        raise typer.Exit(getattr(error, "exit_code", WRONG_USAGE)) from None


def _say_one_folder(error: Any) -> None:
    """Have typer's error on many names, where one folder of photos is taken, say so and not quote them all."""
    message = getattr(error, "message", "")
    if "unexpected extra argument" not in message:
        return
    if any(argument.name in ("data", "source", "photos") for argument in error.ctx.command.params):
        error.message = f"{message[:_SHOWN]}{' ...' if len(message) > _SHOWN else ''}. {ONE_FOLDER}"


def _say_what_is_meant(error: Any) -> None:
    """Have typer's error on an option that there is none of name the one that is meant."""
    context, flag = getattr(error, "ctx", None), getattr(error, "option_name", None)
    if context is None or flag is None or not hasattr(error, "possibilities"):
        return
    error.message = unknown_option(flag, context.command, context.command_path)
    error.possibilities = None


class _Commands(TyperGroup):
    """The commands, with safe messages of wrong usage."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is meant: `help` and `version` are options, other words lead to the right one."""
        name, rest = args[0], args[1:]
        if name in self.commands:
            asks = rest == ["help"] and not Path("help").exists()
            return super().resolve_command(ctx, [name, "--help"] if asks else args)
        if name.lower() == "help" and rest:
            return self.resolve_command(ctx, [rest[0], "--help"])
        if name.lower() == "help":
            _print_help(ctx)
        if name.lower() == "version":
            _print_version(True)
        found = unknown_command(name, rest, self.commands)
        if found is not None:
            ctx.fail(found)
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _report_wrong_usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        with _report_wrong_usage():
            return super().invoke(*args, **kwargs)


@with_exit_codes
def _print_help(context: Any) -> None:
    result(context.get_help())
    raise typer.Exit


@with_exit_codes
def _print_version(show_version: bool) -> None:
    if show_version:
        result(f"regraft {version('regraft')}")
        raise typer.Exit


def _top(
    show_version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def make_app(*commands: str) -> typer.Typer:
    """Return the command line with these commands of `COMMANDS`: the modules of the others are not imported."""
    app = typer.Typer(
        name="regraft",
        cls=_Commands,
        help="Transfer learning for images: a folder of photos in, a classifier that can be trusted out. To begin: "
        "`regraft fit FOLDER` with one sub-folder of photos for each class, or `regraft demo`.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_top)
    for name in commands:
        module = importlib.import_module(f"regraft.cli.{name}")
        app.command()(with_exit_codes(getattr(module, name)))
    return app


def __getattr__(name: str) -> Any:
    """Return `app`, the command line with all commands, when it is first asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()["app"] = app = make_app(*COMMANDS)
    return app


def run() -> None:
    """Run the command line and exit.

    0 done, 1 failed, 2 wrong usage, 3 some photos unreadable, 130 Ctrl-C, 141 whoever read the result went away.
    """
    open_streams()
    collect_less_garbage()
    warnings.showwarning = _show_warning
    # Pillow warns of large photos and odd TIFF tags; regraft names what it refuses, and the rest is fine
    warnings.filterwarnings("ignore", module=r"PIL\.")
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if _work_together() and not is_first_process():
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else it warns, in pages, of the first one's end
        be_silent()
    try:
        make_app(*([asked] if asked in COMMANDS else COMMANDS))()
    except SystemExit as end:
        _end()
        if end.code and _work_together():
            time.sleep(_LAST_WORDS)
        raise


@with_exit_codes
def _check_all_written() -> None:
    check_written()


def _end() -> None:
    """Fail where something that was printed, help for example, did not reach stdout and nobody has said so."""
    try:
        _check_all_written()
    except typer.Exit as end:
        sys.exit(end.exit_code)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 (Python's signature)
    line: str | None = None,
) -> None:
    """Print a library's warning, which may quote a name, as all else is printed."""
    note(warnings.formatwarning(message, category, filename, lineno, line).rstrip("\n"))


def collect_less_garbage() -> None:
    """Save a second of every command: torch's imports make a million objects, none of which is garbage.

    The collector looks less often while they are made, and not at all at them when the process ends.
    """
    gc.set_threshold(50_000, 20, 20)
    atexit.register(_freeze)


def _freeze() -> None:
    if "triton" not in sys.modules:  # it complains on stderr of each of its objects that are not collected
        gc.freeze()
