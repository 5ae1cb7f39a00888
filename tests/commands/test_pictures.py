"""Pictures of any kind become images of the data set, and photos of digits become like those of MNIST."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from benchmarks.pictures import KINDS
from commands.pictures import image_of, open_picture, picture_steps
from stages.dataset.pictures import Pictures
from stages.dataset.prepared import DatasetInfo
from stages.process.errors import UserError

MNIST = DatasetInfo("mnist", "mnist", False, 28, 28, list("0123456789"), False)
DIGITS = replace(MNIST, dataset="digits", height=8, width=8)
LEAVES = replace(MNIST, dataset="leaves", height=20, width=30, class_names=["oak", "fir"])


def seven(ink: object = "black", ground: object = "white", mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (240, 300), ground)
    ImageDraw.Draw(image).line([(70, 60), (180, 62), (120, 250)], ink, 14, "curve")
    return image


def box(image: np.ndarray) -> tuple[int, int]:
    return np.ptp(np.flatnonzero(image.any(axis=1))) + 1, np.ptp(np.flatnonzero(image.any(axis=0))) + 1


def centre_of_mass(image: np.ndarray) -> list[float]:
    return [float(image.sum(axis=1 - axis) @ np.arange(image.shape[axis]) / image.sum()) for axis in (0, 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_of_a_digit_is_normalized_as_in_mnist(kind):
    image = image_of(KINDS[kind](3, np.random.default_rng(11)), MNIST)
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    assert max(box(image)) == 20
    assert centre_of_mass(image) == pytest.approx([14, 14], abs=0.51)
    assert image.max() == 255
    # Strokes, and neither dirt nor a whole sheet.
    assert 0.08 < (image > 127).mean() < 0.3


@pytest.mark.parametrize("around", ["black", (60, 60, 60)])
@pytest.mark.parametrize("width", [20, 60, 100])
def test_an_even_dark_ground_around_a_sheet_is_left_out(around, width):
    wanted = image_of(seven(), MNIST).astype(int)
    image = image_of(ImageOps.expand(seven(), width, around), MNIST)
    assert np.abs(image - wanted).mean() < 3


@pytest.mark.parametrize("digit", "04689")
@pytest.mark.parametrize("stroke", [12, 20])
def test_a_bold_light_digit_is_no_sheet(digit, stroke):
    light = Image.new("L", (300, 330), 0)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans-Bold.ttf")), 220)
    ImageDraw.Draw(light).text((150, 165), digit, 255, font, "mm", stroke_width=stroke)
    wanted = image_of(ImageOps.invert(light), MNIST).astype(int)
    assert np.abs(image_of(light, MNIST) - wanted).mean() < 3


def test_a_digit_fills_the_height_of_the_small_data_set():
    image = image_of(seven(), DIGITS)
    assert image.shape == (8, 8)
    assert box(image)[0] == 8


def test_colours_and_the_darker_side_do_not_matter():
    wanted = image_of(seven(), MNIST).astype(int)
    for ink, ground in (("white", "black"), ("red", "white"), ("yellow", "white"), ("navy", "khaki")):
        assert np.abs(image_of(seven(ink, ground), MNIST) - wanted).mean() < 3, (ink, ground)
    for ink in ((0, 0, 0, 255), (255, 255, 255, 255)):
        assert np.abs(image_of(seven(ink, (0, 0, 0, 0), "RGBA"), MNIST) - wanted).mean() < 3


def test_thin_and_thick_pens_become_strokes_of_a_like_width():
    def strokes(width: int) -> float:
        image = Image.new("L", (300, 300), 255)
        ImageDraw.Draw(image).line([(60, 60), (240, 62), (130, 250)], 0, width, "curve")
        return image_of(image, MNIST).sum() / 255

    assert strokes(2) > 0.6 * strokes(24)
    assert strokes(80) < 2 * strokes(24)


@pytest.mark.parametrize(
    "pixels", [np.full((50, 40), 255, np.uint8), np.zeros((1, 1), np.uint8), np.zeros((30, 30, 4), np.uint8)]
)
def test_a_picture_without_ink_is_black(pixels):
    for info in (MNIST, DIGITS):
        assert not image_of(pixels, info).any()


def test_noise_of_any_size_has_an_image():
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (1, 200), (2, 3), (28, 28), (301, 7)):
        assert image_of(rng.integers(0, 256, (height, width, 3)).astype(np.uint8), MNIST).shape == (28, 28)


def test_as_is_leaves_an_image_of_the_data_set_alone():
    image = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(image_of(image, MNIST, as_is=True), image)


@pytest.mark.parametrize("how", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "EXIF"])
def test_pictures_of_other_data_sets_are_read_and_resized_as_preprocess_does(tmp_path, mode, channels, how):
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(0, 256, (45, 60, 4)).astype(np.uint8))
    path, options = tmp_path / f"picture.{'tif' if mode == 'CMYK' else 'png'}", {}
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65_536, (45, 60)).astype(np.uint16))
    elif mode == "EXIF":
        image, options["exif"] = image.convert("RGB"), Image.Exif()
        options["exif"][0x0112] = 6
    else:
        image = image.convert("RGB").convert(mode) if mode in ("P", "CMYK") else image.convert(mode)
    image.save(path, **options)
    prepared = Pictures([path], np.zeros(1, np.uint8), (20, 30), channels, how)[[0]][0]
    found = image_of(open_picture(path, str(path)), replace(LEAVES, channels=channels, resize=how))
    np.testing.assert_array_equal(found, prepared)


def test_a_photo_that_a_camera_has_turned_is_upright_in_every_format(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    for suffix in ("png", "tif"):
        path = tmp_path / f"turned.{suffix}"
        Image.fromarray(pixels).save(path, exif=exif)
        np.testing.assert_array_equal(open_picture(path, path.name), np.rot90(pixels, -1))


def test_what_is_no_picture_is_named(tmp_path, monkeypatch):
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(UserError, match=r"text\.png: no picture of a known format"):
        open_picture(text, str(text))
    whole = BytesIO()
    seven().save(whole, "PNG")
    with pytest.raises(UserError, match="standard input: cannot be read as a picture"):
        open_picture(BytesIO(whole.getvalue()[:-300]), "standard input")
    monkeypatch.setattr("commands.pictures.MOST_PIXELS", 1000)
    with pytest.raises(UserError, match="standard input: has more than 1,000 pixels"):
        open_picture(whole, "standard input")


def test_the_steps_lead_from_the_picture_to_the_image():
    steps = picture_steps(seven(), MNIST)
    assert [*steps] == [
        "the picture",
        "the part around the digit",
        "light evened out",
        "cropped",
        "strokes",
        "fitted, centred",
    ]
    assert all(pixels.dtype == np.uint8 for pixels in steps.values())
