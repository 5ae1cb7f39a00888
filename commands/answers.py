"""What the models say of pictures, on the console, as JSON, or as CSV."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from stages.learners.models import Model
from stages.process.errors import UserError, one_line

# Characters of a class name in the table.
LONGEST = 40
# Takes the names of n pictures, and for each model their probabilities (n, classes).
Write = Callable[[list[str], list[np.ndarray]], None]


def table(models: list[Model], class_names: list[str], top: int, champion: Model | None) -> Write:
    """Return a function that prints a line for each picture, and `top` - 1 more; the first call prints the heads."""
    class_names = [one_line(name, LONGEST) for name in class_names]
    longest = max(map(len, class_names))
    heads = [f"{model.title}{' *' if model == champion else ''}" for model in models]
    widths = [max(len(head), longest + len("  100.0 %")) for head in heads]
    waiting = ["  ".join([*(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)), "picture"])]

    def write(names: list[str], probabilities: list[np.ndarray]) -> None:
        while waiting:
            print(waiting.pop())
        for index, name in enumerate(names):
            best = [_best(each[index], class_names, top) for each in probabilities]
            for rank in range(top):
                cells = [f"{best_of[rank][0]}  {best_of[rank][1]:6.1%}".replace("%", " %") for best_of in best]
                line = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
                print("  ".join([*line, one_line(name, 1000) if rank == 0 else ""]).rstrip())

    return write


def json_lines(models: list[Model], class_names: list[str], top: int, champion: Model | None) -> Write:
    """Return a function that prints a JSON object in a line for each picture."""

    def write(names: list[str], probabilities: list[np.ndarray]) -> None:
        for index, name in enumerate(names):
            said = {
                model.name: [
                    {"class": best, "probability": probability}
                    for best, probability in _best(each[index], class_names, top)
                ]
                for model, each in zip(models, probabilities, strict=True)
            }
            chosen = champion.name if champion in models else None
            print(json.dumps({"file": name, "champion": chosen, "models": said}))

    return write


@contextmanager
def csv_file(path: Path, models: list[Model], class_names: list[str]) -> Iterator[Write]:
    """Yield a function that adds a row for each picture; the file has its name when all are there.

    Until then, and for ever where it broke off, it is `<path>.part`. Raises `UserError` where it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        file = open(part, "w", newline="", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UserError(f"--csv {path}: cannot be written: {error.strerror}") from None
    with file:
        rows = csv.writer(file)
        rows.writerow(["file", *(column for model in models for column in (model.name, f"{model.name}_probability"))])

        def write(names: list[str], probabilities: list[np.ndarray]) -> None:
            for index, name in enumerate(names):
                best = [_best(each[index], class_names, 1)[0] for each in probabilities]
                rows.writerow([name, *(value for each in best for value in each)])
            file.flush()

        yield write
    os.replace(part, path)


def _best(probabilities: np.ndarray, class_names: list[str], top: int) -> list[tuple[str, float]]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(class_names[index], round(float(probabilities[index]), 6)) for index in order]
