"""`mnist predict`: what the models of models/ and of MLflow say of pictures."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from commands.__main__ import main
from tests.conftest import Clone
from tests.project import metrics, runs


@pytest.fixture(scope="module")
def pictures(reproduced: Clone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten training images, one of each class, dark on light and enlarged; the file's name begins with the class."""
    folder = tmp_path_factory.mktemp("pictures")
    images = np.load(reproduced.folder / "data/prepared/train_images.npy")
    labels = np.load(reproduced.folder / "data/prepared/train_labels.npy")
    for digit in range(10):
        image = np.pad(255 - images[np.flatnonzero(labels == digit)[0]], 4, constant_values=255)
        Image.fromarray(image).resize((160, 160), Image.Resampling.BICUBIC).save(folder / f"{digit}.png")
    return folder


@pytest.fixture
def mnist(reproduced: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable:
    """Runs the command in this process, in the reproduced clone; returns exit code, or message, and output."""
    monkeypatch.chdir(reproduced.folder)
    # It changes them, for a process of its own.
    for name in ("unwind_on_signals", "outlive_readers"):
        monkeypatch.setattr(f"stages.process.ending.{name}", lambda: None)
    monkeypatch.setattr("commands.predict.own_temporary_folder", nullcontext)

    def call(*arguments: object) -> tuple[str | int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mnist", "predict", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return call


FOREST = ("--model", "random_forest")


def test_models_of_other_data_are_refused(without_store, pictures):
    lock = without_store.folder / "dvc.lock"
    content = YAML().load(lock)
    # As after an edit of `preprocess` and `dvc repro preprocess`.
    content["stages"]["preprocess"]["outs"][0]["md5"] = f"{'0' * 32}.dir"
    YAML().dump(content, lock)
    done = without_store.run("mnist", "predict", *FOREST, str(pictures / "3.png"), check=False)
    assert done.returncode == 1
    assert "models/random_forest.skops: has learnt other data than data/prepared has now" in done.stdout


def test_each_model_and_the_champion_say_what_a_picture_is(reproduced, pictures):
    done = reproduced.run("mnist", "predict", "--json", str(pictures))
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(each["file"]).stem for each in said] == list("0123456789")
    metrics = json.loads((reproduced.folder / "reports/metrics.json").read_text())
    best = max(metrics, key=lambda name: metrics[name]["val_accuracy"])
    for each in said:
        assert [*each["models"]] == ["mlp", "cnn", "random_forest"]
        assert each["champion"] == best
    for model in metrics:
        right = [each["models"][model][0]["class"] == Path(each["file"]).stem for each in said]
        assert sum(right) >= 8, model


def test_a_forest_answers_without_tensorflow(reproduced, pictures):
    code = "import sys; from commands.__main__ import main; main(); print('tensorflow' in sys.modules)"
    done = reproduced.run(sys.executable, "-c", code, "predict", *FOREST, str(pictures / "3.png"))
    assert done.stdout.splitlines()[-1] == "False"


def test_the_table_has_the_most_probable_classes(mnist, pictures):
    code, output, _ = mnist(*FOREST, "--top", 3, pictures / "7.png")
    assert code == 0
    head, *lines = output.splitlines()
    assert head.split()[-1] == "picture"
    assert len(lines) == 3
    assert lines[0].split()[0] == "7"
    assert lines[0].endswith("7.png")
    percents = [float(line.split()[1]) for line in lines]
    assert percents == sorted(percents, reverse=True)


def test_patterns_folders_and_standard_input(mnist, pictures, monkeypatch):
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO((pictures / "5.png").read_bytes())))
    _, output, _ = mnist(*FOREST, "--json", pictures / "[12].png", "-", pictures)
    files = [json.loads(line)["file"] for line in output.splitlines()]
    assert [Path(file).name for file in files] == ["1.png", "2.png", "-", *(f"{digit}.png" for digit in range(10))]


def test_a_csv_has_a_row_for_each_picture_that_can_be_read(mnist, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "some")
    (tmp_path / "some/broken.png").write_text("no picture")
    Image.new("L", (50, 50), 255).save(tmp_path / "some/empty.png")
    (tmp_path / "some/gone.png").symlink_to("nothing.png")
    (tmp_path / "said.csv").write_text("the last one")
    code, output, errors = mnist(*FOREST, "--csv", tmp_path / "said.csv", tmp_path / "some")
    assert code == "error: 3 of 13 pictures could not be used, as said above; all others are done"
    assert not output
    assert "broken.png: no picture of a known format" in errors
    assert "empty.png: no digit found on it" in errors
    with open(tmp_path / "said.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == ["file", "random_forest", "random_forest_probability"]
    assert [Path(row["file"]).stem for row in rows] == list("0123456789")
    assert all(0.1 <= float(row["random_forest_probability"]) <= 1 for row in rows)
    assert not (tmp_path / "said.csv.part").exists()


def test_a_csv_that_broke_off_keeps_what_is_done_and_leaves_the_last_one(mnist, pictures, tmp_path, monkeypatch):
    (tmp_path / "said.csv").write_text("the last one")
    monkeypatch.setattr("commands.predict.PART", 4)
    images = []

    def interrupted(self, part):
        images.append(part)
        if len(images) == 2:
            raise KeyboardInterrupt
        return np.full((len(part), 10), 0.1, np.float32)

    monkeypatch.setattr("commands.trained.Trained.predict", interrupted)
    monkeypatch.setattr("commands.trained._check_fit", lambda *_: None)
    code, _, _ = mnist(*FOREST, "--csv", tmp_path / "said.csv", pictures)
    assert code == 130
    assert (tmp_path / "said.csv").read_text() == "the last one"
    assert len((tmp_path / "said.csv.part").read_text().splitlines()) == 5


def test_images_of_the_data_set_are_taken_as_they_are(mnist, reproduced, tmp_path):
    images = np.load(reproduced.folder / "data/prepared/test_images.npy")[:20]
    labels = np.load(reproduced.folder / "data/prepared/test_labels.npy")[:20]
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index:02}.png")
    _, output, _ = mnist(*FOREST, "--as-is", "--json", tmp_path)
    said = [json.loads(line)["models"]["random_forest"][0]["class"] for line in output.splitlines()]
    assert np.mean([int(each) == label for each, label in zip(said, labels, strict=True)]) >= 0.85


@pytest.mark.parametrize("source", ["3.png", "-"])
def test_what_was_done_can_be_looked_at(mnist, pictures, tmp_path, monkeypatch, source):
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO((pictures / "3.png").read_bytes())))
    code, output, _ = mnist(*FOREST, "--show", tmp_path / "steps.png", source if source == "-" else pictures / source)
    assert code == 0
    assert output
    with Image.open(tmp_path / "steps.png") as image:
        assert image.width > 6 * 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.png"], "nothing.png: no such file or folder"),
        (["*.nothing"], "*.nothing: no such file or folder"),
        (["--top", "11", "README.md"], "--top 11: digits has 10 classes"),
        (["--top", "0", "README.md"], "--top 0"),
        (["--csv", "nowhere/x.csv", "README.md"], "nowhere/x.csv: cannot be written"),
        (["--csv", "docs", "README.md"], "docs: cannot be written: it is a folder"),
        (["--csv", "README.md", "README.md"], "README.md: is one of the pictures"),
        (["--csv", "/dev/null", "README.md"], "/dev/null: cannot be written: it is no file"),
        (["--run", "", "README.md"], "MLflow does not give run "),
        (["--csv", "x.csv", "--top", "2", "README.md"], "--json for more"),
        (["--show", "x.jpg", "README.md"], "must end in .png"),
        (["--show", "x.png", "README.md", "README.md"], "--show: draws one picture, and there are 2"),
        (["--show", "x.png", "README.md"], "README.md: no picture of a known format"),
        (["README.md"], "1 of 1 pictures could not be used"),
        (["--run", "nobody", "README.md"], "MLflow does not give run nobody"),
    ],
)
def test_a_mistake_is_said_in_words(mnist, arguments, message):
    code, _, _ = mnist(*arguments)
    assert str(code).startswith("error: ")
    assert message in str(code)


def test_without_models_it_says_how_to_train_some(mnist, reproduced, pictures, tmp_path, monkeypatch):
    shutil.copytree(reproduced.folder / "data/prepared", tmp_path / "data/prepared")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    code, _, _ = mnist(pictures / "1.png")
    assert code == "error: models/mlp.keras: missing; there is no trained model\nTrain it: uv run dvc repro"


def test_a_run_of_mlflow_and_its_champion_answer_alike(mnist, reproduced, pictures):
    forest = runs(reproduced)["random-forest"][0].info.run_id
    code, output, _ = mnist("--run", forest, "--json", pictures)
    assert code == 0
    _, local, _ = mnist(*FOREST, "--json", pictures)
    both = zip(output.splitlines(), local.splitlines(), strict=True)
    assert all(json.loads(one)["models"] == json.loads(other)["models"] for one, other in both)

    _, output, _ = mnist("--champion", "--json", pictures / "4.png")
    said = json.loads(output)
    validated = {name: each["val_accuracy"] for name, each in metrics(reproduced).items()}
    assert [*said["models"]] == [said["champion"]]
    assert validated[said["champion"]] == max(validated.values())
    assert said["models"][said["champion"]][0]["class"] == "4"
