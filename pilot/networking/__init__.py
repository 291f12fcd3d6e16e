# SPDX-License-Identifier: Apache-2.0
"""Envoy resources as pure functions of a snapshot: `generator.py` is the only door, everything behind it takes one frozen key.

A room without I/O. Whatever Envoy 1.40 would reject about the generated whole is repaired or dropped here: one bad object only drops itself.

Where to look:

* `generator` plans, `groups` says what each kind of group depends on, `resource` is what comes out;
* clusters: `cluster`, `traffic_policy`, `tls`; their endpoints: `endpoint`, `locality`;
* listeners: `outbound_listener` with `tcp_route`, `inbound`, `gateway`; what ends their chains: `filters`, `access_log`;
* routes: `virtual_host` (sidecars), `gateway`, `inbound`; their parts: `route`, `route_match`, `route_headers`, `route_policy`;
* `mixerclient` and `check` put Mixer into all of it; `names` and `wire` are the spelling.
"""
