"""The memory that is left, with and without a container's limit."""

import psutil
import pytest

from stages.process.memory import available_memory


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("0::/a/b", "a/memory.max"),
        ("0::/a/b", "a/b/memory.max"),
        # What a container sees: the group's own folder is the root.
        ("0::/../elsewhere", "memory.max"),
        ("4:memory:/a", "memory/a/memory.limit_in_bytes"),
    ],
)
def test_a_limit_of_the_group_or_of_one_above_it_counts(tmp_path, line, limit):
    groups = tmp_path / "cgroup"
    groups.write_text(f"5:blkio:/\n{line}\n")
    path = tmp_path / "mount" / limit
    path.parent.mkdir(parents=True)
    left = psutil.virtual_memory().available // 2
    path.write_text(f"{psutil.Process().memory_info().rss + left}\n")
    assert available_memory(groups, tmp_path / "mount") == pytest.approx(left, rel=0.05)


@pytest.mark.parametrize("text", ["max\n", None])
def test_without_a_limit_it_is_what_is_free(tmp_path, text):
    groups = tmp_path / "cgroup"
    groups.write_text("0::/\n")
    if text:
        (tmp_path / "memory.max").write_text(text)
    assert available_memory(groups, tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    assert available_memory(tmp_path / "none", tmp_path) > 0
