"""What the checks find of planted faults, with the settings of params.yaml; docs/filtering.md has the whole tables."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import planted
import pytest
from published import GENERATED, NEARLY, ONE_WORD, SAME, TASKS

from polydistill.checks import Context
from polydistill.checks.near_duplicate import NearDuplicate
from spaces import filter_params

LANGUAGES = ("sl", "te")
PARAMS = filter_params()

pytestmark = pytest.mark.paper_data


def share(counts: planted.Counts, kinds: Iterable[str], tasks: Sequence[str] = TASKS) -> float:
    of_kinds = [counts[task][kind] for task in tasks for kind in kinds]
    return sum(found for found, _ in of_kinds) / sum(n for _, n in of_kinds)


def test_leaks_are_found(paper_data: Path) -> None:
    found = planted.leaks(paper_data, PARAMS, LANGUAGES)
    assert share(found, SAME) == 1
    assert all(share(found, [kind]) >= 0.95 for kind in ONE_WORD)
    assert share(found, NEARLY) >= 0.95


def test_near_duplicates_are_found_and_clean_texts_stay(paper_data: Path) -> None:
    check = NearDuplicate.open(PARAMS, Context("sl", ["sl"]))
    found = planted.duplicates(paper_data, check, LANGUAGES)
    assert share(found, SAME) == 1
    assert all(share(found, [kind]) >= 0.95 for kind in ONE_WORD)
    assert all(share(found, ["clean"], [task]) <= 0.005 for task in TASKS)


def test_wrong_labels_of_generated_texts_are_doubted(paper_data: Path) -> None:
    found = planted.noise(paper_data, PARAMS, GENERATED, LANGUAGES)
    for task, precision, recall in (("intent", 0.95, 0.85), ("topic", 0.9, 0.6), ("sentiment", 0.6, 0.5)):
        right, doubted, wrong = found[task]
        assert right >= precision * doubted
        assert right >= recall * wrong
