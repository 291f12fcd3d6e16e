# SPDX-License-Identifier: Apache-2.0
"""Composition and operation: istiod, the sidecar, the one-machine mesh, the command line."""
