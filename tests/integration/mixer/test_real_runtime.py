# SPDX-License-Identifier: Apache-2.0
"""Rules as users write them, Mixer's own runtime, a real Envoy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import common.config.kinds  # noqa: F401 - registers the kinds that the rules are of
from common.config.resource import from_document
from mixer.adapters.contract import Environment
from mixer.dispatch.runtime import Runtime
from mixer.rules.builder import SnapshotBuilder
from mixer.rules.snapshot import Snapshot
from tests.integration.mixer.conftest import Host
from tests.integration.mixer.data_plane import Mesh
from tests.integration.mixer.scripted_mixer import ScriptedMixer

DENY = """
apiVersion: config.istio.io/v1alpha2
kind: handler
metadata: {name: denyreviewsv3, namespace: default}
spec: {compiledAdapter: denier, params: {status: {code: 7, message: Not allowed}}}
---
apiVersion: config.istio.io/v1alpha2
kind: instance
metadata: {name: denyreviewsv3request, namespace: default}
spec: {compiledTemplate: checknothing}
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: denyreviewsv3, namespace: default}
spec:
  match: %s
  actions: [{handler: denyreviewsv3, instances: [denyreviewsv3request]}]
"""
QUOTA = """
apiVersion: config.istio.io/v1alpha2
kind: handler
metadata: {name: quotahandler, namespace: default}
spec:
  compiledAdapter: memquota
  params: {quotas: [{name: requests.instance.default, maxAmount: 2, validDuration: 5s}]}
---
apiVersion: config.istio.io/v1alpha2
kind: instance
metadata: {name: requests, namespace: default}
spec:
  compiledTemplate: quota
  params: {dimensions: {user: 'request.headers["user"] | "unknown"'}}
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: quota, namespace: default}
spec: {actions: [{handler: quotahandler, instances: [requests]}]}
"""
OPERATIONS = """
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: mark, namespace: default}
spec:
  match: request.headers["user"] == "jason"
  requestHeaderOperations: [{name: x-group, values: ['"testers"'], operation: REPLACE}]
"""
METRICS = """
apiVersion: config.istio.io/v1alpha2
kind: instance
metadata: {name: requestcount, namespace: istio-system}
spec:
  compiledTemplate: metric
  params:
    value: "1"
    dimensions:
      reporter: conditional((context.reporter.kind | "inbound") == "outbound", "source", "destination")
      source_workload: source.workload.name | "unknown"
      source_version: source.labels["version"] | "unknown"
      destination_workload: destination.workload.name | "unknown"
      destination_service: destination.service.host | "unknown"
      response_code: response.code | 200
      host: request.host | "unknown"
      connection_security_policy: >-
        conditional((context.reporter.kind | "inbound") == "outbound", "unknown", conditional(connection.mtls | false, "mutual_tls", "none"))
    monitoredResourceType: '"UNSPECIFIED"'
---
apiVersion: config.istio.io/v1alpha2
kind: handler
metadata: {name: prometheus, namespace: istio-system}
spec:
  compiledAdapter: prometheus
  params:
    metrics:
    - name: requests_total
      instance_name: requestcount.instance.istio-system
      kind: COUNTER
      label_names: [reporter, source_workload, source_version, destination_workload, destination_service, response_code,
                    connection_security_policy, host]
---
apiVersion: config.istio.io/v1alpha2
kind: rule
metadata: {name: promhttp, namespace: istio-system}
spec:
  match: (context.protocol == "http" || context.protocol == "grpc") && (match((request.useragent | "-"), "kube-probe*") == false)
  actions: [{handler: prometheus, instances: [requestcount]}]
"""

Load = Callable[[str], Awaitable[Environment]]


@pytest.fixture
async def load(mixer: ScriptedMixer) -> AsyncIterator[Load]:
    """Give Mixer these rules."""
    runtime = Runtime()
    environment = Environment(clock=time.monotonic, wall=time.time)

    async def apply(text: str) -> Environment:
        documents: list[Any] = list(yaml.safe_load_all(text))
        snapshot = SnapshotBuilder(environment).build([from_document(document) for document in documents], runtime.snapshot)
        assert snapshot.findings == ()
        await runtime.replace(snapshot)
        mixer.runtime = runtime
        names = snapshot.policy_headers
        mixer.headers = None if names is None else sorted(names)
        return environment

    yield apply
    await runtime.replace(Snapshot(id=runtime.snapshot.id + 1))


async def test_a_denial_by_label_of_the_source(mesh: Mesh, mixer: ScriptedMixer, host: Host, load: Load) -> None:
    await load(DENY % """'destination.labels["app"] == "ratings" && source.labels["version"] == "v1"'""")
    for _ in range(2):
        denied = await mesh.get_as_reviews(host.closed)
        assert (denied.status_code, denied.text) == (403, "PERMISSION_DENIED:denyreviewsv3.default:Not allowed")
        assert (await mesh.get(host.closed)).status_code == 200  # nobody's version is v1
    assert len(mixer.asked) == 2


async def test_a_denial_by_header_names_the_header_for_the_filter(mesh: Mesh, mixer: ScriptedMixer, host: Host, load: Load) -> None:
    await load(DENY % """'request.headers["user"] == "eve"'""")
    assert mixer.headers == ["user"]
    users = ["eve", "jason", "eve", "jason"]
    assert [(await mesh.get(host.closed, headers={"user": user})).status_code for user in users] == [403, 200, 403, 200]
    assert mixer.asked[1]["request.headers"] == {"user": "jason"}
    assert len(mixer.asked) == 2


async def test_a_quota_for_each_user(mesh: Mesh, mixer: ScriptedMixer, host: Host, load: Load) -> None:
    await load(QUOTA)
    answers = [await mesh.get(host.quota, headers={"user": user}) for user in ("a", "a", "b", "a", "b", "b")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 200, 429]
    assert answers[3].text == "RESOURCE_EXHAUSTED:Quota is exhausted for: requests"


async def test_a_header_operation(mesh: Mesh, mixer: ScriptedMixer, host: Host, load: Load) -> None:
    await load(OPERATIONS)
    for user, group in (("jason", "testers"), ("bob", "own"), ("jason", "testers"), ("bob", "own")):
        answer = await mesh.get(host.closed, headers={"user": user, "x-group": "own"})
        assert answer.json()["headers"]["x-group"] == group
    assert len(mixer.asked) == 2


async def test_the_standard_metric_counts_every_request_once_for_each_reporter(
    mesh: Mesh, mixer: ScriptedMixer, host: Host, load: Load
) -> None:
    environment = await load(METRICS + "---" + DENY % """'request.headers["user"] == "eve"'""")
    for user in ["jason"] * 7 + ["eve"] * 3:
        await mesh.get_as_reviews(host.closed, headers={"user": user})
    async with asyncio.timeout(15):
        while len([bag for bag in mixer.reported if bag.get("request.host") == host.closed]) < 20:
            await asyncio.sleep(0.02)
    found = {
        tuple(sorted(sample.labels.items())): sample.value  # without the host, which tells this test's reports from others'
        for family in text_string_to_metric_families(environment.metrics_page.text().decode())
        for sample in family.samples
        if sample.name == "istio_requests_total" and sample.labels.pop("host") == host.closed
    }
    shared = {"destination_service": "ratings.default.svc.cluster.local", "destination_workload": "ratings-v1", "source_version": "v1"}
    inbound = {"reporter": "destination", "source_workload": "reviews-v1", "connection_security_policy": "mutual_tls"}
    # In this plane the outbound proxy reports with the certificate of ratings.
    outbound = {"reporter": "source", "source_workload": "ratings-v1", "connection_security_policy": "unknown"}
    assert found == {
        tuple(sorted({**shared, **view, "response_code": code}.items())): count
        for view in (inbound, outbound)
        for code, count in (("200", 7), ("403", 3))
    }
