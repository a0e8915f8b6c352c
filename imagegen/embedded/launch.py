"""Turn this fresh process into one child of a supervisor: drop root, tie its life to the parent's, then exec.

Runs as a script (`python -I -S launch.py …`) in a process of its own, because nothing but async-signal-safe calls
may happen between fork and exec in a parent that has threads. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

# linux/prctl.h, linux/securebits.h and linux/capability.h
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
SECBIT_KEEP_CAPS = 1 << 4
CAP_DAC_OVERRIDE = 1
LINUX_CAPABILITY_VERSION_3 = 0x20080522

FAILED = 97


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(what: str, option: int, *args: int) -> None:
    padded = [*args, 0, 0, 0, 0][:4]
    _call(what, _libc().prctl(option, *(ctypes.c_ulong(value) for value in padded)))


def die_with_parent(signal_number: int) -> None:
    """Ask Linux to send `signal_number` to this process when the thread that started it ends."""
    _prctl("PR_SET_PDEATHSIG", PR_SET_PDEATHSIG, signal_number)


def become(uid: int, gid: int, keep_dac_override: bool) -> None:
    """Give up root for `uid`:`gid`; may keep CAP_DAC_OVERRIDE, and nothing else, through exec.

    PostgreSQL refuses to run as root, and its folders may lie below one that no other user can enter. The securebit
    is needed because `access(2)` ignores the effective capabilities of a user other than root without it.
    """
    if keep_dac_override:
        _prctl("PR_SET_SECUREBITS", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if keep_dac_override:
        only = 1 << CAP_DAC_OVERRIDE
        header = _CapHeader(LINUX_CAPABILITY_VERSION_3, 0)
        data = (_CapData * 2)(_CapData(only, only, only), _CapData(0, 0, 0))
        _call("capset", _libc().capset(ctypes.byref(header), ctypes.byref(data)))
        _prctl("PR_CAP_AMBIENT", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="launch")
    parser.add_argument("--parent", type=int, default=0)
    parser.add_argument("--death-signal", type=int, default=0)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--keep-dac-override", action="store_true")
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> NoReturn:
    """Prepare and exec; any failure is one line on standard error and exit code 97."""
    options = _arguments(argv)
    try:
        if options.uid is not None:
            become(options.uid, options.gid, options.keep_dac_override)
        if options.death_signal and sys.platform == "linux":
            # After the change of user, which clears it.
            die_with_parent(options.death_signal)
            if options.parent and os.getppid() != options.parent:
                sys.exit(FAILED)
        os.execvp(options.command[0], options.command)
    except OSError as error:
        print(f"cannot start {options.command[0]}: {error}", file=sys.stderr)
        sys.exit(FAILED)


if __name__ == "__main__":
    main(sys.argv[1:])
