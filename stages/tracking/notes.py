"""The description of a run in MLflow: sentences of the project and of the user, each a paragraph."""

import re
from itertools import islice
from typing import Any

from stages.tracking.store import NEWEST, connect, search_runs, store_lock

# MLflow shows this tag as the description of a run,
NOTE = "mlflow.note.content"
# and cuts a longer one off.
LONGEST = 8000
# A name that so many runs have says no more than one that all have.
MANY = 10


def add_note(run_id: str, sentence: str, instead_of: str = "") -> None:
    """Add a paragraph to the description, unless it has it; what stands there stays, but for matches of `instead_of`.

    Raises what MLflow raises.
    """
    client = connect().MlflowClient()
    # Another process may be adding one to the same description.
    with store_lock():
        before = client.get_run(run_id).data.tags.get(NOTE, "")
        after = with_note(before, sentence, instead_of)
        if after != before:
            client.set_tag(run_id, NOTE, after)


def with_note(text: str, sentence: str, instead_of: str = "") -> str:
    paragraphs = [each for each in text.split("\n\n") if each.strip()]
    if sentence in paragraphs:
        return text
    return "\n\n".join([*(each for each in paragraphs if not re.fullmatch(instead_of, each)), sentence])


def runs_called(name: str) -> list[Any]:
    """Return the `MANY` newest runs whose id is `name` or begins so, or that are named so, the newest first.

    Raises what MLflow raises.
    """
    quote = '"' if "'" in name else "'"
    conditions = [] if quote in name else [f"attributes.run_name = {quote}{name}{quote}"]
    if re.fullmatch("[0-9a-f]{1,32}", name):
        conditions.append(f"attributes.run_id LIKE '{name}%'")
    newest = (run for condition in conditions for run in islice(search_runs(condition, NEWEST, page=MANY), MANY))
    found = {run.info.run_id: run for run in newest}
    return sorted(found.values(), key=lambda run: -run.info.start_time)
