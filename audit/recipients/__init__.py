"""Who receives: a host name and an address, told as organisation, product, category, network, countries.

Responsible for putting together what the tables of this room know. Must never ask the network, and never
guess: what no table tells stays None. The organisation is told by the name alone (an address tells whose
network it is in, which is often only the hosting), except for the addresses of public resolvers, which are
used without a name.
"""

from __future__ import annotations

from functools import lru_cache

from audit.recipients import networks, organisations
from audit.recipients.reserved import carried, parse, reserved_range
from audit.recipients.suffixes import normalise, registrable_domain
from audit.records import DataSource, Recipient


@lru_cache(maxsize=1 << 16)
def identify(host: str | None, ip: str | None) -> Recipient:
    """The recipient behind `host` (a name or an address, without port) and `ip` (an address).

    Both come from the wire and may be anything: a host that is no name is kept as it is and identified no
    further, a host that is an address counts as `ip` where none is given, an `ip` that is no address is
    dropped. `evidence` says which rows told, and for a private or
    test address which range it is in.

    Raises:
        NetworkTableError, OrganisationTableError: a vendored table is missing or damaged.
    """
    name = normalise(host) if host else None
    literal = parse(host) if host else None
    address = (parse(ip) if ip else None) or literal
    target = carried(address) if address else None
    names = organisations.load().names
    organisation = organisations.of_name(name, names) if name else names.get(str(target))
    network = networks.load().lookup(str(address)) if address else networks.Network()
    evidence = [organisation.evidence] if organisation else []
    if target and (purpose := reserved_range(target)):
        evidence.append(f"{address}: {purpose}, in no country's registry")
    return Recipient(
        host=None if literal and literal == address else name or host or None,
        registrable_domain=registrable_domain(name) if name else None,
        organisation=organisation.name if organisation else None,
        category=organisation.category if organisation else None,
        ip=str(address) if address else None,
        asn=network.asn,
        as_name=network.as_name,
        country_located=network.country_located,
        country_registered=network.country_registered,
        product=organisation.product if organisation else None,
        evidence="; ".join(evidence) or None,
    )


def data_sources() -> tuple[DataSource, ...]:
    """The third-party data behind `identify`, with dates, licences and the attributions to be shown."""
    return networks.load().sources + organisations.load().sources
