# SPDX-License-Identifier: Apache-2.0
"""One Envoy for the whole folder. Each test gets a virtual host with a policy epoch of its own, so no test sees another's answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

import common.config.kinds  # noqa: F401 - registers WorkloadEntry
from common.config.resource import Resource, from_document
from pilot.networking.mixerclient import QuotaRule, RouteCheck, StringMatch
from tests.integration.mixer.data_plane import MIXER, SECOND, SERVICE, Identities, Mesh, Ports, application, bootstrap, envoy, free_port
from tests.integration.mixer.scripted_mixer import ScriptedMixer

HOSTS = 80
_next = count()


@dataclass(frozen=True)
class Plane:
    """What runs for all tests."""

    mesh: Mesh
    mixer: ScriptedMixer


@dataclass(frozen=True)
class Host:
    """Virtual hosts of one test, all with the same policy epoch."""

    closed: str
    open: str
    quota: str
    other_quota: str


def _routes() -> dict[str, RouteCheck | None]:
    routes: dict[str, RouteCheck | None] = {"unchecked": RouteCheck(services=(SERVICE, SECOND), check=False), "unknown": None}
    jason = StringMatch(attribute="request.headers", key="user", kind="exact", value="jason")
    admin = StringMatch(attribute="request.path", kind="prefix", value="/admin")
    for number in range(HOSTS):
        common = {"services": (SERVICE, SECOND), "epoch": f"e{number}", "timeout": 1.0}
        routes[f"closed{number}"] = RouteCheck(**common)  # type: ignore[arg-type]
        routes[f"open{number}"] = RouteCheck(**common, fail_open=True)  # type: ignore[arg-type]
        routes[f"quota{number}"] = RouteCheck(**common, quotas=(QuotaRule(quota="requests"),))  # type: ignore[arg-type]
        pattern = StringMatch(attribute="request.headers", key="user", kind="regex", value="team-[0-9]+")
        rules = (
            QuotaRule(quota="a", charge=2, matches=((jason, admin),)),
            QuotaRule(quota="b", matches=((admin,), (jason,))),
            QuotaRule(quota="c", matches=((pattern,),)),
        )
        routes[f"other-quota{number}"] = RouteCheck(**common, quotas=rules)  # type: ignore[arg-type]
    return routes


def _workloads() -> Iterator[Resource[Any]]:
    """All of them share loopback, as in the mode without network namespaces."""
    for name in ("ratings-v1", "reviews-v1", "reviews-v2"):
        account, _, version = name.partition("-")
        yield from_document(
            {
                "apiVersion": "networking.istio.io/v1alpha3",
                "kind": "WorkloadEntry",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"address": "127.9.9.9", "serviceAccount": account, "labels": {"app": account, "version": version}},
            }
        )


@pytest.fixture(scope="session")
def identities() -> Identities:
    return Identities()


@pytest.fixture(scope="session")
async def plane(tmp_path_factory: pytest.TempPathFactory, identities: Identities) -> AsyncIterator[Plane]:
    async with application() as port, ScriptedMixer(identities.of(MIXER), _workloads()).serving() as mixer:
        own = {name: free_port() for name in ("admin", "plain", "mesh", "outbound", "tcp")}
        ports = Ports(**own, application=port, check=mixer.check_port, report=mixer.report_port)
        async with envoy(tmp_path_factory.mktemp("envoy"), bootstrap(ports, identities, _routes()), ports) as mesh:
            yield Plane(mesh, mixer)


@pytest.fixture
def mesh(plane: Plane) -> Mesh:
    return plane.mesh


@pytest.fixture
def host() -> Host:
    number = next(_next)
    assert number < HOSTS, "raise HOSTS: there are more tests than virtual hosts"
    return Host(f"closed{number}", f"open{number}", f"quota{number}", f"other-quota{number}")


@pytest.fixture
def mixer(plane: Plane, host: Host) -> Iterator[ScriptedMixer]:
    plane.mixer.reset(epoch=host.closed.replace("closed", "e"))
    yield plane.mixer
    plane.mixer.reset(epoch="")
