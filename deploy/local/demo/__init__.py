# SPDX-License-Identifier: Apache-2.0
"""`make demo`: a whole mesh on this machine, the tutorial configurations one after another, expected against observed.

Every row has a cause: configuration that it applies, or something that it does. With `--sabotage` the cause is left out, and a row that
still holds proves nothing; CI runs each row that way too.
"""
