"""Gives up root's power once it is no longer needed, for good.

Who calls a command through sudo is named by SUDO_UID and SUDO_GID (sudo(8)); that is who the process becomes.
It never gains anything, and what it leaves as it is, it says.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def drop(folder: Path) -> str:
    """Becomes the user who called sudo, if we are root; returns what was done, in words.

    Root is kept where `folder` exists and belongs to root, for that user could not write to it.
    Raises OSError where the system refuses.
    """
    if os.geteuid() != 0:
        return ""
    user, group = (os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID"))
    if not (user.isdecimal() and group.isdecimal() and int(user)):
        return "recording as root: there is no user to hand over to, as sudo would name one"
    if folder.exists() and folder.stat().st_uid == 0:
        return f"recording as root: {folder} belongs to root (chown it to record as yourself)"
    name = _name(int(user))
    if name is None:
        os.setgroups([int(group)])
    else:
        os.initgroups(name, int(group))
    os.setresgid(int(group), int(group), int(group))
    os.setresuid(int(user), int(user), int(user))
    return f"root's rights are given up, recording as {name or user}"


def _name(user: int) -> str | None:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return None
