"""The origin of a result: the repository, the commit, the code, the machine."""

import hashlib
import io
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

# A run makes these itself: a change there does not make the commit another one.
MADE_BY_RUNS = (":!dvc.lock", ":!reports")
# They name DVC's remote, and perhaps the way in: nothing that changes a result, and nothing for the store.
SETTINGS = (":!.dvc",)
# A file here can change a result although git does not know it yet; others may be large, or secret.
CODE = ("stages",)
# A diff that git apply takes, whatever the user's settings make of it on the screen.
PLAIN_DIFF = (
    "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/",
    "--unified=3",
)  # fmt: skip

# As /proc/cpuinfo calls them, and as people do.
INSTRUCTION_SETS = {
    "avx2": "AVX2", "fma": "FMA", "avx_vnni": "AVX-VNNI", "avx512f": "AVX-512", "avx512_vnni": "VNNI",
    "avx512_bf16": "BF16", "avx512_fp16": "FP16", "amx_tile": "AMX",
}  # fmt: skip


def main_repository() -> Path:
    """Return the repository that the user works in, also from the temporary copy of a DVC experiment."""
    here = Path.cwd().resolve()
    before, found, _ = str(here).partition("/.dvc/tmp/exps/")
    if found:
        return Path(before)
    return next((folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()), here)


def cached(md5: str, repository: Path | None = None) -> Path:
    """Return where the cache of the `repository`, by default the user's, has the object with that md5, or would."""
    return Path(_cache_of(repository or main_repository()).oid_to_path(md5))


def leads_into_cache(link: Path) -> bool:
    """Return whether the link is one to the user's cache of DVC, as DVC makes them with `cache.type symlink`."""
    from dvc.exceptions import DvcException

    try:
        return link.resolve().is_relative_to(Path(_cache_of(main_repository()).path).resolve())
    except DvcException:
        return False


@cache
def _cache_of(repository: Path) -> Any:
    from dvc.repo import Repo

    # To open it takes longer than to look for an object.
    return Repo(str(repository)).cache.local


def git_state() -> tuple[dict[str, str], bytes]:
    """Return the tags `git.commit` and `git.dirty`, and the diff against that commit, new code files included.

    Without a git repository or a commit there is nothing to return.
    """
    try:
        found = _git("rev-parse", "HEAD", "--git-path", "objects", "--git-path", "index").decode().splitlines()
        commit, objects, index = found[0], Path(found[1]).resolve(), Path(found[2])
        # In a copy of the index, with a store of its own for what is new: the user's stay as they are.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "index"
            # With its time: by that Git knows the files that may have changed since without its seeing it.
            shutil.copy2(index, copy)
            apart = {
                "GIT_INDEX_FILE": str(copy),
                "GIT_OBJECT_DIRECTORY": folder,
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
            }
            _git("add", "--update", "--", ".", *MADE_BY_RUNS, *SETTINGS, **apart)
            _git("add", "--all", "--", *CODE, **apart)
            diff = _git("diff", "--cached", *PLAIN_DIFF, "HEAD", "--", ".", *MADE_BY_RUNS, *SETTINGS, **apart)
    except (OSError, subprocess.CalledProcessError):
        return {}, b""
    return {"git.commit": commit, "git.dirty": str(bool(diff)).lower()}, diff


def commit_with(files: dict[str, str]) -> str | None:
    """Return the newest commit here in which the files have these md5, or None."""

    @cache
    def md5(blob: str) -> str:
        return hashlib.md5(_git("cat-file", "blob", blob)).hexdigest()

    try:
        for commit in _git("log", "--format=%H", "--", *files).decode().split():
            # Of each file its mode, kind, blob and path.
            listing = _git("ls-tree", "-r", commit, "--", *files).decode().splitlines()
            blobs = {path: blob for _, _, blob, path in (line.split(maxsplit=3) for line in listing)}
            if blobs.keys() == files.keys() and all(md5(blobs[path]) == files[path] for path in files):
                return commit
    except (OSError, subprocess.CalledProcessError):
        pass
    return None


def copy_code(folder: Path, commit: str | None) -> None:
    """Copy the code of the stages into `folder`, as it stands here or in the commit."""
    if commit:
        archive = io.BytesIO(_git("archive", commit, "--", *CODE))
        with tarfile.open(fileobj=archive) as tar:
            tar.extractall(folder, filter="data")
    else:
        for name in CODE:
            shutil.copytree(name, folder / name, ignore=_not_code)


def _not_code(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder, name).is_dir() or name.endswith((".py", ".jinja")))]


def experiment_name() -> str | None:
    """Return the name of the experiment of DVC that this process belongs to."""
    return os.environ.get("DVC_EXP_NAME") or None


def _git(*arguments: str, **environment: str) -> bytes:
    return subprocess.run(
        ("git", *arguments), check=True, capture_output=True, env={**os.environ, **environment}
    ).stdout


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, family and model, and its instruction sets that decide on bits.

    A name alone does not tell: "AMD EPYC" is one with AVX-512, and one without.
    """
    try:
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in lines}
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    flags = set(facts.get("flags", "").split())
    sets = " ".join(shown for flag, shown in INSTRUCTION_SETS.items() if flag in flags)
    kind = f"family {facts.get('cpu family')} model {facts.get('model')}"
    return ", ".join(filter(None, (facts["model name"], kind, sets)))


def cores() -> int:
    """Return how many cores this process may use, the quota of a container included."""
    from joblib import cpu_count

    return cpu_count()
