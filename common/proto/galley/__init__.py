# SPDX-License-Identifier: Apache-2.0
"""What agents, Pilot and Mixer tell Galley: `fourmast.galley.v1`."""
