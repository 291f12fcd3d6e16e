# SPDX-License-Identifier: Apache-2.0
"""The hosts file that stands in for cluster DNS: every name by which an application may call a service, with the service's address.

It is written in place, because each workload sees it through a bind mount, which would keep showing a replaced file's old content.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.mesh.names import SERVICE_DOMAIN

Resources = Iterable[Mapping[str, Any]]


def hosts_text(services: Resources, service_entries: Resources, *, namespace: str) -> str:
    """The file for workloads of one namespace; bare names are the namespace's own services, as with a search domain."""
    lines = ["127.0.0.1 localhost"]
    for service in services:
        name, own = service["metadata"]["name"], service["metadata"]["namespace"]
        address = service["spec"].get("clusterIP")
        if address and address != "None":
            names = [f"{name}.{own}.{SERVICE_DOMAIN}", f"{name}.{own}.svc", f"{name}.{own}"]
            lines.append(" ".join([address, *names, *([name] if own == namespace else [])]))
    for entry in service_entries:
        spec = entry["spec"]
        addresses = [address for address in spec.get("addresses", ()) if "/" not in address]
        hosts = [host for host in spec.get("hosts", ()) if not host.startswith("*")]
        if addresses and hosts:
            lines.append(" ".join([addresses[0], *hosts]))
    return "\n".join(lines) + "\n"


class HostsFiles:
    """One hosts file for each namespace that has workloads."""

    def __init__(self, folder: Path, namespaces: Iterable[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files = {namespace: folder / f"hosts.{namespace}" for namespace in namespaces}
        self._written: dict[str, str] = {}
        self.resolver = folder / "resolv.conf"
        """No name server: what the hosts file does not know is unknown at once, not after ten seconds of silence."""
        self.resolver.write_text("# names are in /etc/hosts\noptions timeout:1 attempts:1\n")
        self.resolver.chmod(0o644)
        self.update((), ())

    def path(self, namespace: str) -> Path:
        return self._files[namespace]

    def update(self, services: Resources, service_entries: Resources) -> bool:
        """Write what changed. True if anything did."""
        services, service_entries = list(services), list(service_entries)
        changed = False
        for namespace, path in self._files.items():
            text = hosts_text(services, service_entries, namespace=namespace)
            if self._written.get(namespace) != text:
                with path.open("r+" if path.exists() else "w", encoding="utf-8") as file:
                    file.write(text)
                    file.truncate()
                path.chmod(0o644)
                self._written[namespace] = text
                changed = True
        return changed
