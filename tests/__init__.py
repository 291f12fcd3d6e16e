# SPDX-License-Identifier: Apache-2.0
"""Tests of Fourmast. `unit` mirrors the tree; `integration` has real databases and processes; `e2e` has whole meshes on real Envoys."""
