# SPDX-License-Identifier: Apache-2.0
"""Outcomes at the proxies, told at the configuration that they concern."""

from __future__ import annotations

from typing import Any

import pytest

from common.config.resource import ResourceKey
from common.mesh.names import TYPE_ROUTE
from common.registration.reporter import Verdict
from pilot.api.reports import Reports
from pilot.xds.frames import Framed, Part
from pilot.xds.notices import Refused

REVIEWS = ResourceKey("istio/networking/v1alpha3/virtualservices", "default", "reviews")
RATINGS = ResourceKey("istio/networking/v1alpha3/virtualservices", "default", "ratings")


class Told:
    def __init__(self) -> None:
        self.reports: list[tuple[str, Verdict, str]] = []
        self.versions = {REVIEWS: "7", RATINGS: "8"}
        self.collected = Reports(self.take, self.versions.get)
        self.changed: list[ResourceKey] = []
        self.collected.changed = self.changed.extend

    def take(
        self, key: ResourceKey, *, resource_version: str, type: str, verdict: Verdict, reason: str, message: str = "", **_: Any
    ) -> None:
        assert type == "Rejected" and resource_version == self.versions[key]
        self.reports.append((key.name, verdict, message))


@pytest.fixture
def told() -> Told:
    return Told()


def part(*sources: ResourceKey, name: str = "web") -> Part:
    return Part((Framed(TYPE_ROUTE, name, name.encode(), sources),))


def refusal(*sources: ResourceKey, name: str = "web", message: str = "bad regex") -> Refused:
    return Refused(TYPE_ROUTE, name, "v", sources, message)


def test_acceptance_alone_is_no_news_here(told: Told) -> None:
    told.collected.accepted("a-1.default-1", TYPE_ROUTE, [part(REVIEWS, RATINGS)])
    assert told.reports == [] and told.changed == []


def test_a_refusal_names_proxy_resource_and_reason(told: Told) -> None:
    told.collected.refused("web-1.default-3", refusal(REVIEWS))
    assert told.reports == [("reviews", Verdict.TRUE, "web-1.default refuses RDS web: bad regex")]
    assert told.changed == [REVIEWS]


def test_others_acceptance_does_not_hide_a_refusal(told: Told) -> None:
    told.collected.refused("a-1", refusal(REVIEWS))
    told.reports.clear()
    told.collected.accepted("b-2", TYPE_ROUTE, [part(REVIEWS)])
    assert told.reports == []


def test_acceptance_by_the_same_proxy_ends_it(told: Told) -> None:
    told.collected.refused("a-1", refusal(REVIEWS))
    told.collected.accepted("a-1", TYPE_ROUTE, [part(REVIEWS)])
    assert [verdict for _, verdict, _ in told.reports] == [Verdict.TRUE, Verdict.FALSE]
    assert told.changed == [REVIEWS, REVIEWS]


def test_a_proxy_that_leaves_takes_its_refusals_along(told: Told) -> None:
    told.collected.refused("a-1", refusal(REVIEWS))
    told.collected.refused("b-2", refusal(REVIEWS, message="other"))
    told.collected.gone("a-1")
    assert told.reports[-1] == ("reviews", Verdict.TRUE, "b refuses RDS web: other")
    told.collected.gone("b-2")
    assert told.reports[-1][1] is Verdict.FALSE


def test_many_refusals_are_one_readable_message(told: Told) -> None:
    for number in range(10):
        told.collected.refused(f"p-{number}", refusal(REVIEWS))
    assert told.reports[-1][2].endswith("(and 7 more)") and told.reports[-1][2].count("refuses") == 3


def test_nothing_is_told_about_what_is_gone(told: Told) -> None:
    del told.versions[REVIEWS]
    told.collected.refused("a", refusal(REVIEWS))
    assert told.reports == []
