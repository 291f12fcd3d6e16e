# SPDX-License-Identifier: Apache-2.0
"""Connect a mesh's proxies to any ADS server and say how long they took: `python -m tests.benchmarks.xds_clients MESH.yaml HOST:PORT`.

Plaintext, or TLS with `--roots` (and `--certificates FOLDER` with `proxy-N.pem` and `proxy-N.key` for each proxy). Changes are made by
whoever feeds that server; with `--stay` the clients tell each second how many responses came and how many bytes.
"""

from __future__ import annotations

import argparse
import json
import ssl
import time
from pathlib import Path

from tests.benchmarks.xds_clients.mesh import Mesh
from tests.benchmarks.xds_clients.messages import SHORT
from tests.benchmarks.xds_clients.swarm import Identity, Swarm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.xds_clients", description=__doc__)
    parser.add_argument("mesh", type=Path, help="YAML; see tests/benchmarks/xds_clients/mesh.py")
    parser.add_argument("server", help="host:port")
    parser.add_argument("--variant", choices=("delta", "sotw"), default="delta")
    parser.add_argument("--virtual-hosts", action="store_true", help="discover the virtual hosts of routes that have `vhds` (delta)")
    parser.add_argument("--roots", type=Path, help="PEM; the server must chain to it")
    parser.add_argument("--server-name", default="localhost", help="what the server's certificate must hold")
    parser.add_argument("--certificates", type=Path, help="folder of client certificates")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds")
    parser.add_argument("--stay", type=float, default=0.0, help="seconds to stay connected afterwards")
    arguments = parser.parse_args()
    mesh = Mesh.read(arguments.mesh)
    host, _, port = arguments.server.rpartition(":")
    server = {"variant": arguments.variant, "virtual_hosts": arguments.virtual_hosts, "server_name": arguments.server_name}
    with Swarm((host, int(port)), **server) as swarm:
        identities = [
            Identity(mesh.node(number), _context(arguments.roots, arguments.certificates, number)) for number in range(mesh.proxies)
        ]
        began = time.monotonic()
        swarm.connect(identities)
        synced = swarm.until_synced(arguments.patience)
        _say(swarm, synced_ms=round((synced.finished - began) * 1e3), missing=synced.missing)
        leave = time.monotonic() + arguments.stay
        while time.monotonic() < leave:
            swarm.idle(1.0)
            _say(swarm)
    return 1 if synced.missing else 0


def _say(swarm: Swarm, **facts: float) -> None:
    responses = {SHORT[type_url]: count for type_url, count in swarm.responses.items()}
    print(
        json.dumps({**facts, "responses": responses, "megabytes": round(swarm.received / 1e6, 1), "closed": dict(swarm.closed)}), flush=True
    )


def _context(roots: Path | None, certificates: Path | None, number: int) -> ssl.SSLContext | None:
    if roots is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cafile=str(roots))
    if certificates is not None:
        context.load_cert_chain(certificates / f"proxy-{number}.pem", certificates / f"proxy-{number}.key")
    return context


if __name__ == "__main__":
    raise SystemExit(main())
