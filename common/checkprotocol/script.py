# SPDX-License-Identifier: Apache-2.0
"""The text of the filter that asks Mixer in Envoy, for both who can bring it there.

The agent puts it into Envoy's environment and says in the node's metadata which text that is; Pilot then only refers to it. Where Pilot's own
text is another, it sends that inline, so agent and Pilot may be of different releases.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from typing import Final

from common.mesh.names import CHECK_CLUSTER

CHECK_SCRIPT_VARIABLE: Final = "FOURMAST_CHECK_SCRIPT"
"""Environment variable in which the agent gives Envoy the text. Linux allows one variable 128 KiB."""


@cache
def check_script() -> str:
    """The text without indentation and comments; lines keep their numbers. Read once, so that text and digest agree while a process lives."""
    text = resources.files(__package__).joinpath("check_cache.lua").read_text("utf-8").replace("@CHECK_CLUSTER@", CHECK_CLUSTER)
    return re.sub(r"^ +(--.*)?|^--.*", "", text, flags=re.MULTILINE)


@cache
def check_script_digest() -> str:
    """Which text it is: what the metadata of a node says (CHECK_SCRIPT)."""
    return hashlib.blake2s(check_script().encode(), digest_size=12).hexdigest()
