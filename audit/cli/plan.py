"""`plan`: what to plant, in which order, as a file and as a checklist."""

from __future__ import annotations

import re
from pathlib import Path

import click

from audit.canaries import DOMAIN, MAX_TRIALS
from audit.cli.terminal import Refused, say

_DOMAIN = re.compile(
    r"(?=.{1,200}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
)


@click.group()
def plan() -> None:
    """Makes and shows a plan: values to plant, decoys, phases and steps.

    \b
    Example:
      privacy-audit plan new captures/my-phone --trials 2 --setting default --setting opted-out
      privacy-audit plan show captures/my-phone
    """


@plan.command()
@click.argument("experiment", type=click.Path(path_type=Path), metavar="EXPERIMENT")
@click.option("--trials", default=1, show_default=True, type=click.IntRange(1, MAX_TRIALS),
              help="How often everything is repeated, each time with new values.")  # fmt: skip
@click.option("--setting", "settings", multiple=True, default=("default",), metavar="NAME",
              help="A setting of the device to audit, such as opted-out. Repeatable.")  # fmt: skip
@click.option("--domain", default=DOMAIN, show_default=True, metavar="DOMAIN",
              help="The domain that planted addresses lie in.")  # fmt: skip
@click.option("--device", "device_name", default="", metavar="NAME", help="What is audited.")
@click.option("--browser", "browser_name", default="", metavar="NAME", help="The browser on it.")
def new(
    experiment: Path, trials: int, settings: tuple[str, ...], domain: str, device_name: str, browser_name: str
) -> None:
    """Writes a plan with new values into EXPERIMENT/experiment.toml."""
    from msgspec.structs import replace

    from audit.canaries import Outline
    from audit.canaries import plan as planned
    from audit.experiment import FILE_NAME, change
    from audit.records import Browser, Experiment

    domain = domain.strip(".").lower()
    if not _DOMAIN.match(domain):
        raise click.BadParameter(f"{domain!r} is no domain name", param_hint="--domain")
    if len(set(settings)) < len(settings) or not all(setting.strip() for setting in settings):
        raise click.BadParameter("each setting needs a name of its own", param_hint="--setting")
    if experiment.exists() and not experiment.is_dir():
        raise Refused(f"{experiment}: is a file; name a folder for the experiment")
    made = planned(Outline(trials=trials, settings=settings, domain=domain))

    def filled(before: Experiment) -> Experiment:
        if before.canaries or before.phases or before.steps:
            raise Refused(f"{experiment}: has a plan already; name another folder")
        return replace(
            before,
            device=before.device if before.device.name else replace(before.device, name=device_name),
            browser=before.browser if before.browser.name else Browser(name=browser_name),
            phases=made.phases,
            canaries=made.canaries,
            steps=made.steps,
        )

    done = change(experiment, filled)
    planted = sum(not canary.decoy for canary in done.canaries)
    say(
        f"{len(done.phases)} phases, {planted} values to plant, {len(done.canaries) - planted} decoys, "
        f"{len(done.steps)} steps; next: privacy-audit plan show {experiment}"
    )
    click.echo(experiment / FILE_NAME)


@plan.command()
@click.argument("experiment", type=click.Path(path_type=Path), metavar="EXPERIMENT")
@click.option("--no-qr", is_flag=True, help="Leaves the QR codes out.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Writes a page to print instead.")  # fmt: skip
def show(experiment: Path, no_qr: bool, output: Path | None) -> None:
    """Prints the plan as a checklist, with a QR code for each address."""
    from audit.experiment import load
    from audit.recording import checklist
    from audit.reporting.findings import write_private

    read = load(experiment)
    if not read.steps:
        raise Refused(f"{experiment}: has no steps; make a plan with: privacy-audit plan new {experiment}")
    if output:
        click.echo(write_private(output, checklist.as_html(read).encode()))
    else:
        click.echo(checklist.as_text(read, codes=not no_qr), nl=False)
