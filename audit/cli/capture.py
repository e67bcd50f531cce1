"""`capture`: a device's traffic through mitmproxy into an experiment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from audit.cli.terminal import Refused, say


@click.command()
@click.argument("experiment", type=click.Path(path_type=Path), metavar="EXPERIMENT")
@click.option("--mode", required=True, metavar="MODE",
              help="regular, wireguard, transparent, socks5, upstream:URL or local.")  # fmt: skip
@click.option("--endpoint", metavar="ADDRESS", help="This computer's address as the device sees it.")
@click.option("--listen", default="0.0.0.0", show_default=True, metavar="ADDRESS",  # noqa: S104 - for the device
              help="The address to listen on.")  # fmt: skip
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The port to listen on. [default: the mode's own]"
)
@click.option("--device", "device", default="any", metavar="SYSTEM",
              help="android, ios or desktop, with its version: android-14.")  # fmt: skip
@click.option("--quic", type=click.Choice(("refuse", "leave")), default="refuse", show_default=True,
              help="Refuse QUIC, so that apps fall back to TCP, or leave it alone, unread.")  # fmt: skip
@click.option("--no-passthrough", is_flag=True, help="Never let through who refuses the certificate.")
@click.option("--offline", is_flag=True, help="Answer every host here; nothing goes to the internet.")
@click.option("--answer", "answer", multiple=True, metavar="DOMAIN",
              help="Answer this domain's hosts here, with empty pages. Repeatable.")  # fmt: skip
@click.option("--web", is_flag=True, help="Start mitmproxy's web interface, too.")
@click.option("--control-port", default=0, type=click.IntRange(0, 65535), metavar="PORT",
              help="The control page's port. [default: a free one]")  # fmt: skip
@click.option("--confdir", type=click.Path(path_type=Path), default=Path("~/.mitmproxy"), show_default=True,
              metavar="DIR", help="Where mitmproxy keeps its certificate authority.")  # fmt: skip
@click.option(
    "--set", "options", multiple=True, metavar="OPTION=VALUE", help="An option for mitmproxy. Repeatable."
)
def capture(
    experiment: Path, mode: str, endpoint: str | None, listen: str, port: int | None, device: str, quic: str,
    no_passthrough: bool, offline: bool, answer: tuple[str, ...], web: bool, control_port: int, confdir: Path,
    options: tuple[str, ...],
) -> None:  # fmt: skip
    """Records a device's traffic into an experiment until Ctrl-C; prints the files.

    \b
    Examples:
      privacy-audit capture captures/my-phone --mode wireguard
      privacy-audit capture captures/my-phone --mode regular --endpoint 192.0.2.7 --device android-14
    """
    from audit.experiment import EVENTS_NAME
    from audit.recording import network, proxy_mode
    from audit.recording.board import Board
    from audit.recording.capture import BadCaptureSetup, Sitting, Wishes
    from audit.recording.control import Control
    from audit.recording.marks import running
    from audit.recording.onboarding import as_text, onboarding
    from audit.recording.qr import drawn, in_colours
    from audit.recording.stopping import stop_signals

    try:
        chosen = proxy_mode.parse(mode, port)
    except proxy_mode.BadMode as bad:
        raise click.BadParameter(str(bad), param_hint="--mode") from None
    if endpoint is not None and not network.is_endpoint(endpoint):
        raise click.BadParameter(
            f"{endpoint!r} is no address; give an IP address or a host name, without port",
            param_hint="--endpoint",
        )
    system, version = _system(device)
    found = network.interfaces()
    where = endpoint or (listen if listen not in ("0.0.0.0", "::") else "")  # noqa: S104
    where = where or (found[0].address if found else "127.0.0.1")
    wishes = Wishes(
        chosen, listen, "leave" if quic == "leave" else "refuse", not no_passthrough, offline, answer, web, confdir,
        options=options,
    )  # fmt: skip
    sitting = Sitting(experiment, wishes, lambda line: say(f"  {line}"))
    try:
        planned = sitting.prepare()
        board = Board(experiment, lambda: sitting.state, chosen.name)
        guide = onboarding(chosen, where, system, version, sitting.code(where))
        try:
            control = Control(experiment, board, guide, control_port)
        except OSError as error:
            raise Refused(f"--control-port {control_port}: {error.strerror}; choose another") from None
        sitting.fence(control.port)

        def ready() -> None:
            say("")
            for line in as_text(guide).splitlines():
                say(line)
            if guide.code:
                click.echo("\n" + in_colours(drawn(guide.code)), err=True)
            if not endpoint and len(found) > 1:
                others = ", ".join(f"{each.address} ({each.name})" for each in found[1:])
                say(f"This computer has other addresses: {others}; choose with --endpoint.")
            if not planned.canaries:
                say(f"No values are planned; make some first: privacy-audit plan new {experiment}")
            if on := running(planned):
                say(
                    f"Phase {on.id} is still on since {on.start:%Y-%m-%d %H:%M} UTC; begin another or end it."
                )
            say(f"Control page, for this computer only: {control.url}")
            say("Recording; end it with Ctrl-C.")

        with stop_signals() as stopped:
            try:
                sitting.run(planned, ready, stopped)
            finally:
                control.close()
                for path in (sitting.flows, experiment / EVENTS_NAME):
                    if path.exists() and path.stat().st_size:
                        click.echo(path)
    except BadCaptureSetup as bad:
        raise Refused(str(bad)) from None
    say(f"Next: privacy-audit analyze {experiment}")
    sys.stdout.flush()


def _system(text: str) -> tuple[Any, int | None]:
    name, _, version = text.partition("-")
    if name not in ("any", "android", "ios", "desktop") or (version and not version.isdecimal()):
        raise click.BadParameter(
            "name android, ios or desktop, with a version if you like: android-14", param_hint="--device"
        )
    return name, int(version) if version else None
