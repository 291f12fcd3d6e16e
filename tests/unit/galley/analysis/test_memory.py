# SPDX-License-Identifier: Apache-2.0
"""An analysis that remembers the one before finds what a fresh one finds, looks again only at what may be different, and keeps nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.kinds.core import Service
from common.config.kinds.mesh import MESH_CONFIG, MeshConfig
from common.config.kinds.service_entry import WorkloadEntry
from common.config.resource import Metadata, Resource
from galley.analysis import Finding, Memory, analyze
from galley.analysis.codes import PORT_NAME_CONVENTION, RULES
from galley.analysis.finding import finding
from galley.analysis.view import View
from galley.validation import validate_documents
from tests.unit.galley.analysis.test_analyze import mesh

OURS = "1.2.3"
FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.yaml"))

Resources = list[Resource[Any]]


def read(path: Path) -> Resources:
    return [result.resource for result in validate_documents(path.read_bytes(), path.name) if result.resource is not None]


def settings_of_the_mesh(export_to: tuple[str, ...]) -> Resources:
    """A MeshConfig with these defaults of what others see."""
    spec = MeshConfig(defaultServiceExportTo=export_to, defaultDestinationRuleExportTo=export_to, defaultVirtualServiceExportTo=export_to)
    return [Resource(kind=MESH_CONFIG, metadata=Metadata(name="default", namespace="istio-system"), spec=spec)]


FILES: list[Resources] = [*map(read, FIXTURES), settings_of_the_mesh((".",)), settings_of_the_mesh(("*",))]
"""Resources that have to do with each other. A mistake and its good form mostly have the same names, so one changes the other."""


class Step(NamedTuple):
    """What happens to the mesh between two analyses."""

    action: Literal["put", "add", "remove", "annotate", "turn around"]
    file: int
    number: int

    def applied(self, resources: Resources) -> Resources:
        some = FILES[self.file]
        match self.action:
            case "put":
                keys = {resource.key for resource in some}
                return [*(resource for resource in resources if resource.key not in keys), *some]
            case "add":  # also beside others of the same name
                return [*resources, some[self.number % len(some)]]
            case "remove":
                return [resource for resource in resources if resource not in some] or resources[1:]
            case "annotate":
                return [
                    _annotated(each, self.file) if place == self.number % len(resources) else each for place, each in enumerate(resources)
                ]
            case "turn around":
                return resources[::-1]


def _annotated(resource: Resource[Any], number: int) -> Resource[Any]:
    """Changed in that it asks not to be told some code, or all."""
    codes = ["*", *RULES][number % (len(RULES) + 1)]
    annotations = {**resource.metadata.annotations, "galley.istio.io/analyze-suppress": codes}
    return msgspec.structs.replace(resource, metadata=msgspec.structs.replace(resource.metadata, annotations=annotations))


ACTIONS = st.sampled_from(["put", "put", "add", "remove", "annotate", "turn around"])
STEPS = st.builds(Step, ACTIONS, st.integers(0, len(FILES) - 1), st.integers(0, 30))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.lists(STEPS, min_size=1, max_size=4), st.sampled_from(["", OURS, OURS, OURS])), min_size=2, max_size=12))
def test_a_remembered_analysis_finds_what_a_fresh_one_finds(changes: list[tuple[list[Step], str]]) -> None:
    resources: Resources = []
    memory = Memory()
    for steps, version in changes:
        for step in steps:
            resources = step.applied(resources)
        remembered = analyze(resources, memory=memory, control_plane_version=version)
        assert remembered == analyze(resources, control_plane_version=version)


def test_each_mistake_is_found_when_it_comes_and_gone_when_it_goes() -> None:
    memory = Memory()
    resources: Resources = []
    met: set[str] = set()
    for place, path in enumerate(FIXTURES):
        for step in (Step("put", place, 0), Step("remove", place, 0)):
            resources = step.applied(resources)
            found = analyze(resources, memory=memory, control_plane_version=OURS)
            assert found == analyze(resources, control_plane_version=OURS), path.name
            met |= {each.code for each in found}
    assert met >= {path.name.partition(".")[0].partition("-")[0].upper() for path in FIXTURES}


# -- what is looked at again ------------------------------------------------------------------------------------------------------------

ASKED: list[str] = []


@pytest.fixture
def asked() -> list[str]:
    """Names that `_asked` was asked about since the last look; empty it after looking."""
    ASKED.clear()
    return ASKED


def _asked(view: View, service: Resource[Service]) -> Iterator[Finding]:
    ASKED.append(service.name)
    if view.host("ratings", service.namespace) is None:
        yield finding(PORT_NAME_CONVENTION, service, (), "no ratings")


def asking(view: View) -> Iterable[Finding]:
    return view.each(Service, _asked)


def service(name: str, labels: str = "") -> Resource[Any]:
    return mesh(f"Service {name}: {{ports: [{{name: http, port: 80}}], selector: {{app: {name}{labels}}}}}")[0]


def test_only_what_changed_is_asked_about_again_until_something_changes_that_the_answers_need(asked: list[str]) -> None:
    memory = Memory()

    def run(*resources: Resource[Any]) -> tuple[list[str], int]:
        asked.clear()
        found = analyze(resources, [asking], memory=memory)
        return list(asked), len(found)

    a, b, workload = service("a"), service("b"), mesh("WorkloadEntry w: {address: 1.2.3.4, labels: {app: a}}")
    assert run(a, b, *workload) == (["a", "b"], 2)
    assert run(a, b, *workload) == ([], 2)
    assert run(a, b) == ([], 2), "workloads were not asked for"
    (entry,) = mesh("ServiceEntry e: {hosts: [ratings.default.svc.cluster.local], ports: [{number: 80, name: http, protocol: HTTP}]}")
    assert run(a, b, entry) == (["a", "b"], 0), "the host depends on services and entries"
    assert run(a, entry) == (["a"], 0)


ENTRIES: list[str] = []


def _workload(view: View, workload: Resource[WorkloadEntry]) -> Iterator[Finding]:
    ENTRIES.append(workload.name)
    yield finding(PORT_NAME_CONVENTION, workload, (), "".join(each.name for each in view.services_of(workload)))


def each_workload(view: View) -> Iterable[Finding]:
    return view.each(WorkloadEntry, _workload)


def test_one_workload_of_many_is_one_question() -> None:
    memory = Memory()

    def workload(number: int, app: str) -> Resource[Any]:
        return mesh(f"WorkloadEntry w{number:03}: {{address: 1.2.3.4, labels: {{app: {app}}}}}")[0]

    resources = [service("a"), service("b"), *(workload(number, "a") for number in range(100))]
    ENTRIES.clear()
    assert {each.message for each in analyze(resources, [each_workload], memory=memory)} == {"a"}
    assert len(ENTRIES) == 100
    ENTRIES.clear()
    resources[50] = workload(48, "b")
    found = analyze(resources, [each_workload], memory=memory)
    assert (ENTRIES, [each.message for each in found].count("b"), len(found)) == (["w048"], 1, 100)


def test_settings_that_mean_nothing_to_the_analysis_change_nothing(asked: list[str]) -> None:
    memory = Memory()
    (config,) = settings_of_the_mesh(("*",))
    a = service("a")
    analyze([a, config], [asking], memory=memory)
    asked.clear()
    louder = msgspec.structs.replace(config, spec=msgspec.structs.replace(config.spec, accessLogFile="/dev/stdout"))
    analyze([a, louder], [asking], memory=memory)
    assert asked == []
    analyze([a, *settings_of_the_mesh((".",))], [asking], memory=memory)
    assert asked == ["a"], "who sees a host is decided by MeshConfig"


# -- faults and forgetting --------------------------------------------------------------------------------------------------------------


def _moody(view: View, service: Resource[Service]) -> Iterator[Finding]:
    if service.spec.selector.get("mood") == "bad":
        raise ValueError(service.name)
    yield finding(PORT_NAME_CONVENTION, service, (), "fine")


def moody(view: View) -> Iterable[Finding]:
    return view.each(Service, _moody)


def test_a_fault_hides_no_finding_about_others_and_is_not_remembered() -> None:
    memory = Memory()

    def run(*resources: Resource[Any]) -> Sequence[str]:
        found = analyze(resources, [moody], memory=memory)
        assert found == analyze(resources, [moody])
        return [each.message.removeprefix("Internal error: analyser test_memory.moody failed: ") for each in found]

    a, b, c, bad = service("a"), service("b"), service("c"), service("b", ", mood: bad")
    assert run(a, b, c) == ["fine"] * 3
    assert run(a, bad, c) == ["ValueError: b", "fine", "fine"]
    assert run(a, bad, c) == ["ValueError: b", "fine", "fine"]
    assert run(a, b, c) == ["fine"] * 3


def references(things: Sequence[object]) -> list[int]:
    return [sys.getrefcount(each) for each in things]


def test_what_is_gone_is_forgotten() -> None:
    memory = Memory()
    resources = [resource for file in FILES for resource in file]
    removed = mesh(
        "Service gone: {ports: [{name: web, port: 80}], selector: {app: gone}}",
        "WorkloadEntry gone: {address: 1.2.3.4, labels: {app: gone}}",
        "VirtualService gone: {hosts: [gone], http: [{route: [{destination: {host: nobody}}]}]}",
    )
    held, all_held = references(removed), references(resources)
    mine = {resource.key for resource in removed}
    told, told_by_who_forgets = (
        [each for each in analyze([*resources, *removed], memory=kept) if each.resource in mine] for kept in (memory, None)
    )
    assert all(now > before for now, before in zip(references(removed), held, strict=True)), "what is there is remembered"
    analyze(resources, memory=memory)
    assert references(removed) == held
    assert told
    assert references(told) == references(told_by_who_forgets), "findings about it too"
    known = len(memory.known)
    for number in range(3):
        analyze([*resources, service(f"s{number}")], memory=memory)
    assert len(memory.known) == known, "the memory grows with the analysers only"
    analyze([], memory=memory)
    assert references(resources) == all_held, "also what nobody looked up this time"
