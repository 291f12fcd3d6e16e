# SPDX-License-Identifier: Apache-2.0
"""CEXL, the expression language of Istio 1.4's Mixer: a subset of Go's expressions over typed attributes.

One language, four readers: Galley checks with it, Mixer compiles it, Pilot compiles some of it, the CLI evaluates it. A room without I/O.
"""

from common.expression.checker import Apply, Checked, Constant, Read, analyse, check
from common.expression.errors import ExpressionError
from common.expression.evaluator import Evaluation
from common.expression.parser import parse
from common.expression.types import ValueType
from common.expression.vocabulary import Vocabulary

__all__ = ["Apply", "Checked", "Constant", "Evaluation", "ExpressionError", "Read", "ValueType", "Vocabulary", "analyse", "check", "parse"]
