# SPDX-License-Identifier: Apache-2.0
"""`fourmast proxy-config`: what a proxy was given, in istioctl's columns.

This is Pilot's side: what it sent and the proxy holds. Envoy's own view (health of endpoints, secrets) is at its admin socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from deploy.cli.connection import connection_options
from deploy.cli.output import output_option, print_table, print_value
from deploy.cli.parts import connect_to_pilot
from deploy.cli.proxies import find_proxy

F = TypeVar("F", bound=Callable[..., Any])
Resource = Mapping[str, Any]

_HTTP_FILTER: Final = "http_connection_manager"
_TCP_FILTER: Final = "tcp_proxy"


@click.group("proxy-config")
def proxy_config() -> None:
    """Show the clusters, listeners, routes or endpoints that a proxy was given."""


def _shared(command: F) -> F:
    for option in (
        click.argument("proxy"),
        click.option("--name", default="", help="Only resources whose name contains this text."),
        click.option("--server", metavar="HOST:PORT", help="Pilot's debug address.  [default: that of the local mesh]"),
        connection_options,
        output_option("json", "yaml"),
    ):
        command = option(command)
    return command


def _show(
    word: str,
    columns: Sequence[str],
    rows: Callable[[Resource], Iterator[tuple[str, ...]]],
    proxy: str,
    name: str,
    server: str | None,
    kubeconfig: str | None,
    output: str,
) -> None:
    with connect_to_pilot(kubeconfig, server) as pilot:
        found = find_proxy(pilot.get("/debug/syncz"), proxy)
        given = pilot.get("/debug/config_dump", proxyID=str(found["proxy"]))[word]
    resources = [each["resource"] for each in given if name in each["name"]]
    if output:
        print_value(resources, output)
    else:
        print_table(columns, sorted(row for resource in resources for row in rows(resource)))


@proxy_config.command()
@_shared
def cluster(**options: Any) -> None:
    """Clusters: the destinations that the proxy knows."""
    _show("clusters", ("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE"), _cluster_rows, **options)


def _cluster_rows(resource: Resource) -> Iterator[tuple[str, ...]]:
    kind = str(resource.get("type", "STATIC"))
    parts = str(resource["name"]).split("|")
    if len(parts) == 4:
        direction, port, subset, host = parts
        yield host, port, subset or "-", direction, kind
    else:
        yield resource["name"], "-", "-", "-", kind


@proxy_config.command()
@_shared
def listener(**options: Any) -> None:
    """Listeners: where the proxy accepts connections."""
    _show("listeners", ("ADDRESS", "PORT", "TYPE", "NAME"), _listener_rows, **options)


def _listener_rows(resource: Resource) -> Iterator[tuple[str, ...]]:
    address = resource.get("address", {}).get("socket_address", {})
    chains = [*resource.get("filter_chains", ()), *filter(None, [resource.get("default_filter_chain")])]
    filters = " ".join(str(each["name"]) for chain in chains for each in chain.get("filters", ()))
    types = [word for word, part in (("HTTP", _HTTP_FILTER), ("TCP", _TCP_FILTER)) if part in filters]
    yield str(address.get("address", "-")), str(address.get("port_value", "-")), "+".join(types) or "UNKNOWN", resource["name"]


@proxy_config.command()
@_shared
def route(**options: Any) -> None:
    """Route configurations and the domains that they serve."""
    _show("routes", ("NAME", "VIRTUAL HOST", "DOMAINS", "ROUTES"), _route_rows, **options)


def _route_rows(resource: Resource) -> Iterator[tuple[str, ...]]:
    for host in resource.get("virtual_hosts", ()):
        domains = host.get("domains", ())
        shown = ", ".join(domains[:1]) + (f" +{len(domains) - 1}" if len(domains) > 1 else "")
        yield resource["name"], host["name"], shown, str(len(host.get("routes", ())))


@proxy_config.command()
@_shared
def endpoint(**options: Any) -> None:
    """Endpoints: the addresses behind the clusters."""
    _show("endpoints", ("ENDPOINT", "CLUSTER", "LOCALITY"), _endpoint_rows, **options)


def _endpoint_rows(resource: Resource) -> Iterator[tuple[str, ...]]:
    for group in resource.get("endpoints", ()):
        place = group.get("locality", {})
        locality = "/".join(place[part] for part in ("region", "zone", "sub_zone") if place.get(part)) or "-"
        for each in group.get("lb_endpoints", ()):
            address = each["endpoint"]["address"]
            socket = address.get("socket_address")
            yield f"{socket['address']}:{socket['port_value']}" if socket else str(address), resource["cluster_name"], locality
