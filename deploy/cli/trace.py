# SPDX-License-Identifier: Apache-2.0
"""`fourmast trace`: the way of a change, from Galley's accept to each Envoy's acknowledgement, as a waterfall."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from deploy.cli.connection import Connection, connect, connection_options
from deploy.cli.errors import CliError
from deploy.cli.mesh_resources import kind_and_name
from deploy.cli.output import output_option, print_table, print_value
from deploy.cli.revisions import history_of, shown

Span = Mapping[str, Any]

_BAR: Final = 40  # characters
_YOUNG: Final = 5.0  # seconds in which spans of a change may still come in
_PAUSE: Final = 0.5  # longer than spans gather before they are sent
_PROXIES: Final = ("pilot.proxy", "pilot.proxies")


@click.command()
@click.argument("resource", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("-n", "--namespace", default=None, help="Namespace to look in.  [default: that of the kubeconfig]")
@click.option("--revision", type=int, help="The change that made this revision.  [default: the newest of the resource]")
@connection_options
@output_option("json", "yaml")
def trace(resource: tuple[str, ...], namespace: str | None, revision: int | None, kubeconfig: str | None, output: str) -> None:
    """Show how the last change of a resource went through the mesh: what each part did, and which proxies took it, when.

    Galley keeps the steps of the last few hundred changes, in memory. A deletion has a trace like any other change.
    """
    kind, name = kind_and_name(resource)
    with connect(kubeconfig) as galley:
        where = namespace or galley.target.namespace
        history = history_of(galley, kind, where, name)
        change = next((each for each in history if revision in (None, each["revision"])), None)
        if change is None:
            raise CliError(f"{shown(kind, where, name)} was not changed in revision {revision}; `fourmast history` lists its changes")
        trace_id = _trace_id(str(change["traceparent"]))
        spans = settled(lambda: _ask(galley, trace_id), age=_age(str(change["at"]))) if trace_id else []
    if output:
        print_value({"revision": change["revision"], "at": change["at"], "traceId": trace_id, "spans": spans}, output)
        return
    click.echo(f"{shown(kind, where, name)}: {change['action']} by {change['actor']}, revision {change['revision']}, {change['at']}")
    if not spans:
        raise CliError("the steps of this change are not known (any more): Galley keeps those of recent changes only, until its next start")
    click.echo(f"trace {trace_id}\n")
    print_waterfall(spans)


def _ask(galley: Connection, trace_id: str) -> Sequence[Span]:
    found: Sequence[Span] = galley.get(f"/apis/fourmast.io/v1/traces/{trace_id}")["spans"]
    return found


def settled(ask: Callable[[], Sequence[Span]], *, age: float, sleep: Callable[[float], None] = time.sleep) -> Sequence[Span]:
    """The spans; of a change that is a few seconds old they are asked for until no more come in."""
    spans = ask()
    while age < _YOUNG:
        sleep(_PAUSE)
        age += _PAUSE
        before, spans = spans, ask()
        if len(spans) == len(before) and (age > 2 * _PAUSE or any(span["name"] in _PROXIES for span in spans)):
            break
    return spans


def _age(at: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds()


def _trace_id(traceparent: str) -> str:
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""


def print_waterfall(spans: Sequence[Span]) -> None:
    """One line for each step: when it began, how long it took, who did what, and a bar; then what it comes to."""
    begin, end = min(span["start"] for span in spans), max(span["end"] for span in spans)
    rows = []
    for depth, span in _in_order(spans):
        took = span["end"] - span["start"]
        step = "  " * depth + _step(span)
        rows.append((_ms(span["start"] - begin), _ms(took), span["part"], step, _bar(span["start"] - begin, took, end - begin)))
    print_table(("AT", "TOOK", "PART", "STEP", f"0 … {_ms(end - begin)}"), rows)
    for span in spans:
        if refused := span.get("attributes", {}).get("refused"):
            click.secho(f"✘ {span['attributes'].get('proxy')} refuses {refused}", fg="red")
    click.echo(f"\n{summary(spans)}")


def summary(spans: Sequence[Span]) -> str:
    """`taken by 7 proxies, the last one 23.4 ms after it was accepted`."""
    begin = min(span["start"] for span in spans)
    proxies = [span for span in spans if span["name"] in _PROXIES]
    taken = [span for span in proxies if not span.get("failed")]
    number = len({span["attributes"]["proxy"] for span in taken if span["name"] == "pilot.proxy"})
    number += sum(int(span["attributes"]["proxies"]) for span in taken if span["name"] == "pilot.proxies")
    refused = len(proxies) - len(taken)
    text = "taken by no proxy" if refused else "no proxy needed anything new"
    if taken:
        last = _ms(max(span["end"] for span in taken) - begin)
        text = f"taken by {number} {'proxy' if number == 1 else 'proxies'}, the last one {last} after it was accepted"
    return f"{text}; refused by {refused}" if refused else text


def _in_order(spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """Children after their parents, each level by time. What came from a caller's own trace has no parent here."""
    children: dict[str, list[Span]] = {}
    known = {span["spanId"] for span in spans}
    for span in sorted(spans, key=lambda each: (each["start"], -each["end"])):
        parent = span["parentId"]
        children.setdefault(parent if parent in known and parent != span["spanId"] else "", []).append(span)

    def below(parent: str, depth: int) -> Iterator[tuple[int, Span]]:
        for span in children.pop(parent, ()):
            yield depth, span
            yield from below(span["spanId"], depth + 1)

    return below("", 0)


def _step(span: Span) -> str:
    attributes = span.get("attributes", {})
    name = str(span["name"]).removeprefix(f"{span['part']}.")
    if span["name"] == "pilot.proxy":
        return f"{attributes.get('proxy')} {'✘' if span.get('failed') else attributes.get('acked')}"
    if span["name"] == "pilot.proxies":
        return f"{attributes.get('proxies')} more proxies"
    if span["name"] == "pilot.push":
        return f"push to {attributes.get('proxies')}"
    return name


def _bar(start: int, took: int, whole: int) -> str:
    if not whole:
        return "▇"
    left = min(_BAR - 1, start * _BAR // whole)
    return " " * left + "▇" * max(1, min(_BAR - left, round(took * _BAR / whole)))


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f} ms"
