"""`mnist verify`: everything is made again elsewhere, and compared byte for byte."""

import shutil

import pytest

from tests.conftest import Clone
from tests.project import locked, runs

# In place of all stages: DVC runs it as it runs those.
MAKE = """
from pathlib import Path
Path("reports/first.txt").write_text(Path("params.yaml").read_text().partition("runtime:")[2][:500])
Path("reports/second.txt").write_text("always the same")
"""
PIPELINE = """
stages:
  evaluate:
    cmd: python make.py
    params: [runtime.seed]
    outs:
      - reports/first.txt: {cache: false}
      - reports/second.txt: {cache: false}
"""


@pytest.fixture
def short(clone: Clone) -> Clone:
    (clone.folder / "make.py").write_text(MAKE)
    (clone.folder / "dvc.yaml").write_text(PIPELINE)
    clone.run("dvc", "repro")
    clone.commit("made")
    return clone


def test_the_same_bytes_are_said_and_other_ones_are_an_error(short):
    done = short.run("mnist", "verify")
    assert "same bytes: all 2 outputs (recorded on: unknown" in done.stdout
    # Not because Git has the outputs too.
    assert "Running stage 'evaluate'" in done.stdout
    assert short.run("git", "status", "--porcelain").stdout == ""
    assert not (short.folder / "mlflow.db").exists()

    # The workspace as it stands counts, edits and all.
    lock = short.folder / "dvc.lock"
    first = locked(short, "evaluate")["reports/first.txt"]
    lock.write_text(lock.read_text().replace(first, "f" * 32))
    done = short.run("mnist", "verify", check=False)
    assert done.returncode == 1
    assert f"DIFFERS  {'f' * 32}  reports/first.txt (here {first})" in done.stdout
    assert "error: reports/first.txt is the first output that differs" in done.stdout
    assert "made again on: " in done.stdout


def test_on_other_data_nothing_is_trained(short):
    download = "  download:\n    cmd: mkdir data/raw && printenv IMAGES > data/raw/first\n    outs: [data/raw]\n"
    (short.folder / "dvc.yaml").write_text(PIPELINE.replace("stages:\n", f"stages:\n{download}"))
    short.run("dvc", "repro", IMAGES="those")
    short.commit("with data")
    assert "same bytes: all 3 outputs" in short.run("mnist", "verify", IMAGES="those").stdout
    done = short.run("mnist", "verify", check=False, IMAGES="others")
    assert done.returncode == 1
    assert "The data differ, so nothing is trained on them." in done.stdout
    assert "error: data/raw is the first output that differs" in done.stdout
    assert "Running stage 'download'" in done.stdout
    assert "Running stage 'evaluate'" not in done.stdout


def test_edits_that_are_not_committed_count(short):
    (short.folder / "make.py").write_text(MAKE.replace("always the same", "edited"))
    done = short.run("mnist", "verify", check=False)
    assert done.returncode == 1
    assert "reports/second.txt is the first output that differs" in done.stdout


def test_a_project_that_is_a_folder_of_a_larger_repository(short, tmp_path_factory):
    repository = tmp_path_factory.mktemp("repository")
    project = Clone(shutil.copytree(short.folder, repository / "digits", symlinks=True))
    shutil.move(project.folder / ".git", repository)
    project.commit("beside others")
    assert "same bytes: all 2 outputs" in project.run("mnist", "verify").stdout
    (project.folder / "make.py").write_text(MAKE.replace("always the same", "edited"))
    assert "reports/second.txt is the first output" in project.run("mnist", "verify", check=False).stdout


def test_a_mirror_beside_the_project_is_found_in_the_clone_too(short):
    (short.folder / "images").mkdir()
    (short.folder / "images/first").write_text("an image")
    copy = MAKE.replace('"always the same"', 'Path(own_mirror(), "first").read_text()')
    (short.folder / "make.py").write_text(f"from stages.dataset.mirrors import own_mirror\n{copy}")
    short.run("dvc", "repro", "--force", "--no-run-cache", DATA_MIRROR="images")
    assert (short.folder / "reports/second.txt").read_text() == "an image"
    assert "same bytes: all 2 outputs" in short.run("mnist", "verify", DATA_MIRROR="images").stdout


def test_a_data_set_that_dvc_keeps_is_brought_from_the_cache(short):
    pets = short.folder / "data/sets/pets"
    pets.mkdir()
    (pets / "train_labels.npy").write_bytes(b"some labels")
    short.run("dvc", "add", "data/sets/pets")
    short.set_params({"data.name": "pets"})
    (short.folder / "dvc.yaml").write_text(PIPELINE.replace("    params:", "    deps: [data/sets/pets]\n    params:"))
    short.run("dvc", "repro")
    short.commit("pets")
    assert "same bytes: all 2 outputs" in short.run("mnist", "verify").stdout

    shutil.rmtree(short.folder / ".dvc/cache")
    done = short.run("mnist", "verify", check=False)
    assert done.returncode == 1
    assert "error: data/sets/pets.dvc: DVC has its data set neither in the cache nor in the remote" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.long
def test_a_recipe_is_compared_with_the_file_beside_it(short):
    (short.folder / "recipes/own.yaml").write_text("# a recipe of one's own\nruntime:\n  seed: 7\n")
    done = short.run("mnist", "verify", "--recipe", "own", check=False)
    assert done.returncode == 1
    assert "error: recipes/own.md5: missing" in done.stdout
    md5 = short.run("md5sum", "reports/second.txt").stdout
    (short.folder / "recipes/own.md5").write_text(md5)
    assert "same bytes: all 1 outputs" in short.run("mnist", "verify", "--recipe", "own").stdout
    (short.folder / "recipes/own.yaml").write_text("# a recipe of one's own\nruntime:\n  sed: 7\n")
    assert "error: recipes/own.yaml: runtime.sed" in short.run("mnist", "verify", "--recipe", "own", check=False).stdout
    (short.folder / "recipes/own.yaml").write_text("# a recipe of one's own\nruntime:\n  seed: 7\n")
    (short.folder / "recipes/own.md5").write_text("? ? ?")
    assert "recipes/own.md5: each line" in short.run("mnist", "verify", "--recipe", "own", check=False).stdout


def test_mistakes_are_said_in_a_line_or_two(short):
    lock = short.folder / "dvc.lock"
    lock.write_text(f"<<<<<<< ours\n{lock.read_text()}=======\n>>>>>>> theirs\n")
    done = short.run("mnist", "verify", check=False)
    assert done.returncode == 1
    assert "error: dvc.lock: does not record every stage" in done.stdout
    assert "Traceback" not in done.stdout
    (short.folder / "dvc.lock").unlink()
    for arguments, said in ((("--recipe", "none"), "no such recipe"), (("0123",), "run 0123"), ((), "dvc.lock: ")):
        done = short.run("mnist", "verify", *arguments, check=False)
        assert done.returncode == 1
        assert said in done.stdout
        assert "Traceback" not in done.stdout


@pytest.mark.long
def test_a_run_and_the_whole_pipeline_are_made_again(checked_out):
    checked_out.run("mnist", "publish")
    (run,) = runs(checked_out)["random-forest"]
    assert "same bytes: all 2 outputs" in checked_out.run("mnist", "verify", run.info.run_id).stdout
    done = checked_out.run("mnist", "verify")
    assert "same bytes: all " in done.stdout
    assert checked_out.run("git", "status", "--porcelain").stdout == ""
    assert [len(each) for each in runs(checked_out).values()] == [1, 1, 1]


@pytest.mark.long
def test_another_network_is_measured_against_the_recorded_one(checked_out):
    lock = checked_out.folder / "dvc.lock"
    checked_out.set_params({"runtime.seed": 1})
    checked_out.run("dvc", "repro")
    checked_out.set_params({"runtime.seed": 0})
    lock.write_text(lock.read_text().replace("seed: 1\n", "seed: 0\n"))
    done = checked_out.run("mnist", "verify", check=False)
    assert done.returncode == 1
    assert "models/mlp.keras: weights differ by up to " in done.stdout
    assert "of 360 predictions on test images change" in done.stdout
