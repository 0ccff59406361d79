"""What the containers of manifests/ run: `python -m polydistill.cluster.pod COMMAND`.

Each command needs the client that it works with alone, and is over when its work is, or at SIGTERM.
"""
# ruff: noqa: PLC0415

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.files import explained, read_json, remove_folder

log = logging.getLogger("polydistill")

BENTO_URL, BENTO_DIGEST = "BENTO_URL", "BENTO_DIGEST"
"""Which bento a roll-out is of: what `deploy` sets in the Deployment."""

_store = click.option("--store", "store_url", required=True, metavar="URL", help="cluster.store of params.yaml.")


def fetch_bento(store_url: str, target: Path, environment: Mapping[str, str], every_s: float) -> str:
    """Put the bento that is to serve into a folder, which `bentoml serve` takes; return its digest.

    Args:
        store_url: The store.
        target: The folder, which may be a volume; what is in it goes.
        environment: Names the bento by url and digest; where it does not, the one that is promoted is taken.
        every_s: Where none is promoted yet, seconds between looking.

    Raises:
        DataError: If the bento is missing or damaged; the folder is empty then.
        PolydistillError: If the store does not answer.
    """
    from polydistill.cluster.registry import read_registry
    from polydistill.cluster.store import open_store

    store = open_store(store_url)
    url, digest = environment.get(BENTO_URL, ""), environment.get(BENTO_DIGEST, "")
    if bool(url) != bool(digest):
        raise ParamsError(f"{BENTO_URL} and {BENTO_DIGEST} go together; set both, or neither")
    said = False
    while not url:
        if (bento := read_registry(store)[0].bento) is not None:
            url, digest = bento.url, bento.digest
            break
        if not said:
            log.info("no bento is promoted yet in %s; waiting for the first", store.url)
            said = True
        time.sleep(every_s)
    path = url.removeprefix(f"{store.url}/")
    if path == url:
        raise ParamsError(f"{BENTO_URL} {url} is not in the store {store.url}; change one of them")
    with explained(target, "write"):
        target.mkdir(parents=True, exist_ok=True)
        for old in target.iterdir():
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        # The folder itself may be a volume, whose place none can take.
        fetched = target / ".fetched"
        store.fetch_folder(path, digest, fetched)
        for entry in fetched.iterdir():
            entry.rename(target / entry.name)
    remove_folder(fetched)
    log.info("%s in %s, SHA-256 as it should be", url, target)
    return digest


def monitor(store_url: str, workspace: Path, days: int) -> None:
    """Hold what was asked in production lately against what the champions were proven on, and leave the verdict.

    Args:
        store_url: The store, with champions and traffic.
        workspace: Folder with params.yaml.
        days: How far back answers count; those of an earlier champion never do.

    Raises:
        DataError: If what it was proven on is missing or damaged of every champion. Of some, the verdict says so of
            their cells, and the others are judged.
    """
    from polydistill.cluster.due import VERDICT
    from polydistill.cluster.registry import read_registry
    from polydistill.cluster.shipping import read_shipped
    from polydistill.cluster.store import DamagedError, open_store
    from polydistill.monitor import Verdict, run_monitor
    from polydistill.params import load_params
    from polydistill.traffic import to_lines

    params = load_params(workspace / "params.yaml").monitor
    store = open_store(store_url)
    champions = read_registry(store)[0].champions
    if not champions:
        log.info("nothing is promoted yet in %s, so there is nothing to monitor", store.url)
        return
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="polydistill-monitor-") as scratch:  # its owner's alone: texts are personal
        winners, traffic, monitored = (Path(scratch, name) for name in ("winners", "traffic.jsonl", "monitored"))
        unjudged: dict[str, str] = {}
        for cell, champion in champions.items():
            try:
                store.fetch_folder(champion.reference.path, champion.reference.digest, winners / cell)
            except DamagedError as exc:
                unjudged[cell] = f"its reference cannot be used: {exc}"
                log.warning("%s: nothing concluded, %s", cell, unjudged[cell])
        texts: Counter[str] = Counter()
        with traffic.open("w", encoding="utf-8") as file:
            for answer in read_shipped(store, now - timedelta(days=days)):
                cell = f"{answer.task}/{answer.language}"
                serves = champions.get(cell)
                if serves is not None and datetime.fromisoformat(answer.time or "") < serves.promoted_at:
                    continue
                if cell in unjudged:
                    texts[cell] += 1
                else:
                    file.write(to_lines([answer]))
        judged: dict[str, Any] = {"schema_version": 1, "retrain": [], "cells": {}}
        if len(unjudged) < len(champions):
            run_monitor(winners, traffic, monitored, params)
            judged = read_json(monitored / "monitor.json")
    for cell, reason in unjudged.items():
        judged["cells"][cell] = asdict(Verdict(texts[cell], 0, None, [reason], {}))
    verdict = {**judged, "time": now.isoformat(timespec="seconds"), "days": days}
    content = json.dumps(verdict, ensure_ascii=False, indent=2, sort_keys=True)
    store.write(VERDICT, f"{content}\n".encode())
    if len(unjudged) == len(champions):
        raise DataError(f"nothing was monitored: of each of the {len(champions)} cells the reference cannot be used")


@click.group()
def pod() -> None:
    """What the containers of polydistill's manifests run."""


@pod.command("fetch-bento")
@_store
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="Folder to fill.")
@click.option("--every-s", type=click.FloatRange(min=0.01), default=10, show_default=True, help="Pause of waiting.")
def fetch_bento_command(store_url: str, target: Path, every_s: float) -> None:
    """Fetch the bento that BENTO_URL and BENTO_DIGEST name, else the promoted one, and verify it."""
    fetch_bento(store_url, target, os.environ, every_s)


@pod.command("monitor")
@_store
@click.option("--workspace", type=click.Path(path_type=Path), required=True, help="Folder with params.yaml.")
@click.option("--days", type=click.IntRange(min=1), default=7, show_default=True, help="Days of answers that count.")
def monitor_command(store_url: str, workspace: Path, days: int) -> None:
    """Look for drift in production, and write monitor/verdict.json to the store."""
    monitor(store_url, workspace, days)


@pod.command("ship-traffic")
@click.option("--log", "path", type=click.Path(path_type=Path), required=True, help="The service's log of answers.")
@_store
@click.option(
    "--every-s", type=click.FloatRange(min=0.01), default=300, show_default=True, help="Seconds between pieces."
)
@click.option("--piece-mb", type=click.IntRange(1, 64), default=4, show_default=True, help="Size of a piece.")
@click.option("--most-mb", type=click.IntRange(min=1), default=512, show_default=True, help="Most that may wait.")
def ship_traffic_command(path: Path, store_url: str, every_s: float, piece_mb: int, most_mb: int) -> None:
    """Upload what the service logs, in pieces; at SIGTERM the rest."""
    ending = {signal.SIGTERM, signal.SIGINT}
    # They wait while a piece is on its way; before anything is imported that has threads, which they would reach.
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)

    from polydistill.cluster.shipping import Shipper, run_ship
    from polydistill.cluster.store import open_store

    shipper = Shipper(path, open_store(store_url), piece_mb << 20, most_mb << 20)
    run_ship(shipper, every_s, lambda seconds: signal.sigtimedwait(ending, seconds) is not None)


@pod.command("release-teacher")
@click.option("--namespace", required=True, help="Namespace of the Deployment.")
@click.option("--deployment", required=True, help="Name of the Deployment.")
@click.option("--runs-namespace", help="Namespace of Kubeflow's runs; without it only the time counts.")
def release_teacher_command(namespace: str, deployment: str, runs_namespace: str | None) -> None:
    """Scale the teacher down where every run that holds it is over or dead."""
    from polydistill.cluster.teacher import release_ended
    from polydistill.params import TeacherOnDemandParams

    # What counts is when each holder said that it would be over; the rest is for scaling up.
    params = TeacherOnDemandParams(
        namespace=namespace, deployment=deployment, replicas=1, ready_within_s=60, hold_within_s=600
    )
    for run, why in release_ended(params, runs_namespace).items():
        log.info("%s had not let go of the teacher, and no longer holds it: %s", run, why)


def main() -> None:
    """Run the command line: exit 0 for success, 1 for a failure, 2 for wrong input, 143 when it was ended."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    log.setLevel(logging.INFO)
    # The first process of a container ignores SIGTERM unless it handles it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        pod(standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except PolydistillError as exc:
        click.echo("\n".join(f"error: {line}" for line in str(exc).splitlines()), err=True)
        sys.exit(exc.exit_code)


if __name__ == "__main__":
    main()
