# SPDX-License-Identifier: Apache-2.0
"""The tables, as this version knows them. `migrations/` makes them; a test holds both equal."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

resources = Table(
    "resources",
    metadata,
    Column("collection", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("body", Text, nullable=False),  # canonical JSON with metadata: what MCP carries
    Column("origin", Text, nullable=False),  # JSON of Origin
    Column("traceparent", String, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("at", String, nullable=False),
    Column("action", String, nullable=False),
    Column("collection", String, nullable=False),
    Column("namespace", String, nullable=False),
    Column("name", String, nullable=False),
    Column("body", Text, nullable=False),  # after the change; for a deletion, the last state
    Column("origin", Text, nullable=False),
    Column("actor", String, nullable=False),
    Column("traceparent", String, nullable=False),
    Index("revisions_by_resource", "collection", "namespace", "name", "revision"),
)

reports = Table(
    "reports",
    metadata,
    Column("collection", String, primary_key=True),
    Column("name", String, primary_key=True),  # MCP name
    Column("type", String, primary_key=True),
    Column("reporter", String, primary_key=True),
    Column("resource_version", String, nullable=False),
    Column("verdict", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("at", String, nullable=False),
)

workloads = Table(
    "workloads",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("service_account", String, nullable=False),
    Column("lease", String, nullable=False),
    Column("healthy", Boolean, nullable=False),
    Column("body", Text, nullable=False),  # the WorkloadEntry's spec as JSON
    Column("registered_at", String, nullable=False),
    Column("holder", Integer, nullable=False, server_default="0"),  # number of the start that minds its deadline
    Column("proxy_version", String, nullable=False, server_default=""),  # as the agent says; empty from older ones
)

starts = Table(
    "starts",  # one row for each start of a Galley: its number makes versions of what lives outside revisions unique for ever
    metadata,
    Column("start", Integer, primary_key=True),
    Column("at", String, nullable=False),
    Column("alive_until", Float, nullable=False, server_default="0"),  # seconds since the epoch by the database's clock; PostgreSQL only
)
