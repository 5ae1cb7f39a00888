"""The end of a stage or command that cannot go on: a message, not a traceback."""

import errno
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from stages.process.errors import UserError, without_credentials
from stages.process.lifetime import outlive_readers, unwind_on_signals

# The user's to mend: a full or read-only disk, missing rights, a broken device.
OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


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
    # NumPy writes without Python, and raises an error without a number.
    return error.errno in OF_THE_SYSTEM or bool(re.search(r"\d+ requested and \d+ written", str(error)))
