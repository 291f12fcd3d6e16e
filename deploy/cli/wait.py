# SPDX-License-Identifier: Apache-2.0
"""`fourmast wait`: until the proxies (or Mixer) have taken a resource as it is now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from deploy.cli.conditions import PROGRAMMED, REJECTED, Condition, conditions_of, is_bad
from deploy.cli.connection import Connection, connect, connection_options
from deploy.cli.distribution import REJECTED as REJECTED_BY_PROXY
from deploy.cli.distribution import Distribution, NotForProxies, until_distributed
from deploy.cli.errors import CliError
from deploy.cli.mesh_resources import kind_and_name, path_of
from deploy.cli.parts import connect_to_pilot

_PAUSE: Final = 0.2  # seconds between two looks
_REPORTED_WITHIN: Final = 2.0  # seconds until Galley knows a refusal that Pilot knows
_MOST_NAMED: Final = 3
MIXERS: Final = "config.istio.io"
"""Group of the kinds that Mixer uses, but for those of Pilot."""
PILOTS: Final = frozenset({"QuotaSpec", "QuotaSpecBinding", "HTTPAPISpec", "HTTPAPISpecBinding"})


@click.command()
@click.argument("resource", nargs=-1, required=True, metavar="KIND/NAME")
@click.option("--for", "until", type=click.Choice(["distribution"]), default="distribution", show_default=True, help="What to wait for.")
@click.option("-n", "--namespace", default=None, help="Namespace to look in.  [default: that of the kubeconfig]")
@click.option("--threshold", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Share of the proxies that must have it.")
@click.option("--timeout", default="30s", show_default=True, help="How long to wait.")
@click.option("--server", metavar="HOST:PORT", help="Pilot's debug address.  [default: that of the local mesh]")
@connection_options
def wait(
    resource: tuple[str, ...],
    until: str,
    namespace: str | None,
    threshold: float,
    timeout: str,
    server: str | None,
    kubeconfig: str | None,
) -> None:
    """Wait until the present version of a resource is in force.

    That is: every connected proxy that uses it has acknowledged it; for kinds that only Mixer uses, Mixer has taken it. A resource that
    no proxy uses is waited for no longer than Pilot needs to get it. Exit code 1 when it is refused (the reason is shown) or time is up.
    """
    from common.config.duration import DurationError, seconds

    try:
        limit = seconds(timeout)
    except DurationError as error:
        raise CliError(f"--timeout: {error}", exit_code=2) from error
    kind, name = kind_and_name(resource)
    with connect(kubeconfig) as galley:
        where = namespace or galley.target.namespace
        path = path_of(kind, where, name)
        version = str(galley.get(path)["metadata"]["resourceVersion"])
        shown = f"{kind.name} {name if kind.cluster_scoped else f'{where}/{name}'}"
        place = name if kind.cluster_scoped else f"{where}/{name}"
        found = _distribution(kubeconfig, server, f"{kind.singular}/{place}", version, threshold, limit)
        if found is not None and not (kind.group == MIXERS and kind.name not in PILOTS and found.reaches(threshold)):
            _tell_distribution(galley, path, shown, found, threshold, timeout)
        else:  # to proxies, Mixer's configuration only means that kept answers are void; Mixer must have it, too
            _tell_verdict(shown, until_programmed(galley, path, limit, by="mixer/" if found is not None else ""), timeout)


def _distribution(
    kubeconfig: str | None, server: str | None, resource: str, version: str, threshold: float, limit: float
) -> Distribution | None:
    """What Pilot knows in the end; None for a kind that is not for proxies, and when Pilot is not near: Galley knows what it reports."""
    try:
        with connect_to_pilot(kubeconfig, server) as pilot:
            return until_distributed(pilot, resource, version, threshold, limit)
    except NotForProxies:
        return None
    except CliError:
        if server is not None:
            raise
        return None


def _tell_distribution(galley: Connection, path: str, shown: str, found: Distribution, threshold: float, timeout: str) -> None:
    refusing = found.in_state(REJECTED_BY_PROXY)
    if refusing:
        verdict = until_programmed(galley, path, _REPORTED_WITHIN)
        words = verdict.get("message") if verdict is not None and is_bad(verdict) else ""
        raise CliError(f"{shown} is not in force: {words or f'{_some(refusing)} refused it; see `fourmast proxy-status`'}")
    if not found.arrived:
        raise CliError(f"{shown}: Pilot has not got its present version within {timeout}; is Galley up? See `fourmast status`")
    if not found.reaches(threshold):
        waiting = found.in_state("PENDING")
        raise CliError(f"{shown}: {found.acked} of {len(found.states)} proxies have it after {timeout}; not {_some(waiting)}")
    if not found.states:
        click.echo(f"{shown} has arrived at Pilot; no connected proxy uses it.")
    else:
        click.echo(f"{shown} is in force at {found.acked} of {len(found.states)} proxies.")


def _some(proxies: list[str]) -> str:
    more = f" and {len(proxies) - _MOST_NAMED} more" if len(proxies) > _MOST_NAMED else ""
    return ", ".join(proxies[:_MOST_NAMED]) + more


def _tell_verdict(shown: str, found: Mapping[str, Any] | None, timeout: str) -> None:
    """Of reports at Galley, when Pilot itself was not asked."""
    if found is None or found["status"] == "Unknown":
        known = f"{found['message']} within {timeout}" if found and found.get("message") else ""
        text = known or f"nobody has reported on its current version within {timeout}"
        raise CliError(f"{shown}: {text}; `fourmast proxy-status` shows who is connected")
    if is_bad(found):
        raise CliError(f"{shown} is not in force: {found.get('message') or found.get('reason')}")
    click.echo(f"{shown} is in force ({found.get('message') or found.get('reason')})")


def until_programmed(
    galley: Connection,
    path: str,
    limit: float,
    *,
    by: str = "",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, Any] | None:
    """The verdict on the object's current version as soon as there is one (a good one only if the reporter `by` is among those who gave it);
    a refusal counts first.

    After `limit` seconds what is known so far: a Programmed that is still Unknown, or None.
    """
    end = clock() + limit
    while True:
        conditions = [each for each in conditions_of(galley.get(path)) if each["type"] in (PROGRAMMED, REJECTED)]
        verdicts = [each for each in conditions if is_bad(each) or _is_there(each, by)]
        if verdicts:
            return min(verdicts, key=lambda each: (not is_bad(each), each["type"] != REJECTED))  # Rejected has Envoy's own words
        if clock() >= end:
            return conditions[0] if conditions else None
        sleep(_PAUSE)


def _is_there(condition: Condition, by: str) -> bool:
    return condition["type"] == PROGRAMMED and condition["status"] == "True" and by in condition.get("reporter", "")
