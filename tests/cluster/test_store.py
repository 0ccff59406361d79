import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from kube_server import listening
from polydistill.cluster.champions import run_champions
from polydistill.cluster.store import PROBE, DamagedError, open_store
from polydistill.errors import ParamsError, PolydistillError
from polydistill.files import digest
from s3_server import S3


def folder(path: Path, **files: str) -> Path:
    """Write files, `a__b` as a/b; the last one may be run."""
    for name, content in files.items():
        file = path / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    file.chmod(0o755)
    return path


def test_what_is_written_is_read(store_url: str) -> None:
    store = open_store(store_url)
    assert store.read("a.json") is None
    store.write("a.json", b"1")
    store.write("a.json", b"2")
    content, _ = store.read("a.json") or (b"", {})
    assert content == b"2"


def test_only_one_can_be_the_first_to_write(store_url: str) -> None:
    store = open_store(store_url)
    assert store.swap("a.json", b"mine", None)
    assert not store.swap("a.json", b"yours", None)
    assert (store.read("a.json") or (b"",))[0] == b"mine"


def test_only_who_has_read_the_last_version_can_write(store_url: str) -> None:
    store = open_store(store_url)
    store.write("a.json", b"1")
    _, first = store.read("a.json") or (b"", None)
    assert store.swap("a.json", b"2", first)
    assert not store.swap("a.json", b"3", first)
    assert (store.read("a.json") or (b"",))[0] == b"2"


def test_who_has_written_already_and_did_not_hear_of_it_has_written(store_url: str) -> None:
    store = open_store(store_url)
    store.write("a.json", b"1")
    _, version = store.read("a.json") or (b"", None)
    assert store.swap("a.json", b"2", version)
    assert store.swap("a.json", b"2", version)


def test_an_object_that_is_gone_is_not_swapped(store_url: str, s3: S3) -> None:
    store = open_store(store_url)
    store.write("a.json", b"1")
    _, version = store.read("a.json") or (b"", None)
    s3.client().delete_object(Bucket="bucket", Key=f"{store_url.rpartition('/')[2]}/a.json")
    assert not store.swap("a.json", b"2", version)


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_storage_that_does_not_compare_is_refused(
    store_url: str, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deaf_to(header) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        store = open_store(store_url)
        with pytest.raises(PolydistillError, match=f"^{store_url}: the storage ignores {header}, so of two runs"):
            store.swap("a.json", b"mine", None)
        assert store.read("a.json") is None


def test_a_run_refuses_such_a_storage_in_its_first_step(
    store_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with deaf_to("If-Match") as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(PolydistillError, match="the storage ignores If-Match"):
            run_champions(store_url, tmp_path / "champions", [])
    assert list(tmp_path.iterdir()) == []


def test_whether_a_storage_compares_is_asked_once(store_url: str, s3: S3) -> None:
    assert open_store(store_url).swap("a.json", b"1", None)
    s3.client().delete_object(Bucket="bucket", Key=f"{store_url.rpartition('/')[2]}/{PROBE}")
    assert open_store(store_url).swap("b.json", b"1", None)
    assert open_store(store_url).paths("") == ["a.json", "b.json"]


@contextmanager
def deaf_to(header: str) -> Iterator[str]:
    """Serve objects as S3 does, but for this header, as a storage that does not know of it."""
    kept: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:  # noqa: N802
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            heard = {name: self.headers[name] for name in ("If-None-Match", "If-Match") if name != header}
            if heard.get("If-Match") or (heard.get("If-None-Match") and self.path in kept):
                self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            else:
                kept[self.path] = content
                self.answer(200)

        def do_GET(self) -> None:  # noqa: N802
            self.answer(
                200 if self.path in kept else 404, kept.get(self.path, b"<Error><Code>NoSuchKey</Code></Error>")
            )

        def answer(self, status: int, content: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    with listening(Handler) as url:
        yield url


def test_paths_are_those_of_the_folder_and_below(store_url: str) -> None:
    store = open_store(store_url)
    for path in ("traffic/2/b", "traffic/1/a", "traffics/1/c", "registry.json"):
        store.write(path, b"x")
    assert store.paths("traffic") == ["traffic/1/a", "traffic/2/b"]


def test_a_folder_comes_back_as_it_was(store_url: str, tmp_path: Path) -> None:
    store, one = open_store(store_url), folder(tmp_path / "one", a="š", b__c="2", run="#!/bin/sh")
    (one / "empty").mkdir()
    store.fetch_folder(*store.upload_folder(one, "bentos"), tmp_path / "back")
    assert digest(tmp_path / "back") == digest(one)
    assert (tmp_path / "back" / "empty").is_dir()
    assert [os.access(tmp_path / "back" / name, os.X_OK) for name in ("a", "run")] == [False, True]


def test_the_same_files_are_kept_once_whenever_they_were_written(store_url: str, s3: S3, tmp_path: Path) -> None:
    store = open_store(store_url)
    one, other = (folder(tmp_path / name, a="1", b__c="2") for name in ("one", "other"))
    os.utime(other / "a", (0, 0))
    path, sha = store.upload_folder(one, "bentos")
    assert store.upload_folder(other, "bentos") == (path, sha)
    assert path == f"bentos/{sha}.tar"
    written = s3.client().head_object(Bucket="bucket", Key=f"{store_url.rpartition('/')[2]}/{path}")["LastModified"]
    store.upload_folder(other, "bentos")
    again = s3.client().head_object(Bucket="bucket", Key=f"{store_url.rpartition('/')[2]}/{path}")["LastModified"]
    assert again == written
    assert store.upload_folder(folder(tmp_path / "third", a="1", b__c="3"), "bentos")[1] != sha


def test_a_large_folder_goes_in_parts(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url)
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "model.onnx").write_bytes(os.urandom(17 << 20))
    store.fetch_folder(*store.upload_folder(tmp_path / "large", "winners"), tmp_path / "back")
    assert digest(tmp_path / "back") == digest(tmp_path / "large")


def packed(*entries: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for entry in entries:
            tar.addfile(entry)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not a tar" * 1000, id="no tar"),
        pytest.param(packed(tarfile.TarInfo("a")), id="another tar"),
    ],
)
def test_a_folder_that_was_changed_is_not_unpacked(store_url: str, tmp_path: Path, content: bytes) -> None:
    store = open_store(store_url)
    path, sha = store.upload_folder(folder(tmp_path / "one", a="1"), "bentos")
    store.write(path, content)
    with pytest.raises(DamagedError, match=f"{path} is not what was put there: its SHA-256 is not {sha}"):
        store.fetch_folder(path, sha, tmp_path / "back")
    assert [entry.name for entry in tmp_path.iterdir()] == ["one"]


def test_a_folder_that_was_cut_short_is_not_unpacked(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url)
    path, sha = store.upload_folder(folder(tmp_path / "one", a="1" * 100_000), "bentos")
    store.write(path, (store.read(path) or (b"",))[0][:50_000])
    with pytest.raises(DamagedError, match="is not what was put there"):
        store.fetch_folder(path, sha, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_tar_that_reaches_outside_is_not_unpacked(store_url: str, tmp_path: Path) -> None:
    store, content = open_store(store_url), packed(tarfile.TarInfo("../outside"))
    store.write("bentos/evil.tar", content)
    with pytest.raises(DamagedError):
        store.fetch_folder("bentos/evil.tar", hashlib.sha256(content).hexdigest(), tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named(store_url: str, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=f"{store_url}/bentos/0.tar is missing"):
        open_store(store_url).fetch_folder("bentos/0.tar", "0" * 64, tmp_path / "back")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param(
            {"AWS_SECRET_ACCESS_KEY": "very-secret"}, "refuses the credentials (SignatureDoesNotMatch)", id="secret"
        ),
        pytest.param({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "refuses the credentials (InvalidAccessKeyId)", id="key"),
        pytest.param({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "the storage does not answer", id="no server"),
        pytest.param(
            {
                "AWS_ACCESS_KEY_ID": None,
                "AWS_SECRET_ACCESS_KEY": None,
                "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
            },
            "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            id="no credentials",
        ),
    ],
)
def test_what_keeps_a_store_from_answering_is_said_on_one_line(
    store_url: str, s3: S3, changes: dict[str, str | None], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changes.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    for act in (lambda: open_store(store_url).read("a"), lambda: open_store(store_url).write("a", b"1")):
        with pytest.raises(PolydistillError) as failure:
            act()
        said = str(failure.value)
        assert said.startswith(f"{store_url}: ") and reason in said and "\n" not in said
        assert "very-secret" not in said and s3.environment["AWS_SECRET_ACCESS_KEY"] not in said


def test_a_bucket_that_is_not_there_is_not_taken_for_an_empty_one(s3: S3, tmp_path: Path) -> None:
    store = open_store("s3://nobodys/polydistill")
    for act in (
        lambda: store.read("a"),
        lambda: store.write("a", b"1"),
        lambda: store.swap("a", b"1", None),
        lambda: store.paths("traffic"),
        lambda: store.upload_folder(folder(tmp_path / "one", a="1"), "bentos"),
    ):
        with pytest.raises(PolydistillError, match="s3://nobodys/polydistill: there is no such bucket; make it"):
            act()


@pytest.mark.parametrize("url", ["", "/tmp/store", "http://bucket", "s3://"])
def test_a_url_that_is_none_of_object_storage_is_refused(url: str) -> None:
    with pytest.raises(ParamsError, match="is no object storage; wanted s3://, gs:// or az://"):
        open_store(url)


def test_azure_asks_for_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(PolydistillError, match="there are no credentials; set AZURE_STORAGE_ACCOUNT_NAME and"):
        open_store("az://container/polydistill")
