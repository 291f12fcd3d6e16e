# SPDX-License-Identifier: Apache-2.0
"""VirtualService: how requests to a host are routed, rewritten, delayed, retried and mirrored."""

from __future__ import annotations

from typing import ClassVar

from common.config.kinds.message import Duration, Message, Percent, PortSelector, StringMatch


class Destination(Message, frozen=True, kw_only=True):
    """Where traffic goes: a service, perhaps one subset of it. `port` may be absent when the service has only one."""

    host: str
    subset: str = ""
    port: PortSelector | None = None


class HeaderOperations(Message, frozen=True, kw_only=True):
    set: dict[str, str] = {}
    add: dict[str, str] = {}
    remove: tuple[str, ...] = ()


class Headers(Message, frozen=True, kw_only=True):
    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HTTPMatchRequest(Message, frozen=True, kw_only=True):
    """All conditions of one match hold together; the matches of a route are alternatives."""

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = {}
    queryParams: dict[str, StringMatch] = {}
    ignoreUriCase: bool = False
    port: int = 0
    sourceLabels: dict[str, str] = {}
    gateways: tuple[str, ...] = ()


class HTTPRouteDestination(Message, frozen=True, kw_only=True):
    """One weighted destination. The four fields after `headers` are the deprecated spelling of header operations."""

    destination: Destination
    weight: int = 0
    headers: Headers | None = None
    appendRequestHeaders: dict[str, str] = {}
    removeRequestHeaders: tuple[str, ...] = ()
    appendResponseHeaders: dict[str, str] = {}
    removeResponseHeaders: tuple[str, ...] = ()


class HTTPRedirect(Message, frozen=True, kw_only=True):
    uri: str = ""
    authority: str = ""
    redirectCode: int = 0


class HTTPRewrite(Message, frozen=True, kw_only=True):
    uri: str = ""
    authority: str = ""


class HTTPRetry(Message, frozen=True, kw_only=True):
    """`attempts: 0` switches the mesh's default retries off."""

    attempts: int = 0
    perTryTimeout: Duration | None = None
    retryOn: str = ""


class Delay(Message, frozen=True, kw_only=True):
    ONEOFS: ClassVar = (("fixedDelay", "exponentialDelay"),)

    fixedDelay: Duration | None = None
    exponentialDelay: Duration | None = None
    percentage: Percent | None = None
    percent: int = 0
    """Deprecated whole-number spelling of `percentage`."""


class Abort(Message, frozen=True, kw_only=True):
    ONEOFS: ClassVar = (("httpStatus", "grpcStatus", "http2Error"),)

    httpStatus: int | None = None
    grpcStatus: str | None = None
    http2Error: str | None = None
    percentage: Percent | None = None
    percent: int = 0
    """Deprecated whole-number spelling of `percentage`."""


class HTTPFaultInjection(Message, frozen=True, kw_only=True):
    delay: Delay | None = None
    abort: Abort | None = None


class CorsPolicy(Message, frozen=True, kw_only=True):
    allowOrigin: tuple[str, ...] = ()
    allowMethods: tuple[str, ...] = ()
    allowHeaders: tuple[str, ...] = ()
    exposeHeaders: tuple[str, ...] = ()
    maxAge: Duration | None = None
    allowCredentials: bool | None = None


class HTTPRoute(Message, frozen=True, kw_only=True):
    """One ordered rule. The first rule with a true match decides; a rule without matches is always true."""

    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    rewrite: HTTPRewrite | None = None
    websocketUpgrade: bool = False
    """Deprecated: websockets are always on."""
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrorPercent: int | None = None
    corsPolicy: CorsPolicy | None = None
    headers: Headers | None = None
    appendHeaders: dict[str, str] = {}
    """Deprecated older spelling of `appendRequestHeaders`."""
    appendRequestHeaders: dict[str, str] = {}
    removeRequestHeaders: tuple[str, ...] = ()
    appendResponseHeaders: dict[str, str] = {}
    removeResponseHeaders: tuple[str, ...] = ()


class RouteDestination(Message, frozen=True, kw_only=True):
    destination: Destination
    weight: int = 0


class L4MatchAttributes(Message, frozen=True, kw_only=True):
    destinationSubnets: tuple[str, ...] = ()
    port: int = 0
    sourceSubnet: str = ""
    sourceLabels: dict[str, str] = {}
    gateways: tuple[str, ...] = ()


class TCPRoute(Message, frozen=True, kw_only=True):
    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class TLSMatchAttributes(Message, frozen=True, kw_only=True):
    sniHosts: tuple[str, ...] = ()
    destinationSubnets: tuple[str, ...] = ()
    port: int = 0
    sourceSubnet: str = ""
    sourceLabels: dict[str, str] = {}
    gateways: tuple[str, ...] = ()


class TLSRoute(Message, frozen=True, kw_only=True):
    match: tuple[TLSMatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class VirtualService(Message, frozen=True, kw_only=True):
    """No `gateways` means the reserved gateway `mesh`: all sidecars."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    exportTo: tuple[str, ...] = ()
