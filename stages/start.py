"""How a stage or command starts, and how it ends where it cannot go on: with a message, not a traceback."""

import argparse
import errno
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.errors import UserError, without_credentials
from stages.lifetime import end_with_dvc, outlive_readers, unwind_on_signals
from stages.packages import warn_of_other_versions
from stages.processes import one_at_a_time
from stages.temporary import own_temporary_folder
from stages.tracking.courier import courier_of_what_is_left

# Nothing that the code could know: a full or read-only disk, missing rights, a broken device.
OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def run_stage(main: Callable[[], None], description: str | None) -> None:
    """Run `main` as a command without arguments; a `UserError` ends it with its message and exit code 1."""
    argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with exit_on_user_error():
        end_with_dvc()
        warn_of_other_versions()
        with one_at_a_time(Path(sys.argv[0]).stem), own_temporary_folder(), courier_of_what_is_left():
            main()


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End the process with exit code 1 and the message of a `UserError` or the system, or with 130 when interrupted."""
    unwind_on_signals()
    outlive_readers()
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {without_credentials(str(error))}")
    except OSError as error:
        if not _is_of_the_system(error):
            raise
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {where}{error.strerror or error}\nMend that or make room there, then run it again.")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _is_of_the_system(error: OSError) -> bool:
    # NumPy writes past Python, and says in its own words how many values went out.
    return error.errno in OF_THE_SYSTEM or bool(re.search(r"\d+ requested and \d+ written", str(error)))
