"""Makes the capture of this benchmark: HTTP/1 and HTTP/2 over TLS 1.3 in packets of 1,500 bytes, with its key log.

Half of the connections speak HTTP/1, half HTTP/2; bodies are random, of sizes as pages have them. It writes
`capture.pcap`, `keys.log` and `said.json` (what the servers saw, in order).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.sources.pcap.decryption import talks
from tests.sources.pcap.decryption.wire import Wire


def make(folder: Path, megabytes: int) -> Path:
    """The capture, of at least so many megabytes."""
    wire = Wire(segment=1_460)
    ends = {alpn: talks.contexts(folder, alpn=alpn) for alpn in ("http/1.1", "h2")}
    said = []
    size = number = 0
    while size < megabytes * 1_000_000:
        before = len(wire.packets)
        on = wire.tcp(10_000 + number)
        alpn = "h2" if number % 2 else "http/1.1"
        speak = talks.http2 if alpn == "h2" else talks.http1
        said += speak(talks.say_over(talks.Pair(ends[alpn], on)), number, 40, 120_000)
        on.close()
        size += sum(len(packet) + 16 for packet in wire.packets[before:])
        number += 1
    (folder / "said.json").write_text(json.dumps(said))
    return wire.write(folder, "capture.pcap")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    made = make(target, int(sys.argv[2]) if len(sys.argv) > 2 else 110)
    print(made, made.stat().st_size)
