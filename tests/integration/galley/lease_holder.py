# SPDX-License-Identifier: Apache-2.0
"""A process that holds one lease on a shared database and beats for it until it is killed."""

from __future__ import annotations

import asyncio

from common.config.kinds.networking import WorkloadEntry
from common.database import Writer, create, migrate
from galley.store.store import MIGRATIONS, Store
from galley.store.workloads import Workloads


async def hold(url: str) -> None:
    engine = create(url)
    async with Writer.open(engine, name="holder") as writer:
        await writer.call(lambda: migrate(engine, MIGRATIONS))
        store = await Store.open(writer)
        workloads = await Workloads.open(writer, start=store.start)
        spec = WorkloadEntry(address="10.0.0.9", serviceAccount="reviews")
        lease = workloads.leases.register(namespace="default", name="w", spec=spec, healthy=True, at="then").lease
        async with asyncio.TaskGroup() as group:
            group.create_task(workloads.run())
            workloads.changed()
            print("lease", lease, flush=True)
            while True:
                await asyncio.sleep(1)
                workloads.leases.heartbeat(lease, healthy=True)
