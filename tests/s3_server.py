"""A real S3 server, moto's, in a process of its own, that keeps what it is given in memory.

    with s3_server() as s3:
        s3.use(monkeypatch)  # or env=os.environ | s3.environment for another process
        open_store(f"{s3.bucket}/polydistill")

Keys are checked: only those of `environment` are let in, and those of `reader`, who may not write. moto looks at
If-Match and If-None-Match of a PUT, then writes; S3 does both in one go, and so does this server, which answers one
request at a time.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

BUCKET = "bucket"
REGION = "eu-central-1"
_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL")


@dataclass(frozen=True)
class S3:
    """A server that runs, with an empty bucket."""

    url: str
    environment: Mapping[str, str]
    reader: Mapping[str, str]
    bucket: str = f"s3://{BUCKET}"

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have this process find the server, and none but it, in its environment."""
        for name in _VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    def client(self) -> Any:
        """Return boto3's client, to look at the bucket from outside."""
        keys = {name.lower(): self.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        return boto3.client("s3", endpoint_url=self.url, region_name=REGION, **keys)

    def keys(self) -> list[str]:
        """Return the names of all objects in the bucket, sorted."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return sorted(found["Key"] for page in pages for found in page.get("Contents", []))


@contextmanager
def s3_server() -> Iterator[S3]:
    """Run a server with an empty bucket on a free port."""
    environment = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    with tempfile.NamedTemporaryFile(prefix="no-settings-of-aws-") as empty:
        process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            yield _furnish(url, empty.name)
        finally:
            process.kill()
            process.communicate()


def _furnish(url: str, empty: str) -> S3:
    """Make the users who are let in, and the bucket; from then on keys are checked."""
    iam = boto3.client(
        "iam", endpoint_url=url, region_name=REGION, aws_access_key_id="nobody", aws_secret_access_key="nobody"
    )
    keys = _user(iam, "polydistill", "s3:*")
    environment = {
        **keys,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        # A machine's own settings, and its role in a cloud, are left alone.
        "AWS_CONFIG_FILE": empty,  # to DVC /dev/null is none, and an error
        "AWS_SHARED_CREDENTIALS_FILE": empty,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    s3 = S3(url, environment, _user(iam, "reader", "s3:Get*", "s3:List*"))
    s3.client().create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    no_more_without_key = urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
    with urllib.request.urlopen(no_more_without_key):
        return s3


def _user(iam: Any, name: str, *actions: str) -> dict[str, str]:
    """Make a user who may do this with all of S3, and return the variables that hold the keys."""
    iam.create_user(UserName=name)
    allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def _one_at_a_time(app: Callable[..., Iterable[bytes]]) -> Callable[..., list[bytes]]:
    lock = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        with lock:
            return list(app(environ, start_response))

    return answer


def _serve() -> None:
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    app = _one_at_a_time(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    print(server.port, flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    _serve()
