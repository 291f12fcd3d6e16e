# SPDX-License-Identifier: Apache-2.0
"""Kubernetes' own protobuf form of the kinds that kubectl sends in it."""
