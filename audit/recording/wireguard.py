"""Keys of the WireGuard mode, and the configuration that a phone scans.

The keys lie in a file of mitmproxy's own format, so both ends stay the same over several sittings. The tunnel's
addresses are fixed by mitmproxy. All routes lead into the tunnel, IPv6 too: it goes nowhere there, so that apps
take IPv4 and nothing passes beside the recording.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

DEVICE, NAME_SERVER = "10.0.0.1", "10.0.0.53"


class BadKeys(Exception):  # noqa: N818 - beside BadExperiment
    """A key file that cannot be used. `str()` is one line."""


def keys(path: Path) -> tuple[str, str]:
    """The secret keys of server and device; made, for the owner's eyes only, where the file is not there.

    Raises BadKeys, OSError.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
    else:
        made = {name: _new_key() for name in ("server_key", "client_key")}
        with os.fdopen(fd, "w") as file:
            json.dump(made, file)
    try:
        read = json.loads(path.read_text())
        pair = str(read["server_key"]), str(read["client_key"])
        for key in pair:
            public(key)
    except (ValueError, KeyError, TypeError):
        raise BadKeys(f"{path}: holds no WireGuard keys; move it away, and new ones are made") from None
    return pair


def public(key: str) -> str:
    """The public key that belongs to a secret one (RFC 7748), in base64. Raises ValueError."""
    secret = X25519PrivateKey.from_private_bytes(base64.b64decode(key, validate=True))
    return base64.b64encode(secret.public_key().public_bytes_raw()).decode()


def _new_key() -> str:
    return base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode()


def configuration(path: Path, endpoint: str, port: int) -> str:
    """What the device needs, in the format of wg-quick(8) that its app scans. Raises BadKeys, OSError."""
    server, device = keys(path)
    host = f"[{endpoint}]" if ":" in endpoint else endpoint
    return (
        f"[Interface]\nPrivateKey = {device}\nAddress = {DEVICE}/32\nDNS = {NAME_SERVER}\n\n"
        f"[Peer]\nPublicKey = {public(server)}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
        f"Endpoint = {host}:{port}\nPersistentKeepalive = 25\n"
    )
