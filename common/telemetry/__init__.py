# SPDX-License-Identifier: Apache-2.0
"""Logs by scope, metrics with exact names, traces: what every part says about itself."""
