"""The objects that an overlay of manifests/ applies, as `kubectl apply --server-side -k` would send them."""

import functools
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

Object = dict[str, Any]

MANIFESTS = Path(__file__).parents[2] / "manifests"
KUBERNETES = [f"1.{minor}" for minor in range(31, 38)]
OVERLAYS = ["gpu", "local", "production"]
"""Those that are ours; one that a person adds beside them has images and names of its own."""
PROMETHEUS_OPERATOR = {"ServiceMonitor", "PrometheusRule"}
"""Kinds that Kubernetes does not know; their schema is that of the operator's CRDs, which is not at hand."""


def built(overlay: str) -> list[Object]:
    """Return the objects of an overlay, to be changed at will; skip where there is no kubectl."""
    return deepcopy(_built(MANIFESTS / "overlays" / overlay))


def built_with(overlay: str, *components: str, work: Path, params: str | None = None) -> list[Object]:
    """Return the objects of a person's own copy of an overlay.

    Args:
        overlay: The overlay.
        components: Before these a person took the `#` away.
        work: Folder for the copy.
        params: What the params.yaml of the person's workspace says, which is copied into the overlay; None: left out.
    """
    copy = work / "manifests"
    shutil.copytree(MANIFESTS, copy, ignore=shutil.ignore_patterns("mine"))
    shutil.copytree(copy / "overlays" / overlay, copy / "overlays" / "mine")
    edited = copy / "overlays" / "mine" / "kustomization.yaml"
    text = edited.read_text(encoding="utf-8")
    if params is not None:
        (edited.parent / "params.yaml").write_text(params, encoding="utf-8")
        start = text.index("#- name: polydistill-params")
        lines = text[start:].splitlines(keepends=True)
        taken = [line.removeprefix("#") for line in lines[:4]]
        text = text[:start] + "".join([*taken, *lines[4:]])
    for component in components:
        line = f"- ../../components/{component}\n"
        assert f"#{line}" in text, f"{overlay} does not offer {component}"
        text = text.replace(f"#{line}", line)
    edited.write_text(text, encoding="utf-8")
    return _built(edited.parent)


@functools.cache
def _built(folder: Path) -> list[Object]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, and it alone builds the overlays")
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kustomize warns"
    return list(yaml.safe_load_all(done.stdout))


class Pod(NamedTuple):
    """What pods of a Deployment or a CronJob are like."""

    owner: Object
    labels: Mapping[str, str]
    spec: Object

    @property
    def name(self) -> str:
        """Return what a reader knows it by."""
        return named(self.owner)

    @property
    def namespace(self) -> str:
        """Return the namespace of the pods."""
        return str(self.owner["metadata"]["namespace"])

    @property
    def containers(self) -> list[Object]:
        """Return all containers, those first that run before the others."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Return the ports of its containers by name."""
        ports = [port for container in self.containers for port in container.get("ports", [])]
        return {port["name"]: port["containerPort"] for port in ports}


def named(found: Object) -> str:
    """Return kind and name of an object."""
    return f"{found['kind']} {found['metadata']['name']}"


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Return the objects of these kinds."""
    return [found for found in objects if found["kind"] in kinds]


def one(objects: list[Object], kind: str, name: str) -> Object:
    """Return the object of that kind and name."""
    (found,) = (found for found in of_kind(objects, kind) if found["metadata"]["name"] == name)
    return found


def pods(objects: list[Object]) -> Iterator[Pod]:
    """Yield what the pods of each workload are like."""
    for owner in objects:
        if owner["kind"] == "Pod":
            yield Pod(owner, owner["metadata"]["labels"], owner["spec"])
        elif "template" in (spec := owner.get("spec") or {}):
            template = spec["template"]
            yield Pod(owner, template["metadata"]["labels"], template["spec"])
        elif "jobTemplate" in spec:
            template = spec["jobTemplate"]["spec"]["template"]
            yield Pod(owner, template["metadata"]["labels"], template["spec"])


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Say whether a label selector selects what has these labels.

    Raises:
        KeyError: If it has an operator that no manifest of ours needs.
    """
    operators = {
        "In": lambda value, values: value in values,
        "Exists": lambda value, _: value is not None,
    }
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        operators[term["operator"]](labels.get(term["key"]), term.get("values"))
        for term in selector.get("matchExpressions", [])
    )
