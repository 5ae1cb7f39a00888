"""`.ci/audit` asks a real server on 127.0.0.1 that speaks as the public list of known vulnerabilities does."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.servers import listening

pytestmark = pytest.mark.faults

PYPROJECT = '[project]\nname = "demo"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = ["vulnerable"]\n'
LOCK = """\
version = 1
requires-python = ">=3.11"

[[package]]
name = "demo"
version = "0"
source = { virtual = "." }
dependencies = [{ name = "vulnerable" }]

[[package]]
name = "vulnerable"
version = "1.0"
source = { registry = "http://127.0.0.1:9/" }
"""


@contextmanager
def known_vulnerabilities(*names: str) -> Iterator[str]:
    """Serve a list in which every package has one vulnerability with these names, or none."""
    vulnerability = {"id": names[0], "aliases": names[1:], "modified": "2026-01-01T00:00:00Z"} if names else {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            self.send({"results": [{"vulns": [vulnerability]} if vulnerability else {} for _ in asked]})

        def do_GET(self):
            affected = {"package": {"name": "vulnerable", "ecosystem": "PyPI"}, "versions": ["1.0"]}
            self.send({**vulnerability, "summary": "made up", "affected": [affected]})

        def send(self, content: dict) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with listening(Handler) as url:
        yield url


def audit(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run the project's script on another project, of one package."""
    (folder / ".ci").mkdir()
    shutil.copy(PROJECT / ".ci/audit", folder / ".ci/audit")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "uv.lock").write_text(LOCK)
    return subprocess.run(
        (folder / ".ci/audit", *arguments),
        env={**os.environ, "UV_HTTP_RETRIES": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_a_known_vulnerability_is_an_error(tmp_path):
    with known_vulnerabilities("MADE-UP-1") as url:
        done = audit(tmp_path, "--service-url", url)
    assert done.returncode == 1, done.stdout
    assert "MADE-UP-1: made up" in done.stdout


@pytest.mark.parametrize("names", [(), ("CVE-2025-69872",), ("MADE-UP-1", "CVE-2025-69872")])
def test_none_and_an_accepted_one_under_any_of_its_names_are_no_error(tmp_path, names):
    with known_vulnerabilities(*names) as url:
        done = audit(tmp_path, "--service-url", url)
    assert done.returncode == 0, done.stdout
    assert "no known vulnerabilities" in done.stdout
    assert "not compared" not in done.stdout


@pytest.mark.parametrize("arguments", [("--service-url", "http://127.0.0.1:9"), ("--no-such-option",)])
def test_without_an_answer_it_says_so_and_ci_goes_on(tmp_path, arguments):
    done = audit(tmp_path, *arguments)
    assert done.returncode == 0
    assert "warning: the packages were not compared with the known vulnerabilities" in done.stdout
