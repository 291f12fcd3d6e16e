# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from pilot.agent.readiness import Readiness

BOTH = {"cluster_manager.cds.update_success": 1, "listener_manager.lds.update_success": 1}


def test_from_start_to_drain() -> None:
    readiness = Readiness()
    assert readiness.problem("PRE_INITIALIZING", {}) == "Envoy has no clusters and no listeners from Pilot yet"
    assert readiness.problem("INITIALIZING", {"cluster_manager.cds.update_success": 1}) == "Envoy has no listeners from Pilot yet"
    assert readiness.problem("INITIALIZING", BOTH) == "Envoy is INITIALIZING"
    assert readiness.problem("LIVE", {}) is None
    assert readiness.problem("DRAINING", {}) == "Envoy is DRAINING"


def test_live_without_configuration_is_not_ready() -> None:
    assert Readiness().problem("LIVE", {"cluster_manager.cds.update_success": 0}) is not None


@pytest.mark.parametrize("outcome", ["update_success", "update_rejected"])
def test_a_rejected_configuration_counts_as_one(outcome: str) -> None:
    counters = {"cluster_manager.cds.update_success": 1, f"listener_manager.lds.{outcome}": 1}
    assert Readiness().problem("LIVE", counters) is None


def test_a_restarted_envoy_begins_anew() -> None:
    readiness = Readiness()
    assert readiness.problem("LIVE", BOTH) is None
    readiness.restarted()
    assert readiness.problem("LIVE", {}) is not None
