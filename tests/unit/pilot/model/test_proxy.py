# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from common.checkprotocol.script import check_script, check_script_digest
from common.mesh.node import NodeId, NodeMetadata
from pilot.model.proxy import Proxy

NODE = NodeId(type="sidecar", ip="10.1.0.1", name="a", namespace="default")


def of(digest: str) -> Proxy:
    return Proxy.from_node(NODE, NodeMetadata(NAMESPACE="default", SERVICE_ACCOUNT="a", CHECK_SCRIPT=digest), delta=True)


def test_a_proxy_holds_the_check_script_if_it_is_this_very_text() -> None:
    assert of(check_script_digest()).holds_script


@pytest.mark.parametrize("digest", ["", "0" * 24, check_script_digest().upper(), check_script_digest()[:-1], check_script()])
def test_whatever_else_it_says_the_text_is_sent(digest: str) -> None:
    """An older agent says nothing, one of another release something else."""
    assert not of(digest).holds_script


def test_proxies_that_hold_the_text_and_others_are_not_planned_for_together() -> None:
    assert of(check_script_digest()).view != of("").view
