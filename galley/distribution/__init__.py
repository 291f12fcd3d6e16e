# SPDX-License-Identifier: Apache-2.0
"""From the store's snapshot and the visible workloads to MCP: what Pilot and Mixer are sent."""
