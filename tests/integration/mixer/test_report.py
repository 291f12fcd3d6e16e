# SPDX-License-Identifier: Apache-2.0
"""What Mixer is told: every request once, by both proxies, with the attributes of the standard metrics."""

from __future__ import annotations

import asyncio
from collections import Counter

from common.identity.tls import ssl_context
from tests.integration.mixer.conftest import Host
from tests.integration.mixer.data_plane import RATINGS, REVIEWS, SECOND, SERVICE, Identities, Mesh
from tests.integration.mixer.scripted_mixer import Bag, ScriptedMixer, by


async def told(mixer: ScriptedMixer, host: str, direction: str, number: int) -> list[Bag]:
    """The reports about a host, once `number` have come."""

    def found() -> list[Bag]:
        return [bag for bag in mixer.reported if bag.get("request.host") == host and bag["context.reporter.kind"] == direction]

    async with asyncio.timeout(15):
        while len(found()) < number:
            await asyncio.sleep(0.02)
    return found()


async def test_every_request_is_reported_once(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("user", status_code=7 if bag["request.headers"]["user"] == "eve" else 0, message="h.n:no")
    for _ in range(12):
        await asyncio.gather(*(mesh.get(host.closed, headers={"user": user}) for user in ("jason", "eve", "bob", "jason", "ann") * 5))
    await told(mixer, host.closed, "inbound", 300)
    await asyncio.sleep(1.1)  # one flush more: one too many would come with it
    bags = await told(mixer, host.closed, "inbound", 300)
    assert Counter(bag["response.code"] for bag in bags) == {200: 240, 403: 60}
    assert Counter(bag.get("check.error_code") for bag in bags) == {None: 240, 7: 60}
    assert Counter(bag["check.cache_hit"] for bag in bags)[False] == len(mixer.asked)


async def test_both_proxies_report_with_their_own_view(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    await mesh.get_as_reviews(host.closed, "/a?b=c", {"user-agent": "test", "content-type": "text/plain", "x-forwarded-for": "192.0.2.1"})
    ((inbound,), (outbound,)) = await told(mixer, host.closed, "inbound", 1), await told(mixer, host.closed, "outbound", 1)
    both = {
        "request.method": "GET",
        "request.host": host.closed,
        "request.path": "/a?b=c",
        "request.url_path": "/a",
        "request.query_params": {"b": "c"},
        "request.useragent": "test",
        "request.scheme": "http",
        "response.code": 200,
        "context.protocol": "http",
        "context.proxy_error_code": "-",
        "context.proxy_version": "1.4.10",
        "source.principal": REVIEWS.principal,
        "source.namespace": "default",
        "destination.principal": RATINGS.principal,
        "destination.namespace": "default",
        "destination.ip": bytes([127, 0, 0, 1]),
        "destination.port": mesh.ports.mesh,
        "destination.service.host": SERVICE.host,
        "destination.service.name": SERVICE.name,
        "destination.service.namespace": SERVICE.namespace,
        "destination.service.uid": SERVICE.uid,
    }
    assert {name: inbound.get(name) for name in both} == both
    # In this plane one certificate reports for both proxies, so the outbound source is ratings too.
    both |= {"source.principal": RATINGS.principal}
    assert {name: outbound.get(name) for name in both} == both
    assert (inbound["connection.mtls"], outbound["connection.mtls"]) == (True, False)
    assert inbound["check.cache_hit"] is False
    assert "check.cache_hit" not in outbound
    assert 0 < inbound["response.duration"] <= outbound["response.duration"]
    assert inbound["response.time"] == inbound["request.time"] + inbound["response.duration"]
    assert inbound["response.size"] == outbound["response.size"] > 100
    assert inbound["response.total_size"] > inbound["response.size"]
    assert inbound["request.headers"]["x-forwarded-for"].startswith("192.0.2.1")
    assert inbound["request.headers"]["x-request-id"] == outbound["request.headers"]["x-request-id"]


async def test_a_denial_is_reported_with_its_reason(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    mixer.decide = lambda bag, quotas: by("user", status_code=7, message="denyall.default:no")
    await mesh.get(host.closed)
    (bag,) = await told(mixer, host.closed, "inbound", 1)
    assert (bag["check.error_code"], bag["check.error_message"]) == (7, "denyall.default:no")
    assert (bag["response.code"], bag["context.proxy_error_code"]) == (403, "UAEX")
    assert "source.principal" not in bag
    assert "destination.principal" not in bag


async def test_the_service_that_the_client_meant_is_reported(mesh: Mesh, mixer: ScriptedMixer, host: Host) -> None:
    await mesh.get(host.closed, headers={"x-istio-attributes": SECOND.host})
    (bag,) = await told(mixer, host.closed, "inbound", 1)
    assert (bag["destination.service.host"], bag["destination.service.name"]) == (SECOND.host, SECOND.name)


async def test_a_request_without_a_route_is_reported_with_its_flag(mesh: Mesh, mixer: ScriptedMixer) -> None:
    await mesh.get("lost")
    (bag,) = await told(mixer, "lost", "inbound", 1)
    assert (bag["response.code"], bag["context.proxy_error_code"]) == (404, "NR")
    assert "destination.service.host" not in bag


async def test_a_connection_is_reported_when_it_opens_and_closes(mesh: Mesh, mixer: ScriptedMixer, identities: Identities) -> None:
    context = ssl_context(identities.of(REVIEWS), server=False)
    context.check_hostname = False
    reader, writer = await asyncio.open_connection("127.0.0.1", mesh.ports.tcp, ssl=context)
    sent = b"GET / HTTP/1.1\r\nhost: tcp\r\n\r\n"
    writer.write(sent)
    await reader.readuntil(b"}")
    writer.close()
    async with asyncio.timeout(15):
        while len(bags := [bag for bag in mixer.reported if bag["context.protocol"] == "tcp"]) < 2:
            await asyncio.sleep(0.02)
    opened, closed = bags
    assert (opened["connection.event"], closed["connection.event"]) == ("open", "close")
    for bag in bags:
        assert bag["source.principal"] == REVIEWS.principal
        assert bag["destination.service.host"] == SERVICE.host
        assert bag["connection.mtls"] is True
        assert bag["connection.id"] == opened["connection.id"]
    assert closed["connection.received.bytes"] == closed["connection.received.bytes_total"] == len(sent)
    assert closed["connection.sent.bytes"] > 100
    assert closed["connection.duration"] > 0
    assert opened["context.time"] < closed["context.time"]
