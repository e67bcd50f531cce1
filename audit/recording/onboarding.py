"""What to do on the phone, for this mode and this phone: short steps, and a code to scan.

Only text is made here; nothing is opened or sent. Where a system's settings have moved between versions, the
step says for which version it holds; makers rename menus, so the words may differ on a device.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from audit.recording.proxy_mode import DNS_OFFSET, ProxyMode

System = Literal["android", "ios", "desktop", "any"]
HOST, ADDRESS = "privacy-audit.test", "198.18.0.1"  # of the self-test
TEST_PAGE, TEST_ADDRESS = f"http://{HOST}/", f"http://{ADDRESS}/"


class Onboarding(NamedTuple):
    """Steps under headings, and the text of a QR code (a WireGuard configuration) if the mode has one."""

    sections: tuple[tuple[str, tuple[str, ...]], ...]
    code: str | None


def onboarding(
    mode: ProxyMode, endpoint: str, system: System, version: int | None, code: str | None
) -> Onboarding:
    """What to do, in order: lead the traffic here, trust the certificate, test."""
    way = _WAYS[mode.name](mode, endpoint)
    sections = [("1. Lead the device's traffic here", way), *_certificate(system, version)]
    test = TEST_ADDRESS if mode.name == "local" else TEST_PAGE
    sections.append(
        (
            "3. Test",
            (
                f"Open {test} again: two green ticks mean that everything is set. The control page shows it, too.",
                "Switch the keyboard's automatic correction off, and close all other apps.",
            ),
        )
    )
    return Onboarding(tuple(sections), code)


def _wireguard(mode: ProxyMode, endpoint: str) -> tuple[str, ...]:
    return (
        "Install the app WireGuard (from the app store of the system) and open it.",
        "Add a tunnel, choose scanning a QR code, and scan the one shown here; switch the tunnel on.",
        f"Phone and computer have to reach each other: same network, UDP port {mode.port} of {endpoint} open.",
        "Android: switch Private DNS off (Settings, Network), or names go past the recording unread.",
    )


def _explicit(mode: ProxyMode, endpoint: str) -> tuple[str, ...]:
    return (
        f"Wi-Fi settings, the network in use, proxy: manual, server {endpoint}, port {mode.port}.",
        "Apps that ignore the system's proxy pass beside the recording: where that matters, take wireguard.",
        "UDP, and so QUIC and plain DNS, never goes through such a proxy and is not seen.",
    )


def _socks(mode: ProxyMode, endpoint: str) -> tuple[str, ...]:
    return (
        f"Set a SOCKS5 proxy in the app or browser: server {endpoint}, port {mode.port}, names resolved by the proxy.",
        "Only what is set to use it is seen.",
    )


def _transparent(mode: ProxyMode, endpoint: str) -> tuple[str, ...]:
    return (
        f"Make this computer ({endpoint}) the device's gateway and name server: its own hotspot, or the router's settings.",
        "Let it pass traffic on: sudo sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0",
        "Redirect what the device sends, IF being the interface it comes in by:",
        *nftables(mode.port),
        "IPv6 is not redirected: give the device none on this network, or it passes beside the recording.",
    )


def nftables(port: int) -> tuple[str, ...]:
    """Rules that lead a device's TCP and names to the proxy and refuse the rest of its UDP 443."""
    nat = "sudo nft add rule ip privacy_audit in iifname IF"
    return (
        "sudo nft add table ip privacy_audit",
        "sudo nft 'add chain ip privacy_audit in { type nat hook prerouting priority dstnat; }'",
        f"{nat} udp dport 53 redirect to :{port + DNS_OFFSET}",
        f"{nat} tcp dport 53 redirect to :{port + DNS_OFFSET}",
        f"{nat} meta l4proto tcp redirect to :{port}",
        "sudo nft 'add chain ip privacy_audit quic { type filter hook forward priority filter; }'",
        "sudo nft add rule ip privacy_audit quic iifname IF udp dport 443 reject",
    )


def _local(_mode: ProxyMode, _endpoint: str) -> tuple[str, ...]:
    return ("The programs of this computer are recorded; there is nothing to set on another device.",)


_WAYS = {
    "wireguard": _wireguard, "regular": _explicit, "upstream": _explicit, "socks5": _socks,
    "transparent": _transparent, "local": _local,
}  # fmt: skip


def _certificate(system: System, version: int | None) -> list[tuple[str, tuple[str, ...]]]:
    chosen = [each for each in ("android", "ios", "desktop") if system in (each, "any")]
    sections = []
    for number, each in enumerate(chosen):
        letter = f" ({'abc'[number]})" if len(chosen) > 1 else ""
        sections.append((f"2{letter}. Trust the certificate: {_TITLES[each]}", _STEPS[each](version)))
    return sections


def _android(version: int | None) -> tuple[str, ...]:
    first = f"Open {TEST_PAGE} in the phone's browser and download the certificate."
    path = (
        "Android 11 and newer: Settings, Security and privacy, More security settings (Encryption and credentials), "
        "Install a certificate, CA certificate, Install anyway, choose the file from Downloads."
    )
    old = "Android 7 to 10: opening the downloaded file asks for a name and installs it; a screen lock is needed."
    limits = (
        "Browsers based on Chromium trust it then (the system's own WebView: only in apps that say so).",
        "Firefox: Settings, About Firefox, tap the logo seven times; then Secret settings, Use third party CA certificates.",
        (
            "Most apps for Android 7 and newer trust only the system's store. They are reported as pinned, let through, "
            "and their sizes noted; to read them takes a device whose system store can be changed (rooted; from "
            "Android 14 on the store lies in the module com.android.conscrypt)."
        ),
    )
    if version is None:
        return (first, path, old, *limits)
    return (first, path if version >= 11 else old, *limits)


def _ios(version: int | None) -> tuple[str, ...]:
    install = "Settings, General, VPN & Device Management, the downloaded profile, Install."
    if version is not None and version < 15:
        install = "Settings, General, Profiles, the downloaded profile, Install."
    return (
        f"Open {TEST_PAGE} in Safari, download the certificate and allow the profile.",
        install,
        (
            "Settings, General, About, Certificate Trust Settings: switch full trust on for mitmproxy. Without this "
            "step nothing is read."
        ),
        "iCloud Private Relay and Limit IP Address Tracking (Settings, Wi-Fi, the network): switch off.",
        "Firefox and Chrome on iOS use the system's store.",
    )


def _desktop(_version: int | None) -> tuple[str, ...]:
    return (
        (
            f"Open {TEST_PAGE} and download the certificate for the system: Windows: open the .p12, Local Machine, Trusted Root; "
            "macOS: open it in Keychain Access, Always Trust; Debian: copy the .pem to "
            "/usr/local/share/ca-certificates/mitmproxy.crt, run update-ca-certificates."
        ),
        "Firefox has a store of its own: Settings, Privacy & Security, View Certificates, Authorities, Import.",
        "Chromium on Linux: certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n mitmproxy -i mitmproxy-ca-cert.pem",
    )


_TITLES = {"android": "Android", "ios": "iPhone and iPad", "desktop": "computers"}
_STEPS = {"android": _android, "ios": _ios, "desktop": _desktop}


def as_text(guide: Onboarding) -> str:
    """The steps for a terminal, without the code."""
    lines = []
    for title, steps in guide.sections:
        lines += ["", title, *(f"   {step}" for step in steps)]
    return "\n".join(lines[1:]) + "\n"
