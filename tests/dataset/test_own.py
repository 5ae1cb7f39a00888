"""A data set of the user's own: which folders are one, and what each of the others is told."""

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.dataset.catalogue import SETS
from stages.dataset.own import read_own
from stages.fingerprints import file_md5
from stages.params.views import PreprocessParams
from stages.process.errors import UserError
from stages.process.provenance import cached

RANDOM = np.random.default_rng(0)


def params(**changes) -> PreprocessParams:
    values = {"name": "mine", "size": None, "channels": None, "resize": "pad", "test_fraction": 0.2, "preprocess": None}
    return PreprocessParams(**{**values, **changes})


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Path:
    """The folder of the data set `mine`, with two pictures of each of two classes."""
    monkeypatch.chdir(tmp_path)
    folder = SETS / "mine"
    for label, name in enumerate(("cat", "dog")):
        for number in (2, 10):
            draw(folder / "train" / name / f"{number}.png", np.full((6, 4), 100 * label + number, np.uint8))
    return folder


def draw(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def refusal(**changes) -> str:
    def load() -> None:
        own = read_own("mine", params(**changes))
        _ = own.train[range(len(own.train.labels))]

    with pytest.raises(UserError) as error:
        load()
    message = str(error.value)
    assert len(message.splitlines()) == 2
    return message


def test_classes_are_the_folders_and_images_come_by_number_then_class(mine):
    own = read_own("mine", params())
    assert own.class_names == ["cat", "dog"]
    assert own.train.shape == (4, 6, 4)
    assert own.train.labels.tolist() == [0, 1, 0, 1]
    assert own.train[range(4)][:, 0, 0].tolist() == [2, 102, 10, 110]
    assert own.test is None


def test_names_of_the_same_number_have_one_order_on_every_disk(mine):
    names = [f"{'0' * zeros}7.png" for zeros in (3, 0, 4, 1, 2)]
    for name in names:
        draw(mine / "train/dog" / name, np.zeros((6, 4), np.uint8))
    found = [path.name for path in read_own("mine", params()).train.paths]
    assert [name for name in found if name in names] == sorted(names)


def test_hidden_files_are_no_pictures(mine):
    (mine / "train/.DS_Store").write_bytes(b"x")
    (mine / "train/cat/Thumbs.db").write_bytes(b"x")
    assert len(read_own("mine", params()).train.labels) == 4


def test_a_test_folder_has_the_same_classes(mine):
    for name in ("cat", "dog"):
        draw(mine / "test" / name / "1.png", np.zeros((6, 4), np.uint8))
    assert read_own("mine", params()).test.labels.tolist() == [0, 1]
    draw(mine / "test/cow/1.png", np.zeros((6, 4), np.uint8))
    assert "data/sets/mine/test/cow: is a class that data/sets/mine/train lacks" in refusal()


def test_each_class_has_a_test_image(mine):
    draw(mine / "test/dog/1.png", np.zeros((6, 4), np.uint8))
    assert "data/sets/mine/test/cat: is missing, so no test image is of class cat" in refusal()


def test_folders_that_are_not_read_are_named(mine, capsys):
    draw(mine / "val/cat/1.png", np.zeros((6, 4), np.uint8))
    read_own("mine", params())
    assert "warning: data/sets/mine: only train and test are read, not val\n" in capsys.readouterr().err


def read(path: Path, channels: int | None = None) -> np.ndarray:
    """The image that the picture at `path`, 1.png of the class cat, becomes."""
    own = read_own("mine", params(channels=channels))
    (index,) = (index for index, each in enumerate(own.train.paths) if each == path)
    return own.train[[index]][0]


def test_sixteen_bits_become_eight(mine):
    path = draw(mine / "train/cat/1.png", np.array([[0, 257, 65535, 514]] * 6, np.uint16))
    assert read(path)[0].tolist() == [0, 1, 255, 2]


def test_what_is_transparent_lies_on_black(mine):
    pixels = np.zeros((6, 4, 4), np.uint8)
    pixels[..., :3] = 200
    pixels[:, 2:, 3] = 255
    path = draw(mine / "train/cat/1.png", pixels)
    assert read(path, channels=1)[0].tolist() == [0, 0, 200, 200]
    assert read(path).shape == (6, 4, 3)


def test_a_palette_gives_its_colours(mine):
    picture = Image.new("RGB", (4, 6), (10, 20, 30)).quantize(4)
    picture.save(mine / "train/cat/1.png")
    assert read(mine / "train/cat/1.png")[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("tif", {}), ("tif", {"compression": "tiff_lzw"})])
def test_a_camera_held_upright_is_turned(mine, suffix, options):
    picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = mine / f"train/cat/1.{suffix}"
    picture.save(path, exif=exif, **options)
    turned = read(path)
    np.testing.assert_array_equal(turned, np.rot90(np.arange(24).reshape(4, 6), -1))


@pytest.mark.parametrize(
    ("how", "expected", "above"),
    [("pad", [0, 99, 99, 0], 0), ("crop", [99, 99, 99, 99], 99), ("stretch", [99, 99, 99, 99], 0)],
)
def test_pictures_of_any_size_become_one(mine, how, expected, above):
    for number, size in enumerate(((16, 8), (40, 20))):
        picture = np.full(size, 99, np.uint8)
        # The upper and the lower quarter, which are cut off.
        picture[: size[0] // 4] = picture[-size[0] // 4 :] = 0
        draw(mine / "train/cat" / f"{number}.png", picture)
    own = read_own("mine", params(size=[4, 4], resize=how))
    assert own.train.shape == (6, 4, 4)
    made = own.train[[0]][0].astype(int)
    # Near an edge the resampling mixes a little.
    np.testing.assert_allclose(made[2], expected, atol=20)
    assert made[0, 1] == pytest.approx(above, abs=20)
    assert "Set data.size in params.yaml" in refusal()


BAD = {
    "no folder": (lambda mine: rename(mine / "train", "pictures"), "data/sets/mine: has no folder train/<class>/"),
    "no class": (lambda mine: [rename(each, f".{each.name}") for each in (mine / "train").iterdir()], "has no class"),
    "one class": (lambda mine: rename(mine / "train/dog", ".dog"), "train: has one class alone"),
    "an empty class": (lambda mine: (mine / "train/cow").mkdir(), "data/sets/mine/train/cow: has no picture"),
    "a picture beside the classes": (
        lambda mine: draw(mine / "train/1.png", np.zeros((6, 4), np.uint8)),
        "data/sets/mine/train/1.png: is no folder",
    ),
    "a folder in a class": (
        lambda mine: (mine / "train/cat/more").mkdir(),
        "train/cat/more: is no picture, but a folder",
    ),
    "a test folder that is a file": (lambda mine: (mine / "test").touch(), "data/sets/mine/test: is no folder"),
    "no picture": (
        lambda mine: (mine / "train/cat/notes.txt").write_text("fluffy"),
        "train/cat/notes.txt: cannot be read as a picture: no picture of a known format",
    ),
    "cut off": (
        lambda mine: cut_off(draw(mine / "train/cat/3.png", RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8))),
        "train/cat/3.png: cannot be read as a picture",
    ),
    "a bomb": (lambda mine: bomb(mine / "train/cat/3.png"), "train/cat/3.png: has more than 89,478,485 pixels"),
    "names alike": (
        lambda mine: draw(mine / "train/Cat/1.png", np.zeros((6, 4), np.uint8)),
        "data/sets/mine/train/cat: differs from Cat in upper and lower case only",
    ),
    "a link out of it": (
        lambda mine: (mine / "train/cat/1.png").symlink_to("/etc/hostname"),
        "train/cat/1.png: is a link that leads out of data/sets/mine",
    ),
    "a class that is a link": (
        lambda mine: (mine / "train/cow").symlink_to("/etc"),
        "train/cow: is a link that leads out of",
    ),
    "too many classes": (
        lambda mine: [draw(mine / f"train/{number}/1.png", np.zeros((6, 4), np.uint8)) for number in range(255)],
        "train: has 257 classes",
    ),
}


def rename(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:80])


def bomb(path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(path)


def test_pictures_that_dvc_keeps_as_links_into_its_cache_are_read(mine):
    quiet = {**os.environ, "DVC_NO_ANALYTICS": "true"}
    subprocess.run((sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"), env=quiet, check=True)
    picture = mine / "train/cat/2.png"
    kept = cached(file_md5(picture))
    kept.parent.mkdir(parents=True)
    picture.rename(kept)
    picture.symlink_to(kept)
    assert read_own("mine", params()).train[range(4)][:, 0, 0].tolist() == [2, 102, 10, 110]
    picture.unlink()
    picture.symlink_to("/etc/hostname")
    assert "train/cat/2.png: is a link that leads out of data/sets/mine" in refusal()


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_data_set_is_named_with_a_remedy(mine, bad):
    damage, reason = BAD[bad]
    damage(mine)
    assert reason in refusal()


def write_idx(path: Path, values: np.ndarray) -> None:
    content = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


IMAGES, LABELS = RANDOM.integers(0, 256, (6, 5, 5), dtype=np.uint8), np.array([1, 2, 1, 2, 1, 2], np.uint8)


@pytest.fixture
def arrays(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (SETS / "mine").mkdir(parents=True)
    return SETS / "mine"


@pytest.mark.parametrize(("suffix", "test"), [("", "test"), (".gz", "t10k")])
def test_idx_files_are_a_data_set_whatever_stands_before_their_names(arrays, suffix, test):
    for split in ("train", test):
        write_idx(arrays / f"emnist-{split}-images-idx3-ubyte{suffix}", IMAGES)
        write_idx(arrays / f"emnist-{split}-labels-idx1-ubyte{suffix}", LABELS)
        # As some systems leave beside a copied file.
        (arrays / f"._emnist-{split}-images-idx3-ubyte.gz").write_bytes(b"x")
    own = read_own("mine", params())
    assert own.class_names == ["1", "2"]
    assert own.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(own.test[range(6)], IMAGES)
    for encoding in ("utf-8", "utf-8-sig"):
        (arrays / "classes.txt").write_text("a\nb\n", encoding=encoding)
        assert read_own("mine", params()).class_names == ["a", "b"]


@pytest.mark.parametrize("content", ["a\n", "a\nb\nc\n", "a\na\n", "a\n \n", "a\n\nb\n"])
def test_each_label_has_one_name_of_its_own(arrays, content):
    np.save(arrays / "train_images.npy", IMAGES)
    np.save(arrays / "train_labels.npy", LABELS)
    (arrays / "classes.txt").write_text(content)
    assert f"classes.txt: {len(content.splitlines())} lines for the 2 classes of train_labels.npy" in refusal()


def save_a_class_for_each(folder: Path, labels: np.ndarray) -> None:
    np.save(folder / "train_images.npy", np.zeros((len(labels), 5, 5), np.uint8))
    np.save(folder / "train_labels.npy", labels)


def test_labels_are_bytes(arrays):
    save_a_class_for_each(arrays, np.arange(256) - 7)
    own = read_own("mine", params())
    assert own.train.labels.tolist() == [*range(256)]
    assert (own.class_names[0], own.class_names[255]) == ("-7", "248")
    save_a_class_for_each(arrays, np.arange(257) - 7)
    assert "train_labels.npy: has 257 classes" in refusal()


def test_files_of_several_data_sets_are_refused(arrays):
    for name in ("emnist-digits", "emnist-letters"):
        write_idx(arrays / f"{name}-train-images-idx3-ubyte.gz", IMAGES)
        write_idx(arrays / f"{name}-train-labels-idx1-ubyte.gz", LABELS)
    assert "emnist-digits-train-images-idx3-ubyte.gz: is one of 2 files of images for the same split" in refusal()


def test_numpy_arrays_in_colour_are_a_data_set(arrays):
    np.save(arrays / "train_images.npy", RANDOM.integers(0, 256, (6, 5, 5, 3), dtype=np.uint8))
    np.save(arrays / "train_labels.npy", LABELS.astype(np.int64))
    own = read_own("mine", params(size=[3, 3]))
    assert own.train[range(6)].shape == own.train.shape == (6, 3, 3, 3)
    assert own.test is None
    with pytest.raises(UserError, match="train_images.npy: has 3 .*, and data.channels is 1 in params.yaml"):
        read_own("mine", params(channels=1))


@pytest.mark.parametrize("packed", ["images", "labels"])
def test_one_of_two_idx_files_may_be_compressed(arrays, packed):
    for kind, rank, values in (("images", 3, IMAGES), ("labels", 1, LABELS)):
        write_idx(arrays / f"train-{kind}-idx{rank}-ubyte{'.gz' if kind == packed else ''}", values)
    np.testing.assert_array_equal(read_own("mine", params()).train[range(6)], IMAGES)


@pytest.mark.parametrize("missing", ["images", "labels"])
def test_half_of_a_split_is_refused(arrays, missing):
    for split in ("train", "test"):
        np.save(arrays / f"{split}_images.npy", IMAGES)
        np.save(arrays / f"{split}_labels.npy", LABELS)
    (arrays / f"test_{missing}.npy").unlink()
    assert f"test_{missing}.npy: is missing, the {missing} of test_" in refusal()


def test_grey_and_coloured_arrays_are_not_mixed(arrays):
    for split, shape in (("train", (6, 5, 5)), ("test", (6, 5, 5, 3))):
        np.save(arrays / f"{split}_images.npy", np.zeros(shape, np.uint8))
        np.save(arrays / f"{split}_labels.npy", LABELS)
    assert "test_images.npy: shape (6, 5, 5, 3), and the training images are (6, 5, 5)" in refusal(size=[4, 4])


def test_arrays_may_lie_elsewhere(arrays, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for kind, values in (("images", IMAGES), ("labels", LABELS)):
        np.save(tmp_path / "elsewhere" / f"{kind}.npy", values)
        (arrays / f"train_{kind}.npy").symlink_to(tmp_path / "elsewhere" / f"{kind}.npy")
    np.testing.assert_array_equal(read_own("mine", params()).train[range(6)], IMAGES)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (LABELS[:4] + 1, "test_labels.npy: label 3 is of no training image"),
        (np.ones(4, int), "test_labels.npy: no image of class 2"),
    ],
)
def test_test_images_are_of_the_classes_of_the_training_images(arrays, labels, reason):
    for split, of_split in (("train", LABELS), ("test", labels)):
        np.save(arrays / f"{split}_images.npy", IMAGES[: len(of_split)])
        np.save(arrays / f"{split}_labels.npy", of_split)
    assert reason in refusal()


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (IMAGES / 255, LABELS, "train_images.npy: float64 of shape (6, 5, 5)"),
        (IMAGES[:, :0], LABELS, "data/sets/mine/train_images.npy: uint8 of shape (6, 0, 5)"),
        (IMAGES, LABELS[:5], "train_labels.npy: uint8 of shape (5,) for images of shape (6, 5, 5)"),
        (IMAGES, LABELS / 2, "train_labels.npy: float64"),
        (IMAGES, np.zeros(6, int), "train_labels.npy: has one class alone"),
    ],
)
def test_arrays_that_are_no_images_and_labels_are_named(arrays, images, labels, reason):
    np.save(arrays / "train_images.npy", images)
    np.save(arrays / "train_labels.npy", labels)
    assert reason in refusal()


def test_an_idx_file_that_is_cut_off_is_named(arrays):
    write_idx(arrays / "train-images-idx3-ubyte", IMAGES)
    write_idx(arrays / "train-labels-idx1-ubyte", LABELS)
    path = arrays / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    assert "train-images-idx3-ubyte: cannot be read: not the 150 values of its shape (6, 5, 5)" in refusal()
