"""Gives up root's power once it is no longer needed, for good.

Who calls a command through sudo is named by SUDO_UID and SUDO_GID (sudo(8)); that is who the process becomes. Else it
stays root in name, without root's rights over the system and other people's files.
It never gains anything, and where it stays root, it says why.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from audit.recording import capabilities

OURS = (os.__file__, __file__)
"""Files without which this process could not go on: Python loads some of its parts late."""


def drop(folder: Path) -> str:
    """Becomes the user who called sudo, if we are root; returns what was done, in words.

    Stays root where there is no such user, or that user could not write to `folder` or read this program; and keeps
    root's rights only where root could not do so without them.
    Raises OSError where the system refuses.
    """
    if os.geteuid() != 0:
        return ""
    uid, gid = (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID"))
    if not (uid.isdecimal() and gid.isdecimal() and int(uid)):
        return _stay("there is no user to hand over to, as sudo would name one", folder)
    user, group, name = int(uid), int(gid), _name(int(uid))
    before = os.getgroups(), os.getegid()
    if name is None:
        os.setgroups([group])
    else:
        os.initgroups(name, group)
    os.setegid(group)
    os.seteuid(user)
    if lacking := _lacking(folder):
        os.seteuid(0)
        os.setegid(before[1])
        os.setgroups(before[0])
        return _stay(f"{name or user} has no access to {lacking}", folder)
    os.seteuid(0)  # only root may change the user that it could go back to
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    return f"root's rights are given up, recording as {name or user}"


def _stay(why: str, folder: Path) -> str:
    """Remains root, if possible as a user like any other."""
    try:
        with capabilities.resting():
            lacking = _lacking(folder)
        if not lacking:
            capabilities.give_up()
    except OSError as error:
        lacking = error.strerror or str(error)
    rights = f"with all rights ({lacking})" if lacking else "without root's rights"
    return f"recording as root, {rights}: {why}"


def _lacking(folder: Path) -> str:
    """What the effective user cannot do without and has no right to; empty if there is nothing."""
    for file in OURS:
        if not os.access(file, os.R_OK, effective_ids=True):
            return file
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))  # noqa: PTH110 - Path's raises where it may not look
    return "" if os.access(there, os.W_OK | os.X_OK, effective_ids=True) else str(there)


def _name(user: int) -> str | None:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return None
