# SPDX-License-Identifier: Apache-2.0
"""Rows about policy, quota and telemetry: Mixer's work."""

from __future__ import annotations

import asyncio
import collections
import itertools
import re

from deploy.local.demo.row import Observation, Row
from deploy.local.demo.world import World, until

DENY = "demo/config/deny-john.yaml"
RATE_LIMIT = "demo/config/ratelimit.yaml"
QUOTA_WINDOW = 5.0  # seconds, as in ratelimit.yaml

Series = tuple[str, str, str]
OUTBOUND = re.compile(r"^cluster\.outbound\|\d+\|[^|]*\|(?P<host>.+)\.upstream_rq_(?P<code>\d{3})$")
INBOUND = re.compile(r"^cluster\.inbound\|\d+\|[^|]*\|(?P<host>.+)\.upstream_rq_(?P<code>\d{3})$")
REPEATED = (".internal", ".external", ".canary")  # Envoy counts a request again by where it came from
SAMPLE = re.compile(r"^istio_requests_total\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


async def denial(world: World) -> Observation:
    async def john() -> dict[str, object]:
        last = (await world.send("sleep", "http://echo:8000/get", "-H", "x-user: john"))["last"]
        assert isinstance(last, dict)
        return last

    async def denied() -> bool:
        return (await john())["status"] == 403

    await until(denied, within=world.settle)
    answer = await john()
    others = (await world.send("sleep", "http://echo:8000/get", "-n", "5", "-H", "x-user: anna"))["codes"]
    ok = answer["status"] == 403 and answer["body"] == "PERMISSION_DENIED:denyhandler.default:Not allowed" and others == {"200": 5}
    return Observation(ok, f"john: {answer['status']} {str(answer['body'])[:60]}; others: {others}")


async def quota(world: World) -> Observation:
    async def burst(client: str, count: int) -> dict[str, int]:
        codes: dict[str, int] = (await world.send("sleep", "http://echo:8000/get", "-n", str(count), "-H", f"x-client: {client}"))["codes"]
        return codes

    probes = itertools.count()

    async def limits() -> bool:
        return await burst(f"probe-{next(probes)}", 4) == {"200": 2, "429": 2}  # at both instances, so a client of its own each time

    await until(limits, within=world.settle)
    first, other = await burst("anna", 6), await burst("bert", 2)
    text = (await world.send("sleep", "http://echo:8000/get", "-n", "3", "-H", "x-client: anna"))["last"]["body"]
    await asyncio.sleep(QUOTA_WINDOW + 0.5)
    later = await burst("anna", 2)
    ok = (
        first == {"200": 2, "429": 4}
        and other == {"200": 2}
        and later == {"200": 2}
        and text.startswith("RESOURCE_EXHAUSTED:Quota is exhausted")
    )
    return Observation(ok, f"anna {first}, bert {other}; after {QUOTA_WINDOW:.0f} s anna {later}; {text[:60]}")


async def metrics_agree(world: World) -> Observation:
    """Growth of `istio_requests_total` against growth of Envoy's own counters, by source, destination and code, at both ends."""
    if world.sabotaged:
        await world.mesh.galley.delete("config.istio.io/v1alpha2", "rule", "istio-system", "promhttp")
        await asyncio.sleep(2)
    sources = ["istio-ingressgateway", "productpage-v1", "reviews-v1", "reviews-v2", "reviews-v3", "sleep"]
    servers = ["productpage-v1", "details-v1", "reviews-v1", "reviews-v2", "reviews-v3", "ratings-v1", "echo-v1", "echo-v2"]
    await _quiet(world, sources, servers)
    envoy_before, mixer_before = await _envoys(world, sources, servers), _mixer(await world.mixer_metrics())
    for _ in range(5):
        await world.page()
    await world.send("sleep", "http://echo:8000/get", "-n", "7")
    await world.send("sleep", "http://echo:8000/status/418", "-n", "3")
    envoy = _growth(await _envoys(world, sources, servers), envoy_before)
    mixer: dict[Series, int] = {}

    async def agree() -> bool:
        nonlocal mixer
        mixer = _growth(_mixer(await world.mixer_metrics()), mixer_before)
        return mixer == envoy

    loop = asyncio.get_running_loop()
    began = loop.time()
    ok = await until(agree, within=3) and sum(envoy.values()) > 0
    took = loop.time() - began
    if not ok:
        different = sorted(key for key in {*envoy, *mixer} if envoy.get(key) != mixer.get(key))
        key = different[0] if different else ("", "", "")
        return Observation(
            False, f"{len(different)} of {len(envoy)} series differ; {' '.join(key)}: Envoy {envoy.get(key)}, Mixer {mixer.get(key)}"
        )
    return Observation(True, f"{len(envoy)} series, {sum(envoy.values())} requests, equal after {took:.1f} s")


async def _quiet(world: World, sources: list[str], servers: list[str]) -> None:
    """Wait until the reports of earlier rows have arrived, so that growth counts this row only."""
    previous: object = None

    async def still() -> bool:
        nonlocal previous
        now = (await _envoys(world, sources, servers), _mixer(await world.mixer_metrics()))
        same = now == previous
        previous = now
        return same

    await until(still, within=15, every=1.2)


async def _envoys(world: World, sources: list[str], servers: list[str]) -> dict[Series, int]:
    """(`source` or `destination`, workload and service, code) -> requests, from the counters of Envoy's clusters."""
    found: collections.Counter[Series] = collections.Counter()

    async def read(reporter: str, workload: str, pattern: re.Pattern[str]) -> None:
        for name, value in (await world.envoy_stats(workload, r"^cluster\.(in|out)bound.*\.upstream_rq_\d\d\d$")).items():
            if (match := pattern.match(name)) and not match["host"].endswith(REPEATED):
                found[(reporter, f"{workload} -> {match['host']}" if reporter == "source" else workload, match["code"])] += value

    await asyncio.gather(*(read("source", w, OUTBOUND) for w in sources), *(read("destination", w, INBOUND) for w in servers))
    return {key: value for key, value in found.items() if value}


def _mixer(text: str) -> dict[Series, int]:
    """The same keys from Mixer's exposition."""
    found: collections.Counter[Series] = collections.Counter()
    for sample in SAMPLE.finditer(text):
        labels = dict(LABEL.findall(sample["labels"]))
        if labels["reporter"] == "source":
            subject = f"{labels['source_workload']} -> {labels['destination_service']}"
        else:
            subject = labels["destination_workload"]
        found[(labels["reporter"], subject, labels["response_code"])] += round(float(sample["value"]))
    return dict(found)


def _growth(now: dict[Series, int], before: dict[Series, int]) -> dict[Series, int]:
    return {key: value - before.get(key, 0) for key, value in now.items() if value != before.get(key, 0)}


ROWS = (
    Row("denial", "Mixer denies john", "403 with Mixer's message, others 200", (DENY,), (DENY,), denial),
    Row("quota", "memquota: 2 requests in 5 s for each client", "2 x 200, then 429", (RATE_LIMIT,), (RATE_LIMIT,), quota),
    Row("metrics", "istio_requests_total against Envoy's counters", "equal within 3 s", (), (), metrics_agree),
)
