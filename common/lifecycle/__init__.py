# SPDX-License-Identifier: Apache-2.0
"""A component is one coroutine. Starting, being ready, draining and restarting alone are the same for one part and for four in a process."""

from common.lifecycle.component import Component, Life
from common.lifecycle.host import host

__all__ = ["Component", "Life", "host"]
