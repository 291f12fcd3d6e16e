# SPDX-License-Identifier: Apache-2.0
"""Checked expressions -> Python source -> code. A namespace's rules become one function."""

from mixer.compiler.emission import reads
from mixer.compiler.program import Build, Element, Group, Note, Program, compile_expression, compile_groups, leaves

__all__ = ["Build", "Element", "Group", "Note", "Program", "compile_expression", "compile_groups", "leaves", "reads"]
