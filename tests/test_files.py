import shutil
from pathlib import Path

import pytest

from polydistill.errors import DataError
from polydistill.files import digest, new_file, new_folder, read_json, read_text, read_yaml, require_input, write_json


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_new_folder_takes_the_place_of_the_old_one_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    with new_folder(tmp_path / "out") as out:
        (out / "new.txt").write_text("new")
        assert files_in(tmp_path / "out") == ["old.txt"]
    assert files_in(tmp_path) == ["out", "out/new.txt"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, DataError])
def test_a_failed_folder_leaves_the_old_one_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(failure), new_folder(tmp_path / "out") as out:
        (out / "half.txt").write_text("half")
        raise failure
    assert files_in(tmp_path) == ["out"]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".out.partial-99999").mkdir()
    (tmp_path / ".out.partial-99999" / "half.txt").write_text("half")
    with new_folder(tmp_path / "out"):
        pass
    assert files_in(tmp_path) == ["out"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failed_file_leaves_the_old_one_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "out.txt").write_text("old")
    with pytest.raises(failure), new_file(tmp_path / "out.txt") as partial:
        partial.write_text("half")
        raise failure
    assert (tmp_path / "out.txt").read_text() == "old"
    assert files_in(tmp_path) == ["out.txt"]


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*facts\.json.*"):
        write_json(tmp_path / "work" / "facts.json", {})
    with pytest.raises(DataError, match="cannot write .*prepared"), new_folder(tmp_path / "work" / "prepared"):
        pass


def test_json_is_the_same_for_the_same_content(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "č"})
    write_json(tmp_path / "b.json", {"a": "č", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert read_json(tmp_path / "a.json") == {"a": "č", "b": 1}


def test_no_json_is_written_that_others_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", float("nan"))
    assert files_in(tmp_path) == []


def test_broken_json_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1,\n"b": }\n')
    with pytest.raises(DataError, match=r"a\.json:2: not JSON"):
        read_json(tmp_path / "a.json")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfabc")
    assert read_text(tmp_path / "a.txt") == "abc"


def test_what_is_not_utf8_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("text,label\nčaj,a\n".encode("cp1250"))
    with pytest.raises(DataError, match=r"a\.txt:2: not UTF-8 \(byte 0xe8\); save the file as UTF-8"):
        read_text(tmp_path / "a.txt")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.txt is missing"):
        read_text(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"prepare\.json is missing; run `polydistill prepare` first"):
        require_input(tmp_path / "prepare.json", "prepare")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("a: 1\nb: [", r"a\.yaml:2: not YAML", id="open bracket"),
        pytest.param("a: 1\n\tb: 2", r"a\.yaml:2: not YAML", id="tab"),
        pytest.param("a: \x07", r"a\.yaml: not YAML .*special characters", id="control character"),
        pytest.param("a: 2026-13-01", r"a\.yaml: not YAML .*month", id="impossible date"),
        pytest.param("[" * 3000, r"a\.yaml: not YAML", id="very deep"),
        pytest.param("!!python/object:os.system {}", r"a\.yaml:1: not YAML", id="python object"),
    ],
)
def test_broken_yaml_is_said(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(DataError, match=message):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            "a: 1\nb: 2\na: 3\n", "a.yaml:3: not YAML (key `a` stands in line 1 and again in line 3;", id="top"
        ),
        pytest.param("a:\n  b: 1\n  'b': 1\n", "(key `b` stands in line 2 and again in line 3; keep one", id="section"),
        pytest.param("- {a: 1, a: 1}\n", "(key `a` stands in line 1 and again in line 1;", id="one line"),
        pytest.param("a: &x {b: 1}\nc:\n  <<: *x\n  d: 1\n  d: 2\n", "(key `d` stands in line 4", id="beside a merge"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(DataError) as error:
        read_yaml(tmp_path / "a.yaml")
    assert message in str(error.value)


def test_a_key_may_be_in_two_mappings_and_go_before_a_merged_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {x: 1, y: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}\n1: one\n'1': text\n")
    content = read_yaml(tmp_path / "a.yaml")
    assert content == {"a": {"x": 1, "y": 1}, "b": {"x": 2, "y": 1}, "c": {"x": 3, "y": 1}, 1: "one", "1": "text"}


def test_a_digest_tells_content_and_names_not_places(tmp_path: Path) -> None:
    for folder, name, content in (("a", "x", "1"), ("b", "x", "1"), ("c", "y", "1"), ("d", "x", "2")):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub" / name).write_text(content)
    a, b, c, d = (digest(tmp_path / folder) for folder in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_a_folder_that_another_run_took_away_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="out: another run writes it too"), new_folder(tmp_path / "out") as folder:
        shutil.rmtree(folder)  # as another run does, which takes it for one that was left
        (folder / "late.txt").write_text("late")


@pytest.mark.parametrize(
    ("written", "read"),
    [("2e-05", 2e-05), ("1E5", 1e5), (".5e+1", 5.0), ("2.0e-5", 2e-05), ("10", 10), ("1e", "1e"), ("e5", "e5")],
)
def test_numbers_are_read_as_json_and_dvc_write_them(tmp_path: Path, written: str, read: object) -> None:
    (tmp_path / "params.yaml").write_text(f"value: {written}\n")
    value = read_yaml(tmp_path / "params.yaml")["value"]
    assert (value, type(value)) == (read, type(read))
