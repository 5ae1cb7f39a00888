"""What a message may not show."""

import pytest

from stages.errors import without_credentials


@pytest.mark.parametrize(
    "text",
    [
        "http://user:s3cret@host/path: refused",
        "http://user:a/s3cret@host",
        "http://user:a s3cret@host",
        "http://token-s3cret@host",
        "MLFLOW_TRACKING_URI=admin:s3cret@host: not a tracking server",
        "postgresql:///db?host=host&user=u&password=s3cret",
        "https://host/a: gone; https://u:s3cret@host/b: gone",
    ],
)
def test_credentials_are_cut_out_and_the_host_stays(text):
    shown = without_credentials(text)
    assert "s3cret" not in shown
    assert "host" in shown
    assert ("https://host/a" in shown) == ("https://host/a" in text)


def test_an_address_without_credentials_stays_whole():
    text = "http://host:5000/a: refused; https://other/b?x=1: gone"
    assert without_credentials(text) == text
