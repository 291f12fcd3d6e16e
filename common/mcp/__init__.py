# SPDX-License-Identifier: Apache-2.0
"""The Mesh Configuration Protocol: how Galley hands configuration to Pilot and Mixer.

`source` and `sink` are the two ends as state machines without I/O; `client`, `server` and `inprocess` move their messages.
"""

from common.mcp.change import Change, ConfigSource, OnChange, Rejected, Skipped

__all__ = ["Change", "ConfigSource", "OnChange", "Rejected", "Skipped"]
