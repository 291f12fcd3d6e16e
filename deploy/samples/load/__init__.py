# SPDX-License-Identifier: Apache-2.0
"""A small HTTP client for tutorials: sends requests, counts answers, prints one JSON object. `python -m deploy.samples.load --help`."""
