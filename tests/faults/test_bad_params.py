"""params.yaml as no one should write it: always the short error, before any work, and never code run from YAML."""

import datetime
import json
import re
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.params.errors import all_keys
from stages.params.schema import Params
from stages.params.views import EvaluateParams, load_params
from stages.params.yaml_file import MAX_BYTES
from stages.process.errors import UserError
from tests.conftest import PROJECT, Clone

pytestmark = pytest.mark.faults

TEXT = (PROJECT / "params.yaml").read_text(encoding="utf-8")
KEYS = all_keys(Params)
EXAMPLES = ("examples", [pytest.param(50, id="few"), pytest.param(1_000, id="many", marks=pytest.mark.long)])
# They make a folder where anything runs what they name.
OBJECTS = [
    "!!python/object/apply:os.mkdir [executed]",
    "!!python/object/new:os.mkdir [executed]",
    "!!python/object/apply:subprocess.call [[mkdir, executed]]",
    "!!python/object/new:type {args: [x, !!python/tuple [], {}]}",
    "!!python/name:os.mkdir",
    "!!python/module:os",
    "!!python/tuple [1, 2]",
    "!<tag:yaml.org,2002:python/object/apply:os.mkdir> [executed]",
    "!ruby/object:Gem::Installer {}",
    "!own 1",
]
SNIPPETS = [
    *OBJECTS,
    *("", "~", ".nan", "-.inf", "1e400", "0x" + "f" * 9000, "1" * 5000, "1_000", "0o17", "1:30", "+.", "=", "."),
    *("2001-01-01", "2001-13-45", "2001-01-01T99:99:99Z", "!!timestamp x", "!!binary aGk=", "!!binary '*'"),
    *("!!bool x", "!!int x", "!!int ''", "!!int {a: b}", "!!float ''", "!!float x", "!!null {a: b}", "!!str [1]"),
    *("!!set {a, b}", "!!set [a]", "!!omap [a: 1]", "!!omap [a]", "!!pairs [[a]]", "!!map [a]", "!!seq {a: b}"),
    *("&a 1", "&a [*a]", "&a {b: *a}", "{<<: 1}", "{<<: [1]}", "{<<: {a: 1}}", "{? [1] : 2}", "{? {a: b} : 1}"),
    *('"\\ud800"', '"\\U00110000"', '"\\UFFFFFFFF"', '"\\0"', '"\\e[2J"', '"a\\nb\\nc\\nd"', "\u202eab", "🎲"),
    *("[" * 500, "[" * 200 + "]" * 200, "{a: " * 500, "'", '"', "%", "@", "`", "- 1", "? 1", "!%zz 1"),
]  # fmt: skip


def yaml_of(value: object) -> str:
    """`value` as a YAML flow node, with the characters as they are where a file can hold them."""
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_of, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{yaml_of(key)}: {yaml_of(each)}' for key, each in value.items())}}}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=not value.isprintable())
    if isinstance(value, float):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}.get(str(value), str(value))
    return {None: "null"}.get(value, str(value).lower())


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**400)])
    | st.floats()
    | st.dates()
    | st.text(st.characters(), max_size=100)
)
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=5) | st.dictionaries(SCALARS, each, max_size=3), max_leaves=10
).map(yaml_of) | st.sampled_from(SNIPPETS)
BYTES = st.sampled_from([snippet.encode(errors="surrogatepass") for snippet in SNIPPETS]) | st.binary(max_size=20)


def spans(text: str, key: str) -> tuple[slice, slice]:
    """The place of the dotted `key` of params.yaml and its value in `text`; of a list the first entry is meant."""
    node, name = YAML(typ="safe", pure=True).compose(text), None
    for part in key.split("."):
        while node.id == "sequence":
            node = node.value[0]
        if part not in [name.value for name, _ in node.value]:
            # Under gate.minimum_accuracy names of data sets come first.
            _, node = node.value[0]
        name, node = next((name, value) for name, value in node.value if name.value == part)
    start, end = node.start_mark.index, node.end_mark.index
    # A block ends where the next one starts.
    end = start + len(text[start:end].rstrip())
    return slice(name.start_mark.index, name.end_mark.index), slice(start, end)


def replaced(text: str, where: slice, by: str) -> str:
    return text[: where.start] + by + text[where.stop :]


def refusal(path: Path, content: bytes | str) -> str | None:
    """Return the short error for this params.yaml, or None where it is valid; anything else fails the test."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    try:
        with warnings.catch_warnings():
            # The console would have it beside the error.
            warnings.simplefilter("error")
            assert isinstance(load_params(EvaluateParams).params, Params)
        message = None
    except UserError as error:
        message = str(error)
        lines = message.split("\n")
        assert message.startswith("params.yaml")
        assert len(lines) <= 2
        assert all(len(line) <= 320 and line.isprintable() for line in lines)
    assert {file.name for file in path.parent.iterdir()} == {"data", path.name}, "something was executed"
    return message


def fuzz(examples: int, path: Path, contents: st.SearchStrategy) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        # That of a slow machine at work; an ordinary one takes 0.03 s.
        deadline=datetime.timedelta(seconds=10),
        suppress_health_check=list(HealthCheck),
    )
    @given(contents)
    def check(content: bytes | str) -> None:
        refusal(path, content)

    check()


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_left_out_is_there_twice_or_misspelt_is_refused(params_file, key):
    name, value = spans(TEXT, key)
    both = TEXT[name.start : value.stop]
    again = "\n" + " " * (name.start - TEXT.rfind("\n", 0, name.start) - 1) + both
    left_out = TEXT[: name.start].rstrip(" ") + TEXT[value.stop :].lstrip("\n")
    last = key.rpartition(".")[2]
    if key.startswith("gate.minimum_accuracy."):
        # Without a minimum a model may have any accuracy.
        assert refusal(params_file, left_out) is None
    elif not TEXT[: name.start].endswith("- "):
        assert f"{last}: this key is missing" in refusal(params_file, left_out)
        assert f'duplicate key "{last}"' in refusal(params_file, replaced(TEXT, slice(value.stop, value.stop), again))
    misspelt = refusal(params_file, replaced(TEXT, name, f"{last}s"))
    assert f"{last}s: unknown key; did you mean " in misspelt
    assert f"{last}?" in misspelt


@pytest.mark.parametrize(*EXAMPLES)
def test_any_value_at_any_key_is_taken_or_refused_in_two_lines(params_file, examples):
    places = {key: spans(TEXT, key)[1] for key in KEYS}
    fuzz(
        examples,
        params_file,
        st.builds(lambda key, value: replaced(TEXT, places[key], value), st.sampled_from(KEYS), VALUES),
    )


@pytest.mark.parametrize(*EXAMPLES)
def test_any_key_in_any_section_is_refused_in_two_lines(params_file, examples):
    """Of whatever type, and also one whose name a terminal would act upon."""
    sections = [key for key in KEYS if any(other.startswith(f"{key}.") for other in KEYS)]
    places = {key: spans(TEXT, key)[1].start for key in sections}

    def with_key(section: str, key: str, value: str) -> str:
        start = places[section]
        indent = " " * (start - TEXT.rfind("\n", 0, start) - 1)
        # Before a list of blocks this is no YAML, which is a case as well.
        return f"{TEXT[:start]}? {key}\n{indent}: {value}\n{indent}{TEXT[start:]}"

    fuzz(examples, params_file, st.builds(with_key, st.sampled_from(sections), VALUES, VALUES))


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    place = st.integers(0, len(data))
    return st.one_of(
        place.map(lambda end: data[:end]),
        st.builds(lambda at, new: data[:at] + new + data[at:], place, BYTES),
        st.builds(lambda at, new: data[:at] + new + data[at + len(new) :], place, BYTES),
        st.builds(lambda a, b: data[: min(a, b)] + data[max(a, b) :], place, place),
        st.builds(lambda a, b, c: data[:c] + data[min(a, b) : max(a, b)] + data[c:], place, place, place),
        st.sampled_from([(b"  ", b"\t"), (b": ", b":"), (b"\n", b"\r"), (b"#", b""), (b"- ", b"-")]).map(
            lambda pair: data.replace(*pair)
        ),
    )


@pytest.mark.parametrize(*EXAMPLES)
def test_any_damage_to_the_text_is_taken_or_refused_in_two_lines(params_file, examples):
    fuzz(examples, params_file, mutations(TEXT.encode()).flatmap(mutations) | mutations(TEXT.encode()))


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf" + TEXT.encode(), TEXT.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(params_file, content):
    expected = load_params(EvaluateParams)
    assert refusal(params_file, content) is None
    assert load_params(EvaluateParams) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TEXT.encode("utf-16"), "line 1: not in UTF-8; save it with that encoding"),
        (
            TEXT.encode().replace(b"auto", b"\xff", 1),
            f"line {len(TEXT.partition('auto')[0].splitlines())}: not in UTF-8; save it with that encoding",
        ),
        (TEXT.replace("  name: mnist", "  name: 2024", 1), "the name of a folder in data/sets, a number in quotes"),
        (f"{TEXT}---\n{TEXT}", "another document"),
        (f"%YAML 9.9\n---\n{TEXT}", "incompatible YAML"),
        (TEXT.replace("  seed: 0", "  seed: &seed 0", 1).replace("  seed: 0", "  seed: *seed"), "or alias seed"),
        (TEXT.replace("explore:", "explore: &same", 1) + "  <<: *same\n", "the anchor or alias same"),
        (f"{TEXT}#{'x' * MAX_BYTES}", "longer than 50,000 bytes"),
        (TEXT.replace("  seed: 0", '  seed: 0\n  "a\\nb\\n\\e[2J": 1', 1), r"'a\nb\n\x1b[2J'".strip("'")),
        (TEXT.replace("  seed: 0", "  seed: 0x" + "f" * 9000, 1), "a number of thousands of digits is not allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_file_itself_is_named(params_file, content, reason):
    assert reason in refusal(params_file, content)


@pytest.mark.parametrize("name", ["9" * 900, "-1", "x" * 900, '"\\e[2J"', "null"])
def test_a_name_under_the_minima_is_named_in_short(params_file, name):
    for below in ("mlp: 2", "null: null"):
        wrong = TEXT.replace("    mnist:\n", f"    {name}:\n      {below}\n    mnist:\n", 1)
        assert "gate.minimum_accuracy." in refusal(params_file, wrong)


@pytest.mark.parametrize("tag", OBJECTS)
def test_a_tag_builds_no_object(params_file, tag):
    assert "not valid YAML" in refusal(params_file, TEXT.replace("  seed: 0", f"  seed: {tag}", 1))


BLOCK = {"filters": 1, "kernel_size": 1, "strides": 1, "padding": "same", "pool_size": 1, "dropout": 0.0}


@pytest.mark.parametrize(
    ("dataset", "key", "value", "reason"),
    [
        # Nothing to learn from, or nothing that learns.
        ("mnist", "train.mlp.batch_size", 1, "train.mlp.batch_size: 1 with batch_norm: true"),
        ("mnist", "train.cnn.optimizer.learning_rate", 1e-9, "learning_rate: 1e-09 is not allowed"),
        ("mnist", "train.mlp.augmentation.elastic", 0.5, "elastic: 0.5 is not allowed"),
        ("digits", "preprocess.validation_fraction", 0.01, "leaves 15 images of digits for validation"),
        ("mnist-sample", "preprocess.validation_fraction", 0.004, "leaves 16 images of mnist-sample for validation"),
        ("digits", "train.random_forest.min_samples_leaf", 700, "700 of 1293 training images leaves no tree a split"),
        ("digits", "train.random_forest.train_samples", 1290, "lower it to at most 1283, or null for all"),
        ("mnist", "train.cnn.blocks", [{**BLOCK, "strides": 29}], "train.cnn.blocks.0: its filters and pooling do not"),
        # Ends in TensorFlow's SIGABRT, without a word.
        ("digits", "train.cnn.blocks", [{**BLOCK, "kernel_size": 16}], "train.cnn.blocks.0: its filters"),
        # More than a machine has.
        ("mnist", "train.mlp.hidden_units", [1_000_000], "train.mlp: has 794,000,000 weights"),
        ("mnist", "train.mlp.hidden_units", [1_000_000, 1_000_000], "train.mlp: has 1,000,794,000,000 weights"),
        ("digits", "train.cnn.blocks", [{**BLOCK, "filters": 1_000_000}], "train.cnn: has 8,193,001,280 weights"),
        ("mnist", "train.cnn.batch_size", 1_000_000, "train.cnn.batch_size: 1000000 images are"),
        ("mnist", "train.mlp.hidden_units", [8] * 21, "train.mlp.hidden_units: "),
        ("mnist", "train.cnn.blocks", [BLOCK] * 21, "train.cnn.blocks: "),
        ("digits", "train.random_forest.n_estimators", 1_000_000, "an integer, 1 … 2000"),
    ],
)
def test_what_would_train_nonsense_or_eat_the_machine_is_refused(params_file, dataset, key, value, reason):
    text = TEXT
    for name, by in (("data.name", dataset), ("train.cnn.blocks", [{**BLOCK, "filters": 8}]), (key, value)):
        text = replaced(text, spans(text, name)[1], yaml_of(by))
    assert reason in refusal(params_file, text)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("train.mlp.test_time_shift", 3, "test_time_shift: 3 of 60 networks are 2,940 predictions of an image"),
        ("train.mlp.hidden_units", [1100], "train.mlp: has 52,404,000 weights for mnist's images"),
    ],
)
def test_many_networks_count_as_many_times(params_file, key, value, reason):
    one = replaced(TEXT, spans(TEXT, key)[1], yaml_of(value))
    assert refusal(params_file, one) is None
    assert reason in refusal(params_file, replaced(one, spans(one, "train.mlp.networks")[1], "60"))


@pytest.mark.parametrize("key", ["train.mlp.hidden_units", "train.cnn.hidden_units"])
def test_a_network_without_hidden_layers_is_one(params_file, key):
    """Softmax regression, and the classic convolutional network."""
    assert refusal(params_file, replaced(TEXT, spans(TEXT, key)[1], "[]")) is None


def nine_fold(levels: int, one: str, before: str = "") -> str:
    """Anchors of which each stands for nine of those before: 9 ** `levels` values."""
    return before + "".join(
        f"x{level}: &x{level} {one.format(', '.join([f'*x{level - 1}'] * 9))}\n" for level in range(1, levels + 1)
    )


BOMBS = {
    "lists": nine_fold(20, "[{}]", "x0: &x0 [lol]\n") + "data: *x20\n",
    "merge keys": nine_fold(12, "{{<<: [{}]}}", "x0: &x0 {a: b}\n"),
    "keys": nine_fold(20, "[{}]", "x0: &x0 [lol]\n") + "? *x20\n: 1\n",
    "nested lists": "a: " + "[" * (MAX_BYTES - 10),
    "nested blocks": "".join(" " * depth + "a:\n" for depth in range(300)),
    "many keys": "".join(f"k{number}:\n" for number in range(6000)),
    "many blocks": re.sub(r"    blocks:\n", f"    blocks: [{'{}, ' * 10_000}]\n    blox:\n", TEXT),
    "many units": TEXT.replace("dropout: 0.0", f"dropout: [{'0.1, ' * 8000}]", 1),
    "one long word": "a: " + "x" * (MAX_BYTES - 10),
    "a gigabyte": None,
}


# Each of these is stopped where another one is.
LIKE_OTHERS = {"merge keys", "keys", "nested blocks", "many blocks", "many units"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in LIKE_OTHERS else name for name in BOMBS]
)
def test_no_file_takes_long_or_much_memory(clone, name):
    path = clone.folder / "params.yaml"
    if BOMBS[name] is None:
        with open(path, "wb") as file:
            file.truncate(2**30)
    else:
        path.write_text(BOMBS[name])
    done = subprocess.run(
        (sys.executable, "-m", "stages.download"),
        cwd=clone.folder,
        env=clone.environment,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: (
            resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)),
            # Of computing, and the start is half of it.
            resource.setrlimit(resource.RLIMIT_CPU, (10, 10)),
        ),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml")
    assert len(done.stderr.splitlines()) <= 2


def outputs(clone: Clone) -> dict[str, bytes]:
    files = [path for name in ("data", "models", "reports") for path in (clone.folder / name).rglob("*")]
    files += [clone.folder / "dvc.lock"]
    return {str(path): path.read_bytes() for path in files if path.is_file()}


def edit(clone: Clone, before: str, after: str) -> None:
    path = clone.folder / "params.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.mark.parametrize(
    ("before", "after", "command"),
    [
        ("  name: digits", "\tname: digits", ("python", "-m", "stages.download")),
        ("umap: false", "umap: false\n  umap: false", ("python", "-m", "stages.preprocess")),
        ("seed: 0", f"seed: {OBJECTS[0]}", ("python", "-m", "stages.explore")),
        ("epochs: 12", "epochs: .nan", ("python", "-m", "stages.train_mlp")),
        ("epochs: 12", "epochs: !!int ''", ("python", "-m", "stages.train_cnn")),
        ("n_estimators: 40", "n_estimators: 1000000", ("python", "-m", "stages.train_random_forest")),
        ("umap: false", '"umap\\n\\n\\e[2J": false', ("python", "-m", "stages.evaluate")),
        ("seed: 0", f"seed: {OBJECTS[0]}", ("mnist", "recipe", "fast")),
        ("epochs: 12", "epochs: 0", ("mnist", "recipe", "notes-2023")),
        ("epochs: 12", "epochs: 0x" + "f" * 9000, ("mnist", "repeat", "--seeds", "2")),
        ("epochs: 12", "epochs: !!int ''", ("mnist", "publish")),
    ],
)  # fmt: skip
def test_every_command_says_it_shortly_and_leaves_the_outputs(checked_out, before, after, command):
    kept = outputs(checked_out)
    edit(checked_out, before, after)
    done = checked_out.run(*command, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("error: params.yaml"), done.stdout
    assert len(done.stdout.splitlines()) <= 2, done.stdout
    assert outputs(checked_out) == kept
    assert not (checked_out.folder / "executed").exists()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("  name: digits", "\tname: digits", "params.yaml"),
        ("umap: false", "umap: false\n  umap: false", "duplicate key"),
        ("seed: 0", f"seed: {OBJECTS[0]}", "could not determine a constructor"),
    ],
)
def test_dvc_repro_refuses_what_is_no_yaml_before_it_removes_an_output(checked_out, before, after, words):
    """In DVC's words: it reads the file before any of our code runs."""
    kept = outputs(checked_out)
    edit(checked_out, before, after)
    done = checked_out.run("dvc", "repro", check=False)
    assert done.returncode == 255
    assert words in done.stdout
    assert "Traceback" not in done.stdout
    assert outputs(checked_out) == kept
    assert not (checked_out.folder / "executed").exists()


def test_a_value_that_dvc_repro_lets_through_costs_no_training_to_put_right(checked_out):
    """DVC removes the outputs of the stage before it runs it; its cache still has them."""
    kept = outputs(checked_out)
    edit(checked_out, "epochs: 12", "epochs: 0")
    done = checked_out.run("dvc", "repro", check=False)
    assert done.returncode == 255
    assert "error: params.yaml: train.mlp.epochs: 0 is not allowed" in done.stdout
    assert "Traceback" not in done.stdout
    edit(checked_out, "epochs: 0", "epochs: 12")
    assert "Running stage" not in checked_out.run("dvc", "repro").stdout
    assert outputs(checked_out) == kept


def test_a_recipe_that_does_not_fit_the_data_set_is_refused_before_anything_runs(checked_out):
    done = checked_out.run("mnist", "recipe", "fast", check=False)
    assert done.returncode == 1
    assert "train.cnn.blocks.1: its filters and pooling do not fit" in done.stdout
    assert "Running stage" not in done.stdout
