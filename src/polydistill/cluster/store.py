"""Object storage: small documents that are swapped or read, and folders kept as a tar under their digest."""

import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, cast

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.files import new_folder

Version = dict[str, str]
"""Which version of an object was read, in the terms of its storage: what `Store.swap` compares with."""

PROBE = "conditional-writes.probe"
"""An empty object, by which is found out whether the storage compares before it swaps."""
_NOBODYS = {"e_tag": '"00000000000000000000000000000000"'}  # a version that no object has
_compare: set[str] = set()  # URLs of the stores that do, as this process has found

_CHUNK = 16 << 20  # bytes that are asked for at once
_RETRIES: Any = {"max_retries": 5, "retry_timeout": timedelta(minutes=2)}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_SERVICE_ACCOUNT_KEY",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class DamagedError(DataError):
    """What the store should hold is not there, or has other bytes than its digest says."""


class Store:
    """A place in object storage; paths are relative to its URL. `open_store` makes one."""

    def __init__(self, url: str, storage: Any) -> None:
        self.url = url
        self._storage = storage

    def read(self, path: str) -> tuple[bytes, Version] | None:
        """Return the content of an object and its version for `swap`; None where there is no such object."""
        with self._explained():
            try:
                found = obstore.get(self._storage, path)
            except FileNotFoundError as exc:
                self._check_bucket(exc)
                return None
            told = {"e_tag": found.meta["e_tag"], "version": found.meta["version"]}
            return bytes(found.bytes()), {name: value for name, value in told.items() if value is not None}

    def write(self, path: str, content: bytes) -> None:
        """Write an object, over one that is there."""
        with self._explained():
            obstore.put(self._storage, path, content)

    def swap(self, path: str, content: bytes, version: Version | None) -> bool:
        """Write an object if it still is the version that was read; return whether that is so.

        Args:
            path: The object.
            content: What it is to hold.
            version: What `read` returned beside the content that this one follows; None: there was no such object.

        Raises:
            PolydistillError: If the storage does not answer, or writes without comparing.
        """
        self.require_comparison()
        if self._put_if(path, content, "create" if version is None else version):
            return True
        # The client tries again where the answer to a first try got lost, and then finds what it wrote itself.
        found = self.read(path)
        return found is not None and found[0] == content

    def _put_if(self, path: str, content: bytes, mode: str | Version) -> bool:
        """Write an object on a condition; return whether the storage did."""
        with self._explained():
            try:
                obstore.put(self._storage, path, content, mode=cast(Any, mode))
            except (AlreadyExistsError, PreconditionError) as exc:
                self._check_bucket(exc)
                return False
        return True

    def require_comparison(self) -> None:
        """Refuse a storage that ignores conditions: of two who swap at once, it would lose one and tell neither.

        Raises:
            PolydistillError: If it does, or does not answer, or does not let an object be written.
        """
        if self.url in _compare:
            return
        self._put_if(PROBE, b"", "create")  # unless it is there
        conditions: dict[str, str | Version] = {"If-None-Match": "create", "If-Match": _NOBODYS}
        for header, mode in conditions.items():
            if self._put_if(PROBE, b"", mode):
                raise PolydistillError(
                    f"{self.url}: the storage ignores {header}, so of two runs that promote at once it would lose "
                    "one; use a storage, or a version of it, that has conditional writes"
                )
        _compare.add(self.url)

    def paths(self, prefix: str) -> list[str]:
        """Return the paths of all objects in a folder and below, sorted."""
        with self._explained():
            return sorted(found["path"] for chunk in obstore.list(self._storage, prefix) for found in chunk)

    def has(self, path: str) -> bool:
        """Return whether there is such an object."""
        return self._size(path) is not None

    def upload_folder(self, folder: Path, prefix: str) -> tuple[str, str]:
        """Keep a folder as <prefix>/<digest>.tar; the same files give the same digest, and are uploaded once.

        Returns:
            The path, and the SHA-256 of the tar in hex.
        """
        with tempfile.TemporaryDirectory(prefix="polydistill-upload-") as scratch:
            packed = Path(scratch, "folder.tar")
            with packed.open("wb") as file:
                _pack(folder, file)
            with packed.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            path = f"{prefix}/{digest}.tar"
            if self._size(path) != packed.stat().st_size:
                with self._explained():
                    obstore.put(self._storage, path, packed)
        return path, digest

    def fetch_folder(self, path: str, digest: str, target: Path) -> None:
        """Unpack what `upload_folder` kept; nothing is left at `target` unless every byte is as the digest says.

        Raises:
            DamagedError: If it is not in the store, or not what the digest says.
        """
        size = self._size(path)
        if size is None:
            raise DamagedError(f"{self.url}/{path} is missing; put it back, from a version of the bucket or a copy")
        content = _Pieces(self._pieces(path, size))
        with new_folder(target) as folder:
            try:
                with tarfile.open(fileobj=cast(IO[bytes], content), mode="r|") as tar:
                    for entry in tar:  # Python 3.11.2, Debian's, has no filters for what leads out of the folder
                        if not _unpack(tar, entry, folder):
                            raise self._damaged(path, digest)
            except tarfile.TarError as exc:
                raise self._damaged(path, digest) from exc
            while content.read(_CHUNK):  # what stands behind the last file
                pass
            if content.hash.hexdigest() != digest:
                raise self._damaged(path, digest)

    def _damaged(self, path: str, digest: str) -> DamagedError:
        return DamagedError(
            f"{self.url}/{path} is not what was put there: its SHA-256 is not {digest}; put that back, from a version "
            "of the bucket or a copy"
        )

    def _size(self, path: str) -> int | None:
        """Return how large an object is; None where there is none."""
        with self._explained():
            try:
                return obstore.head(self._storage, path)["size"]
            except FileNotFoundError as exc:
                self._check_bucket(exc)
                return None

    def _pieces(self, path: str, size: int) -> Iterator[bytes]:
        for start in range(0, size, _CHUNK):
            with self._explained():
                yield bytes(obstore.get_range(self._storage, path, start=start, end=min(start + _CHUNK, size)))

    def _check_bucket(self, exc: Exception) -> None:
        """Tell a bucket that is missing from an object that is."""
        if re.search(r"NoSuchBucket|ContainerNotFound|specified bucket does not exist", str(exc)):
            raise PolydistillError(
                f"{self.url}: there is no such bucket; make it, or change cluster.store in params.yaml"
            ) from exc

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError) as exc:
            self._check_bucket(exc)
            raise PolydistillError(f"{self.url}: {_reason(exc, self.url)}") from exc


class _Pieces:
    """Reads pieces as one file, and hashes what it has read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = io.BytesIO()
        self.hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end."""
        content = self._piece.read(size)
        while len(content) < size and (piece := next(self._pieces, b"")):
            self.hash.update(piece)
            self._piece = io.BytesIO(piece)
            content += self._piece.read(size - len(content))
        return content


def open_store(url: str) -> Store:
    """Return the store at s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.

    Credentials come from the environment, as the clients of AWS, Google Cloud and Azure have it, or from the role that
    the cloud gives to the pod; AWS_ENDPOINT_URL names a server that is not AWS, AZURE_STORAGE_ENDPOINT one that is not
    Azure.

    Raises:
        ParamsError: If it is no such URL.
        PolydistillError: If the environment does not say enough.
    """
    url = url.rstrip("/")
    if not re.match(r"(s3|gs|az)://[^/]", url):
        raise ParamsError(f"`{url}` is no object storage; wanted s3://, gs:// or az://, a bucket, and a folder in it")
    client: Any = {"timeout": "5m", "connect_timeout": "5s"}
    if any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS):
        client["allow_http"] = True
    try:
        return Store(url, from_url(url, client_options=client, retry_config=_RETRIES))
    except (BaseError, ValueError) as exc:
        raise PolydistillError(f"{url}: {_reason(exc, url)}") from exc


def _unpack(tar: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> bool:
    """Write a file or a folder of a tar; False where it is neither, or leads out of the folder."""
    target = folder / entry.name
    if not target.resolve().is_relative_to(folder.resolve()):
        return False
    content = tar.extractfile(entry) if entry.isreg() else None
    if content is None:
        target.mkdir(parents=True, exist_ok=True)
        return entry.isdir()
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
    target.chmod(0o755 if entry.mode & 0o100 else 0o644)
    return True


def _pack(folder: Path, file: IO[bytes]) -> None:
    """Write a folder as a tar that is the same for the same files: no times, no owners, one order."""
    folder = folder.resolve()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.mode = 0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644
            if path.is_dir():
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = path.stat().st_size
                with path.open("rb") as content:
                    tar.addfile(entry, content)


def _reason(exc: Exception, url: str) -> str:
    """Return what went wrong on one line, with what to look at; no query of a URL, which may hold a signature."""
    said = str(exc)
    keys = _CREDENTIALS[url.partition(":")[0]]
    where = f"{keys} in the environment, which a pod has from the secret that cluster.secrets.storage names"
    # Where the environment holds no credentials, the cloud is asked for those of the machine.
    if re.search(r"//169\.254\.|/latest/(api|meta-data)|//metadata\.google|MissingAccount", said):
        return f"there are no credentials; set {where}"
    if isinstance(exc, PermissionDeniedError | UnauthenticatedError):
        code = re.search(r"<Code>(\w+)</Code>", said)
        return f"the storage refuses the credentials ({code[1] if code else 'access denied'}); check {where}"
    brief = re.sub(r"\?\S*", "", said.partition("\n")[0])[:300]
    if "error sending request" in said or "Connect" in said:
        return f"the storage does not answer ({brief}); check AWS_ENDPOINT_URL, and network policies for pods"
    return brief
