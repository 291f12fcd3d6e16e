# SPDX-License-Identifier: Apache-2.0
"""Where documents come from, and what every one of them must pass before it is stored."""
