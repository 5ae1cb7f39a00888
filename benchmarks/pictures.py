"""Fifty photos and drawings of digits that no model was trained on, and what each model says of them.

    uv run python -m benchmarks.pictures [FOLDER] [--sheet FILE]

They are made here, of ten kinds, five of each, so that each digit is there five times: printed in fonts, and written by
strokes of this file on paper with uneven light, noise, shadows and lines, on a blackboard, on a transparent ground.
They are written into FOLDER, and the table of docs/predict.md comes from what is printed. `commands/photo.py` and
`ink.py` were tuned on other seeds than the one of the table, `SEED`.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.results import parser
from commands.pictures import image_of, open_picture
from commands.trained import load_trained
from stages.dataset.prepared import load_info

SEED = 0
FONTS = ("DejaVuSans", "DejaVuSerif-Bold", "cmr10", "STIXGeneralItalic", "DejaVuSansMono")
# A digit is a list of strokes, each a list of points (x, y) that a smooth line goes through, in a box from 0 to 1. Two
# ways to write each, as people do.
WRITTEN = {
    0: [
        [[(0.5, 0.02), (0.2, 0.2), (0.12, 0.55), (0.3, 0.95), (0.6, 0.95), (0.85, 0.6), (0.8, 0.2), (0.5, 0.02)]],
        [[(0.6, 0.0), (0.3, 0.15), (0.2, 0.6), (0.4, 1.0), (0.7, 0.8), (0.78, 0.35), (0.6, 0.05), (0.5, 0.06)]],
    ],
    1: [[[(0.5, 0.0), (0.48, 0.5), (0.5, 1.0)]], [[(0.25, 0.3), (0.4, 0.2), (0.58, 0.0)], [(0.58, 0.0), (0.55, 1.0)]]],
    2: [
        [
            [(0.15, 0.25), (0.3, 0.05), (0.6, 0.02), (0.75, 0.2), (0.65, 0.5), (0.4, 0.75), (0.12, 0.98)],
            [(0.12, 0.98), (0.5, 0.96), (0.88, 0.97)],
        ],
        [
            [
                (0.2, 0.2), (0.45, 0.0), (0.75, 0.15), (0.7, 0.45), (0.4, 0.85), (0.2, 0.9), (0.2, 0.75), (0.4, 0.8),
                (0.65, 0.95), (0.9, 0.9),
            ]
        ],
    ],
    3: [
        [
            [
                (0.2, 0.12), (0.45, 0.0), (0.75, 0.12), (0.7, 0.35), (0.4, 0.47), (0.75, 0.58), (0.8, 0.82), (0.5, 1.0),
                (0.15, 0.88),
            ]
        ],
        [[(0.15, 0.05), (0.8, 0.03)], [(0.8, 0.03), (0.42, 0.4)], [(0.42, 0.4), (0.8, 0.55), (0.75, 0.9), (0.2, 0.95)]],
    ],
    4: [
        [[(0.35, 0.0), (0.25, 0.3), (0.12, 0.58)], [(0.12, 0.58), (0.9, 0.55)], [(0.68, 0.1), (0.65, 1.0)]],
        [[(0.65, 0.0), (0.4, 0.35), (0.1, 0.65)], [(0.1, 0.65), (0.9, 0.66)], [(0.65, 0.0), (0.64, 1.0)]],
    ],
    5: [
        [
            [(0.25, 0.03), (0.22, 0.42)],
            [(0.22, 0.42), (0.5, 0.38), (0.8, 0.55), (0.75, 0.85), (0.45, 1.0), (0.15, 0.9)],
            [(0.25, 0.03), (0.8, 0.02)],
        ],
        [
            [(0.8, 0.0), (0.3, 0.04)],
            [(0.3, 0.04), (0.25, 0.4)],
            [(0.25, 0.4), (0.6, 0.42), (0.8, 0.68), (0.55, 0.98), (0.2, 0.95)],
        ],
    ],
    6: [
        [[(0.65, 0.0), (0.35, 0.25), (0.18, 0.65), (0.35, 0.98), (0.7, 0.92), (0.75, 0.65), (0.45, 0.55), (0.2, 0.72)]],
        [[(0.5, 0.0), (0.25, 0.4), (0.2, 0.8), (0.5, 1.0), (0.75, 0.8), (0.6, 0.6), (0.35, 0.65), (0.22, 0.8)]],
    ],
    7: [
        [[(0.15, 0.05), (0.5, 0.04), (0.85, 0.03)], [(0.85, 0.03), (0.6, 0.45), (0.42, 1.0)]],
        [[(0.15, 0.08), (0.85, 0.04)], [(0.85, 0.04), (0.55, 0.5), (0.42, 1.0)], [(0.3, 0.52), (0.78, 0.48)]],
    ],
    8: [
        [
            [
                (0.75, 0.15), (0.5, 0.0), (0.25, 0.15), (0.35, 0.4), (0.65, 0.58), (0.78, 0.8), (0.5, 1.0),
                (0.22, 0.82), (0.35, 0.58), (0.65, 0.4), (0.75, 0.15),
            ]
        ],
        [
            [(0.5, 0.0), (0.28, 0.2), (0.5, 0.44), (0.72, 0.2), (0.5, 0.0)],
            [(0.5, 0.44), (0.2, 0.72), (0.5, 1.0), (0.8, 0.72), (0.5, 0.44)],
        ],
    ],
    9: [
        [
            [(0.75, 0.2), (0.5, 0.0), (0.25, 0.2), (0.4, 0.45), (0.7, 0.35), (0.75, 0.2)],
            [(0.75, 0.2), (0.72, 0.6), (0.6, 1.0)],
        ],
        [
            [
                (0.72, 0.12), (0.4, 0.02), (0.22, 0.28), (0.45, 0.5), (0.72, 0.3), (0.74, 0.1), (0.76, 0.6),
                (0.6, 0.95), (0.25, 0.95),
            ]
        ],
    ],
}  # fmt: skip


def printed(digit: int, rng: np.random.Generator) -> Image.Image:
    """A digit of a font, black on white."""
    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    font = ImageFont.truetype(str(folder / f"{FONTS[int(rng.integers(len(FONTS)))]}.ttf"), int(rng.integers(60, 300)))
    image = Image.new("RGB", (400, 400), "white")
    ImageDraw.Draw(image).text((200, 200), str(digit), "black", font, anchor="mm")
    return image


def ballpoint(digit: int, rng: np.random.Generator) -> Image.Image:
    """A thin blue line on white paper, with light from one side."""
    ink = _drawn(digit, rng, (900, 700), 0.6, 0.012)
    return _photo(_mixed(_paper(ink.shape, rng, (238, 236, 230)), (40, 50, 140), ink, 0.85), rng, light=0.55)


def felt_pen(digit: int, rng: np.random.Generator) -> Image.Image:
    """A thick black line, and the sharp shadow of a hand or phone across the paper."""
    ink = _drawn(digit, rng, (800, 800), 0.7, 0.075)
    return _photo(_mixed(_paper(ink.shape, rng, (245, 243, 240)), (30, 28, 30), ink, 0.95), rng, light=0.8, shadow=0.55)


def pencil(digit: int, rng: np.random.Generator) -> Image.Image:
    """A faint grey line on cream paper, and much noise."""
    ink = _drawn(digit, rng, (600, 600), 0.6, 0.022)
    return _photo(_mixed(_paper(ink.shape, rng, (232, 222, 198)), (90, 90, 92), ink, 0.7), rng, light=0.7, noise=9)


def small(digit: int, rng: np.random.Generator) -> Image.Image:
    """A small digit somewhere in a large photo."""
    ink = _drawn(digit, rng, (1500, 2000), 0.12, 0.009)
    return _photo(_mixed(_paper(ink.shape, rng, (235, 235, 235)), (25, 25, 40), ink, 0.9), rng, light=0.6)


def squared(digit: int, rng: np.random.Generator) -> Image.Image:
    """A blue pen on squared paper."""
    ink = _drawn(digit, rng, (700, 700), 0.55, 0.024)
    paper, step = _paper(ink.shape, rng, (244, 244, 240)), int(rng.integers(45, 80))
    for start in range(int(rng.integers(step)), 700, step):
        paper[start : start + 2] = paper[:, start : start + 2] = (196, 208, 224)
    return _photo(_mixed(paper, (30, 40, 120), ink, 0.9), rng, light=0.7)


def chalk(digit: int, rng: np.random.Generator) -> Image.Image:
    """White chalk on a board, darker at the edges."""
    ink = _drawn(digit, rng, (700, 900), 0.6, 0.03) * rng.uniform(0.55, 1, (700, 900))
    return _photo(_mixed(_paper(ink.shape, rng, (38, 62, 50)), (225, 225, 220), ink, 0.9), rng, light=0.6)


def coloured(digit: int, rng: np.random.Generator) -> Image.Image:
    """A red, green or orange pen on a yellow note."""
    colours = ((200, 30, 40), (20, 120, 60), (230, 110, 30))
    ink = _drawn(digit, rng, (600, 600), 0.6, 0.04)
    paper = _paper(ink.shape, rng, (246, 228, 120))
    return _photo(_mixed(paper, colours[int(rng.integers(3))], ink, 0.9), rng, light=0.7)


def transparent(digit: int, rng: np.random.Generator) -> Image.Image:
    """A drawing with the mouse on a transparent ground, black or white."""
    ink = _drawn(digit, rng, (300, 300), 0.75, 0.06, wobble=0.012)
    colour = (255, 255, 255) if rng.random() < 0.4 else (0, 0, 0)
    pixels = np.empty((300, 300, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colour, np.rint(ink * 255)
    return Image.fromarray(pixels)


def on_a_table(digit: int, rng: np.random.Generator) -> Image.Image:
    """A sheet on a dark wooden table, not quite straight, with the table around it."""
    ink = _drawn(digit, rng, (900, 1200), 0.4, 0.02)
    sheet = _mixed(_paper(ink.shape, rng, (240, 240, 236)), (20, 20, 30), ink, 0.92)
    table = _paper(ink.shape, rng, (92, 62, 40)) + 14 * np.sin(np.arange(900) / 9)[:, None, None]
    corners = np.array([(170, 60), (1040, 90), (1010, 850), (140, 810)]) + rng.uniform(-35, 35, (4, 2))
    cover = np.zeros(ink.shape, np.uint8)
    cv2.fillPoly(cover, [np.rint(corners).astype(np.int32)], 255, cv2.LINE_AA)
    return _photo(_mixed(table, sheet, cover / 255, 1), rng, light=0.7)


KINDS: dict[str, Callable[[int, np.random.Generator], Image.Image]] = {
    "print": printed,
    "ballpoint": ballpoint,
    "felt pen, shadow": felt_pen,
    "pencil": pencil,
    "small": small,
    "squared paper": squared,
    "chalk": chalk,
    "coloured pen": coloured,
    "transparent": transparent,
    "sheet on a table": on_a_table,
}


def make_pictures(folder: Path, seed: int = SEED) -> dict[Path, tuple[str, int]]:
    """Write the fifty pictures, and return the kind and the digit of each."""
    made = {}
    for number, (kind, make) in enumerate(KINDS.items()):
        for index in range(5):
            digit = (5 * number + index) % 10
            image = make(digit, np.random.default_rng([seed, number, index]))
            suffix = "png" if kind in ("print", "transparent") else "jpg"
            path = folder / f"{kind.replace(', ', '-').replace(' ', '-')}-{digit}.{suffix}"
            image.save(path, **({"quality": 80} if suffix == "jpg" else {}))
            made[path] = (kind, digit)
    return made


def _drawn(
    digit: int, rng: np.random.Generator, size: tuple[int, int], share: float, pen: float, wobble: float = 0.02
) -> np.ndarray:
    """Return how much ink each pixel has, float (height, width), of a digit that takes a `share` of the height.

    The width of the `pen` is a share of the picture's height.
    """
    height, width = size
    strokes = WRITTEN[digit][int(rng.integers(2))]
    slant, turn, wide = rng.normal(0.08, 0.12), np.radians(rng.normal(0, 5)), rng.uniform(0.6, 0.85)
    side, zoom = share * height * rng.uniform(0.85, 1.1), 4
    centre = np.array([width, height]) / 2 + rng.uniform(-0.5, 0.5, 2) * (np.array([width, height]) - side) * 0.6
    image = np.zeros(size, np.uint8)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    for stroke in strokes:
        # The same wobble for strokes that begin where another ends would be no hand's; it is small.
        points = np.array(stroke) + rng.normal(0, wobble, (len(stroke), 2))
        points = (points - 0.5) * (wide, 1)
        points[:, 0] -= slant * points[:, 1]
        line = _smooth(points @ rotation.T * side + centre)
        thickness = max(round(pen * height * rng.uniform(0.9, 1.1)), 1)
        cv2.polylines(image, [np.rint(line * 2**zoom).astype(np.int32)], False, 255, thickness, cv2.LINE_AA, zoom)
    return image / 255


def _smooth(points: np.ndarray) -> np.ndarray:
    """Return a Catmull-Rom spline through the points."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, 24)[:, None]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate(parts)


def _paper(size: tuple[int, int], rng: np.random.Generator, colour: tuple[int, int, int]) -> np.ndarray:
    grain = cv2.GaussianBlur(rng.normal(0, 1, size), (0, 0), 1.5)
    return np.array(colour, float) + 4 * grain[..., None]


def _mixed(ground: np.ndarray, colour: object, ink: np.ndarray, cover: float) -> np.ndarray:
    cover = (cover * ink)[..., None]
    return ground * (1 - cover) + np.asarray(colour, float) * cover


def _photo(
    scene: np.ndarray, rng: np.random.Generator, light: float, shadow: float | None = None, noise: float = 4
) -> Image.Image:
    """Return the scene under light that falls to the share `light`, and perhaps to `shadow` beyond an edge."""
    height, width, _ = scene.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    along = (x * np.cos(angle) + y * np.sin(angle)) / 1.4
    lit = 1 - (1 - light) * (0.5 + 0.5 * along) - 0.15 * (x**2 + y**2) / 2
    if shadow:
        edge, angle = rng.uniform(-0.3, 0.3), rng.uniform(0, 2 * np.pi)
        beyond = ((x * np.cos(angle) + y * np.sin(angle)) > edge).astype(float)
        lit *= 1 - (1 - shadow) * cv2.GaussianBlur(beyond, (0, 0), 0.006 * width)
    tint = np.array([1.0, 0.97, 0.9]) if rng.random() < 0.5 else np.array([0.94, 0.98, 1.0])
    taken = cv2.GaussianBlur(scene * lit[..., None] * tint, (0, 0), 0.8) + rng.normal(0, noise, scene.shape)
    return Image.fromarray(np.rint(np.clip(taken, 0, 255)).astype(np.uint8))


def _sheet(paths: list[Path]) -> Image.Image:
    """Return all pictures as one, a column for each kind; what is transparent is grey."""
    side = 110
    sheet = Image.new("RGB", (len(paths) // 5 * side, 5 * side), "white")
    for index, path in enumerate(paths):
        with Image.open(path) as opened:
            picture = opened.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (150, 150, 150, 255)), picture)
        picture.thumbnail((side - 6, side - 6))
        sheet.paste(picture.convert("RGB"), (index // 5 * side + 3, index % 5 * side + 3))
    return sheet


def main() -> None:
    command = parser(__doc__)
    command.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, help="keep the pictures here")
    command.add_argument("--sheet", metavar="FILE", type=Path, help="draw all of them into one picture")
    command.add_argument("--seed", type=int, default=SEED, help="make others (default: %(default)s)")
    arguments = command.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        made = make_pictures(folder, arguments.seed)
        if arguments.sheet:
            _sheet([*made]).save(arguments.sheet, quality=75)
        info = load_info()
        images = np.stack([image_of(open_picture(path, str(path)), info) for path in made])
    trained = load_trained(info)
    probabilities = [each.predict(images) for each in trained]
    truth = list(made.values())
    print("| kind | digits |", " | ".join(each.model.title for each in trained), "|")
    print("|---|---|" + "---:|" * len(trained))
    for kind in dict.fromkeys(kind for kind, _ in truth):
        rows = [index for index, (of_kind, _) in enumerate(truth) if of_kind == kind]
        digits = np.array([truth[index][1] for index in rows])
        cells = [f"{_right(each[rows], digits)} ({each[rows].max(axis=1).min():.0%})" for each in probabilities]
        print(f"| {kind} | {digits.min()} … {digits.max()} | {' | '.join(cells).replace('%', ' %')} |")
    digits = np.array([digit for _, digit in truth])
    right = [str(_right(each, digits)) for each in probabilities]
    print(f"| **right of {len(digits)}** | | {' | '.join(right)} |\n\nWrong:")
    for name, each in ((each.model.title, rows) for each, rows in zip(trained, probabilities, strict=True)):
        for index in np.flatnonzero(each.argmax(axis=1) != digits):
            kind, digit = truth[index]
            print(f"{name}: {digit} ({kind}) is taken for {each[index].argmax()}, {each[index].max():.0%}")


def _right(probabilities: np.ndarray, digits: np.ndarray) -> int:
    return int((probabilities.argmax(axis=1) == digits).sum())


if __name__ == "__main__":
    main()
