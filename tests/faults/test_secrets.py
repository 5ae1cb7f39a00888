"""Passwords, tokens and signatures where a user puts them: never on the console, in a file or in MLflow."""

from pathlib import Path

import pytest

from stages.dataset.mirrors import NoMirrorReached, fetch
from stages.process.errors import UserError
from stages.tracking.store import tracking_uri
from tests.conftest import Clone
from tests.dataset.test_mirrors import GOOD, dataset, send, server
from tests.servers import mlflow_server

pytestmark = pytest.mark.faults

SECRET = "s3cret"
FOREST = ("python", "-m", "stages.train_random_forest")


def holders(*folders: Path) -> list[str]:
    """Return the files that have the secret in them, MLflow's database among them."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if SECRET.encode() in path.read_bytes()]


def without_sources(clone: Clone) -> list[Path]:
    """Return what a run writes into: the tests themselves name the secret."""
    return [path for path in clone.folder.iterdir() if path.name not in ("tests", ".git")]


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        # Drivers that are not installed, and what SQLAlchemy says of it.
        ({"MLFLOW_TRACKING_URI": f"postgresql://user:{SECRET}@127.0.0.1:9/db"}, "127.0.0.1:9/db"),
        pytest.param(
            {"MLFLOW_TRACKING_URI": f"mysql+pymysql://user:%20{SECRET}ä@127.0.0.1:9/db"},
            "127.0.0.1:9/db",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"MLFLOW_TRACKING_URI": f"postgresql:///db?host=127.0.0.1&user=u&sslpassword={SECRET}"},
            "postgresql:///db",
            marks=pytest.mark.long,
        ),
        # A server that is away, and a token that no header can hold.
        pytest.param(
            {"MLFLOW_TRACKING_URI": f"http://user:p%40{SECRET}@127.0.0.1:9"}, "127.0.0.1:9", marks=pytest.mark.long
        ),
        ({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_TRACKING_TOKEN": f"{SECRET}\r"}, "127.0.0.1:9"),
        # Each library would cut these in another place.
        ({"MLFLOW_TRACKING_URI": f"http://user:12/{SECRET}@127.0.0.1:9"}, "…@127.0.0.1:9"),
        ({"MLFLOW_TRACKING_URI": f"http://user:a://{SECRET}#b@127.0.0.1:9"}, "…@127.0.0.1:9"),
        ({"MLFLOW_TRACKING_URI": f"user:{SECRET}@127.0.0.1:9"}, "127.0.0.1:9: not a tracking server"),
    ],
)
def test_an_error_of_the_store_names_the_host_alone(checked_out, variables, shown):
    done = checked_out.run("mnist", "publish", check=False, **variables)
    assert done.returncode == 1
    assert shown in done.stdout
    assert SECRET not in done.stdout
    assert holders(*without_sources(checked_out)) == []


@pytest.mark.parametrize("uri", [f"postgresql://u:p@{SECRET}@host/db", f"https://u:p?{SECRET}@host"])
def test_a_password_that_hides_the_host_is_refused(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match="%40") as error:
        tracking_uri()
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("uri", ["sqlite:////home/me@host/a.db", "http://u:p%40%2Fq@host:5000/path", "http://u@host"])
def test_a_usable_uri_stays_as_it_is(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri() == uri


@pytest.mark.long
def test_a_server_that_loses_the_model_shows_no_password(checked_out, tmp_path_factory):
    store = tmp_path_factory.mktemp("server")
    # No folder: whatever is uploaded is answered with an error that names the address, credentials included.
    (store / "files").touch()
    with mlflow_server(store) as port:
        uri = f"http://user:{SECRET}@127.0.0.1:{port}"
        trained = checked_out.run(*FOREST, MLFLOW_TRACKING_URI=uri).stdout
        published = checked_out.run("mnist", "publish", check=False, MLFLOW_TRACKING_URI=uri)
    assert f"warning: MLflow (http://127.0.0.1:{port})" in trained
    assert published.returncode == 1
    assert f"http://127.0.0.1:{port}/api" in published.stdout
    # The records that wait for the server are among the files that are searched.
    assert list((checked_out.folder / ".dvc/tmp/mlflow-outbox").iterdir())
    assert SECRET not in trained + published.stdout
    assert holders(store, *without_sources(checked_out)) == []


def test_settings_of_git_and_dvc_stay_out_of_the_store(checked_out):
    checked_out.run("git", "remote", "add", "origin", f"https://user:{SECRET}@example.invalid/a.git")
    # As `dvc remote add` and `dvc remote modify` write them, with --local and without.
    remote = f"\n['remote \"storage\"']\n    url = https://user:{SECRET}@example.invalid/a\n    password = {SECRET}\n"
    for name in ("config", "config.local"):
        with (checked_out.folder / ".dvc" / name).open("a") as config:
            config.write(remote)
    (checked_out.folder / ".env").write_text(f"PASSWORD={SECRET}\n")
    params = checked_out.folder / "params.yaml"
    params.write_text(params.read_text() + "# edited\n")
    done = checked_out.run(*FOREST, AWS_SECRET_ACCESS_KEY=SECRET)
    (diff,) = checked_out.folder.glob("mlartifacts/**/git.diff")
    assert "+# edited" in diff.read_text()
    assert SECRET not in done.stdout
    store = [checked_out.folder / name for name in ("mlartifacts", "reports", "models")]
    assert holders(*store) == []
    assert SECRET.encode() not in (checked_out.folder / "mlflow.db").read_bytes()


@pytest.mark.parametrize(
    "location",
    [
        f"ftp://user:{SECRET}@host/data",
        f"s3://bucket/data?X-Amz-Credential=a&X-Amz-Signature={SECRET}",
        f"http://[user:{SECRET}@host/data",
        f"http://user:p@/{SECRET}@host/data",
    ],
)
def test_a_mirror_that_cannot_be_is_named_without_its_key(clone, location):
    clone.set_params({"data.name": "mnist"})
    done = clone.run("python", "-m", "stages.download", check=False, DATA_MIRROR=location)
    assert done.returncode == 1
    assert "DATA_MIRROR=" in done.stdout
    assert SECRET not in done.stdout


def redirect_to(url: str):
    return send(b"", status=302, Location=url)


@pytest.mark.parametrize("answer", [send(b"", status=403), send(b"", status=500), send(GOOD[:-1])])
@pytest.mark.parametrize(
    "address",
    [
        "http://user:{secret}@{host}/",
        "http://user:%C3%A4{secret}@{host}",
        "http://{host}/data?sv=2026&sig={secret}%3D",
        "http://{host}/data?X-Amz-Credential={secret}&X-Amz-Signature={secret}",
        "http://{host}/#access_token={secret}",
    ],
)
def test_a_mirror_that_fails_is_named_without_its_key(tmp_path, monkeypatch, address, answer):
    monkeypatch.setattr("stages.dataset.mirrors.time.sleep", lambda seconds: None)
    with server(answer) as elsewhere, server(redirect_to(f"{elsewhere}?token={SECRET}")) as mirror:
        host = mirror.removeprefix("http://").rstrip("/")
        monkeypatch.setenv("DATA_MIRROR", address.format(secret=SECRET, host=host))
        with pytest.raises((UserError, NoMirrorReached)) as error:
            fetch(dataset(), tmp_path, lambda size: None)
    assert host in str(error.value)
    assert SECRET not in str(error.value)
    assert holders(tmp_path) == []
