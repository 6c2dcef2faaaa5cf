"""What a result was measured on, and the settings of the process that measures."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FLAGS = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
)
ARM_FLAGS = ("asimddp", "i8mm", "bf16", "sve")

_ARCH_PRCTL = 158  # x86-64
_GET_PERMISSIONS, _REQUEST_PERMISSION = 0x1022, 0x1023
_TILE_DATA = 1 << 18


def cpu() -> dict[str, Any]:
    """Model, relevant flags and number of cores."""
    text = Path("/proc/cpuinfo").read_text()
    fields: dict[str, str] = dict(re.findall(r"^([^\t:]+?)\s*:\s*(.*)$", text.split("\n\n")[0], re.MULTILINE))
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {
        "model": fields.get("model name", platform.machine()),
        "family": fields.get("cpu family", ""),
        "number": fields.get("model", fields.get("CPU part", "")),
        "flags": [flag for flag in FLAGS + ARM_FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "virtual": "hypervisor" in flags,
    }


def slug() -> str:
    """A file name for this CPU's results."""
    about = cpu()
    words = (
        re.sub(r"\([^)]*\)|@.*", "", about["model"]) + f" family {about['family']} model {about['number']}"
    )
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def commit() -> str:
    """The commit of the tree, "+changes" where the tree differs from it; "unknown" outside one."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def command(arguments: Sequence[str] | None = None) -> str:
    """The command line with each path cut to its last part: results are read on other machines."""
    words = list(sys.argv if arguments is None else arguments)
    short = [Path(word).name if "/" in word and not word.startswith("-") else word for word in words[1:]]
    return " ".join(["python", "benchmarks/" + Path(words[0]).name, *short])


def busy_seconds() -> float:
    """CPU seconds that all processes together have used since the start of the machine."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    idle_and_wait = (3, 4)
    return sum(int(x) for i, x in enumerate(fields) if i not in idle_and_wait) / os.sysconf("SC_CLK_TCK")


def pin(threads: int) -> None:
    """Binds this process to the first `threads` of the cores that it may use."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < threads:
        raise SystemExit(f"{threads} threads asked for, {len(cores)} cores allowed")
    os.sched_setaffinity(0, set(cores[:threads]))


def deny_amx() -> None:
    """Makes the kernel refuse AMX to this process and its children.

    The tile registers need a permission that a process requests; a seccomp filter answers that one request
    with EPERM. This binds every library alike and leaves all other instructions, AVX-512 with VNNI and BF16
    among them.
    """
    if platform.machine() != "x86_64":
        return
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    audit_arch_x86_64, allow, refuse = 0xC000003E, 0x7FFF0000, 0x00050001  # refuse: SECCOMP_RET_ERRNO | EPERM
    program = b"".join(
        [
            step(load, 4),  # seccomp_data.arch
            step(equal, audit_arch_x86_64, 0, 5),
            step(load, 0),  # .nr
            step(equal, _ARCH_PRCTL, 0, 3),
            step(load, 16),  # .args[0]
            step(equal, _REQUEST_PERMISSION, 0, 1),
            step(give, refuse),
            step(give, allow),
        ]
    )

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    buffer = ctypes.create_string_buffer(program)
    argument = Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.prctl(
        set_seccomp, filter_mode, ctypes.byref(argument)
    ):
        raise OSError(ctypes.get_errno(), "cannot install the filter that refuses AMX")


def amx_granted() -> bool | None:
    """Whether this process asked for AMX and got it; None where there is no such thing."""
    if platform.machine() != "x86_64":
        return None
    permissions = ctypes.c_ulonglong()
    libc = ctypes.CDLL(None)
    libc.syscall.restype = ctypes.c_long
    if libc.syscall(_ARCH_PRCTL, _GET_PERMISSIONS, ctypes.byref(permissions)) != 0:
        return None
    return bool(permissions.value & _TILE_DATA)


def memory_mb(field: str) -> float:
    """VmHWM (peak resident) or VmRSS (resident now) of this process, in MB of 10^6 bytes."""
    match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert match is not None, field
    return int(match[1]) * 1024 / 1e6
