"""The id of a finding: made of what it states and of nothing else.

Leak type, recipient, mode, setting and value: so the same traffic in another format, order or number of
files gives the same id, and audits can be compared and cited.
"""

from __future__ import annotations

import hashlib

from audit.assessment.phases import Placing


def finding_id(code: str, recipient: str | None, placing: Placing, value: str) -> str:
    """16 hex digits. `value` names a canary or tells the value itself, and says which."""
    parts = (code, recipient or "", placing.mode, placing.setting or "", value)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
