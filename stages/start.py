"""How a stage or command starts, and how it ends where it cannot go on: with a message, not a traceback."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stages.errors import UserError, without_credentials
from stages.lifetime import end_with_dvc, unwind_on_signals
from stages.packages import warn_of_other_versions
from stages.tracking.abandoned import close_runs_left_here


def run_stage(main: Callable[[], None], description: str | None) -> None:
    """Run `main` as a command without arguments; a `UserError` ends it with its message and exit code 1."""
    argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with exit_on_user_error():
        end_with_dvc()
        warn_of_other_versions()
        close_runs_left_here()
        main()


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the process with exit code 1 and the message of a `UserError`, or with 130 when interrupted."""
    unwind_on_signals()
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {without_credentials(str(error))}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
