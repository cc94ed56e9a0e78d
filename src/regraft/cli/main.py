"""The `regraft` command: its sub-commands, and how errors end."""

import atexit
import functools
import gc
import io
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from regraft.cli.cache import cache
from regraft.cli.compare import compare
from regraft.cli.console import note, result
from regraft.cli.demo import demo
from regraft.cli.evaluate import evaluate
from regraft.cli.explain import explain
from regraft.cli.fit import fit
from regraft.cli.models import models
from regraft.cli.predict import predict
from regraft.cli.pretrain import pretrain
from regraft.errors import RegraftError

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def with_exit_codes(command: Callable[..., None]) -> Callable[..., None]:
    """Let a user's mistake end `command` with one message and exit code 1, Ctrl-C with 130; no traceback."""

    @functools.wraps(command)
    def wrapped(*args: object, **kwargs: object) -> None:
        try:
            command(*args, **kwargs)
        except RegraftError as error:
            note(f"error: {error}")
            raise typer.Exit(FAILED) from None
        except OSError as error:
            if error.filename is None:
                raise
            note(f"error: {error.filename}: {error.strerror}. Check that it exists and that you may use it.")
            raise typer.Exit(FAILED) from None
        except RuntimeError as error:
            if type(error).__name__ != "OutOfMemoryError":  # torch's; torch itself may not be imported here
                raise
            note("error: the device has no memory left. Use a smaller --batch-size, a smaller network or --device cpu.")
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            note("\nstopped. What was computed is kept; the same command goes on from there.")
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


app = typer.Typer(
    name="regraft",
    help="Transfer learning for images: a folder of photos in, a classifier that can be trusted out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (demo, fit, compare, evaluate, predict, explain, pretrain, models, cache):
    app.command()(with_exit_codes(command))


def _print_version(wanted: bool) -> None:
    if wanted:
        result(f"regraft {version('regraft')}")
        raise typer.Exit


@app.callback()
def _top(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 3 some photos unreadable, 130 Ctrl-C."""
    collect_less_garbage()
    # Pillow warns of large photos and odd TIFF tags; regraft names what it refuses, and the rest is fine
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may be no UTF-8
    app()


def collect_less_garbage() -> None:
    """Save a second of every command: torch's imports make a million objects, none of which is garbage.

    The collector looks less often while they are made, and not at all at them when the process ends.
    """
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)
