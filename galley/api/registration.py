# SPDX-License-Identifier: Apache-2.0
"""Registration and status over gRPC. Who a caller is comes from its certificate; what it says about itself is bounded and checked."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import msgspec
import structlog

from common.config.kinds.networking import WORKLOAD_ENTRY, WorkloadEntry
from common.config.resource import ResourceKey
from common.identity.bounds import outside_bounds
from common.identity.spiffe import SpiffeId
from common.identity.tls import peer_identity, peer_label_bounds
from common.proto.galley import v1_pb2, v1_pb2_grpc
from galley.distribution.access import part_of
from galley.status.reports import LONGEST_MESSAGE, Report, Reports, Verdict
from galley.store.leases import LEASE_SECONDS, HeldByAnotherError, Registered, TooManyError
from galley.store.store import Store, utc_now
from galley.store.workloads import Workloads

log = structlog.get_logger("registration")

HEARTBEAT_SECONDS = 1.0
MOST_PORTS, MOST_LABELS, MOST_STATUSES = 64, 64, 20_000

Context = grpc.aio.ServicerContext[Any, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_PORT_NAME = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_LABEL_KEY = re.compile(r"([a-zA-Z0-9]([-a-zA-Z0-9.]{0,251}[a-zA-Z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_VERSION = re.compile(r"[A-Za-z0-9.+_-]{0,64}")
_LOCALITY = re.compile(r"[A-Za-z0-9._-]*(/[A-Za-z0-9._-]*){0,2}")


class RegistrationServicer(v1_pb2_grpc.RegistrationServicer):
    """`fourmast.galley.v1.Registration`, for agents of any namespace: each registers only under its own."""

    def __init__(self, store: Store, workloads: Workloads, *, trust_domain: str) -> None:
        self._store, self._workloads, self._trust_domain = store, workloads, trust_domain

    async def Register(self, request: v1_pb2.RegisterRequest, context: Context) -> v1_pb2.RegisterResponse:
        peer = await self._known(context)
        workload = request.workload
        try:
            spec = workload_spec(workload, address_of(workload.address, context.peer()), peer.service_account)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if (outside := _outside_bounds(context, spec.labels)) is not None:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"the join token of this workload bounds its labels: {outside}")
        key = ResourceKey(WORKLOAD_ENTRY.collection, peer.namespace, workload.name)
        if self._store.snapshot.get(key) is not None:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{key} is configured by hand; register under another name or delete it")
        try:
            registered = self._workloads.leases.register(
                namespace=peer.namespace,
                name=workload.name,
                spec=spec,
                healthy=request.healthy,
                at=utc_now(),
                proxy_version=workload.proxy_version,
            )
        except HeldByAnotherError as error:
            await context.abort(
                grpc.StatusCode.ALREADY_EXISTS,
                f"{key} is registered by service account {error}; register under another name, or wait until its lease ends",
            )
        except TooManyError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        self._workloads.changed()
        log.info("workload registered", workload=key.mcp_name, address=spec.address, service_account=peer.service_account)
        return v1_pb2.RegisterResponse(
            lease=registered.lease, lease_seconds=LEASE_SECONDS, heartbeat_seconds=HEARTBEAT_SECONDS, address=spec.address
        )

    async def Heartbeat(self, request: v1_pb2.HeartbeatRequest, context: Context) -> v1_pb2.HeartbeatResponse:
        workload = await self._own(request.lease, context)
        self._workloads.leases.heartbeat(request.lease, healthy=request.healthy)
        self._workloads.changed()
        if workload.healthy != request.healthy:
            state = "healthy again" if request.healthy else "not healthy; it leaves discovery"
            log.info("workload is " + state, workload=f"{workload.namespace}/{workload.name}")
        return v1_pb2.HeartbeatResponse()

    async def Deregister(self, request: v1_pb2.DeregisterRequest, context: Context) -> v1_pb2.DeregisterResponse:
        workload = await self._own(request.lease, context)
        self._workloads.leases.deregister(request.lease)
        self._workloads.changed()
        log.info("workload deregistered", workload=f"{workload.namespace}/{workload.name}")
        return v1_pb2.DeregisterResponse()

    async def _known(self, context: Context) -> SpiffeId:
        peer = peer_identity(context)
        if peer is None or peer.trust_domain != self._trust_domain:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, f"{peer or 'a caller without a SPIFFE id'} is not of {self._trust_domain}"
            )
        return peer

    async def _own(self, lease: str, context: Context) -> Registered:
        """The workload of a lease that runs and that this caller's identity holds; else the call ends with NOT_FOUND."""
        peer = await self._known(context)
        workload = self._workloads.leases.find(lease)
        self._workloads.changed()
        if workload is None or (workload.namespace, workload.spec.serviceAccount) != (peer.namespace, peer.service_account):
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such lease; register again")
        return workload


class StatusServicer(v1_pb2_grpc.StatusServicer):
    """`fourmast.galley.v1.Status`, for Pilot and Mixer only."""

    def __init__(self, store: Store, reports: Reports, *, trust_domain: str) -> None:
        self._store, self._reports, self._trust_domain = store, reports, trust_domain

    async def ReportStatus(self, request: v1_pb2.ReportStatusRequest, context: Context) -> v1_pb2.ReportStatusResponse:
        try:
            part = part_of(peer_identity(context), self._trust_domain)
        except PermissionError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        if len(request.statuses) > MOST_STATUSES:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"at most {MOST_STATUSES} reports in a call")
        reporter, now = f"{part}/{request.instance[:128]}", utc_now()
        for status in request.statuses:
            namespace, _, name = status.name.rpartition("/")
            if self._store.snapshot.get(ResourceKey(status.collection, namespace, name)) is None:
                continue  # deleted meanwhile, or a registered workload, which has no status
            verdicts: dict[int, Verdict] = {v1_pb2.ResourceStatus.TRUE: "True", v1_pb2.ResourceStatus.FALSE: "False"}
            self._reports.take(
                Report(
                    collection=status.collection,
                    name=status.name,
                    type=status.type[:64],
                    reporter=reporter,
                    resource_version=status.resource_version[:64],
                    verdict=verdicts.get(status.verdict, "Unknown"),
                    reason=status.reason[:128],
                    message=status.message[:LONGEST_MESSAGE],
                    at=now,
                )
            )
        return v1_pb2.ReportStatusResponse()


def _outside_bounds(context: Context, labels: Mapping[str, str]) -> str | None:
    """The label that the caller's certificate does not allow, as a sentence; unreadable bounds allow nothing."""
    try:
        return outside_bounds(peer_label_bounds(context), labels)
    except ValueError as error:
        return f"the bounds cannot be read ({error})"


def address_of(declared: str, peer: str) -> str:
    """The address that others will use: the connection's, unless the agent is on our own host (loopback or a Unix socket) and declared one.

    `peer` is gRPC's form: `ipv4:10.0.0.7:41234`, `ipv6:%5B::1%5D:41234`, `unix:…`. Raises ValueError for an address nobody could reach.
    """
    transport, _, rest = peer.partition(":")
    if transport in ("ipv4", "ipv6"):
        seen = ipaddress.ip_address(urllib.parse.unquote(rest).rpartition(":")[0].strip("[]"))
        mapped = seen.ipv4_mapped if isinstance(seen, ipaddress.IPv6Address) else None
        seen = mapped or seen
        if not seen.is_loopback or not declared:
            return str(seen)
    elif not declared:
        raise ValueError("address: a workload that registers over a Unix socket must say its address")
    try:
        address = ipaddress.ip_address(declared)
    except ValueError as error:
        raise ValueError(f"address: {declared!r} is not an IP address") from error
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # else none of the properties below would be those of the address that is meant
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        raise ValueError(f"address: {declared} is not an address that others could reach")
    return str(address)


def workload_spec(workload: v1_pb2.Workload, address: str, service_account: str) -> WorkloadEntry:
    """The WorkloadEntry of a registration. Raises ValueError naming the field and what is allowed."""
    if not _NAME.fullmatch(workload.name):
        raise ValueError(f"name: {workload.name!r} is not a DNS name of lower-case letters, digits, '-' and '.'")
    if len(workload.ports) > MOST_PORTS:
        raise ValueError(f"ports: at most {MOST_PORTS}")
    for name, number in workload.ports.items():
        if not _PORT_NAME.fullmatch(name) or not 1 <= number <= 65535:
            raise ValueError(f"ports: {name!r}: {number} is not a port name with a number from 1 to 65535")
    if len(workload.labels) > MOST_LABELS:
        raise ValueError(f"labels: at most {MOST_LABELS}")
    for key, value in workload.labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise ValueError(f"labels: {key!r}: {value!r} is not a Kubernetes label")
    if not _LOCALITY.fullmatch(workload.locality) or len(workload.locality) > 256:
        raise ValueError(f"locality: {workload.locality!r} is not of the form region/zone/sub-zone")
    if len(workload.network) > 256:
        raise ValueError("network: at most 256 characters")
    if not _VERSION.fullmatch(workload.proxy_version):
        raise ValueError(f"proxy_version: {workload.proxy_version!r} is not a version of at most 64 letters, digits, '.', '+', '-' and '_'")
    return msgspec.structs.replace(
        WorkloadEntry(address=address),
        ports=dict(sorted(workload.ports.items())),
        labels=dict(sorted(workload.labels.items())),
        network=workload.network,
        locality=workload.locality,
        weight=workload.weight,
        serviceAccount=service_account,
    )
