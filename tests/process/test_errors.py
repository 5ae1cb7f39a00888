"""Messages show no credentials."""

import pytest

from stages.process.errors import one_line, without_credentials


@pytest.mark.parametrize(
    "text",
    [
        "http://user:s3cret@host/path: refused",
        "http://user:a/s3cret@host",
        "http://user:a s3cret@host",
        "http://token-s3cret@host",
        "http://user:p@s3cret@host/path",
        "http://user:p@/s3cret@host: refused",
        "MLFLOW_TRACKING_URI=admin:s3cret@host: not a tracking server",
        "postgresql:///db?host=host&user=u&password=s3cret",
        "https://host/a: gone; https://u:s3cret@host/b: gone",
        "https://host/data?X-Amz-Credential=s3cret&X-Amz-Signature=s3cret",
        "https://host/data?sv=1&sig=s3cret%3D: status 403",
        "https://host/#access_token=s3cret",
        "https://host/a?api_key=s3cret/mnist/train-images-idx3-ubyte.gz: gone",
        "postgresql+psycopg2://user:s3:cr#et/s3cret@host/db",
        "http://host: 401: 'no user for Bearer s3cret-token'",
    ],
)
def test_credentials_are_cut_out_and_the_host_stays(text, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret-token\r")
    shown = without_credentials(text)
    assert "s3cret" not in shown
    assert "host" in shown
    assert ("https://host/a" in shown) == ("https://host/a" in text)


def test_an_address_without_credentials_stays_whole():
    text = "http://host:5000/a: refused; https://other/b?x: gone; train.cnn.epochs=3: too few"
    assert without_credentials(text) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (ValueError("first\nsecond"), "first"),
        (ValueError(" "), "ValueError"),
        (OSError("http://user:s3cret@host/path: refused"), "http://host/path: refused"),
        ("red\x1b[31m\nlines", "red\\x1b[31m\\nlines"),
        ("x" * 40, "x" * 29 + "…"),
        ("\n" * 30, "\\n" * 14 + "\\…"),
    ],
)
def test_a_message_is_one_line(text, line):
    assert one_line(text, 30) == line
