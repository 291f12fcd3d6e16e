# SPDX-License-Identifier: Apache-2.0
"""An httpx client for a part's HTTPS API: whatever the address, the server must hold the part's DNS name and chain to our roots."""

from __future__ import annotations

import ssl

import httpx

from common.mesh.names import control_plane_dns_name


class _ToPart(httpx.AsyncHTTPTransport):
    """Sends, and checks, the part's DNS name in every handshake; the URL's host is only where to connect."""

    def __init__(self, name: str, context: ssl.SSLContext) -> None:
        super().__init__(verify=context)
        self._name = name

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = self._name
        return await super().handle_async_request(request)


def https_client(address: str, *, part: str, roots_pem: bytes, token: str = "", timeout_seconds: float = 10.0) -> httpx.AsyncClient:
    """A client whose relative URLs go to `part` (galley, pilot, citadel, mixer) at `address` (`host:port`), bearing `token` if given."""
    context = ssl.create_default_context(cadata=roots_pem.decode())
    headers = {"authorization": f"Bearer {token}"} if token else {}
    transport = _ToPart(control_plane_dns_name(part), context)
    return httpx.AsyncClient(base_url=f"https://{address}", headers=headers, transport=transport, timeout=timeout_seconds)
