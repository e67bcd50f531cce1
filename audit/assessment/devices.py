"""Which devices of the local network the captures show, by what they called themselves there.

It tells which device an address was; it never decides whose traffic is counted (that is `Flow.side_by`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from audit.detection.scan import Scan
from audit.records import DeviceSeen, Experiment


def devices(scans: Iterable[Scan], experiment: Experiment) -> tuple[DeviceSeen, ...]:
    """Every address that said a name, and those of the experiment's device, by address."""
    own = experiment.device.addresses
    seen: dict[str | None, dict[str, set[str]]] = {address: {} for address in own}
    for scan in scans:
        for address, said in scan.devices.items():
            names = seen.setdefault(address, defaultdict(set))
            for protocol, some in said.items():
                names[protocol] = names.get(protocol, set()) | some
    return tuple(
        DeviceSeen(
            address=address,
            names={protocol: tuple(sorted(names)) for protocol, names in sorted(said.items())},
            audited=address in own if own else None,
        )
        for address, said in sorted(seen.items(), key=lambda item: item[0] or "")
    )
