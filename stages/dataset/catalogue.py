"""The data sets: their sizes, classes, files and where those come from."""

from dataclasses import dataclass, field

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class PublishedFile:
    """A gzip-compressed IDX file as published: its length in bytes and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """`train_count` + `test_count` uint8 images (0-255) of `height` x `width` pixels, with labels 0 … classes-1."""

    name: str
    height: int
    width: int
    train_count: int
    test_count: int
    class_names: tuple[str, ...] = DIGITS
    # The published files and the public mirrors, in the order in which these are asked;
    # both empty for a data set that comes with an installed package.
    published: dict[str, PublishedFile] = field(default_factory=dict)
    mirrors: tuple[str, ...] = ()


TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"

FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


def _published(*files: tuple[int, str]) -> dict[str, PublishedFile]:
    """Return the length and SHA-256 of each of `FILES`, which every published data set has."""
    return {name: PublishedFile(*file) for name, file in zip(FILES, files, strict=True)}


DATASETS = (
    Dataset(
        "mnist", 28, 28, 60_000, 10_000,
        published=_published(
            (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    Dataset(
        "fashion-mnist", 28, 28, 60_000, 10_000,
        class_names=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        published=_published(
            (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
    ),
    Dataset("mnist-sample", 28, 28, 4_000, 1_000),
    Dataset("digits", 8, 8, 1_437, 360),
)  # fmt: skip
CATALOGUE = {dataset.name: dataset for dataset in DATASETS}


def images_and_labels(split: str) -> tuple[str, str]:
    """Return the file names of `split`, "train" or "test"."""
    return FILES[:2] if split == "train" else FILES[2:]
