# SPDX-License-Identifier: Apache-2.0
"""The fast Check exchange between Envoy's Lua filter and Mixer, and what both sides must spell alike.

One HTTP/1.1 POST to `PATH` per question. `message` is the framing of bodies, `attributes` the vocabulary in which answers may be
cached, `epoch` ties answers to the configuration that they came from, `report` names what travels in the access log, `script` is the
Lua text. `vectors.json` holds cases that the tests of both sides run: the Lua text in a real Envoy, the Python side here.
"""

from common.checkprotocol.epoch import policy_epoch
from common.checkprotocol.message import PATH, Answer, MessageError, Question

__all__ = ["PATH", "Answer", "MessageError", "Question", "policy_epoch"]
