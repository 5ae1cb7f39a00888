"""`uv run mnist`: the commands besides dvc."""

import argparse

from stages.process.ending import exit_on_user_error


def main() -> None:
    with exit_on_user_error():
        # Here, so that Ctrl-C during the imports is caught.
        from commands import checkout, note, publish, recipe, repeat, ui, verify

        parser = argparse.ArgumentParser(prog="mnist", description="The commands besides dvc.")
        commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
        for module in (ui, recipe, repeat, publish, checkout, verify, note):
            module.add_to(commands)
        arguments = parser.parse_args()
        arguments.run(arguments)


if __name__ == "__main__":
    main()
