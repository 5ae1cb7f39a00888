"""`mnist verify`: make everything again, and compare it byte for byte with what is recorded."""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from commands.clone import check_out_code, find_run, output_md5, set_up_dvc
from commands.dvc_console import run_dvc
from commands.experiments import check_experiment
from commands.recipe import RECIPES, checked_recipe
from stages.learners.models import ALL_MODELS, Model
from stages.params.views import EvaluateParams, load_params
from stages.params.yaml_file import edit_file, read_yaml
from stages.paths import LOCK, PARAMS, PREPARED, RAW
from stages.process.errors import UserError, one_line
from stages.process.provenance import cached, cores, git_state, main_repository, processor
from stages.tracking.champion import MODEL_MD5
from stages.tracking.store import search_runs

# The stages that make the data, each with its output.
DATA_STAGES = {"download": RAW.as_posix(), "preprocess": PREPARED.as_posix()}


def add_to(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "verify",
        help="make everything again, and say whether it has the same bytes",
        description="Run the pipeline of the workspace in a temporary clone: without run cache, with an MLflow "
        f"store of its own, and with the workspace left alone. Compare the md5 of each output with {LOCK}, with the "
        ".md5 file beside a recipe, or with what a run of MLflow made. Ends with exit code 1 where one differs.",
    )
    parser.add_argument("run_id", metavar="RUN_ID", nargs="?", help="verify the data and the model of this run instead")
    parser.add_argument(
        "--recipe", metavar="NAME", help=f"verify this recipe against {RECIPES}/NAME.md5, made with md5sum"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    os.chdir(main_repository())
    if None not in (arguments.run_id, arguments.recipe):
        raise UserError("a run or a recipe: give one of them")
    with tempfile.TemporaryDirectory(prefix="mnist-verify-") as folder:
        clone = Path(folder) / "clone"
        if arguments.run_id is not None:
            tags, diff = find_run(arguments.run_id, folder)
            if MODEL_MD5 not in tags:
                raise UserError(f"run {arguments.run_id} has no model to compare with; choose another run")
            (model,) = (model for model in ALL_MODELS if model.stage == tags["dvc.stage"])
            recorded = {PREPARED.as_posix(): tags["dvc.data_md5"], model.file.as_posix(): tags[MODEL_MD5]}
            project = check_out_code(clone, tags["git.commit"], diff)
            recorded = _repro(project, recorded, model.stage)
        else:
            if arguments.recipe is None:
                params, recorded = {}, _md5_of_lock()
            else:
                params, recorded = checked_recipe(arguments.recipe), _md5_of_recipe(arguments.recipe)
            check_experiment(params)
            tags, diff = git_state()
            if not tags:
                raise UserError("there is no commit here to make a clone of\nCommit first: git commit")
            path = Path(folder) / "diff"
            path.write_bytes(diff)
            project = check_out_code(clone, tags["git.commit"], path if diff else None)
            edit_file(project / PARAMS, params)
            recorded = _repro(project, recorded)
        _compare(recorded, project)


def _md5_of_lock() -> dict[str, str]:
    """Return the md5 of each output, in the order of the pipeline."""
    try:
        stages = YAML(typ="safe").load(LOCK.read_text(encoding="utf-8"))["stages"]
        order = YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
        return {out["path"]: out["md5"] for stage in order for out in stages[stage]["outs"]}
    except (OSError, KeyError, TypeError, YAMLError) as error:
        raise UserError(f"{LOCK}: does not record every stage ({one_line(error)})\nRun: dvc repro") from None


def _md5_of_recipe(name: str) -> dict[str, str]:
    path = RECIPES / f"{name}.md5"
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {output: md5 for md5, output in lines}
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing\nuv run mnist recipe {name}, uv run dvc exp apply {name}, and then "
            f"md5sum models/* reports/metrics.json > {path} makes it."
        ) from None
    except ValueError:
        raise UserError(f"{path}: each line must be an md5 and a path, as md5sum writes them") from None


def _repro(clone: Path, recorded: dict[str, str], stage: str | None = None) -> dict[str, str]:
    """Run all stages in the clone, or those of the data and `stage`, with a cache and an MLflow store of its own.

    Return what of `recorded` is to be compared: the data alone where they are others, on which nothing is trained.
    """
    set_up_dvc(clone)
    run_dvc("cache", "dir", "--quiet", "--local", ".dvc/cache", folder=clone)
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{clone / 'mlflow.db'}"}

    def make(names: list[str]) -> None:
        if names and run_dvc("repro", "--force", "--no-run-cache", "--single-item", *names, folder=clone, **store):
            raise UserError("the pipeline failed in the clone; its messages are above")

    stages = [*read_yaml(clone / "dvc.yaml")["stages"]]
    make([name for name in stages if name in DATA_STAGES])
    data = {path: md5 for path, md5 in recorded.items() if path in DATA_STAGES.values()}
    if any(_md5(clone / path) != md5 for path, md5 in data.items()):
        print("The data differ, so nothing is trained on them.")
        return data
    make([stage] if stage else [name for name in stages if name not in DATA_STAGES])
    return recorded


def _md5(path: Path) -> str:
    return output_md5(path) if path.exists() else "not made"


def _compare(recorded: dict[str, str], clone: Path) -> None:
    """Print what is the same; raise `UserError` that names the first output that differs, and the machines."""
    made = {path: _md5(clone / path) for path in recorded}
    different = [path for path in recorded if made[path] != recorded[path]]
    for path, md5 in recorded.items():
        print(
            f"{'DIFFERS' if path in different else 'same'}  {md5}  {path}"
            + (f" (here {made[path]})" if path in different else "")
        )
    here = f"{processor()}, {cores()} cores"
    models = {model.file.as_posix(): model for model in ALL_MODELS}
    there = _machine([recorded[path] for path in recorded if path in models])
    if not different:
        print(f"same bytes: all {len(recorded)} outputs (recorded on: {there}; made again on: {here})")
        return
    for path in different:
        if path in models and made[path] != "not made":
            print(f"{path}: {_difference(models[path], recorded[path], clone)}")
    raise UserError(f"{different[0]} is the first output that differs\nrecorded on: {there}; made again on: {here}")


def _machine(md5s: list[str]) -> str:
    """Return the machine that made the models, as MLflow knows it."""
    try:
        for md5 in md5s:
            for found in search_runs(f"tags.`{MODEL_MD5}` = '{md5}'"):
                if "runtime.processor" in found.data.tags:
                    return f"{found.data.tags['runtime.processor']}, {found.data.tags['runtime.cores']} cores"
    # A store that is away is no reason not to compare.
    except Exception as error:
        return f"unknown ({one_line(error)})"
    return "unknown (MLflow here has no run that says it)"


def _difference(model: Model, md5: str, clone: Path) -> str:
    """Return how far the model made here is from the recorded one."""
    from stages.learners.loading import load_classifier
    from stages.runtime import start_keras

    if not cached(md5).is_file():
        run_dvc("fetch", "--quiet", str(model.file), quiet=True)
    if not cached(md5).is_file():
        return "the recorded file is neither in DVC's cache nor in its remote: no more to compare"
    if model.history:
        start_keras(load_params(EvaluateParams).params.runtime)
    with tempfile.TemporaryDirectory() as folder:
        recorded = load_classifier(Path(shutil.copyfile(cached(md5), Path(folder) / model.file.name)))
    made = load_classifier(clone / model.file)
    images = np.load(clone / PREPARED / "test_images.npy")
    y_pred = [classifier.predict(images).argmax(axis=1) for classifier in (recorded, made)]
    changed = f"{int(np.sum(y_pred[0] != y_pred[1])):,} of {len(images):,} predictions on test images change"
    if not model.history:
        return changed
    weights = [classifier.model.get_weights() for classifier in (recorded, made)]
    if [each.shape for each in weights[0]] != [each.shape for each in weights[1]]:
        return f"another network; {changed}"
    largest = max(float(np.abs(one - other).max()) for one, other in zip(*weights, strict=True))
    return f"weights differ by up to {largest:.3g}; {changed}"
