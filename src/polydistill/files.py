"""How steps touch disk: whole or not at all, the same bytes for the same content, and errors a person can act on."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from polydistill.errors import DataError


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads YAML, and differs from PyYAML in two things.

    2e-05 is a number, as in YAML 1.2, JSON and DVC; PyYAML keeps to YAML 1.1, where that is a text. And a key that
    stands twice is an error, as YAML has it; PyYAML takes the last one without a word.
    """

    def compose_mapping_node(self, anchor: str | None) -> Any:
        """Read a mapping as it is written, without what `<<` brings in: that may have the same keys."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                problem = f"key `{key.value}` stands in line {lines[name]} and again in line {line}; keep one of them"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[name] = line
        return node


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?([0-9]+|[0-9]*\.[0-9]+)[eE][-+]?[0-9]+\Z"), list("-+.0123456789")
)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        DataError: If the folder cannot be written.
    """
    partial = path.parent / f".{path.name}.partial-{os.getpid()}"
    with explained(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        for stale in path.parent.glob(f".{path.name}.partial-*"):
            shutil.rmtree(stale)
        partial.mkdir()
    try:
        with explained(path, "write"):
            yield partial
            if path.exists():
                shutil.rmtree(path)
            partial.rename(path)
    except DataError as exc:
        if partial.exists():
            raise
        raise DataError(
            f"cannot write {path}: another run writes it too; let that one end, then run this again"
        ) from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Delete a folder and all in it, where there is one.

    Raises:
        DataError: If it cannot be deleted.
    """
    with explained(path, "delete"):
        if path.exists():
            shutil.rmtree(path)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; the file takes its place when the block ends well."""
    partial = path.parent / f".{path.name}.partial-{os.getpid()}"
    try:
        with explained(path, "write"):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def explained(path: Path, verb: str) -> Iterator[None]:
    """Turn an operating-system error inside the block into a DataError that names the path."""
    try:
        yield
    except OSError as exc:
        if verb == "read" and isinstance(exc, FileNotFoundError):
            raise DataError(f"{path} is missing; put it there, or run the step that writes it") from exc
        raise DataError(
            f"cannot {verb} {path}: {exc.strerror or exc}; check its permissions and the disk's space"
        ) from exc


def write_json(path: Path, content: Any) -> None:
    """Write JSON that is the same for the same content: sorted keys, two spaces, a final line break."""
    text = json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)
    with new_file(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file that a step wrote.

    Raises:
        DataError: If the file is missing or is no JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as exc:
        raise DataError(f"{path}:{exc.lineno}: not JSON ({exc.msg}); run the step that writes it again") from exc


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, a byte-order mark tolerated.

    Raises:
        DataError: If the file is missing, unreadable or not UTF-8; the message names the line.
    """
    with explained(path, "read"):
        raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8 (byte 0x{raw[exc.start]:02x}); save the file as UTF-8") from exc


def read_yaml(path: Path) -> Any:
    """Read a YAML file that a person wrote.

    Raises:
        DataError: If the file is missing, unreadable or no YAML; the message names the line.
    """
    try:
        return parse_yaml(read_text(path))
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 1
        raise DataError(f"{path}:{line}: not YAML ({exc.problem})") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:  # a control character, a date such as 2026-13-01, ...
        raise DataError(f"{path}: not YAML ({exc})") from exc


def parse_yaml(content: str) -> Any:
    """Return what YAML says, numbers such as 2e-05 among it; errors are those of PyYAML."""
    return yaml.load(content, Loader=_Loader)


def require_input(path: Path, step: str) -> Path:
    """Return `path` if it exists.

    Raises:
        DataError: If it does not; the message names the step that writes it.
    """
    if not path.exists():
        raise DataError(f"{path} is missing; run `polydistill {step}` first, or `dvc repro` for the whole chain")
    return path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's sorted relative paths and contents, in hex."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return total.hexdigest()
