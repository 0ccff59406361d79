"""Waits until a Deployment is as it should be, tells what it waits for, and says why where it does not come to it."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from polydistill.cluster.kube import Kube, Object, UnreachableError, bulleted
from polydistill.cluster.troubles import Hope, Trouble, find_troubles, last_words
from polydistill.errors import PolydistillError

log = logging.getLogger(__name__)


class NotReadyError(PolydistillError):
    """A Deployment did not come to be as it should be; the message says what keeps its pods."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds.

    Attributes:
        within_s: From the start.
        poll_s: Between two looks.
        stuck_s: For a trouble that may pass within minutes, such as an image that cannot be pulled.
    """

    within_s: float
    poll_s: float
    stuck_s: float = 300.0


def wait_for(
    kube: Kube,
    namespace: str,
    name: str,
    patience: Patience,
    is_done: Callable[[Object], bool],
    gives_up: Callable[[Object], str | None] = lambda _: None,
    of_interest: Callable[[Object], bool] = lambda _: True,
) -> None:
    """Return once `is_done` says so of a Deployment.

    An API server that does not answer in between is waited for as well.

    Args:
        kube: The cluster.
        namespace: Where the Deployment is.
        name: Its name.
        patience: How long to wait.
        is_done: What to wait for; what it raises ends the wait.
        gives_up: Why to wait no more, None where there is no reason.
        of_interest: The pods whose troubles matter.

    Raises:
        NotReadyError: If the time is up, or there is no hope.
    """
    started = time.monotonic()
    since: dict[str, float] = {}
    told = ""
    while True:
        now = time.monotonic()
        why = f"after {patience.within_s:.0f} s" if now - started >= patience.within_s else None
        try:
            found = kube.deployment(namespace, name)
            if is_done(found):
                return
            state, troubles = find_troubles(kube, namespace, found, of_interest)
            why = why or gives_up(found)
        except UnreachableError as exc:
            state, troubles = "nobody knows how many pods are ready", [Trouble("cluster", str(exc))]
        since = {trouble.about: since.get(trouble.about, now) for trouble in troubles if trouble.hope is Hope.A_WHILE}
        why = why or _hopeless(troubles, since, now - patience.stuck_s)
        if why:
            reasons = bulleted(last_words(kube, namespace, troubles))
            raise NotReadyError(f"{namespace}/{name} is not ready {why}: {state}{reasons}")
        line = f"waiting for {namespace}/{name}: {state}{bulleted([trouble.told for trouble in troubles])}"
        if line != told:
            log.info("%s", line)
            told = line
        time.sleep(patience.poll_s)


def _hopeless(troubles: list[Trouble], since: Mapping[str, float], too_long: float) -> str | None:
    if any(trouble.hope is Hope.NONE for trouble in troubles):
        return "and will not be without help"
    if any(begun <= too_long for begun in since.values()):
        return "and has been stuck for minutes"
    return None
