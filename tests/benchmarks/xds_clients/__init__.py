# SPDX-License-Identifier: Apache-2.0
"""Many proxies that are none: N clients of Envoy's v3 ADS in one process, delta or state-of-the-world, TLS or not.

They know the protocol and nothing of whoever serves it, so any xDS server can be measured with them: `python -m tests.benchmarks.xds_clients`.
One thread and one epoll loop drive hand-written HTTP/2 connections, each with one stream, because grpc.aio as a client would be the limit.
"""
