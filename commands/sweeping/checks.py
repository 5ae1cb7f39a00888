"""What a cluster's machines must have before the first trial: the commit, and the three places that they share."""

from commands.git import git
from commands.sweeping import slot
from stages.process.errors import UserError, one_line, without_credentials
from stages.tracking.store import connect, is_server, tracking_uri


def check_here() -> str:
    """Return the name of Git's remote; raises `UserError` for a mistake of this clone or a shared place."""
    if edited := slot.edited():
        raise UserError(
            f"{', '.join(edited[:3])}: differs from the last commit, which is what a cluster's machines have\n"
            "Commit it and push, or put it back."
        )
    remotes = git("remote").split()
    remote = "origin" if "origin" in remotes else next(iter(remotes), None)
    if remote is None:
        raise UserError("Git has no remote, from which a cluster's machines have the commit\ngit remote add origin …")
    if mistake := slot.git_mistake(remote):
        raise UserError(f"Git's remote {remote} does not answer: {mistake}")
    git("fetch", "--quiet", remote)
    if not git("for-each-ref", "--contains", "HEAD", f"refs/remotes/{remote}"):
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


def check_nodes(surveys: list[slot.Survey], rooms: list[int], commit: str, cpus: int) -> None:
    """Raise `UserError` where a node would not run the trials of `commit`, or has room for more than one at a time."""
    if not surveys:
        raise UserError(
            f"no machine of the cluster has room for a trial, which takes {cpus} CPU(s)\n"
            "Lower resources in the sweep's file or, for mnist repeat, runtime.threads; or start Ray with more."
        )
    for found, room in zip(surveys, rooms, strict=True):
        mistake = None
        if room > 1:
            mistake = f"offers CPUs for {room} trials, and takes one at a time; start Ray there with --num-cpus {cpus}"
        elif found.commit != commit:
            mistake = f"is at commit {found.commit[:9]}, and not at {commit[:9]}; git pull there"
        elif found.edited:
            mistake = f"{', '.join(found.edited[:3])} differs from the commit; put it back there"
        elif found.git_mistake:
            mistake = f"Git's remote does not answer: {found.git_mistake}"
        elif found.dvc_mistake:
            mistake = f"DVC's remote: {found.dvc_mistake}"
        elif found.tracking_uri != tracking_uri():
            mistake = (
                f"MLflow is {without_credentials(found.tracking_uri)} there, and {without_credentials(tracking_uri())} "
                "here; set MLFLOW_TRACKING_URI before ray start"
            )
        if mistake:
            raise UserError(f"node {found.place}: {mistake}")
