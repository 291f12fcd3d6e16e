# SPDX-License-Identifier: Apache-2.0
"""How resources fit each other. Analysis reads a whole set at once and never stands in the way of a write; codes and levels are Istio's."""

from galley.analysis.analysers import analyze
from galley.analysis.codes import LEVELS, Level
from galley.analysis.finding import Finding
from galley.analysis.memory import Memory

__all__ = ["LEVELS", "Finding", "Level", "Memory", "analyze"]
