"""The alerts ask for figures that are there: a rule with a wrong name is silent for ever."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
from kustomized import Object, built, of_kind, one
from promql_parser import VectorSelector

from polydistill.package import run_package
from polydistill.params import PackageParams
from polydistill.serve import rehearse, running
from winners import SLOVENIAN, build_winner

# Of kube-state-metrics: metric -> labels besides `namespace`; all are stable by its documentation.
KUBE = {
    "kube_cronjob_created": {"cronjob"},
    "kube_cronjob_status_last_successful_time": {"cronjob"},
    "kube_deployment_spec_replicas": {"deployment"},
    "kube_deployment_status_replicas_available": {"deployment"},
    "kube_horizontalpodautoscaler_spec_max_replicas": {"horizontalpodautoscaler"},
    "kube_horizontalpodautoscaler_status_current_replicas": {"horizontalpodautoscaler"},
}
KINDS = {"cronjob": "CronJob", "deployment": "Deployment", "horizontalpodautoscaler": "HorizontalPodAutoscaler"}


def alerts() -> list[Object]:
    """Return the rules of all groups."""
    (found,) = of_kind(built("production"), "PrometheusRule")
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


def selectors() -> Iterator[VectorSelector]:
    """Yield whatever the rules select."""
    for rule in alerts():
        found: list[VectorSelector] = []

        def note(node: promql_parser.Expr, found: list[VectorSelector] = found) -> None:
            if isinstance(node, VectorSelector):
                found.append(node)

        promql_parser.walk(promql_parser.parse(rule["expr"]), pre_visit=note)
        yield from found


def labels(selector: VectorSelector) -> dict[str, str]:
    """Return the labels that a selector compares."""
    return {matcher.name: matcher.value for matcher in selector.matchers.matchers}


def test_every_rule_can_be_read_and_says_what_to_do() -> None:
    assert len(alerts()) == len({rule["alert"] for rule in alerts()})
    for rule in alerts():
        promql_parser.parse(rule["expr"])
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert promql_parser.parse_duration(rule["for"]).total_seconds() >= 600


def test_a_rule_that_cannot_be_read_is_noticed() -> None:
    with pytest.raises(ValueError, match="invalid promql query"):
        promql_parser.parse("sum(rate(requests_total[5m])) by > 1")


def test_the_rules_are_about_this_namespace_and_what_is_in_it() -> None:
    objects = built("production")
    for selector in selectors():
        compared = labels(selector)
        assert compared["namespace"] == "polydistill"
        if selector.name in KUBE:
            (label,) = KUBE[selector.name]
            one(objects, KINDS[label], compared[label])


def test_kubernetes_and_the_two_servers_have_the_figures() -> None:
    names = {selector.name for selector in selectors()}
    others = {name for name in names if not name.startswith(("bentoml_", "vllm:"))}
    assert others <= KUBE.keys()


def test_the_service_has_the_figures(tmp_path: Path) -> None:
    build_winner(tmp_path, "clinic/sl", SLOVENIAN)
    run_package(tmp_path / "winners", tmp_path / "cards", tmp_path / "bento", PackageParams(name="polydistill"))
    with running(tmp_path / "bento") as url:
        rehearse(url, tmp_path / "winners")
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as response:
            told = response.read().decode()
    (monitor,) = (m for m in of_kind(built("production"), "ServiceMonitor") if m["metadata"]["name"] == "serving")
    assert monitor["spec"]["endpoints"][0]["path"] == "/metrics"
    asked = [selector for selector in selectors() if str(selector.name).startswith("bentoml_")]
    assert len(asked) == 3
    for selector in asked:
        lines = [line for line in told.splitlines() if line.startswith(f"{selector.name}{{")]
        of_classify = [line for line in lines if f'endpoint="{labels(selector)["endpoint"]}"' in line]
        assert of_classify, selector.name
        for label in labels(selector).keys() - {"namespace"}:
            assert re.search(rf'\b{label}="', of_classify[0]), label
