# SPDX-License-Identifier: Apache-2.0
"""How a caller shows who it is: one module for each kind of credential."""
