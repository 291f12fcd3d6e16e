# SPDX-License-Identifier: Apache-2.0
"""What became of configuration: reports of Pilot and Mixer, findings of the analysis, and how both look at a resource.

Nothing here makes a revision or an MCP version, so a report can never cause the change that causes the next report.
"""
