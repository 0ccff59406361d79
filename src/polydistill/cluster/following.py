"""Follows a run of Kubeflow to its end, whatever the network does meanwhile, and says which task failed."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from polydistill.cluster.kubeflow import Kubeflow, Run, Task
from polydistill.errors import ParamsError, PolydistillError

log = logging.getLogger(__name__)


def follow(kubeflow: Kubeflow, id: str, *, poll_s: float = 10.0, patience_s: float = 600.0) -> Run:
    """Return a run once it has ended.

    Args:
        kubeflow: Where it runs.
        id: The run.
        poll_s: Seconds between two looks.
        patience_s: Seconds that Kubeflow may be out of reach, or fail.

    Raises:
        PolydistillError: If the run failed, or Kubeflow stayed away for too long.
    """
    told, away_since = "", None
    while True:
        try:
            run = kubeflow.run(id)
        except PolydistillError as exc:
            since = away_since or time.monotonic()
            if isinstance(exc, ParamsError) or time.monotonic() - since > patience_s:
                raise PolydistillError(f"{exc}; the run goes on: `polydistill pipeline status {id}`") from exc
            if away_since is None:
                log.warning("%s; looking again for %d minutes", exc, round(patience_s / 60))
            away_since = since
        else:
            if away_since is not None:
                away_since = None
                log.info("%s answers again", kubeflow.endpoint)
            line = ", ".join(f"{name}: {states}" for name, states, _ in by_step(run.tasks)) or run.state.lower()
            if line != told:
                log.info("%s", line)
                told = line
            if run.has_ended:
                break
        time.sleep(poll_s)
    if run.state not in ("SUCCEEDED", "SKIPPED"):
        raise PolydistillError("\n".join(failures(kubeflow, run)))
    return run


def failures(kubeflow: Kubeflow, run: Run) -> list[str]:
    """Return why a run failed: a line for each step that did, with the command that shows more."""
    what = f"run {run.id} {'was canceled' if run.state == 'CANCELED' else 'failed'}"
    failed = {task.name: task for task in run.tasks if task.state == "FAILED"}
    if not failed:
        return [f"{what}{f': {run.error}' if run.error else ''}; see {kubeflow.page_of(run.id)}"]
    return [
        f"{what} in {task.name}{f': {task.error}' if task.error else ''}; its log: {kubeflow.log_of(run.id, task)}"
        for task in failed.values()
    ]


def by_step(tasks: Sequence[Task]) -> list[tuple[str, str, str]]:
    """Return for each step, in the order in which they began: its name, the states of its tasks, how long it took."""
    steps: dict[str, list[Task]] = {}
    for task in sorted(
        tasks, key=lambda task: (task.started is None, task.started or datetime.max.replace(tzinfo=UTC))
    ):
        steps.setdefault(task.name, []).append(task)
    return [(name, _states(of_step), _span(of_step)) for name, of_step in steps.items()]


def _states(tasks: Sequence[Task]) -> str:
    counts = Counter(task.state.lower() for task in tasks)
    return ", ".join(state if len(tasks) == 1 else f"{count} {state}" for state, count in counts.items())


def _span(tasks: Sequence[Task]) -> str:
    started = [task.started for task in tasks if task.started]
    ended = [task.ended for task in tasks if task.ended]
    return between(min(started), max(ended) if len(ended) == len(tasks) else None) if started else ""


def between(start: datetime | None, end: datetime | None) -> str:
    """Return how long something took, or takes since it began, such as 1h 02m."""
    if start is None:
        return ""
    seconds = max(0, round(((end or datetime.now(UTC)) - start).total_seconds()))
    hours, minutes = divmod(seconds // 60, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {seconds % 60:02}s"
