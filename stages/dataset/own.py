"""A data set of the user's own: a folder of data/sets with pictures or arrays, whichever is there."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.dataset.arrays import CLASSES, Arrays, find_arrays, read_split
from stages.dataset.catalogue import SETS
from stages.dataset.pictures import Pictures, class_folders, find_pictures, looked_at
from stages.params.views import PreprocessParams
from stages.process.console import progress_bar, warn
from stages.process.errors import UserError, one_line

# Labels are bytes.
MOST_CLASSES = 256
HOW = "see docs/your-own-images.md"

Images = Pictures | Arrays


@dataclass(frozen=True)
class Own:
    """The splits of a data set before any image is read; `test` is None where there is no such folder or file."""

    class_names: list[str]
    train: Images
    test: Images | None


def read_own(name: str, params: PreprocessParams) -> Own:
    """Look at all that lies in data/sets/<name>; raises `UserError` with the file, where it is no data set."""
    folder = SETS / name
    if (folder / "train").is_dir():
        return _pictures(folder, params)
    if train := find_arrays(folder, "train"):
        return _arrays(folder, train, params)
    raise UserError(
        f"{folder}: has no folder train/<class>/ with pictures, and no train_images.npy or train-images-idx3-ubyte\n"
        f"Put them there ({HOW}), or set data.name in params.yaml to another data set."
    )


def state_of(name: str) -> int:
    """Return a number that is another one, within this process, once a file of data/sets/<name> is another."""
    total = 0
    for where, _, files in os.walk(SETS / name):
        for path in (os.path.join(where, file) for file in files):
            # A file may go meanwhile, and a link lead nowhere.
            with suppress(FileNotFoundError):
                state = os.stat(path)
                total += hash((path, state.st_size, state.st_mtime_ns))
    return total


def _pictures(folder: Path, params: PreprocessParams) -> Own:
    names = class_folders(folder / "train")
    _check_count(folder / "train", names)
    found = {"train": find_pictures(folder / "train", names)}
    if others := sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name not in ("train", "test") and not entry.name.startswith(".")
    ):
        warn(f"{folder}: only train and test are read, not {one_line(', '.join(others), 100)}")
    if (folder / "test").exists():
        if not (folder / "test").is_dir():
            raise UserError(f"{folder / 'test'}: is no folder\nMake it one with a folder for each class, or delete it.")
        of_test = class_folders(folder / "test")
        if unknown := sorted({*of_test} - {*names}):
            raise UserError(
                f"{folder / 'test' / unknown[0]}: is a class that {folder / 'train'} lacks\n"
                "Add pictures of it there, or delete the folder."
            )
        if missing := [each for each in names if each not in of_test]:
            raise UserError(
                f"{folder / 'test' / missing[0]}: is missing, so no test image is of class {missing[0]}\n"
                f"Add some, or delete {folder / 'test'}: then data.test_fraction of the others are split off."
            )
        found["test"] = find_pictures(folder / "test", names)
    paths = [path for those, _ in found.values() for path in those]
    with progress_bar(len(paths), "look at", "picture") as bar:
        size, channels = looked_at(paths, params, bar.update)
    splits = {split: Pictures(*those, size, channels, params.resize) for split, those in found.items()}
    return Own(names, splits["train"], splits.get("test"))


def _arrays(folder: Path, train: tuple[Path, Path], params: PreprocessParams) -> Own:
    files = {"train": train}
    if test := find_arrays(folder, "test"):
        files["test"] = test
    read = {split: read_split(*both) for split, both in files.items()}
    images, labels = read["train"]
    known = np.unique(labels)
    names = _names(folder, train[1], known)
    size, splits = tuple(params.size or images.shape[1:3]), {}
    for split, (images, labels) in read.items():
        channels = 3 if images.ndim == 4 else 1
        if channels != (params.channels or channels):
            raise UserError(
                f"{files[split][0]}: has {channels} channel(s), and data.channels is {params.channels} in params.yaml\n"
                "Set it to null."
            )
        if images.ndim != read["train"][0].ndim:
            raise UserError(
                f"{files[split][0]}: shape {images.shape}, and the training images are {read['train'][0].shape}\n"
                "Make all of them grey, or all coloured."
            )
        if params.size is None and images.shape[1:] != read["train"][0].shape[1:]:
            raise UserError(
                f"{files[split][0]}: shape {images.shape}, and the training images are {read['train'][0].shape}\n"
                "Set data.size in params.yaml to the height and width that all of them become."
            )
        if len(strange := np.setdiff1d(labels, known)):
            raise UserError(f"{files[split][1]}: label {strange[0]} is of no training image\nAdd some, or take it out.")
        if len(missing := np.setdiff1d(known, labels)):
            raise UserError(f"{files[split][1]}: no image of class {missing[0]}\nAdd some, or delete the file.")
        splits[split] = Arrays(images, np.searchsorted(known, labels).astype(np.uint8), size, params.resize)
    return Own(names, splits["train"], splits.get("test"))


def _names(folder: Path, labels_file: Path, known: np.ndarray) -> list[str]:
    """Return a name for each label, from `classes.txt` or the number itself."""
    path = folder / CLASSES
    if not path.exists():
        names = [str(label) for label in known]
        _check_count(labels_file, names)
        return names
    try:
        # Some editors begin a file with a mark of its encoding.
        names = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}\nWrite the class names into it, one in a line.") from None
    if len(names) != len(known) or len({*names}) != len(names) or not all(map(str.strip, names)):
        raise UserError(
            f"{path}: {len(names)} lines for the {len(known)} classes of {labels_file.name}\n"
            "It must have a name of its own for each, one in a line, in the order of the labels."
        )
    _check_count(path, names)
    return names


def _check_count(path: Path, names: list[str]) -> None:
    if not 2 <= len(names) <= MOST_CLASSES:
        counted = f"{len(names):,} classes" if len(names) > 1 else "one class alone" if names else "no class"
        raise UserError(f"{path}: has {counted}\nThere must be from 2 to {MOST_CLASSES} ({HOW}).")
