"""What the API server refuses: taking the teacher from runs that hold it by applying the manifests."""

from typing import Any

import cel
import pytest
from kustomized import built, one

from polydistill.cluster.teacher import HOLDERS

HELD = {HOLDERS: '{"run-1": "2026-01-01T00:00:00+00:00"}'}


@pytest.mark.parametrize(
    ("replicas", "annotations", "allowed"),
    [
        pytest.param(0, HELD, False, id="applied while a run holds it"),
        pytest.param(1, HELD, True, id="a run brings it up"),
        pytest.param(0, {"other": "1"}, True, id="the last run lets go"),
        pytest.param(0, None, True, id="applied while none does"),
        pytest.param(0, {HOLDERS: "{}"}, True, id="nobody in the list"),
    ],
)
def test_a_teacher_that_runs_hold_is_not_set_to_zero(
    replicas: int, annotations: dict[str, str] | None, allowed: bool
) -> None:
    policy = one(built("gpu"), "ValidatingAdmissionPolicy", "polydistill-teacher-guard")
    (validation,) = policy["spec"]["validations"]
    metadata: dict[str, Any] = {"name": "teacher"} | ({"annotations": annotations} if annotations else {})
    deployment = {"metadata": metadata, "spec": {"replicas": replicas}}
    assert cel.evaluate(validation["expression"], {"object": deployment}) is allowed


def test_it_is_about_the_teacher_alone_and_stops_no_run_by_a_fault_of_its_own() -> None:
    objects = built("gpu")
    policy = one(objects, "ValidatingAdmissionPolicy", "polydistill-teacher-guard")["spec"]
    binding = one(objects, "ValidatingAdmissionPolicyBinding", "polydistill-teacher-guard")["spec"]
    assert policy["matchConstraints"]["resourceRules"] == [
        {
            "apiGroups": ["apps"],
            "apiVersions": ["v1"],
            "resources": ["deployments"],  # and not deployments/scale: a person who means it may
            "resourceNames": ["teacher"],
            "operations": ["UPDATE"],
        }
    ]
    assert policy["failurePolicy"] == "Ignore"
    assert binding["policyName"] == "polydistill-teacher-guard"
    namespaces = binding["matchResources"]["namespaceSelector"]
    assert namespaces["matchLabels"] == {"kubernetes.io/metadata.name": "polydistill"}
