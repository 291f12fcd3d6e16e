# SPDX-License-Identifier: Apache-2.0
"""Asking the snapshot: choosing rules, calling handlers, combining answers."""
