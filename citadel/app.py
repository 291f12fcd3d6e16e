# SPDX-License-Identifier: Apache-2.0
"""What Citadel is made of."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import structlog

from citadel import metrics
from citadel.api.admin import admin_app
from citadel.api.certificate_service import CHANNEL_OPTIONS, LARGEST_REQUEST, CertificateService
from citadel.api.issuance import Issuance
from citadel.api.rate import RateLimiter
from citadel.authenticators.client_certificate import ClientCertificates
from citadel.authenticators.join_token import JoinTokens
from citadel.authority.api_keys import TokenSigner
from citadel.authority.issuing import Authority, IssuingPolicy
from citadel.own_identity import keep_renewed, own_identity
from citadel.settings import CitadelSettings
from citadel.store.authority import load_or_make
from citadel.store.database import open_store
from citadel.welcome import Welcome
from common.config.duration import seconds
from common.identity.join_file import JoinFile
from common.identity.tls import grpc_server_credentials, ssl_context
from common.lifecycle import Component, Life
from common.lifecycle.grpc import bind_grpc, grpc_server
from common.lifecycle.http import address_of, bind, serve_http, split_address

log = structlog.get_logger("ca")


def build(settings: CitadelSettings) -> Component:
    """The certificate authority. It needs no other part; every other part needs it to join."""
    return Citadel(settings)


class Citadel:
    """Store, authority, two gRPC listeners, one HTTPS listener, and the files that let others in."""

    name = "citadel"

    def __init__(self, settings: CitadelSettings) -> None:
        self._settings = settings

    async def run(self, life: Life) -> None:
        settings = self._settings
        trust_domain = settings.trust_domain
        async with contextlib.AsyncExitStack() as stack:
            store = await stack.enter_async_context(open_store(settings.state_dir / "citadel.db"))
            signing = await store.transaction(lambda c: load_or_make(c, trust_domain=trust_domain, now=datetime.now(UTC)))
            log.info(
                "root made" if signing.made else "root loaded", fingerprint=signing.root.fingerprint, not_after=str(signing.root.not_after)
            )
            authority = Authority(signing.root, _policy(settings), other_roots_pem=signing.other_roots_pem)
            metrics.show_root_expiry(lambda: signing.root.not_after.timestamp())
            signer = TokenSigner(signing.api_keys_pem)
            identity = await own_identity(authority, store, trust_domain, signer.jwks)

            limiter = RateLimiter(per_peer=settings.requests_per_peer, total=settings.requests_total)
            joining = Issuance(authority, store, [JoinTokens(store, trust_domain)], limiter)
            renewing = Issuance(authority, store, [ClientCertificates(store, trust_domain)], limiter)
            csr = grpc_server(max_message=LARGEST_REQUEST, options=CHANNEL_OPTIONS)
            csr.add_generic_rpc_handlers((CertificateService(joining, signer.jwks, token_port=True).handler(),))
            renewal = grpc_server(max_message=LARGEST_REQUEST, options=CHANNEL_OPTIONS)
            renewal.add_generic_rpc_handlers((CertificateService(renewing, signer.jwks, token_port=False).handler(),))
            csr_address = bind_grpc(csr, settings.csr_address, grpc_server_credentials(identity, require_client=False))
            renewal_address = bind_grpc(renewal, settings.renewal_address, grpc_server_credentials(identity))

            def join_file(token: str, spiffe_id: str) -> JoinFile:
                return JoinFile(
                    token=token,
                    roots=authority.bundle_pem.decode(),
                    trust_domain=trust_domain,
                    citadel=_advertised(csr_address, settings.advertised_host),
                    renewal=_advertised(renewal_address, settings.advertised_host),
                    api_keys=signer.jwks,
                    spiffe_id=spiffe_id,
                )

            welcome = Welcome(
                settings.state_dir, authority=authority, store=store, signer=signer, trust_domain=trust_domain, join_file=join_file
            )
            welcome.write_public()
            admin = admin_app(authority=authority, store=store, signer=signer, join_file=join_file, trust_domain=trust_domain)
            sock = bind(settings.admin_address)
            await stack.enter_async_context(serve_http(admin, sock, ssl_context=ssl_context(identity, server=True, require_client=False)))
            for server in (csr, renewal):
                await server.start()
                stack.push_async_callback(server.stop, 1.0)
            await welcome.write_credentials()

            life.listening("csr", csr_address)
            life.listening("renewal", renewal_address)
            life.listening("admin", address_of(sock))
            life.ready()
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(keep_renewed(identity, authority, store), name="renew citadel's certificate"),
                    tasks.create_task(welcome.keep_fresh(), name="keep join files fresh"),
                ]
                await life.stopping.wait()
                for task in background:
                    task.cancel()


def _policy(settings: CitadelSettings) -> IssuingPolicy:
    return IssuingPolicy(
        default=timedelta(seconds=seconds(settings.workload_cert_ttl)),
        longest=timedelta(seconds=seconds(settings.max_workload_cert_ttl)),
        clamp=settings.clamp_ttl,
    )


def _advertised(bound: str, advertised_host: str) -> str | None:
    """The address for join files; None when only the reader can know it, because we listen on all of ours."""
    host, port = split_address(bound)
    if advertised_host:
        return f"{advertised_host}:{port}"
    return None if host in ("0.0.0.0", "::") else bound
