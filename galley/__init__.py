# SPDX-License-Identifier: Apache-2.0
"""Galley: configuration in - validated, analysed, stored, distributed."""
