"""Who places the trials: Ray, on the machines of a cluster that the user has started with Ray's own commands."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import partial
from typing import Any

from commands.sweeping import slot
from commands.sweeping.file import Resources
from commands.sweeping.placing import TIMES, Hear, Place
from commands.sweeping.trial import DIED, FAILED, Ended, Task
from stages.process.console import warn
from stages.process.errors import UserError, one_line, without_credentials
from stages.tracking.store import connect, is_server, tracking_uri

# For the first answer of a node, which has the project's packages to import; and for trials to end in order.
PATIENCE_SECONDS = 120
# Between two looks at which machines there are.
LOOK_SECONDS = 1


class Stops:
    """Ray's actor that the trials ask whether there is a reason to stop them."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def set(self, name: str, reason: str) -> None:
        self.reasons[name] = reason

    def get(self, name: str) -> str | None:
        return self.reasons.get(name)


@contextmanager
def cluster(address: str, resources: Resources | None) -> Iterator[Place]:
    """Yield the place for trials on Ray's cluster at `address`, as many at a time as `resources` allow.

    Raises `UserError`, before anything runs, for whatever would make trials fail: the packages, the workspace, the
    three places that the machines share (Git's remote, DVC's remote, MLflow's server), the clones of the nodes.
    """
    if resources is None:
        raise UserError("resources: must be in the sweep's file on a cluster, such as resources: {cpus: 2, gpus: 0}")
    ray = _import_ray()
    git_remote = _check_here()
    commit = slot.git("rev-parse", "HEAD")
    _connect(ray, address)
    try:
        nodes = _slots(ray, resources)
        _check_nodes(ray, nodes, commit, git_remote, resources.cpus)
        print(f"cluster: {len(nodes)} at a time", flush=True)
        stops = ray.remote(num_cpus=0)(Stops).remote()

        def run(next_task: Callable[[], Task | None], heard: Hear) -> None:
            _place(ray, resources, (commit, git_remote, stops), next_task, heard)
            _push_rest(ray, [*_slots(ray, resources)], git_remote)

        yield Place(run, partial(_bring, git_remote))
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    # Else it would ship this environment to all nodes.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("--cluster needs Ray\nInstall it: uv run --extra cluster mnist sweep …") from None
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        # Its workers would look for modules in the current folder, and find those of this clone.
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise UserError(
            f"--cluster {address}: Ray does not connect: {one_line(error)}\n"
            "This machine must be one of the cluster's nodes (ray start; docs/sweeps.md)."
        ) from None


def _check_here() -> str:
    """Check this clone and the shared places, and return the name of Git's remote."""
    if edited := slot.edited():
        raise UserError(
            f"{', '.join(edited[:3])}: differs from the last commit, which is what a cluster's machines have\n"
            "Commit it and push, or put it back."
        )
    remotes = slot.git("remote").split()
    remote = "origin" if "origin" in remotes else next(iter(remotes), None)
    if remote is None:
        raise UserError("Git has no remote, from which a cluster's machines have the commit\ngit remote add origin …")
    if mistake := slot.git_mistake(remote):
        raise UserError(f"Git's remote {remote} does not answer: {mistake}")
    subprocess.run(("git", "fetch", "--quiet", remote), check=False, capture_output=True)
    if not slot.git("for-each-ref", "--contains", "HEAD", f"refs/remotes/{remote}"):
        raise UserError(f"Git's remote {remote} does not have this commit\nPush it: git push {remote}")
    if mistake := slot.dvc_mistake():
        raise UserError(
            f"DVC's remote, by which a cluster's machines share models: {mistake}\n"
            "One that all of them reach, in .dvc/config: docs/team.md."
        )
    uri = tracking_uri()
    if not is_server(uri):
        raise UserError(
            f"MLflow ({without_credentials(uri)}) is on this machine only\n"
            "Start a server that all of the cluster's machines reach, and set MLFLOW_TRACKING_URI: docs/team.md."
        )
    try:
        connect().MlflowClient().search_experiments(max_results=1)
    except Exception as error:
        raise UserError(f"MLflow's server {without_credentials(uri)} does not answer: {one_line(error)}") from None
    return remote


def _slots(ray: Any, resources: Resources) -> dict[str, int]:
    """Return for how many trials the nodes have room, by their ids; a node has one clone, so it takes one at a time."""
    found = {}
    for node in ray.nodes():
        offered = node["Resources"]
        room = int(offered.get("CPU", 0)) // resources.cpus
        if resources.gpus:
            room = min(room, int(offered.get("GPU", 0)) // resources.gpus)
        if node["Alive"] and room:
            found[node["NodeID"]] = room
    return found


def _check_nodes(ray: Any, nodes: dict[str, int], commit: str, git_remote: str, cpus: int) -> None:
    if not nodes:
        raise UserError("no machine of the cluster has room for a trial: see resources in the sweep's file")
    for room, found in zip(nodes.values(), _everywhere(ray, [*nodes], slot.survey, git_remote), strict=True):
        mistake = None
        if room > 1:
            mistake = f"offers CPUs for {room} trials, and takes one at a time; start Ray there with --num-cpus {cpus}"
        elif found.commit != commit:
            mistake = f"is at commit {found.commit[:9]}, and not at {commit[:9]}; git pull there"
        elif found.edited:
            mistake = f"{', '.join(found.edited[:3])} differs from the commit; put it back there"
        elif found.git_mistake:
            mistake = f"Git's remote {git_remote} does not answer: {found.git_mistake}"
        elif found.dvc_mistake:
            mistake = f"DVC's remote: {found.dvc_mistake}"
        elif found.tracking_uri != tracking_uri():
            mistake = (
                f"MLflow is {without_credentials(found.tracking_uri)} there, and {without_credentials(tracking_uri())} "
                "here; set MLFLOW_TRACKING_URI before ray start"
            )
        if mistake:
            raise UserError(f"node {found.place}: {mistake}")


def _everywhere(ray: Any, nodes: list[str], function: Callable[[str], Any], git_remote: str) -> list[Any]:
    """Return what the function gives on each of the nodes."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    asked = [ray.remote(num_cpus=0)(function).options(scheduling_strategy=each).remote(git_remote) for each in here]
    try:
        return ray.get(asked, timeout=PATIENCE_SECONDS)
    except Exception as error:
        raise UserError(f"a machine of the cluster does not do what it should: {_words(ray, error)}") from None


def _push_rest(ray: Any, nodes: list[str], git_remote: str) -> None:
    try:
        missing = [each for words in _everywhere(ray, nodes, slot.push_rest, git_remote) for each in words]
    except UserError as error:
        missing = [str(error)]
    for each in missing:
        warn(f"{each}; once that is mended, the same command does it")


def _place(ray: Any, resources: Resources, shared: tuple, next_task: Callable[[], Task | None], heard: Hear) -> None:
    """Run the tasks until there is none left; one whose process, worker or machine dies is placed again."""
    *_, stops = shared
    remote = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=0)(_trial)
    running: dict[Any, tuple[Task, int]] = {}

    def submit(task: Task, time: int) -> None:
        running[remote.remote(task, *shared)] = (task, time)

    try:
        while True:
            while len(running) < max(1, len(_slots(ray, resources))) and (task := next_task()):
                submit(task, 1)
            if not running:
                return
            ready, _ = ray.wait([*running], timeout=LOOK_SECONDS)
            for stream in ready:
                task, time = running[stream]
                event = _next_event(ray, stream)
                if isinstance(event, Ended):
                    del running[stream]
                    if event.state == DIED and time < TIMES:
                        submit(task, time + 1)
                        continue
                if reason := heard(task, event):
                    stops.set.remote(task.name, reason)
    finally:
        for stream in running:
            ray.cancel(stream)
        # Each ends its training first.
        if running:
            ray.wait([stream.completed() for stream in running], num_returns=len(running), timeout=PATIENCE_SECONDS)


def _trial(task: Task, commit: str, git_remote: str, stops: Any) -> Iterator[Any]:
    import ray

    yield from slot.run(task, commit, git_remote, lambda: ray.get(stops.get.remote(task.name)))


def _next_event(ray: Any, stream: Any) -> Any:
    try:
        return ray.get(next(stream))
    except StopIteration:
        return Ended(DIED, reason="its worker ended without a word")
    except ray.exceptions.RayTaskError as error:
        return Ended(FAILED, reason=_words(ray, error))
    except ray.exceptions.RayError as error:
        return Ended(DIED, reason=_words(ray, error))


def _words(ray: Any, error: Exception) -> str:
    return one_line(error.cause if isinstance(error, ray.exceptions.RayTaskError) else error)


def _bring(git_remote: str, names: list[str], models: bool) -> None:
    """Bring the experiments from Git's remote into this clone, with their `models` or without."""
    options = [] if models else ["--no-cache"]
    command = (sys.executable, "-m", "dvc", "exp", "pull", "--force", *options, git_remote, *names)
    if names and (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        warn(f"not all experiments are in this clone: {one_line(done.stderr.strip())}")
