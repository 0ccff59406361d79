import json

import pytest

from polydistill.cluster.registry import REGISTRY, Bento, Decision, Promotion, Registry, parse_registry, read_registry
from polydistill.cluster.store import open_store
from polydistill.errors import DataError
from promotions import MAY, champion, data

BENTO = Bento(url="s3://bucket/b.tar", digest="b" * 64, version="polydistill:1", run="spring", promoted_at=MAY)
DECISION = Decision(
    winner="1" * 64,
    replaced=None,
    data=data(),
    verdict="better",
    reason="better beyond chance",
    difference=0.1,
    interval=(0.02, 0.18),
    p_value=0.01,
    texts=50,
)
PROMOTION = Promotion(serial=1, run="spring", promoted_at=MAY, bento=BENTO, cells={"clinic/sl": DECISION})
WHOLE = Registry(serial=1, bento=BENTO, champions={"clinic/sl": champion()}, history=[PROMOTION])


def test_what_is_written_is_read_and_the_same_content_gives_the_same_bytes() -> None:
    assert parse_registry(WHOLE.to_bytes(), "here") == WHOLE
    assert parse_registry(WHOLE.to_bytes(), "here").to_bytes() == WHOLE.to_bytes()


def test_an_auditor_reads_who_promoted_what_from_which_data_and_why() -> None:
    said = json.loads(WHOLE.to_bytes())
    (entry,) = said["history"]
    assert (entry["run"], entry["promoted_at"]) == ("spring", "2026-05-01T12:00:00Z")
    assert entry["cells"]["clinic/sl"]["data"]["commit"] == "c" * 40
    assert entry["cells"]["clinic/sl"]["reason"] == "better beyond chance"
    assert said["champions"]["clinic/sl"]["winner"]["digest"] == entry["cells"]["clinic/sl"]["winner"]


def test_where_nothing_was_ever_promoted_the_registry_is_empty(store_url: str) -> None:
    assert read_registry(open_store(store_url)) == (Registry(), None)


def test_a_registry_of_a_newer_version_is_refused(store_url: str) -> None:
    store = open_store(store_url)
    store.write(REGISTRY, json.dumps(json.loads(WHOLE.to_bytes()) | {"schema_version": 2}).encode())
    with pytest.raises(
        DataError, match=r"registry.json has the schema_version 2, and polydistill .* knows 1; use the images"
    ):
        read_registry(store)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        pytest.param(b"", "Expecting value", id="empty"),
        pytest.param(b"[]", "no JSON object", id="a list"),
        pytest.param(b'{"schema_version": 1, "serial": "7"}', "serial: Input should be a valid integer", id="a text"),
        pytest.param(b'{"schema_version": 1, "owner": "me"}', "owner: Extra inputs are not permitted", id="unknown"),
        pytest.param(WHOLE.to_bytes()[:-113], "Unterminated string", id="cut short"),
    ],
)
def test_a_damaged_registry_is_refused(content: bytes, what: str) -> None:
    with pytest.raises(DataError, match="here is damaged .*; put back the last good version") as failure:
        parse_registry(content, "here")
    assert what in str(failure.value)
