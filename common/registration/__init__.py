# SPDX-License-Identifier: Apache-2.0
"""How a workload's agent keeps it registered with Galley, and how Pilot and Mixer report what became of configuration."""

from common.registration.client import Workload, registration
from common.registration.reporter import StatusReporter, Verdict

__all__ = ["StatusReporter", "Verdict", "Workload", "registration"]
