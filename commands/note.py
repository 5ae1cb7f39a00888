"""`mnist note`: a sentence of the user's in the description of a run in MLflow."""

import argparse
from datetime import datetime
from typing import Any

from stages.process.errors import UserError, one_line, without_credentials
from stages.tracking.notes import LONGEST, NOTE, add_note, runs_called, with_note
from stages.tracking.store import tracking_uri

# Of the runs that a name may mean.
NAMED = 5


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "note",
        help="write a sentence into the description of a run in MLflow",
        description="Add TEXT to the description of a run in MLflow. What stands there stays. "
        'For example: uv run mnist note 3f9c2 "the first one without dropout"',
    )
    parser.add_argument("run_name", metavar="RUN", help="id of the run, or its beginning, or its name if one has it")
    parser.add_argument("text", metavar="TEXT", help="the sentence, in quotes")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    name, text = arguments.run_name.strip(), arguments.text.strip()
    if not text:
        raise UserError('The note is empty: uv run mnist note RUN "what you want to remember"')
    uri = without_credentials(tracking_uri())
    try:
        found = runs_called(name) if name else []
        if len(found) == 1:
            _add(found[0], text)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{uri}: MLflow did not take the note: {one_line(error)}") from None
    if not found:
        raise UserError(f"{name!r}: MLflow ({uri}) has no run with this id or name; uv run mnist ui shows those it has")
    if len(found) > 1:
        more = ", …" if len(found) > NAMED else ""
        raise UserError(
            f"{name!r} may be any of several runs: {', '.join(map(_shown, found[:NAMED]))}{more}\n"
            "Name one by the beginning of its id; MLflow's page of a run shows it."
        )
    print(f"Noted in the description of {found[0].info.run_name} {found[0].info.run_id}")


def _add(run: Any, text: str) -> None:
    length = len(with_note(run.data.tags.get(NOTE, ""), text))
    if length > LONGEST:
        raise UserError(f"The description would have {length:,} characters, and MLflow keeps {LONGEST:,}: shorten it")
    add_note(run.info.run_id, text)


def _shown(run: Any) -> str:
    started = datetime.fromtimestamp(run.info.start_time / 1000)
    return f"{run.info.run_id[:8]} ({run.info.run_name}, {started:%Y-%m-%d %H:%M})"
