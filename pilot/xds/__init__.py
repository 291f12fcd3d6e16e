# SPDX-License-Identifier: Apache-2.0
"""Envoy's discovery protocol without I/O: what each proxy has, what it should have, and what to send next.

`cache` turns groups of generated resources into framed bytes that many streams share; `stream` is one ADS conversation, delta or
state-of-the-world; `nack` finds the resource that a proxy refuses; `pace` says when a push may go. `pilot.api` moves the bytes.
"""
