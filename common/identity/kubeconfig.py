# SPDX-License-Identifier: Apache-2.0
"""The administrator's kubeconfig, which `fourmast` and kubectl use."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from common.identity.private_file import write_private
from common.mesh.names import control_plane_dns_name


def write_kubeconfig(path: Path, *, name: str, galley: str, roots: Path, token: str) -> None:
    """Write it 0600. `galley` is the `host:port` of Galley's REST interface as its users reach it, `roots` a PEM file, `token` an API token."""
    cluster = {
        "server": f"https://{galley}",
        "certificate-authority-data": base64.b64encode(roots.read_bytes()).decode(),
        "tls-server-name": control_plane_dns_name("galley"),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": f"{name}-admin", "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{name}-admin", "namespace": "default"}}],
        "current-context": name,
    }
    write_private(path, yaml.safe_dump(document, sort_keys=False).encode())
