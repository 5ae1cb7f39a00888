"""How a stage starts, and how it says that the user has to change something."""

import argparse
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake in params, data, files, network or tracker; its message is one or two lines with the remedy."""


def run_stage(main: Callable[[], None], description: str | None) -> None:
    """Run `main` as a command without arguments; a `UserError` ends it with its message and exit code 1."""
    argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with exit_on_user_error():
        main()


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the process with exit code 1 and the message of a `UserError`, or with 130 when interrupted."""
    # SIGTERM unwinds like Ctrl-C, so that temporary files go and the MLflow run ends in a true state.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {without_credentials(str(error))}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def without_credentials(text: str) -> str:
    """Return `text` with the user and password cut out of every URL in it."""
    return re.sub(r"://[^/\s]*@", "://", text)


def _interrupt(signal_number: int, frame: object) -> None:
    raise KeyboardInterrupt
