# SPDX-License-Identifier: Apache-2.0
"""Checked expressions -> Python source -> code. A namespace's rules become one function."""
