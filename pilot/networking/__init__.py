# SPDX-License-Identifier: Apache-2.0
"""Envoy resources as pure functions of a snapshot: `generator.py` is the only door, everything behind it takes one frozen key.

A room without I/O. Whatever Envoy 1.40 would reject about the generated whole is repaired or dropped here: one bad object only drops itself.
"""
