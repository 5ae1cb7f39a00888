"""How a stage starts: alone in its folder, bound to its DVC, and with the rest that earlier ones left to publish."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from stages.arithmetic import check_environment
from stages.process.ending import exit_on_user_error
from stages.process.lifetime import end_with_dvc
from stages.process.locks import one_at_a_time
from stages.process.packages import warn_of_other_versions
from stages.process.temporary import own_temporary_folder
from stages.tracking.beside import publishing_the_rest


def run_stage(main: Callable[[], None], description: str | None) -> None:
    """Run `main` as a command without arguments; a `UserError` ends it with its message and exit code 1."""
    argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with exit_on_user_error():
        check_environment()
        end_with_dvc()
        warn_of_other_versions()
        with one_at_a_time(Path(sys.argv[0]).stem), own_temporary_folder(), publishing_the_rest():
            main()
