"""What polydistill asks of Kubeflow Pipelines: pipeline versions, runs and schedules; each error of it in one line.

It speaks the API v2beta1 through `kfp_server_api`, the client under `kfp.Client`: with limits of time, which
`kfp.Client` does not have, without what that prints, and without settings in `~/.config/kfp` that nobody named here.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import kfp_server_api as api
import urllib3
import yaml

from polydistill import __version__
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.files import read_text
from polydistill.params import ClusterParams

LIBRARY = Path(__file__).parents[1]
PIPELINES = ("distill", "retrain", "ablate")

FORWARD = "kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80"  # the pages, and the API behind them

_WITHIN_S = (10, 60)  # to connect, to answer
_PAGE = 100
_OLDEST = (2, 15)
"""What pods are told is unknown to backends before it: a secret that may be missing stops their first step."""
_LONGEST_MESSAGE = 400
_LONGEST_ARGUMENTS = 96 * 1024
"""Bytes: they stand as a string of JSON in the pod that begins a run, of which Argo keeps a copy, again in JSON, in a
variable (ARGO_TEMPLATE) that has 128 KiB; some of that is Kubeflow's."""

_TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}
_ENDED = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}


def compiled_pipeline(name: str) -> Path:
    """Return the compiled pipeline: the one installed with the library, else that of the checkout.

    Raises:
        PolydistillError: If it is in neither place.
    """
    file = f"{name}.yaml"
    checkout = LIBRARY.parents[1] / "pipelines" / "compiled" / __version__
    places = [LIBRARY / "_pipelines" / file, checkout / file]
    for place in places:
        if place.is_file():
            return place
    raise PolydistillError(f"{file} is missing in {checkout}; run `make compile` there, or install polydistill again")


def version_name(compiled: str) -> str:
    """Return the name of a pipeline version, which is the same for the same content."""
    return f"{__version__}-{hashlib.sha256(compiled.encode()).hexdigest()[:12]}"


def check_arguments(name: str, compiled: str, arguments: Mapping[str, Any]) -> None:
    """Check that a compiled pipeline takes these arguments.

    Raises:
        ParamsError: If one is missing, of the wrong type or unknown, a line for each; or if together they are too long.
    """
    pipeline = next(iter(yaml.safe_load_all(compiled)))
    wanted = pipeline["root"].get("inputDefinitions", {}).get("parameters", {})
    lines = [f"pipeline {name} takes no parameter `{key}`" for key in arguments if key not in wanted]
    for key, kind in wanted.items():
        if key not in arguments:
            if not kind.get("isOptional") and "defaultValue" not in kind:
                lines.append(f"pipeline {name} needs the parameter `{key}`")
            continue
        value, types = arguments[key], _TYPES.get(kind["parameterType"], (object,))
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types and object not in types):
            shown = type(value).__name__
            lines.append(f"pipeline {name}: parameter `{key}` must be of type {kind['parameterType']}, and is {shown}")
    length = _length_in_argo(arguments)
    if length > _LONGEST_ARGUMENTS:
        lines.append(
            f"pipeline {name}: its arguments take {length // 1024} KiB, and Kubeflow can pass on "
            f"{_LONGEST_ARGUMENTS // 1024}; name fewer cells with --cell, and start a run for the others"
        )
    if lines:
        raise ParamsError("\n".join(lines))


def _length_in_argo(arguments: Mapping[str, Any]) -> int:
    told = json.dumps(arguments, ensure_ascii=False)
    return len(json.dumps(told, ensure_ascii=False).encode())


@dataclass(frozen=True)
class Version:
    """A version of a pipeline as Kubeflow has it."""

    pipeline_id: str
    version_id: str
    name: str
    is_new: bool = False


@dataclass(frozen=True)
class Task:
    """What became of a step of a run, once for each cell and student that it ran for."""

    name: str
    state: str
    started: datetime | None
    ended: datetime | None
    error: str
    pod: str | None


@dataclass(frozen=True)
class Run:
    """A run; its tasks are known only where it was asked for by its id."""

    id: str
    name: str
    state: str
    created: datetime | None
    ended: datetime | None
    error: str
    tasks: tuple[Task, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it goes on."""
        return self.state in _ENDED


@dataclass(frozen=True)
class Recurring:
    """A schedule: what it starts, when, and whether it is paused."""

    id: str
    name: str
    description: str
    cron: str
    is_enabled: bool
    no_catchup: bool
    max_concurrency: int
    version_id: str
    arguments: Mapping[str, Any]
    experiment_id: str
    service_account: str | None

    def differences(self, other: "Recurring") -> list[str]:
        """Return the names of what is not the same, ids and the pause left aside."""
        names = ("name", "description", "cron", "no_catchup", "max_concurrency", "version_id", "arguments")
        unlike = [name for name in (*names, "experiment_id") if getattr(self, name) != getattr(other, name)]
        # Where none is asked for, Kubeflow puts in its own.
        accounts = {self.service_account, other.service_account} - {None}
        return unlike + ["service_account"] * (len(accounts) > 1)


class Kubeflow:
    """Kubeflow Pipelines at an endpoint; making one sends nothing."""

    def __init__(self, params: ClusterParams) -> None:
        """Read the token.

        Raises:
            ParamsError: If no endpoint is set.
            DataError: If the file of the token is missing, or has none.
        """
        if params.endpoint is None:
            raise ParamsError(
                f"no endpoint of Kubeflow Pipelines is set: run `{FORWARD}`, and give cluster.endpoint in params.yaml "
                "or --endpoint, such as http://localhost:8080"
            )
        self.endpoint = params.endpoint.rstrip("/")
        self._params = params
        configuration = api.Configuration(host=self.endpoint)
        # TLS errors, too, must come out as those of urllib3: the client stumbles over one that was not tried again.
        configuration.retries = urllib3.Retry(total=None, connect=0, read=0, other=0, redirect=5)
        configuration.ssl_ca_cert = os.environ.get("SSL_CERT_FILE")
        if params.token_file:
            self._read_token(configuration)
            configuration.api_key_prefix["authorization"] = "Bearer"
            configuration.refresh_api_key_hook = self._read_token  # a token may be renewed while a run is followed
        self._client = api.ApiClient(configuration)
        self._experiments = api.ExperimentServiceApi(self._client)
        self._pipelines = api.PipelineServiceApi(self._client)
        self._uploads = api.PipelineUploadServiceApi(self._client)
        self._runs = api.RunServiceApi(self._client)
        self._recurring = api.RecurringRunServiceApi(self._client)
        self._namespace: dict[str, str] = {}

    @property
    def service_account(self) -> str | None:
        """The account of the runs, None for Kubeflow's own."""
        return self._params.service_account

    @property
    def repository(self) -> str | None:
        """The repository of the workspace that asks, None where params.yaml names none."""
        return self._params.repository

    def _read_token(self, configuration: Any) -> None:
        file = Path(self._params.token_file or "").expanduser()
        if not file.exists():
            raise DataError(f"token file {file} is missing; make one: {self._make_token(file)}")
        token = "".join(read_text(file).split())
        if not token:
            raise DataError(f"token file {file} is empty; write a token to it: {self._make_token(file)}")
        configuration.api_key["authorization"] = token

    def _make_token(self, file: Path | str) -> str:
        """Return the command for a token: Kubeflow asks for one where it has several users, each with a namespace."""
        namespace, account = self._params.namespace, self._params.service_account or "default-editor"
        is_own = namespace != "kubeflow"
        command = (
            f"`kubectl -n {namespace if is_own else 'NAMESPACE'} create token {account} "
            f"--audience pipelines.kubeflow.org --duration 24h > {file}`"
        )
        return command if is_own else f"{command}, where NAMESPACE, and cluster.namespace too, is that of your profile"

    def check(self) -> None:
        """Check that it answers, as Kubeflow Pipelines 2, and takes the token for the namespace.

        Raises:
            ParamsError: If something else answers, it is too old, or the token is missing or wrong.
            PolydistillError: If nothing answers, or it fails.
        """
        try:
            health = self._call("check its health", api.HealthzServiceApi(self._client).healthz_service_get_healthz)
        except _Missing as exc:
            raise self._no_api() from exc
        if health.multi_user is None:  # Kubeflow always tells, but its pages do not where the API keeps them waiting
            raise PolydistillError(
                f"{self.endpoint} answers, but the API of Kubeflow Pipelines behind it does not: it is starting "
                "or busy, or this is another service; see `kubectl -n kubeflow get deployment ml-pipeline`, and try "
                "again"
            )
        self._check_version()
        # Kubeflow for one user has no namespaces: it runs everything in its own.
        self._namespace = {"namespace": self._params.namespace} if health.multi_user else {}
        self._call(
            "list experiments", self._experiments.experiment_service_list_experiments, page_size=1, **self._namespace
        )

    def _check_version(self) -> None:
        """Check the version that the health check has just told; a build without one tells `unknown`, and is taken."""
        told = json.loads(self._client.last_response.data)
        tag = str(told.get("tag_name") or told.get("apiServerTagName") or "")  # the API's own answer, or its pages'
        found = re.match(r"v?(\d+)\.(\d+)\b", tag)
        if found and (int(found[1]), int(found[2])) < _OLDEST:
            raise ParamsError(
                f"{self.endpoint} is Kubeflow Pipelines {tag}, on which no step would start; upgrade it to "
                f"{_OLDEST[0]}.{_OLDEST[1]} or newer, as in docs/kubernetes.md"
            )

    def ensure_version(self, name: str, compiled: str) -> Version:
        """Upload a pipeline, or a version of it, where Kubeflow has none of that content yet."""
        pipeline_id = self._pipeline_id(name) or self._add_pipeline(name)
        version = version_name(compiled)
        found = self._version_id(pipeline_id, version)
        if found:
            return Version(pipeline_id, found, version)
        with tempfile.TemporaryDirectory(prefix="polydistill-upload-") as scratch:
            file = Path(scratch, f"{name}.yaml")
            file.write_text(compiled, encoding="utf-8")
            try:
                added = self._call(
                    f"upload pipeline {name}",
                    self._uploads.upload_pipeline_version,
                    str(file),
                    name=version,
                    pipelineid=pipeline_id,
                )
            except _AlreadyThere:
                return Version(pipeline_id, self._version_id(pipeline_id, version) or "", version)
        return Version(pipeline_id, self._made(added.pipeline_version_id), version, is_new=True)

    def _pipeline_id(self, name: str) -> str | None:
        list_pipelines = self._pipelines.pipeline_service_list_pipelines
        found = self._pages("pipelines", list_pipelines, filter=_named(name), **self._namespace)
        return next((pipeline.pipeline_id for pipeline in found if pipeline.display_name == name), None)

    def _add_pipeline(self, name: str) -> str:
        pipeline = api.V2beta1Pipeline(display_name=name, description=f"polydistill {name}", **self._namespace)
        try:
            created = self._call(
                f"create pipeline {name}", self._pipelines.pipeline_service_create_pipeline, pipeline=pipeline
            )
        except _AlreadyThere:  # another made it meanwhile
            return self._pipeline_id(name) or ""
        return self._made(created.pipeline_id)

    def _version_id(self, pipeline_id: str, name: str) -> str | None:
        list_versions = self._pipelines.pipeline_service_list_pipeline_versions
        found = self._pages("pipeline_versions", list_versions, pipeline_id, filter=_named(name))
        return next((version.pipeline_version_id for version in found if version.display_name == name), None)

    def _experiment_id(self, name: str) -> str | None:
        list_experiments = self._experiments.experiment_service_list_experiments
        for found in self._pages("experiments", list_experiments, filter=_named(name), **self._namespace):
            if found.display_name == name:
                if found.storage_state == "ARCHIVED":
                    raise ParamsError(
                        f"experiment {name} is archived, and starts no runs; restore it in Kubeflow's pages, or name "
                        "another with --experiment"
                    )
                return str(found.experiment_id)
        return None

    def ensure_experiment(self, name: str) -> str:
        """Return the id of the experiment of that name, which is made where it is missing.

        Raises:
            ParamsError: If it is archived.
        """
        there = self._experiment_id(name)
        if there:
            return there
        experiment = api.V2beta1Experiment(display_name=name, **self._namespace)
        create = self._experiments.experiment_service_create_experiment
        try:
            return self._made(self._call(f"create experiment {name}", create, experiment=experiment).experiment_id)
        except _AlreadyThere:  # another made it meanwhile
            return self._experiment_id(name) or ""

    def start(self, version: Version, arguments: Mapping[str, Any], name: str, experiment: str) -> str:
        """Start a run and return its id."""
        run = api.V2beta1Run(
            display_name=name,
            experiment_id=self.ensure_experiment(experiment),
            pipeline_version_reference=_reference(version),
            runtime_config=api.V2beta1RuntimeConfig(parameters=dict(arguments)),
            service_account=self._params.service_account,
        )
        return self._made(self._call("start a run", self._runs.run_service_create_run, run=run).run_id)

    def run(self, id: str) -> Run:
        """Return a run with its tasks.

        Raises:
            ParamsError: If there is none of that id.
        """
        try:
            found = self._call("look at a run", self._runs.run_service_get_run, id)
        except _Missing as exc:
            raise ParamsError(
                f"{self.endpoint} has no run {id}; `polydistill pipeline status` lists the last ones"
            ) from exc
        steps = self._steps(found)
        details = (found.run_details and found.run_details.task_details) or []
        return _run(found, tuple(task for detail in details if (task := _task(detail, steps))))

    def full_id(self, start: str) -> str:
        """Return the id of the run, among the last ones, whose id starts so; what is given where none does.

        Raises:
            ParamsError: If several do.
        """
        found = [run.id for run in self.runs(_PAGE) if run.id.startswith(start)]
        if len(found) > 1 and start not in found:
            raise ParamsError(f"{start} is the beginning of {len(found)} runs: {', '.join(found)}; give more of the id")
        return found[0] if len(found) == 1 else start

    def _steps(self, run: Any) -> set[str]:
        """Return the names of the tasks that run a step; the details list also what Kubeflow itself does around it."""
        spec, reference = run.pipeline_spec, run.pipeline_version_reference
        if not spec and reference:
            get_version = self._pipelines.pipeline_service_get_pipeline_version
            try:
                spec = self._call(
                    "read a pipeline", get_version, reference.pipeline_id, reference.pipeline_version_id
                ).pipeline_spec
            except _Missing:  # deleted since
                return set()
        spec = (spec or {}).get("pipeline_spec") or spec or {}
        parts = [spec.get("root", {}), *spec.get("components", {}).values()]
        tasks = [task for part in parts for task in part.get("dag", {}).get("tasks", {}).items()]
        is_step = {name for name, part in spec.get("components", {}).items() if "executorLabel" in part}
        return {name for name, task in tasks if task["componentRef"]["name"] in is_step}

    def runs(self, count: int) -> list[Run]:
        """Return the last runs, the newest first."""
        found = self._call(
            "list runs",
            self._runs.run_service_list_runs,
            page_size=count,
            sort_by="created_at desc",
            **self._namespace,
        )
        return [_run(run) for run in found.runs or []]

    def schedules(self) -> list[Recurring]:
        """Return all schedules of the namespace."""
        list_recurring = self._recurring.recurring_run_service_list_recurring_runs
        return [_recurring(found) for found in self._pages("recurring_runs", list_recurring, **self._namespace)]

    def schedule(self, id: str) -> Recurring:
        """Return a schedule as Kubeflow has it."""
        return _recurring(self._call("read a schedule", self._recurring.recurring_run_service_get_recurring_run, id))

    def add_schedule(self, wanted: Recurring, version: Version) -> str:
        """Add a schedule and return its id."""
        modes = api.RecurringRunMode
        body = api.V2beta1RecurringRun(
            display_name=wanted.name,
            description=wanted.description,
            experiment_id=wanted.experiment_id,
            mode=modes.ENABLE if wanted.is_enabled else modes.DISABLE,
            no_catchup=wanted.no_catchup,
            max_concurrency=str(wanted.max_concurrency),
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=wanted.cron)),
            pipeline_version_reference=_reference(version),
            runtime_config=api.V2beta1RuntimeConfig(parameters=dict(wanted.arguments)),
            service_account=wanted.service_account,
            **self._namespace,
        )
        create = self._recurring.recurring_run_service_create_recurring_run
        return self._made(self._call(f"create schedule {wanted.name}", create, recurring_run=body).recurring_run_id)

    def set_enabled(self, id: str, enabled: bool) -> None:
        """Pause a schedule, or let it go on."""
        verb = "enable" if enabled else "disable"
        change = getattr(self._recurring, f"recurring_run_service_{verb}_recurring_run")
        self._call(f"{verb} a schedule", change, id)

    def delete_schedule(self, id: str) -> None:
        """Delete a schedule; what it has started goes on."""
        try:
            self._call("delete a schedule", self._recurring.recurring_run_service_delete_recurring_run, id)
        except _Missing:  # another did
            return

    def page_of(self, run: str) -> str:
        """Return where a person sees the run; the API alone serves no pages."""
        page = f"#/runs/details/{run}"
        if self._serves_pages():
            return f"{self.endpoint}/{page}"
        return f"http://localhost:8080/{page} while this runs: {FORWARD}"

    def _serves_pages(self) -> bool:
        pool = self._client.rest_client.pool_manager
        try:
            answer = pool.request("GET", f"{self.endpoint}/", timeout=urllib3.Timeout(*_WITHIN_S), redirect=False)
        except urllib3.exceptions.HTTPError:
            return False
        return bool(answer.status == 200 and answer.headers.get("content-type", "").startswith("text/html"))

    def log_of(self, run: str, task: Task) -> str:
        """Return the command that shows why a task failed."""
        kubectl = f"kubectl -n {self._params.namespace}"
        if task.pod:
            return f"{kubectl} logs {task.pod} -c main"
        pods = f"{kubectl} get pods -l pipeline/runid={run} --field-selector status.phase=Failed"
        return f"{pods}, then {kubectl} logs POD -c main"

    def _pages(self, key: str, list_some: Callable[..., Any], *arguments: Any, **more: Any) -> Iterator[Any]:
        token = ""
        while True:
            found = self._call(
                f"list {key.replace('_', ' ')}", list_some, *arguments, page_size=_PAGE, page_token=token, **more
            )
            yield from getattr(found, key) or []
            token = found.next_page_token
            if not token:
                return

    def _call(self, doing: str, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Ask for something; all errors of the client and the server become one line here."""
        try:
            answer = function(*arguments, _request_timeout=_WITHIN_S, **more)
        except api.ApiException as exc:
            raise self._refused(doing, exc) from exc
        except urllib3.exceptions.HTTPError as exc:
            raise self._unreachable(exc) from exc
        except UnicodeDecodeError as exc:
            raise self._not_kubeflow() from exc
        last = self._client.last_response
        if last is not None and not str(last.data).lstrip().startswith("{"):
            raise self._not_kubeflow()
        return answer

    def _made(self, id: str | None) -> str:
        """Return the id of what was made, without which nothing was."""
        if not id:
            raise self._not_kubeflow()
        return id

    def _not_kubeflow(self) -> PolydistillError:
        return ParamsError(
            f"{self.endpoint} answers, but not as the API of Kubeflow Pipelines (a login page, or another service?); "
            f"go around it: `{FORWARD}`, endpoint http://localhost:8080"
        )

    def _no_api(self) -> PolydistillError:
        return ParamsError(
            f"{self.endpoint} has no API of Kubeflow Pipelines 2 (404); is its path right? "
            f"See what it forwards to, or `{FORWARD}`"
        )

    def _unreachable(self, exc: Exception) -> PolydistillError:
        reason: Any = getattr(exc, "reason", None) or exc
        if isinstance(reason, urllib3.exceptions.SSLError):
            told = re.sub(r".*(certificate verify failed[^(\]]*).*", r"\1", str(reason), flags=re.DOTALL).strip()
            return ParamsError(
                f"no TLS with {self.endpoint}: {_short(told)}; where it is signed by a CA of your own, name the file "
                "with its certificate in SSL_CERT_FILE, and where it has no TLS, write http://"
            )
        cause = reason.__cause__ or reason
        told = getattr(cause, "strerror", None) or ("no answer in time" if "imeout" in type(reason).__name__ else cause)
        return PolydistillError(
            f"{self.endpoint} cannot be reached: {_short(str(told))}; is the port forwarded? `{FORWARD}`"
        )

    def _refused(self, doing: str, exc: Any) -> PolydistillError:
        if str(exc.body or "").lstrip().startswith("<?xml"):  # as object storage answers
            return self._not_kubeflow()
        told = self._told_by(exc.body)
        namespace, token_file = self._params.namespace, self._params.token_file
        if exc.status == 401 or (exc.status in (400, 500) and re.search("unauthenticated", told, re.IGNORECASE)):
            if token_file:
                make = self._make_token(token_file)
                return ParamsError(f"{self.endpoint} refuses the token in {token_file}; make a new one: {make}")
            return ParamsError(
                f"{self.endpoint} wants a token: name its file in cluster.token_file, and make it: "
                f"{self._make_token('FILE')}"
            )
        if exc.status == 403:
            see = f"kubectl auth can-i create runs.pipelines.kubeflow.org -n {namespace}"
            whose = f"the token in {token_file}" if token_file else "nobody without a token"
            verb = "may not" if token_file else "may"
            own = f"is cluster.namespace ({namespace}) that of your profile? See" if token_file else "see"
            return ParamsError(
                f"{whose} {verb} {doing} in namespace {namespace} ({told or 'forbidden'}); {own} `{see}`"
            )
        if exc.status == 409 or re.search(r"already exists?\b", told):
            return _AlreadyThere(f"cannot {doing}: {told}")
        if exc.status == 404:
            if not told:
                return self._no_api()
            return _Missing(f"cannot {doing}: {told}; see `kubectl get namespace {namespace}`, and cluster.namespace")
        if exc.status >= 500:
            return PolydistillError(
                f"{self.endpoint} failed to {doing} ({exc.status}: {told or exc.reason}); "
                "see `kubectl -n kubeflow logs deployment/ml-pipeline --tail 50`"
            )
        if not exc.status:
            return self._not_kubeflow()
        return PolydistillError(f"{self.endpoint} refused to {doing}: {told or exc.reason} ({exc.status})")

    def _told_by(self, body: Any) -> str:
        """Return the message of an error, without the token, should a proxy repeat it; "" for a page."""
        try:
            content = json.loads(body)
        except (TypeError, ValueError):
            return ""
        if not isinstance(content, dict):
            return ""
        told = str(content.get("message") or content.get("error_message") or content.get("error") or "")
        key = self._client.configuration.api_key.get("authorization")
        return _short(told.replace(key, "***") if key else told)


class _AlreadyThere(PolydistillError):
    """Something of that name is there."""


class _Missing(PolydistillError):
    """Something of that id is not there."""


def _named(name: str) -> str:
    """Return the filter that lets through what is called so."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})


def _reference(version: Version) -> Any:
    return api.V2beta1PipelineVersionReference(pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id)


def _short(told: str) -> str:
    """Return a message on one line."""
    line = " ".join(told.split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}..."


def _run(run: Any, tasks: tuple[Task, ...] = ()) -> Run:
    ended = run.finished_at if run.finished_at and run.finished_at.year > 1970 else None
    error = _short(run.error.message or "") if run.error else ""
    return Run(run.run_id, run.display_name, run.state or "PENDING", run.created_at, ended, error, tasks)


def _task(detail: Any, steps: set[str]) -> Task | None:
    """Return what the details say of a step; None for what is none: drivers that went well, loops, pods."""
    name = str(detail.display_name or "")
    step = name.removesuffix("-driver")
    if step not in steps or (step != name and detail.state != "FAILED"):
        return None
    started, ended = (when if when and when.year > 1970 else None for when in (detail.start_time, detail.end_time))
    error = _short(detail.error.message or "") if detail.error else ""
    return Task(step, detail.state or "PENDING", started, ended, error, detail.pod_name or None)


def _recurring(found: Any) -> Recurring:
    reference, trigger = found.pipeline_version_reference, found.trigger
    cron = trigger.cron_schedule.cron if trigger and trigger.cron_schedule else ""
    return Recurring(
        found.recurring_run_id,
        found.display_name,
        found.description or "",
        cron or "",
        found.mode == api.RecurringRunMode.ENABLE or found.status == "ENABLED",
        bool(found.no_catchup),
        int(found.max_concurrency or 0),
        (reference.pipeline_version_id if reference else "") or "",
        (found.runtime_config.parameters if found.runtime_config else {}) or {},
        found.experiment_id or "",
        found.service_account or None,
    )
