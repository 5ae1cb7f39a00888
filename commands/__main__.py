"""`uv run mnist`: what a person types besides dvc."""

import argparse

from commands import ui
from stages.start import exit_on_user_error


def main() -> None:
    parser = argparse.ArgumentParser(prog="mnist", description="What a person types besides dvc.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (ui,):
        module.add_to(commands)
    arguments = parser.parse_args()
    with exit_on_user_error():
        arguments.run(arguments)


if __name__ == "__main__":
    main()
