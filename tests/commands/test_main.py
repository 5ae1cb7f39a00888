"""`mnist` whatever the command."""

import pytest

from tests.conftest import Clone


@pytest.mark.parametrize("command", [("recipe",), ("sweep",), ("predict", "--run", "x", "a.png"), ("repeat",)])
def test_outside_a_clone_it_says_so_and_makes_nothing(tmp_path, command):
    done = Clone(tmp_path).run("mnist", *command, check=False)
    assert done.returncode == 1
    assert "neither this folder nor one above it is a clone of the project" in done.stdout
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_refused_at_once(tmp_path, port):
    for command in ("ui", "demo"):
        done = Clone(tmp_path).run("mnist", command, "--port", port, check=False)
        assert done.returncode == 2
        assert "it is a number from 1 to 65535" in done.stdout or "expected one argument" in done.stdout
