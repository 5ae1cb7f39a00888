"""README.md and docs/: short enough, with commands and links that exist and the results that were measured."""

import argparse
import json
import re
import shlex
import shutil
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from dvc.cli import parse_args

from commands.__main__ import COMMANDS
from commands.recipe import recipe_params
from commands.sweeping.file import load_sweep
from stages.learners.models import ALL_MODELS
from tests.conftest import PROJECT

README = PROJECT / "README.md"
PAGES = [README, *sorted((PROJECT / "docs").glob("*.md"))]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def prose(page: Path) -> str:
    """The text of `page` without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands_of(page: Path) -> list[list[str]]:
    """The commands behind `uv run` in the code of `page`, with one word for each <placeholder>."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]
    lines = [re.sub(r"<[^>]+>", "some", line) for line in lines]
    # An ellipsis stands for more than one command.
    matches = (re.search(r"\buv run (?:--(?:extra|with) \S+ )*(\w.*)", line) for line in lines if "…" not in line)
    return [shlex.split(match[1]) for match in matches if match]


def check_mnist(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    subparsers = parser.add_subparsers(required=True)
    for name in COMMANDS:
        import_module(f"commands.{name}").add_to(subparsers)
    parsed = vars(parser.parse_args(arguments))
    if name := parsed.get("name") or parsed.get("recipe"):
        load_sweep(name) if arguments[0] == "sweep" else recipe_params(name)


def check_pytest(arguments: list[str]) -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    if arguments[:1] == ["-m"]:
        assert arguments[1] in [marker.partition(":")[0] for marker in settings["markers"]]
    else:
        assert all((PROJECT / argument.partition("::")[0]).exists() for argument in arguments)


def check_module(arguments: list[str]) -> None:
    assert arguments[0] == "-m"
    assert find_spec(arguments[1])


CHECKS = {"dvc": parse_args, "mnist": check_mnist, "pytest": check_pytest, "python": check_module}


def test_the_readme_is_read_to_its_end():
    assert len(README.read_text().splitlines()) <= 120


@EACH_PAGE
def test_every_command_is_one_that_there_is(page, monkeypatch):
    monkeypatch.chdir(PROJECT)
    for name, *arguments in commands_of(page):
        # One that an extra brings.
        assert shutil.which(name) or name == "ray", name
        if name in CHECKS:
            CHECKS[name](arguments)


@EACH_PAGE
def test_every_link_leads_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings], target


def test_the_results_table_is_the_one_that_repeat_measured():
    repeats = json.loads((PROJECT / "reports/repeats.json").read_text())
    for model in ALL_MODELS:
        (row,) = re.findall(rf"^\| {model.title} \|(.*)\|$", README.read_text(), re.MULTILINE)
        shown = [re.findall(r"[\d.]+", cell) for cell in row.split("|")[:3]]
        for metric, numbers in zip(("test_accuracy", "test_loss", "val_accuracy"), shown, strict=True):
            percent = metric.endswith("accuracy")
            factor, digits = (100, 2) if percent else (1, 4)
            measured = [repeats[model.name][metric][kind] for kind in ("mean", "std")]
            assert numbers == [f"{factor * value:.{digits}f}" for value in measured], (model.name, metric)
