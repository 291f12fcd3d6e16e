# SPDX-License-Identifier: Apache-2.0
"""`fourmast`, the command line. It checks files by itself and speaks HTTPS to the parts; it composes none of them.

One module a command; main.py names them all and imports only the one that runs, so that the prompt is back quickly.
"""
