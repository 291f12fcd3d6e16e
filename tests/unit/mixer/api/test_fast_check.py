# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from common.checkprotocol.attributes import Reference
from common.checkprotocol.message import AnsweredHeader, AnsweredQuota, AskedQuota, Question, Status
from common.identity.spiffe import SpiffeId
from mixer.api.attributes_of_peers import Peer
from mixer.api.attributes_of_questions import bag_of
from mixer.api.fast_check import FastCheck
from mixer.attributes.bag import Referenced
from mixer.dispatch.result import CheckResult, DirectResponse, HeaderOperation, Operation, QuotaRequest, QuotaResult
from mixer.errors import CheckError, Overloaded
from tests.unit.mixer.api.four_workloads import PEERS, RATINGS, REVIEWS, address


class TestPeers:
    def names(self, peer: Peer) -> tuple[str | None, str | None]:
        found = PEERS.of("source", peer)
        return found.get("source.workload.name"), found.get("source.principal")

    def test_an_address_chooses_among_the_workloads_of_the_account(self) -> None:
        assert self.names(Peer(str(REVIEWS), address("10.0.0.3"))) == ("reviews-v2", REVIEWS.principal)

    def test_a_uid_chooses_where_the_address_says_nothing(self) -> None:
        assert self.names(Peer(str(REVIEWS), address("127.0.0.1"), "kubernetes://reviews-v1.default")) == ("reviews-v1", REVIEWS.principal)

    @pytest.mark.parametrize(("place", "uid"), [("10.0.0.1", ""), ("127.0.0.1", "kubernetes://ratings-v1.default")])
    def test_neither_lends_an_identity(self, place: str, uid: str) -> None:
        assert self.names(Peer(str(REVIEWS), address(place), uid)) == (None, REVIEWS.principal)

    def test_the_only_workload_of_an_account_needs_no_address(self) -> None:
        details = SpiffeId("cluster.local", "default", "details")
        assert self.names(Peer(str(details), None)) == ("details-v1", details.principal)

    def test_without_a_certificate_the_address_is_all_there_is(self) -> None:
        assert self.names(Peer("", address("10.0.0.2"))) == ("reviews-v1", None)
        assert self.names(Peer("", address("10.0.0.2"), "kubernetes://ratings-v1.default")) == ("reviews-v1", None)

    def test_a_uri_of_another_form_proves_nothing(self) -> None:
        assert self.names(Peer("spiffe://other/workload", None)) == (None, None)


class TestBag:
    def ask(self, **attributes: Any) -> dict[str, Any]:
        sent = {"request.headers": {}, "context.reporter.kind": "inbound", "destination.ip": address("10.0.0.1")}
        return bag_of(Question({**sent, **attributes}), RATINGS, PEERS)

    def test_the_destination_is_the_asking_proxy(self) -> None:
        bag = self.ask()
        assert bag["destination.principal"] == RATINGS.principal
        assert bag["destination.namespace"] == "default"
        assert bag["destination.workload.name"] == "ratings-v1"
        assert bag["destination.labels"] == {"app": "ratings", "version": "v1"}

    def test_the_source_is_the_verified_client(self) -> None:
        bag = self.ask(**{"source.principal": REVIEWS.principal, "source.ip": address("10.0.0.3")})
        assert bag["source.labels"]["version"] == "v2"
        assert bag["source.user"] == REVIEWS.principal
        assert bag["source.ip"] == address("10.0.0.3")

    def test_a_proxy_cannot_borrow_another_workloads_place(self) -> None:
        bag = self.ask(**{"destination.ip": address("10.0.0.4")})
        assert bag["destination.workload.name"] == "ratings-v1"

    def test_a_gateway_is_the_source(self) -> None:
        sent = {"request.headers": {}, "context.reporter.kind": "outbound", "origin.ip": address("192.0.2.1")}
        bag = bag_of(Question(sent), RATINGS, PEERS)
        assert bag["source.principal"] == RATINGS.principal
        assert "destination.namespace" not in bag

    def test_derived_attributes(self) -> None:
        bag = self.ask(**{"request.path": "/a?b=c&d=", "request.headers": {"user-agent": "x", "referer": "y"}})
        assert bag["request.query_params"] == {"b": "c", "d": ""}
        assert (bag["request.useragent"], bag["request.referer"]) == ("x", "y")
        assert "request.query_params" not in self.ask(**{"request.path": "/a"})


class Scripted:
    def __init__(self, result: CheckResult | Exception) -> None:
        self.result = result
        self.quotas: Mapping[str, QuotaRequest] | None = None

    async def check(self, bag: Mapping[str, Any], *, quotas: Mapping[str, QuotaRequest] | None = None, track: bool = False) -> CheckResult:
        assert track
        self.quotas = quotas
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def question(**fields: Any) -> Question:
    return Question({"request.headers": {}, "context.reporter.kind": "inbound"}, **fields)


class TestAnswer:
    def fast(self, result: CheckResult | Exception, *, epoch: str = "7", headers: list[str] | None = None) -> tuple[FastCheck, Scripted]:
        checker = Scripted(result)
        return FastCheck(checker, PEERS, epoch=lambda: epoch, headers=lambda: headers), checker

    async def test_allowed(self) -> None:
        read = (Referenced("request.headers", "user", False), Referenced("source.labels", "app", True))
        fast, _ = self.fast(CheckResult(valid_duration=3.0, valid_use_count=4, referenced=read))
        answer = await fast.answer(question(epoch="7"), RATINGS)
        assert (answer.denial, answer.failure) == (None, None)
        assert (answer.valid_duration, answer.valid_use_count) == (3.0, 4)
        assert answer.shape == (
            Reference("request.headers", "user"),
            Reference("source.ip"),
            Reference("source.principal"),
            Reference("source.uid"),
        )

    async def test_denied(self) -> None:
        fast, _ = self.fast(CheckResult(status_code=7, message="h.ns:no"))
        answer = await fast.answer(question(), RATINGS)
        assert answer.denial == Status(7, "PERMISSION_DENIED", 403, "h.ns:no")

    async def test_failed(self) -> None:
        fast, _ = self.fast(CheckError(["opa.ns: gone"]))
        answer = await fast.answer(question(), RATINGS)
        assert answer.failure == Status(13, "INTERNAL", 500, "performing check operation failed: opa.ns: gone")
        assert answer.shape is None

    async def test_overloaded(self) -> None:
        fast, _ = self.fast(Overloaded("too many"))
        assert (await fast.answer(question(), RATINGS)).failure == Status(14, "UNAVAILABLE", 503, "too many")

    @pytest.mark.parametrize(("route", "kept"), [("7", True), ("", True), ("6", False)])
    async def test_kept_only_for_the_configuration_of_the_route(self, route: str, kept: bool) -> None:
        fast, _ = self.fast(CheckResult())
        assert ((await fast.answer(question(epoch=route), RATINGS)).shape is not None) == kept

    async def test_not_kept_when_configuration_changed_meanwhile(self) -> None:
        epochs = iter("78")
        fast = FastCheck(Scripted(CheckResult()), PEERS, epoch=lambda: next(epochs), headers=lambda: None)
        assert (await fast.answer(question(epoch="7"), RATINGS)).shape is None

    async def test_headers_are_selected_once_and_anew_after_a_change(self) -> None:
        fast, _ = self.fast(CheckResult(), headers=["User", "cookie"])
        first = await fast.answer(question(), RATINGS)
        assert first.selection is not None
        version, names = first.selection
        assert names == ("cookie", "user")
        assert (await fast.answer(question(headers_version=version), RATINGS)).selection is None
        changed, checker = self.fast(CheckResult(), headers=["user"])
        answer = await changed.answer(question(headers_version=version), RATINGS)
        assert answer.again
        assert checker.quotas is None

    async def test_operations_and_direct_response(self) -> None:
        operations = (
            HeaderOperation("a", "b", Operation.APPEND, response=False),
            HeaderOperation("c", "", Operation.REMOVE, response=True),
        )
        fast, _ = self.fast(CheckResult(header_operations=operations))
        answer = await fast.answer(question(), RATINGS)
        assert answer.headers == (AnsweredHeader("request", "append", "a", "b"), AnsweredHeader("response", "remove", "c", ""))
        location = HeaderOperation("location", "x", Operation.REPLACE, response=False)
        fast, _ = self.fast(CheckResult(status_code=7, direct_response=DirectResponse(302, "go", (location,))))
        answer = await fast.answer(question(), RATINGS)
        assert (answer.direct_response, answer.denial) == ((302, "go"), None)
        assert answer.headers == (AnsweredHeader("response", "replace", "location", "x"),)

    async def test_quota(self) -> None:
        granted = {"requests": QuotaResult(3, 5.0, (Referenced("request.headers", "user", True),))}
        fast, checker = self.fast(CheckResult(quotas=granted))
        answer = await fast.answer(question(quotas={"requests": AskedQuota(4, True)}, dedup_id="9"), RATINGS)
        assert answer.quotas == {"requests": AnsweredQuota(3, 5.0, (Reference("request.headers", "user"),))}
        assert checker.quotas is not None
        asked = checker.quotas["requests"]
        assert (asked.amount, asked.best_effort) == (4, True)
        await fast.answer(question(quotas={"requests": AskedQuota(4, True)}, dedup_id="9"), REVIEWS)
        assert checker.quotas["requests"].dedup_id != asked.dedup_id  # two proxies may count alike

    async def test_regular_expressions_are_compared_whole_and_ask_nothing_else(self) -> None:
        fast, checker = self.fast(CheckError(["not asked"]))
        pairs = (("a+", "aaa"), ("a+", "baaa"), ("a+", "aaab"), ("(", "("), ("a" * 1025, "a" * 1025))
        answer = await fast.answer(question(comparisons=pairs), RATINGS)
        assert [verdict for _, _, verdict in answer.comparisons] == [True, False, False, False, False]
        assert [pair[:2] for pair in answer.comparisons] == list(pairs)
        assert checker.quotas is None
