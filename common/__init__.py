# SPDX-License-Identifier: Apache-2.0
"""The shared library of Fourmast: configuration model, expression language, MCP, identity, life cycle, telemetry."""
