"""How much memory there is."""

from pathlib import Path

import psutil

# Where Linux keeps the limits of a container, by the controllers of a line of /proc/self/cgroup: of version 2 and 1.
LIMITS = {"": "memory.max", "memory": "memory.limit_in_bytes"}


def available_memory(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many bytes this process can still take: free ones, or fewer where its container has fewer."""
    available, own = psutil.virtual_memory().available, psutil.Process().memory_info().rss
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if controllers not in LIMITS:
            continue
        root = mount / controllers
        folder = root / group.lstrip("/")
        for place in (folder, *folder.parents):
            if place.is_relative_to(root):
                available = min(available, _number(place / LIMITS[controllers], available + own) - own)
    return max(0, available)


def _number(path: Path, otherwise: int) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        # "max", or a container that does not see the groups above its own.
        return otherwise
