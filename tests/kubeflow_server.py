"""A small server with the API v2beta1 of Kubeflow Pipelines, which keeps everything in memory and runs nothing.

    with kubeflow_server(token="secret", multi_user=True) as server: ...

It has the calls that `kfp.Client` makes for pipelines, versions, experiments, runs and recurring runs, and refuses
what the real one refuses, in the same form: names that are missing or taken, ids that are unknown, parameters that a
pipeline does not take, cron lines that github.com/robfig/cron 1.2 cannot read, a concurrency outside 1 to 10. Runs go
through the states that a test names, one a look. As with the real one (kubeflow/pipelines issue 14007) the details of a
task lack its pod and its error, and what Kubeflow runs around a step is among them.
"""

import email
import json
import re
import ssl
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

# The code of gRPC, by the HTTP status to which the gateway turns it.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}
_STATES = ("PENDING", "RUNNING", "SUCCEEDED", "SKIPPED", "FAILED", "CANCELING", "CANCELED", "PAUSED")
_EPOCH = "1970-01-01T00:00:00Z"
_BOUNDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES = {
    4: "jan feb mar apr may jun jul aug sep oct nov dec".split(),
    5: "sun mon tue wed thu fri sat".split(),
}
_KINDS = {
    "STRING": str,
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}


class Refused(Exception):
    """The server answers with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class KubeflowServer:
    """What the server has, and how it behaves; a test may read and change all of it.

    Attributes:
        url: Where it listens.
        token: What clients must send as a bearer token; None: anybody may ask.
        multi_user: Whether everything is in a namespace, of which the token may see `namespace` alone.
        namespace: The namespace of the token.
        pages: Whether it serves the user interface, too.
        tag: The version that it says it is.
        answer: An HTTP status, content type and body to answer with, in place of all else.
        only_next: So many requests get that answer; None: all.
        looks: What looks at a run find, one after the other: its state, and those of its steps; the last one stays.
        forgets: Fields of a recurring run that it changes as it stores them, with the values.
        requests: Method and path of every request.
    """

    def __init__(self, token: str | None, multi_user: bool, pages: bool) -> None:
        self.url = ""
        self.token, self.multi_user, self.pages = token, multi_user, pages
        self.namespace, self.tag = "team", "2.16.0"
        self.answer: tuple[int, str, str] | None = None
        self.only_next: int | None = None
        self.looks: list[tuple[str, dict[str, str]]] = [("PENDING", {})]
        self.forgets: dict[str, Any] = {}
        self.requests: list[tuple[str, str]] = []
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring: dict[str, dict[str, Any]] = {}
        self._clock = 0

    # What all calls share.

    def handle(self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes) -> Any:
        """Return the content of the answer, as JSON has it."""
        self.requests.append((method, path))
        if path != "/apis/v2beta1/healthz":
            self._authorize(headers, query)
        for pattern, of_method, call in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and of_method == method:
                ids = [unquote(part) for part in found.groups()]
                content = json.loads(body) if body and b"multipart" not in headers["content-type"].encode() else {}
                return getattr(self, call)(*ids, query=query, content=content, headers=headers, body=body)
        raise Refused(404, "Not Found")

    def _authorize(self, headers: Any, query: dict[str, str]) -> None:
        if self.token is None:
            return
        given = headers.get("authorization")
        if given is None:
            raise Refused(401, "Failed to authorize with API: Request header error: there is no user identity header.")
        if given != f"Bearer {self.token}":
            raise Refused(
                401, "Failed to authorize with API: Unauthenticated: invalid bearer token, token has expired."
            )
        if self.multi_user and query.get("namespace", self.namespace) != self.namespace:
            self._forbid(query["namespace"])

    def _forbid(self, namespace: str) -> NoReturn:
        raise Refused(
            403,
            "PermissionDenied: User 'jana@example.org' is not authorized with reason: (request: "
            f"&ResourceAttributes{{Namespace:{namespace},}}): Unauthorized access",
        )

    def _now(self) -> str:
        """Return a time, each a second after the last, so that what is sorted by time has an order."""
        self._clock += 1
        return datetime.fromtimestamp(1_800_000_000 + self._clock, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _own_namespace(self, given: str | None) -> str:
        if not self.multi_user:
            return ""
        if not given:
            raise Refused(400, "Invalid input error: an empty namespace is not allowed in multi-user mode")
        if given != self.namespace:
            self._forbid(given)
        return given

    def _listed(self, key: str, rows: Sequence[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        for predicate in json.loads(query.get("filter", "{}")).get("predicates", []):
            assert predicate["operation"] in ("EQUALS", 1), predicate
            value = predicate.get("string_value", predicate.get("stringValue"))
            rows = [row for row in rows if row[predicate["key"]] == value]
        if query.get("sort_by", "").startswith("created_at"):
            rows = sorted(rows, key=lambda row: row["created_at"], reverse=query["sort_by"].endswith("desc"))
        start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 20)
        page = {key: rows[start : start + size], "total_size": len(rows)}
        return {name: value for name, value in page.items() if value} | (
            {"next_page_token": str(start + size)} if len(rows) > start + size else {}
        )

    # Pipelines and versions.

    def healthz(self, **_: Any) -> Any:
        of_the_tag = "apiServerTagName" if self.pages else "tag_name"  # its pages answer in the API's place
        return {of_the_tag: self.tag, "multi_user": self.multi_user, "pipeline_store": "database"}

    def list_pipelines(self, *, query: dict[str, str], **_: Any) -> Any:
        return self._listed("pipelines", list(self.pipelines.values()), query)

    def get_pipeline(self, id: str, **_: Any) -> Any:
        return _found(self.pipelines, id, "Pipeline")

    def create_pipeline(self, *, content: dict[str, Any], **_: Any) -> Any:
        if unknown := sorted(content.keys() - {"display_name", "description", "namespace"}):  # 2.0 has no other yet
            raise Refused(400, f'unknown field "{unknown[0]}" in v2beta1.Pipeline')
        return self._add_pipeline(content.get("display_name"), content.get("namespace"), content.get("description"))

    def _add_pipeline(self, name: str | None, namespace: str | None, description: str | None) -> dict[str, Any]:
        if not name:
            raise Refused(400, "Invalid input error: pipeline's name cannot be empty")
        if any(pipeline["display_name"] == name for pipeline in self.pipelines.values()):
            raise Refused(409, f"Already exist error: Failed to create a new pipeline. The name {name} already exists.")
        pipeline = {
            "pipeline_id": str(uuid.uuid4()),
            "display_name": name,
            "name": name,
            "description": description or "",
            "created_at": self._now(),
            "namespace": self._own_namespace(namespace),
        }
        self.pipelines[pipeline["pipeline_id"]] = pipeline
        return pipeline

    def upload_pipeline(self, *, query: dict[str, str], headers: Any, body: bytes, **_: Any) -> Any:
        file, content = _uploaded(headers, body)
        spec = _spec(file, content)
        pipeline = self._add_pipeline(query.get("name") or file, query.get("namespace"), query.get("description"))
        self._add_version(pipeline["pipeline_id"], pipeline["display_name"], spec)
        return pipeline

    def upload_version(self, *, query: dict[str, str], headers: Any, body: bytes, **_: Any) -> Any:
        file, content = _uploaded(headers, body)
        spec = _spec(file, content)
        if query.get("pipelineid") not in self.pipelines:
            raise Refused(400, "Failed to create a pipeline version")
        return self._add_version(query["pipelineid"], query.get("name") or file, spec)

    def _add_version(self, pipeline_id: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        for version in self.versions.values():
            if (version["pipeline_id"], version["display_name"]) == (pipeline_id, name):
                raise Refused(409, f"Already exist error: The name {name} already exists. Specify a new name.")
        version = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": str(uuid.uuid4()),
            "display_name": name,
            "name": name,
            "created_at": self._now(),
            "pipeline_spec": spec,
        }
        self.versions[version["pipeline_version_id"]] = version
        return version

    def list_versions(self, pipeline_id: str, *, query: dict[str, str], **_: Any) -> Any:
        _found(self.pipelines, pipeline_id, "Pipeline")
        rows = [version for version in self.versions.values() if version["pipeline_id"] == pipeline_id]
        return self._listed("pipeline_versions", rows, query)

    def get_version(self, pipeline_id: str, id: str, **_: Any) -> Any:
        _found(self.pipelines, pipeline_id, "Pipeline")
        return _found(self.versions, id, "PipelineVersion")

    # Experiments.

    def list_experiments(self, *, query: dict[str, str], **_: Any) -> Any:
        self._own_namespace(query.get("namespace"))
        return self._listed("experiments", list(self.experiments.values()), query)

    def get_experiment(self, id: str, **_: Any) -> Any:
        return _found(self.experiments, id, "Experiment")

    def create_experiment(self, *, content: dict[str, Any], **_: Any) -> Any:
        name = content.get("display_name")
        if not name:
            raise Refused(500, "InternalServerError: Experiment must have a non-empty name")
        if any(experiment["display_name"] == name for experiment in self.experiments.values()):
            raise Refused(
                409, f"Already exist error: Failed to create a new experiment. The name {name} already exists."
            )
        experiment = {
            "experiment_id": str(uuid.uuid4()),
            "display_name": name,
            "created_at": self._now(),
            "namespace": self._own_namespace(content.get("namespace")),
            "storage_state": "AVAILABLE",
        }
        self.experiments[experiment["experiment_id"]] = experiment
        return experiment

    # Runs.

    def create_run(self, *, content: dict[str, Any], **_: Any) -> Any:
        if not content.get("display_name"):
            raise Refused(400, "Invalid input error: The run name is empty. Please specify a valid name")
        self._check_what_runs(content)
        run = {
            **content,
            "run_id": str(uuid.uuid4()),
            "service_account": content.get("service_account") or "pipeline-runner",
            "storage_state": "AVAILABLE",
            "created_at": self._now(),
            "finished_at": _EPOCH,
            "state": "PENDING",
        }
        self.runs[run["run_id"]] = run
        return run

    def _check_what_runs(self, content: dict[str, Any]) -> None:
        if content.get("experiment_id") not in self.experiments:
            raise Refused(404, f"ResourceNotFoundError: Experiment {content.get('experiment_id')} not found.")
        version = self.versions.get(content.get("pipeline_version_reference", {}).get("pipeline_version_id"))
        if version is None:
            raise Refused(400, "Invalid input error: Failed to fetch a template: cannot find a pipeline version")
        spec = version["pipeline_spec"]
        spec = spec.get("pipeline_spec", spec)
        wanted = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = content.get("runtime_config", {}).get("parameters", {})
        for name, kind in wanted.items():
            if name not in given and not kind.get("isOptional") and "defaultValue" not in kind:
                raise Refused(
                    400, f"parameter {name} is not optional, yet has neither default value nor user provided value"
                )
            if name in given and not isinstance(given[name], _KINDS[kind["parameterType"]]):
                raise Refused(400, f"input parameter {name} requires type {kind['parameterType'].lower()}")
        if unexpected := sorted(set(given) - set(wanted)):
            raise Refused(400, f"unexpected parameter provided: {unexpected[0]}")

    def list_runs(self, *, query: dict[str, str], **_: Any) -> Any:
        self._own_namespace(query.get("namespace"))
        return self._listed("runs", list(self.runs.values()), query)

    def get_run(self, id: str, **_: Any) -> Any:
        run = _found(self.runs, id, "Run")
        state, steps = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        assert state in _STATES and set(steps.values()) <= set(_STATES)
        run["state"] = state
        if state in ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"):
            run["finished_at"] = "2027-01-15T10:30:00Z"
        run["run_details"] = {"task_details": self._details(run, state, steps)}
        return run

    def _details(self, run: dict[str, Any], state: str, steps: dict[str, str]) -> list[dict[str, Any]]:
        """Return details of steps and of what Kubeflow runs around them; a step may be there twice, as `train#2`."""
        rows = {"distill-x7k2p": state, "root": state, "root-driver": "SUCCEEDED"}
        for step, of_step in steps.items():
            rows |= {step: of_step, f"executor of {step}": of_step}
            if not step.endswith("-driver"):
                rows[f"{step.partition('#')[0]}-driver#{step}"] = "SUCCEEDED"
        return [
            {
                "run_id": run["run_id"],
                "task_id": str(uuid.uuid4()),
                "display_name": "executor" if name.startswith("executor") else name.partition("#")[0],
                "create_time": run["created_at"],
                "start_time": datetime.fromtimestamp(1_800_001_000 + number, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "end_time": _EPOCH if of_step in ("RUNNING", "PENDING") else "2027-01-15T10:20:00Z",
                "state": of_step,
                "child_tasks": [{"pod_name": f"distill-x7k2p-{number}"}],
            }
            for number, (name, of_step) in enumerate(rows.items())
        ]

    # Recurring runs.

    def create_recurring(self, *, content: dict[str, Any], **_: Any) -> Any:
        if not content.get("display_name"):
            raise Refused(500, "Recurring run's name cannot be empty")
        concurrency = int(content.get("max_concurrency", 0))
        if not 1 <= concurrency <= 10:
            raise Refused(
                400,
                "Invalid input error: Max concurrency of a recurring run must be at leas 1 and at most 10. Received "
                f"{concurrency}",
            )
        schedule = content.get("trigger", {}).get("cron_schedule")
        if schedule:
            check_cron(schedule["cron"])
        self._check_what_runs(content)
        enabled = content.get("mode") == "ENABLE"
        recurring = {
            "no_catchup": False,
            **content,
            "recurring_run_id": str(uuid.uuid4()),
            "service_account": content.get("service_account") or "pipeline-runner",
            "max_concurrency": str(concurrency),
            "mode": "ENABLE" if enabled else "DISABLE",
            "status": "ENABLED" if enabled else "DISABLED",
            "created_at": self._now(),
            "namespace": self._own_namespace(content.get("namespace")),
            **self.forgets,
        }
        self.recurring[recurring["recurring_run_id"]] = recurring
        return recurring

    def list_recurring(self, *, query: dict[str, str], **_: Any) -> Any:
        self._own_namespace(query.get("namespace"))
        return self._listed("recurringRuns", list(self.recurring.values()), query)

    def get_recurring(self, id: str, **_: Any) -> Any:
        return _found(self.recurring, id, "Job")

    def enable_recurring(self, id: str, **_: Any) -> Any:
        _found(self.recurring, id, "Job").update(mode="ENABLE", status="ENABLED")
        return {}

    def disable_recurring(self, id: str, **_: Any) -> Any:
        _found(self.recurring, id, "Job").update(mode="DISABLE", status="DISABLED")
        return {}

    def delete_recurring(self, id: str, **_: Any) -> Any:
        del self.recurring[_found(self.recurring, id, "Job")["recurring_run_id"]]
        return {}


_A = "/apis/v2beta1"
_ROUTES = [
    (f"{_A}/healthz", "GET", "healthz"),
    (f"{_A}/pipelines/upload", "POST", "upload_pipeline"),
    (f"{_A}/pipelines/upload_version", "POST", "upload_version"),
    (f"{_A}/pipelines", "GET", "list_pipelines"),
    (f"{_A}/pipelines", "POST", "create_pipeline"),
    (f"{_A}/pipelines/([^/]+)", "GET", "get_pipeline"),
    (f"{_A}/pipelines/([^/]+)/versions", "GET", "list_versions"),
    (f"{_A}/pipelines/([^/]+)/versions/([^/]+)", "GET", "get_version"),
    (f"{_A}/experiments", "GET", "list_experiments"),
    (f"{_A}/experiments", "POST", "create_experiment"),
    (f"{_A}/experiments/([^/]+)", "GET", "get_experiment"),
    (f"{_A}/runs", "GET", "list_runs"),
    (f"{_A}/runs", "POST", "create_run"),
    (f"{_A}/runs/([^/:]+)", "GET", "get_run"),
    (f"{_A}/recurringruns", "GET", "list_recurring"),
    (f"{_A}/recurringruns", "POST", "create_recurring"),
    (f"{_A}/recurringruns/([^/:]+)", "GET", "get_recurring"),
    (f"{_A}/recurringruns/([^/:]+)", "DELETE", "delete_recurring"),
    (f"{_A}/recurringruns/([^/:]+):enable", "POST", "enable_recurring"),
    (f"{_A}/recurringruns/([^/:]+):disable", "POST", "disable_recurring"),
]


def check_cron(line: str) -> None:
    """Refuse what github.com/robfig/cron 1.2 cannot read: six fields, or five where the weekday is left out."""
    fields = line.split()
    problem = None if 5 <= len(fields) <= 6 else f"Expected 5 to 6 fields, found {len(fields)}: {line}"
    for place, field in enumerate(fields if problem is None else ()):
        lowest, highest = _BOUNDS[place]
        for part in field.split(","):
            span, _, step = part.partition("/")
            words = [span] if span in ("*", "?") else span.split("-")
            numbers = [_number(word, place) for word in words if word not in ("*", "?")]
            if any(number is None for number in numbers) or (step and not step.isdigit()):
                problem = problem or f"Failed to parse int from {part}"
            elif any(not lowest <= (number or 0) <= highest for number in numbers) or step == "0":
                problem = problem or f"End of range above maximum ({highest}): {part}"
    if problem:
        raise Refused(
            400,
            "Invalid input error: Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). "
            f"Error: {problem}",
        )


def _number(word: str, place: int) -> int | None:
    names = _NAMES.get(place, [])
    if word.lower() in names:
        return names.index(word.lower()) + _BOUNDS[place][0]
    return int(word) if word.isdigit() else None


def _found(rows: dict[str, dict[str, Any]], id: str, kind: str) -> dict[str, Any]:
    if id not in rows:
        raise Refused(404, f"ResourceNotFoundError: {kind} {id} not found.")
    return rows[id]


def _uploaded(headers: Any, body: bytes) -> tuple[str, bytes]:
    message = email.message_from_bytes(b"content-type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
    for part in message.get_payload():
        if part.get_param("name", header="content-disposition") == "uploadfile":  # type: ignore[union-attr]
            return str(part.get_filename()), part.get_payload(decode=True)  # type: ignore[union-attr, return-value]
    raise Refused(400, "Failed to read pipeline from file")


def _spec(file: str, content: bytes) -> dict[str, Any]:
    if not file.endswith((".yaml", ".yml")):
        raise Refused(400, "Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML.")
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(content))
    if not isinstance(documents[0], dict) or {"root", "components", "pipelineInfo"} - documents[0].keys():
        raise Refused(400, "Invalid input error: unknown template format: pipeline spec is invalid")
    if len(documents) == 1:
        return documents[0]
    return {"pipeline_spec": documents[0], "platform_spec": documents[1]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or the client would wait for the second
    kubeflow: KubeflowServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        split, server = urlsplit(self.path), self.kubeflow
        if server.answer and server.only_next != 0:
            server.only_next = None if server.only_next is None else server.only_next - 1
            self._send(*server.answer)
        elif split.path == "/":
            self._send(
                *((200, "text/html", "<html>pages</html>") if server.pages else (404, "text/plain", "not found"))
            )
        else:
            query = {name: values[0] for name, values in parse_qs(split.query).items()}
            try:
                content = server.handle(self.command, split.path, query, self.headers, body)
                self._send(200, "application/json", json.dumps(content))
            except Refused as exc:
                self._send(exc.status, "application/json", json.dumps(_error(split.path, exc)))

    do_GET = do_POST = do_DELETE = _answer

    def _send(self, status: int, kind: str, body: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _error(path: str, exc: Refused) -> dict[str, Any]:
    """Return the body of an error: uploads do not go through the gateway, and have a form of their own."""
    if "/upload" in path:
        return {"error_message": str(exc), "error_details": str(exc)}
    code = _CODES[exc.status]
    status = {"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": str(exc)}
    return {"error": str(exc), "code": code, "message": str(exc), "details": [status]}


@contextmanager
def kubeflow_server(
    *, token: str | None = None, multi_user: bool = False, pages: bool = False, certificate: Path | None = None
) -> Iterator[KubeflowServer]:
    """Run a server as long as the block does; `certificate` is a file with a key, for TLS."""
    kubeflow = KubeflowServer(token, multi_user, pages)
    handler = type("Handler", (_Handler,), {"kubeflow": kubeflow})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        listening.daemon_threads = True
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            listening.socket = context.wrap_socket(listening.socket, server_side=True)
            scheme = "https"
        kubeflow.url = f"{scheme}://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield kubeflow
        finally:
            listening.shutdown()
            thread.join()
