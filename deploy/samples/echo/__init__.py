# SPDX-License-Identifier: Apache-2.0
"""Echo: an httpbin-like service that says what it was asked and who it is."""
