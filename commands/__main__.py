"""`uv run mnist`: the commands besides dvc."""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from stages.process.ending import exit_on_user_error
from stages.process.errors import UserError
from stages.process.garbage import collect_rarely
from stages.process.provenance import main_repository

COMMANDS = ("ui", "predict", "demo", "recipe", "repeat", "sweep", "publish", "checkout", "verify", "note")


def main() -> None:
    collect_rarely()
    # Where .venv/bin/mnist was called by its path, `python` in dvc.yaml would be another one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with exit_on_user_error():
        parser = argparse.ArgumentParser(prog="mnist", description="The commands besides dvc.")
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        # Here, so that Ctrl-C during the imports is caught; and none but the one that is wanted, as some take seconds.
        for name in set(COMMANDS).intersection(sys.argv[1:2]) or COMMANDS:
            import_module(f"commands.{name}").add_to(commands)
        arguments = parser.parse_args()
        if not (main_repository() / "dvc.yaml").is_file():
            raise UserError("neither this folder nor one above it is a clone of the project\nGo into one: cd …")
        arguments.run(arguments)


if __name__ == "__main__":
    main()
