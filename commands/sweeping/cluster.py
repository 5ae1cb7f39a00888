"""Who places the trials: Ray, on the machines of a cluster that the user has started with Ray's own commands."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import partial
from typing import Any

from commands.dvc_console import dvc_complaint
from commands.git import git
from commands.sweeping import slot
from commands.sweeping.checks import check_here, check_nodes
from commands.sweeping.file import Resources
from commands.sweeping.placing import TIMES, Hear, Place
from commands.sweeping.trial import DIED, FAILED, Ended, Task
from stages.process.console import warn
from stages.process.errors import UserError, one_line

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
    with _connected(address, resources) as (ray, commit, git_remote):
        # On this machine: without it nobody would set a reason anyway.
        here = _on(ray.get_runtime_context().get_node_id(), soft=True)
        stops = ray.remote(num_cpus=0, max_restarts=-1)(Stops).options(scheduling_strategy=here).remote()

        def run(next_task: Callable[[], Task | None], heard: Hear) -> None:
            _place_trials(ray, resources, commit, git_remote, stops, next_task, heard)
            _push_rest(ray, resources, git_remote)

        yield Place(run, partial(_bring, git_remote))


def run_pipelines(address: str, resources: Resources, experiments: dict[str, dict[str, Any]]) -> None:
    """Run the whole pipeline on the cluster once for each of the experiments, with its params, and bring them here.

    Ray runs those again whose machine or worker dies. Raises `UserError` as `cluster` does, and where one fails.
    """
    with _connected(address, resources) as (ray, commit, git_remote):
        remote = ray.remote(num_cpus=resources.cpus, max_retries=TIMES - 1)(slot.run_pipeline)
        running = {remote.remote(*each, commit, git_remote): each[0] for each in experiments.items()}
        failures = []
        try:
            while running:
                (ready,), _ = ray.wait([*running])
                name = running.pop(ready)
                try:
                    ray.get(ready)
                    print(f"{name}: done, {len(running)} left", flush=True)
                except ray.exceptions.RayError as error:
                    failures.append(f"{name}: {_words(ray, error)}")
                    warn(failures[-1])
        finally:
            _cancel(ray, [*running])
        _push_rest(ray, resources, git_remote)
        if failures:
            raise UserError(f"{len(failures)} of {len(experiments)} experiments failed, {failures[0]}")
        _bring(git_remote, [*experiments], models=False)


@contextmanager
def _connected(address: str, resources: Resources) -> Iterator[tuple[Any, str, str]]:
    """Yield Ray, connected and its nodes checked, with the commit that they have and the name of Git's remote."""
    ray = _import_ray()
    git_remote, commit = check_here(), git("rev-parse", "HEAD")
    _connect(ray, address)
    try:
        nodes = _slots(ray, resources)
        check_nodes(_everywhere(ray, [*nodes], slot.survey, git_remote), [*nodes.values()], commit, resources.cpus)
        print(f"cluster: {len(nodes)} at a time", flush=True)
        yield ray, commit, git_remote
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    # Else it would ship this environment to all nodes.
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Seconds for a cluster that does not answer.
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "2")
    try:
        import ray
    except ImportError:
        raise UserError("--cluster needs Ray\nInstall it: uv run --extra cluster mnist …") from None
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        _knock(address)
        # Its workers would look for modules in the current folder, and find those of this clone.
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        raise UserError(
            f"--cluster {address}: Ray does not connect: {one_line(error)}\n"
            "This machine must be one of the cluster's nodes (ray start), and have its token (~/.ray/auth_token, or "
            "RAY_AUTH_TOKEN with RAY_AUTH_MODE=token)."
        ) from None


def _knock(address: str) -> None:
    """Raise `OSError` where nothing listens at host:port: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


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


def _everywhere(ray: Any, nodes: list[str], function: Callable[[str], Any], git_remote: str) -> list[Any]:
    """Return what the function gives on each of the nodes."""
    remote = ray.remote(num_cpus=0)(function)
    asked = [remote.options(scheduling_strategy=_on(node)).remote(git_remote) for node in nodes]
    try:
        return ray.get(asked, timeout=PATIENCE_SECONDS)
    except Exception as error:
        raise UserError(f"a machine of the cluster does not do what it should: {_words(ray, error)}") from None


def _on(node: str, soft: bool = False) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=soft)


def _push_rest(ray: Any, resources: Resources, git_remote: str) -> None:
    try:
        nodes = [*_slots(ray, resources)]
        missing = [each for words in _everywhere(ray, nodes, slot.push_rest, git_remote) for each in words]
    except UserError as error:
        missing = [str(error)]
    for each in missing:
        warn(f"{each}; once that is mended, the same command does it")


def _place_trials(
    ray: Any,
    resources: Resources,
    commit: str,
    git_remote: str,
    stops: Any,
    next_task: Callable[[], Task | None],
    heard: Hear,
) -> None:
    """Run the tasks until there is none left; one whose process, worker or machine dies is placed again.

    Raises `UserError` where a machine has other code.
    """
    remote = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=0)(_trial)
    running: dict[Any, tuple[Task, int]] = {}

    def submit(task: Task, time: int) -> None:
        running[remote.remote(task, commit, git_remote, stops)] = (task, time)

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
        _cancel(ray, [*running], lambda stream: stream.completed())


def _cancel(ray: Any, running: list[Any], end_of: Callable[[Any], Any] = lambda task: task) -> None:
    """Have the tasks end, and wait for it: each ends its training first."""
    for task in running:
        ray.cancel(task)
    if running:
        ray.wait([end_of(task) for task in running], num_returns=len(running), timeout=PATIENCE_SECONDS)


def _trial(task: Task, commit: str, git_remote: str, stops: Any) -> Iterator[Any]:
    import ray

    def reason() -> str | None:
        try:
            return ray.get(stops.get.remote(task.name))
        except ray.exceptions.RayError:
            # Gone with its machine: Ray starts another one.
            return None

    yield from slot.run(task, commit, git_remote, reason)


def _next_event(ray: Any, stream: Any) -> Any:
    try:
        return ray.get(next(stream))
    except StopIteration:
        return Ended(DIED, reason="its worker ended without a word")
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, slot.OtherCode):
            raise UserError(f"a machine of the cluster: {error.cause}") from None
        return Ended(FAILED, reason=_words(ray, error))
    except ray.exceptions.RayError as error:
        return Ended(DIED, reason=_words(ray, error))


def _words(ray: Any, error: Exception) -> str:
    if isinstance(error, ray.exceptions.GetTimeoutError):
        return f"no answer in {PATIENCE_SECONDS} s (another sweep's trial may be running there)"
    return one_line(error.cause if isinstance(error, ray.exceptions.RayTaskError) else error)


def _bring(git_remote: str, names: list[str], models: bool) -> None:
    """Bring the experiments that Git's remote has into this clone, with their `models` or without."""
    options = [] if models else ["--no-cache"]
    try:
        pushed = {ref.rpartition("/")[2] for ref in git("ls-remote", git_remote, "refs/exps/*").split()}
    except UserError as error:
        warn(f"not all experiments are in this clone: {error}")
        return
    there = [name for name in names if name in pushed]
    mistake = there and dvc_complaint("exp", "pull", "--force", *options, git_remote, *there)
    if mistake or len(there) < len(names):
        warn(f"not all experiments are in this clone: {mistake or f'{git_remote} lacks {len(names) - len(there)}'}")
