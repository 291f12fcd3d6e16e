# SPDX-License-Identifier: Apache-2.0
"""What Mixer's own work costs on one core, each figure beside code written by hand for the same purpose, in the same run.

python -m tests.benchmarks mixer_core
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from common.expression import Vocabulary, analyse
from common.expression.values import Duration
from mixer.compiler import compile_expression
from mixer.dispatch.runtime import Runtime
from tests.unit.mixer.resources import environment, load, snapshot_of

ROUNDS, SECONDS = 5, 0.3
EXPRESSION = '(request.headers["x-user"] | "anon") == "bob" && destination.service.host == "reviews.default.svc.cluster.local"'
BATCH = 100


def bag(number: int) -> dict[str, Any]:
    """One request of a mesh of 200 label combinations."""
    return {
        "context.protocol": "http", "context.reporter.kind": "inbound", "destination.namespace": "default", "request.useragent": "curl",
        "source.labels": {"app": "productpage", "version": f"v{number % 20}"}, "destination.labels": {"app": "reviews", "version": "v1"},
        "source.principal": "cluster.local/ns/default/sa/a", "destination.principal": "cluster.local/ns/default/sa/b",
        "source.workload.name": f"productpage-v{number % 20}", "source.workload.namespace": "default",
        "destination.workload.name": "reviews-v1", "destination.workload.namespace": "default", "connection.mtls": True,
        "destination.service.host": "reviews.default.svc.cluster.local", "destination.service.name": "reviews",
        "destination.service.namespace": "default", "response.code": (200, 404, 500)[number % 3], "context.proxy_error_code": "-",
        "response.duration": Duration(1_000_000 * number), "request.size": 10, "response.size": 10 * number,
        "request.headers": {"x-user": "bob"}, "request.host": "reviews:9080",
    }  # fmt: skip


def best(work: Callable[[], object], per_call: int) -> float:
    """Units a second, the best of some rounds."""
    found = 0.0
    for _ in range(ROUNDS):
        calls, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < SECONDS:
            work()
            calls += 1
        found = max(found, calls * per_call / elapsed)
    return found


def say(name: str, value: float, limit: float, unit: str, conditions: str) -> None:
    figures = {"name": name, "value": round(value), "unit": unit, "limit": round(limit), "ratio": round(value / limit, 3)}
    print(json.dumps({**figures, "conditions": conditions}), flush=True)


def expression() -> None:
    compiled = compile_expression(analyse(EXPRESSION, Vocabulary.standard()))
    one = bag(1)

    def by_hand(given: dict[str, Any]) -> Any:
        return (
            given["request.headers"].get("x-user", "anon") == "bob"
            and given["destination.service.host"] == "reviews.default.svc.cluster.local"
        )

    def repeat(function: Callable[[dict[str, Any]], Any]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(1000):
                function(one)

        return work

    say(
        "cexl-evaluation",
        best(repeat(compiled), 1000),
        best(repeat(by_hand), 1000),
        "1/s",
        "one core; limit: a function without absence errors",
    )


async def report() -> None:
    runtime = Runtime()
    await runtime.replace(snapshot_of(*load("deploy/samples/mesh/telemetry.yaml"), within=environment()))
    bags = [bag(number) for number in range(BATCH)]
    counters: dict[tuple[Any, ...], list[float]] = {}

    def by_hand() -> None:
        for each in bags:
            get = each.get
            source, destination = get("source.labels", {}), get("destination.labels", {})
            labels = (
                "destination" if get("context.reporter.kind") != "outbound" else "source", source.get("app"), get("source.principal"),
                get("source.workload.name"), get("source.workload.namespace"), source.get("version"), destination.get("app"),
                get("destination.principal"), get("destination.workload.name"), get("destination.workload.namespace"),
                destination.get("version"), get("destination.service.host"), get("destination.service.name"),
                get("destination.service.namespace"), get("context.protocol"), get("response.code"), get("context.proxy_error_code"),
                "none", "none", "mutual_tls" if get("connection.mtls") else "none",
            )  # fmt: skip
            sums = counters.setdefault(labels, [0.0] * 4)
            for index, amount in enumerate((1, each["response.duration"] / 1e9, each["request.size"], each["response.size"])):
                sums[index] += amount

    found = 0.0
    for _ in range(ROUNDS):
        batches, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < SECONDS:
            await runtime.report(bags)
            batches += 1
        found = max(found, batches * BATCH / elapsed)
    say(
        "mixer-report",
        found,
        best(by_hand, BATCH),
        "bags/s",
        f"one core, batches of {BATCH}, 4 metrics of 20 labels; limit: one hand-written loop, sums only",
    )


async def check() -> None:
    runtime = Runtime()
    await runtime.replace(snapshot_of(*load("deploy/samples/demo/config/deny-john.yaml"), within=environment()))
    one = bag(1) | {"destination.labels": {"app": "echo"}, "request.headers": {"x-user": "john"}}
    found = 0.0
    for _ in range(ROUNDS):
        calls, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < SECONDS:
            await runtime.check(one, track=True)
            calls += 1
        found = max(found, calls / elapsed)

    def by_hand() -> tuple[int, str, list[tuple[str, str, bool]]]:
        app, user = one["destination.labels"].get("app"), one["request.headers"].get("x-user")
        referenced = [("destination.labels", "app", app is not None), ("request.headers", "x-user", user is not None)]
        return (7 if app == "echo" and user == "john" else 0, "denyhandler.default:Not allowed", sorted(referenced))

    say("mixer-check", found, best(by_hand, 1), "1/s", "one core, tracked denial, no wire; limit: this one decision written by hand")


async def main() -> None:
    expression()
    await report()
    await check()


if __name__ == "__main__":
    asyncio.run(main())
