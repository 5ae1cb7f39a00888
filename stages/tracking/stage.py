"""How a stage starts: alone in its folder, bound to its DVC, and with the process beside it that publishes."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from stages.arithmetic import check_environment
from stages.params.views import check_unchanged
from stages.process.code import note_code
from stages.process.ending import exit_on_user_error
from stages.process.garbage import collect_rarely
from stages.process.lifetime import end_with_dvc
from stages.process.locks import one_at_a_time
from stages.process.packages import warn_of_other_versions
from stages.process.temporary import own_temporary_folder
from stages.tracking.beside import publishing, publishing_the_rest
from stages.tracking.store import tracking_uri


def run_stage(main: Callable[[], None], description: str | None, publishes: bool = False) -> None:
    """Run `main` as a command without arguments; a `UserError` ends it with its message and exit code 1.

    Of a stage that `publishes`, the process beside it loads MLflow while the stage loads Keras. Of another one it has
    something to do only where an earlier stage has left something.
    """
    argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    collect_rarely()
    note_code()
    with exit_on_user_error():
        check_environment()
        end_with_dvc()
        warn_of_other_versions()
        if publishes:
            # Refused before there is anything to lose.
            tracking_uri()
        beside = publishing if publishes else publishing_the_rest
        with one_at_a_time(Path(sys.argv[0]).stem), own_temporary_folder(), beside():
            main()
            check_unchanged()
