"""Python loads this at its start where PYTHONPATH names this folder: it notes which files a DVC stage opens.

What a module named in AUDIT_OBSERVERS opens, or has opened for it, does not count. It also notes the packages that are
imported before the switches of AUDIT_SWITCHES are set.
"""

import atexit
import json
import os
import sys
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def audit(folder: str, observers: list[str], switches: dict[str, list[str]]) -> None:
    root = os.getcwd() + os.sep
    opened = {"read": set(), "written": set()}
    late = []

    def is_observed() -> bool:
        frame = sys._getframe(2)
        # Up to the stage, which an observer has called.
        while frame and frame.f_globals.get("__name__") != "__main__":
            if frame.f_code.co_filename.removeprefix(root).startswith(tuple(observers)):
                return True
            frame = frame.f_back
        return False

    def is_import(frame: object) -> bool:
        return frame.f_code.co_filename.startswith("<frozen importlib")

    def note(kind: str, path: object) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        name = os.path.abspath(os.fsdecode(path))
        if name.startswith(root) and not name.endswith((".py", ".pyc")) and not is_observed():
            opened[kind].add(name.removeprefix(root))

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            note("written" if flags & WRITING else "read", path)
        elif event == "os.rename":
            note("written", arguments[1])
        elif event in ("os.listdir", "os.scandir") and not is_import(sys._getframe(1)):
            note("read", arguments[0])
        elif event == "import" and arguments[0] in switches:
            missing = [name for name in switches.pop(arguments[0]) if name not in os.environ]
            late.extend(f"{arguments[0]} before {name}" for name in missing)

    sys.addaudithook(hook)
    log = Path(folder) / f"{os.environ['DVC_STAGE']}-{os.getpid()}.json"

    def write() -> None:
        loaded = [name for name in sys.modules if name.startswith("stages.")]
        log.write_text(
            json.dumps({"loaded": loaded, "late": late, **{kind: sorted(names) for kind, names in opened.items()}})
        )

    atexit.register(write)


if "AUDIT_FOLDER" in os.environ and "DVC_STAGE" in os.environ:
    audit(
        os.environ["AUDIT_FOLDER"],
        os.environ["AUDIT_OBSERVERS"].split(os.pathsep),
        json.loads(os.environ["AUDIT_SWITCHES"]),
    )
