"""Which connections of a packet capture the secrets of some key logs belong to.

Connections inside of others count, so the capture is read with all of the secrets. Must never say that a secret
fits: a connection that goes by its name is enough.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from audit.sources.opening import opened
from audit.sources.pcap import window
from audit.sources.pcap.analysis import Analysis
from audit.sources.pcap.batch import Batch, Secrets
from audit.sources.pcap.decryption.ring import KeyRing
from audit.sources.pcap.reading import items


def names(path: Path, logs: Collection[Path]) -> set[bytes]:
    """The names (see `Keys.meet`) of the capture's connections that have a secret in these logs.

    Raises:
        BadCapture: a key log cannot be read.
    """
    ring = KeyRing(logs)
    number = 1
    with opened(path, path.name) as source:
        analysis = Analysis(path.name, frozenset({"tls", "http"}), (), 0, 1, ring)
        for item in items(source, window.CHUNK):
            if isinstance(item, Batch):
                analysis.batch(item)
                number = item.number + len(item.start)
            elif isinstance(item, Secrets):
                analysis.secrets(item)
        analysis.finish(number)
    return ring.keys.met
