"""Findings as they may be handed on: the same audit with everything masked that the report masks.

The result has the same shape as `findings.json`, so that other programs read both alike. Ids of findings
with an inferred value are marks too, since they derive from it.
"""

from __future__ import annotations

from msgspec import structs

from audit.records import Audit, Exhibit, Finding, Occurrence
from audit.reporting.findings import canonical
from audit.reporting.masking import Masker


def masked(audit: Audit) -> Audit:
    """The audit without identifiers, cookies, tokens and inferred values; planted values stay readable."""
    audit = canonical(audit)
    masker = Masker(audit)
    ids = {finding.id: masker.finding_id(finding) for finding in audit.findings}

    def named(findings: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(ids.get(each, each) for each in findings)

    coverage = audit.coverage
    return structs.replace(
        audit,
        run=structs.replace(audit.run, started="", seconds=0.0, salt=""),
        experiment=structs.replace(
            audit.experiment,
            steps=tuple(
                structs.replace(each, note=masker.sentence(each.note)) for each in audit.experiment.steps
            ),
        ),
        findings=tuple(_finding(finding, masker) for finding in audit.findings),
        devices=tuple(
            structs.replace(
                each, names={by: tuple(map(masker.mark, names)) for by, names in each.names.items()}
            )
            for each in audit.devices
        ),
        encrypted_dns=tuple(
            structs.replace(each, names=tuple(map(masker.name, each.names))) for each in audit.encrypted_dns
        ),
        recipients=tuple(
            structs.replace(row, findings=named(row.findings)) for row in audit.recipients
        ),
        coverage=structs.replace(
            coverage,
            gaps=tuple(
                structs.replace(each, detail=masker.sentence(each.detail)) for each in coverage.gaps
            ),
            statements=tuple(masker.sentence(each) for each in coverage.statements),
        ),
        verdicts=tuple(
            structs.replace(
                each, statement=masker.sentence(each.statement), findings=named(each.findings)
            )
            for each in audit.verdicts
        ),
        limits=tuple(
            structs.replace(each, detail=masker.sentence(each.detail)) for each in audit.limits
        ),
    )  # fmt: skip


def _finding(finding: Finding, masker: Masker) -> Finding:
    return structs.replace(
        finding,
        id=masker.finding_id(finding),
        inferred=None if finding.inferred is None else masker.inferred(finding.inferred),
        identifiers=tuple(
            structs.replace(each, value=masker.identifier(each)) for each in finding.identifiers
        ),
        explanation=masker.sentence(finding.explanation) if finding.explanation else None,
        occurrences=tuple(_occurrence(each, finding, masker) for each in finding.occurrences),
        exhibit=_exhibit(finding.exhibit, finding, masker) if finding.exhibit else None,
    )


def _occurrence(occurrence: Occurrence, finding: Finding, masker: Masker) -> Occurrence:
    typed = finding.leak_type == "S2" or occurrence.granularity == "prefix"
    return structs.replace(
        occurrence,
        path=masker.path(occurrence.path),
        request=masker.request(occurrence.request, finding),
        excerpt=masker.text(occurrence.excerpt, finding, typed=typed),
        origin_evidence=masker.sentence(occurrence.origin_evidence),
    )


def _exhibit(exhibit: Exhibit, finding: Finding, masker: Masker) -> Exhibit:
    """What was sent, masked; the layers are left out: the coded ones would be marks from end to end."""
    typed = finding.leak_type == "S2"
    return structs.replace(
        exhibit,
        request=masker.text(exhibit.request, finding, typed=typed),
        headers=tuple((name, masker.text(value, finding, typed=typed)) for name, value in exhibit.headers),
        body=masker.text(exhibit.body, finding, typed=typed),
        layers=(),
    )
