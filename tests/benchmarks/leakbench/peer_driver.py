"""Runs inside the peer's own environment: times its analysis of a HAR file and tells what it found.

Usage: peer_driver.py HAR PERSONAS.json. Prints one JSON object: `load` (seconds to read the HAR),
`inspect` (seconds of its whole `inspect`, reading included), `found` (the sites of its persona findings).
"""

import json
import sys
import time
from pathlib import Path

from privacy_flow_inspector.detectors import Persona
from privacy_flow_inspector.engine import inspect
from privacy_flow_inspector.har import Limits, load_har
from privacy_flow_inspector.model import Category
from privacy_flow_inspector.policy import Config


def main() -> None:
    har = Path(sys.argv[1])
    rows = json.loads(Path(sys.argv[2]).read_text())
    personas = tuple(Persona(row["label"], row["value"], next(iter(Category))) for row in rows)
    config = Config(first_party=("nobody.example",), personas=personas)
    start = time.process_time()
    load_har(har, har.name, Limits())
    loaded = time.process_time()
    report = inspect([har], config).report
    done = time.process_time()
    found = sorted(
        {
            (f.recipient, f.title.rpartition(" sent to ")[0])
            for f in report.findings
            if f.rule_id == "PFI-PERSONA"
        }
    )
    print(json.dumps({"load": loaded - start, "inspect": done - loaded, "found": found}))


main()
