import uuid
from collections.abc import Iterator

import pytest

from s3_server import S3, s3_server


@pytest.fixture(scope="session")
def s3_process() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(s3_process: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An S3 server that this process finds in its environment."""
    s3_process.use(monkeypatch)
    return s3_process


@pytest.fixture
def store_url(s3: S3) -> str:
    """A folder of the bucket that no other test uses."""
    return f"{s3.bucket}/{uuid.uuid4().hex}"
