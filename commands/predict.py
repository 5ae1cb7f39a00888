"""`mnist predict`: what the trained models say of pictures."""

import argparse
import glob
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from commands.answers import csv_file, json_lines, table
from commands.photo import NO_INK
from commands.pictures import open_picture, picture_steps
from commands.trained import best_trained, check_there, load_trained
from stages.dataset.pictures import NO_PICTURES
from stages.dataset.prepared import DatasetInfo, load_info
from stages.learners.models import ALL_MODELS, Model
from stages.process.console import progress_bar, warn
from stages.process.errors import UserError, one_line
from stages.process.provenance import cores, main_repository
from stages.process.temporary import own_temporary_folder

# Pictures that are read before the models answer for them.
PART = 256
# Pictures that are in memory at once, each of up to 89 million pixels.
READERS = 4
STANDARD_INPUT = "-"


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "predict",
        help="say what the trained models see in pictures",
        description="Say the class of each picture and its probability, by each model of models/; a * marks the "
        "champion, the best on validation images. For the digit data sets a picture is a photo or drawing of one "
        "digit, dark on light or light on dark: light is evened out, and the digit is cropped and centred as in MNIST. "
        "For all others it is resized as these were. Ends with exit code 1 where a picture cannot be read; the "
        "others are done.",
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="picture, folder, pattern like 'a/*.png', or - (stdin)"
    )
    parser.add_argument("--as-is", action="store_true", help="pictures are like the data set already: only resize them")
    parser.add_argument("--top", metavar="N", type=int, default=1, help="the N most probable classes")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a line of JSON for each picture")
    form.add_argument("--csv", metavar="FILE", type=Path, help="a row for each picture, into this file")
    parser.add_argument("--show", metavar="FILE.png", type=Path, help="draw what was done to the picture, step by step")
    which = parser.add_mutually_exclusive_group()
    names = [model.name for model in ALL_MODELS]
    which.add_argument("--model", choices=names, action="append", help="by this model only; may be repeated")
    which.add_argument("--run", dest="run_id", metavar="ID", help="by the model of this run in MLflow")
    which.add_argument("--champion", action="store_true", help="by the champion in MLflow's registry")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    here = Path.cwd()
    files = [*_found(arguments.files)]
    csv_path, show_path = (path and here / path for path in (arguments.csv, arguments.show))
    os.chdir(main_repository())
    models, info, champion, load = _models(arguments)
    _check(arguments, files, info)
    _check_targets(here, files, csv_path, show_path)
    # The first part before the models, which take seconds: a mistake in a file is said at once.
    read = partial(_read, here, info, arguments.as_is)
    if show_path:
        steps = read(files[0])
        _show(steps, show_path)
        # Standard input can be read once.
        read = {files[0]: steps}.__getitem__
    failed, answering = 0, None
    with ExitStack() as stack:
        if arguments.run_id is not None or arguments.champion:
            # MLflow leaves what it downloads.
            stack.enter_context(own_temporary_folder())
        if csv_path:
            write = stack.enter_context(csv_file(csv_path, models, info.class_names))
        else:
            write = (json_lines if arguments.json else table)(models, info.class_names, arguments.top, champion)
        bar = stack.enter_context(progress_bar(len(files), "predict", "picture", disable=not csv_path))
        for names, images, errors in _parts(files, read, bar.update):
            for error in errors:
                bar.clear()
                warn(str(error))
            failed += len(errors)
            if names:
                answering = answering or load()
                write(names, [each.predict(images) for each in answering])
    if champion in models and len(models) > 1 and answering and not (arguments.json or csv_path):
        print("* the champion: of these models it has the best validation accuracy")
    if failed:
        done = "; all others are done" if failed < len(files) else ""
        raise UserError(f"{failed:,} of {len(files):,} pictures could not be used, as said above{done}")


def _models(arguments: argparse.Namespace) -> tuple[list[Model], DatasetInfo, Model | None, Callable[[], list[Any]]]:
    """Return the models that are asked, the images they take, the champion if known, and a function that loads them."""
    if arguments.run_id is not None or arguments.champion:
        from commands.logged import find_logged

        logged = find_logged(arguments.run_id, None if arguments.run_id is not None else load_info().dataset)
        champion = logged.model if arguments.champion else None
        return [logged.model], logged.info, champion, lambda: [logged.load()]
    info = load_info()
    models = [model for model in ALL_MODELS if model.name in (arguments.model or [model.name])]
    check_there(models)
    return models, info, best_trained(), lambda: load_trained(info, models)


def _check(arguments: argparse.Namespace, files: list[str], info: DatasetInfo) -> None:
    if not 1 <= arguments.top <= len(info.class_names):
        raise UserError(f"--top {arguments.top}: {info.dataset} has {len(info.class_names)} classes; at least 1")
    if arguments.csv and arguments.top > 1:
        raise UserError("--top: the CSV file has the first class only; use --json for more")
    if arguments.show and len(files) > 1:
        raise UserError(f"--show: draws one picture, and there are {len(files):,}; name one of them")
    if arguments.show and arguments.show.suffix.lower() != ".png":
        raise UserError(f"--show {arguments.show}: must end in .png")


def _check_targets(here: Path, files: list[str], csv_path: Path | None, show_path: Path | None) -> None:
    """Raise `UserError` for a file to write that is one of the pictures, or a folder or a device."""
    for option, path in (("--csv", csv_path), ("--show", show_path)):
        if path is None or not path.exists():
            continue
        if any(file != STANDARD_INPUT and (here / file).exists() and path.samefile(here / file) for file in files):
            raise UserError(f"{option} {path}: is one of the pictures; name a file that is to be written")
        if not path.is_file():
            what = "a folder" if path.is_dir() else "no file"
            raise UserError(f"{option} {path}: cannot be written: it is {what}")


def _found(patterns: list[str]) -> Iterator[str]:
    """Yield the files of `patterns`, which are files, folders or patterns; raises `UserError` for what is not there.

    The files of a folder come by name, and those of folders in it after them; hidden ones are left out.
    """
    for pattern in patterns:
        if pattern == STANDARD_INPUT or os.path.isfile(pattern):
            yield pattern
            continue
        paths = [pattern] if os.path.isdir(pattern) else sorted(glob.glob(pattern, recursive=True))
        found = False
        for path in paths:
            for file in _inside(path) if os.path.isdir(path) else [path]:
                found = True
                yield file
        if not found:
            reason = "a folder without files" if paths else "no such file or folder"
            raise UserError(f"{one_line(pattern)}: {reason}")


def _inside(folder: str) -> Iterator[str]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in NO_PICTURES:
                yield os.path.join(where, name)


def _parts(
    files: list[str], read: Callable[[str], dict[str, np.ndarray]], advance: Callable[[], object]
) -> Iterator[tuple[list[str], np.ndarray, list[UserError]]]:
    """Yield, part by part, the pictures that could be read, their images uint8 (n, …), and the errors of the others."""

    def attempt(file: str) -> np.ndarray | UserError:
        try:
            return [*read(file).values()][-1]
        except UserError as error:
            return error

    rest = iter(files)
    pool = ThreadPoolExecutor(min(READERS, cores()))
    try:
        while part := [*islice(rest, PART)]:
            names, images, errors = [], [], []
            for file, result in zip(part, pool.map(attempt, part), strict=True):
                if isinstance(result, UserError):
                    errors.append(result)
                else:
                    names.append(file)
                    images.append(result)
                advance()
            yield names, np.array(images), errors
    finally:
        pool.shutdown(cancel_futures=True)


def _read(here: Path, info: DatasetInfo, as_is: bool, file: str) -> dict[str, np.ndarray]:
    """Return the steps from the picture to its image; raises `UserError` where there is none."""
    name = "standard input" if file == STANDARD_INPUT else one_line(file, 1000)
    source = BytesIO(sys.stdin.buffer.read()) if file == STANDARD_INPUT else here / file
    steps = picture_steps(open_picture(source, name), info, as_is=as_is)
    if NO_INK in steps:
        raise UserError(f"{name}: no digit found on it; if it is like the data set already, use --as-is")
    return steps


def _show(steps: dict[str, np.ndarray], path: Path) -> None:
    """Draw the steps side by side, each under its words."""
    from PIL import Image, ImageDraw, ImageFont

    side, gap = 280, 12
    sheet = Image.new("RGB", (len(steps) * (side + gap) + gap, side + 40 + gap), (127, 127, 127))
    for number, (words, pixels) in enumerate(steps.items()):
        left = gap + number * (side + gap)
        zoom = side / max(pixels.shape[:2])
        size = [max(round(length * zoom), 1) for length in pixels.shape[1::-1]]
        how = Image.Resampling.NEAREST if zoom > 1 else Image.Resampling.BOX
        sheet.paste(Image.fromarray(pixels).resize(size, how).convert("RGB"), (left, 40))
        ImageDraw.Draw(sheet).text((left, 10), words, "white", ImageFont.load_default(18))
    try:
        sheet.save(path)
    except OSError as error:
        raise UserError(f"--show {path}: cannot be written: {error.strerror or error}") from None
