# SPDX-License-Identifier: Apache-2.0
"""Validating admission webhook: in front of a Kubernetes API server, Galley refuses what its own REST would refuse."""
