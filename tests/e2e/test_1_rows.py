# SPDX-License-Identifier: Apache-2.0
"""Every row of the demo holds, and is false when its cause is taken away: a row that cannot be false shows nothing."""

import pytest

from deploy.local.demo.__main__ import ROWS, run_row
from deploy.local.demo.row import Row
from deploy.local.demo.world import World

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_row_holds(world: World, row: Row) -> None:
    result = await run_row(world, row)
    assert result.ok, f"expected {result.expected}; observed {result.observed}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_row_is_false_without_its_cause(world: World, row: Row) -> None:
    sabotaged = world.sabotage()
    try:
        result = await run_row(sabotaged, row)
    finally:
        await world.restore()
    assert not result.ok, f"the row held without its cause: {result.observed}"
