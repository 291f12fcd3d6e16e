# SPDX-License-Identifier: Apache-2.0
"""`python -m deploy.samples.peer 10.99.0.5:9080 --roots "$(cat roots.pem)"`: the certificate that a sidecar shows, as one JSON object.

The client brings no certificate of its own, so under mutual TLS no request could follow; with TLS 1.3 the server's certificate is seen all the same.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import sys
from typing import Any


def look(address: str, roots: str, timeout: float) -> dict[str, object]:
    """`{"verified": bool, "uris": [...], "error": text}` of the peer at `host:port`; `roots` is PEM."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # identity is the URI SAN, which the caller compares
    context.set_alpn_protocols(["istio"])
    context.load_verify_locations(cadata=roots)
    try:
        with socket.create_connection((host, int(port)), timeout) as raw, context.wrap_socket(raw) as tls:
            names: Any = (tls.getpeercert() or {}).get("subjectAltName", ())
            return {"verified": True, "uris": [name[1] for name in names if name[0] == "URI"], "error": ""}
    except OSError as error:  # ssl.SSLError is one
        return {"verified": False, "uris": [], "error": str(error)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="peer", description="Verify the TLS peer at an address and print its SPIFFE id.")
    parser.add_argument("address", help="host:port")
    parser.add_argument("--roots", required=True, help="root certificates, PEM text")
    parser.add_argument("--timeout", type=float, default=5, help="seconds")
    options = parser.parse_args()
    print(json.dumps(look(options.address, options.roots, options.timeout)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
