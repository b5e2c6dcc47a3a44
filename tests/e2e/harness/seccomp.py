"""Becomes a program whose system calls are filtered (seccomp(2)).

seccomp.py profile PROFILE PROGRAM [ARGUMENT...]
    by a profile as containers have it, which names every call that it allows
seccomp.py forbid CALL,CALL PROGRAM [ARGUMENT...]
    everything but these calls, which fail with EPERM
seccomp.py forbid-later FILE CALL,CALL PROGRAM [ARGUMENT...]
    the same, from when FILE exists
seccomp.py forbid-after COUNT CALL,CALL PROGRAM [ARGUMENT...]
    the same, from the call after so many
"""

import array
import ctypes
import errno
import fcntl
import itertools
import json
import os
import platform
import select
import socket
import struct
import subprocess
import sys

ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]
LOAD, EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06
ALLOW, KILL, ERRNO, ASK = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16
PR_SET_NO_NEW_PRIVS, SET_MODE_FILTER, NEW_LISTENER = 38, 1, 8
NOTIFICATION_BYTES, RECEIVE, ANSWER, CONTINUE = 80, 0xC0502100, 0xC0182101, 1
LIBC = ctypes.CDLL(None, use_errno=True)


def numbers():
    """The numbers of all calls here, as the C library's headers have them."""
    said = subprocess.run(
        ["cc", "-E", "-dM", "-"], input="#include <sys/syscall.h>\n", capture_output=True, text=True, check=True
    )
    words = (line.split() for line in said.stdout.splitlines() if line.startswith("#define __NR_"))
    return {line[1].removeprefix("__NR_"): int(line[2]) for line in words if line[2].isdigit()}


def instruction(code, k, otherwise=0):
    return struct.pack("HBBI", code, 0, otherwise, k)


def action(rule):
    if rule["action"] == "SCMP_ACT_ALLOW":
        return ALLOW
    return ERRNO | rule.get("errnoRet", errno.EPERM)


def block(number, tests, verdict):
    """If the call has this number and every (offset, mask, value) holds, the verdict."""
    body = [instruction(RETURN, verdict)]
    for offset, mask, value in reversed(tests):
        body = [instruction(LOAD, offset), instruction(AND, mask), instruction(EQUAL, value, len(body)), *body]
    return [instruction(LOAD, NUMBER_AT), instruction(EQUAL, number, len(body)), *body]


def halves(index, mask, value):
    """An argument has 64 bits, a filter compares 32."""
    at = ARGUMENTS_AT + 8 * index
    low = 0xFFFFFFFF
    return [(at, mask & low, value & low), (at + 4, mask >> 32, value >> 32)]


def tests(rule):
    found = []
    for test in rule.get("args", []):
        if test["op"] == "SCMP_CMP_EQ":
            found += halves(test["index"], (1 << 64) - 1, test["value"])
        elif test["op"] == "SCMP_CMP_MASKED_EQ":
            found += halves(test["index"], test["value"], test["valueTwo"])
        else:
            sys.exit(f"seccomp.py: {test['op']} is not known here")
    return found


def program(blocks, otherwise):
    # The right architecture steps over the end of the others.
    begin = [instruction(LOAD, ARCHITECTURE_AT), struct.pack("HBBI", EQUAL, 1, 0, ARCHITECTURE), instruction(RETURN, KILL)]
    return [*begin, *(line for lines in blocks for line in lines), instruction(RETURN, otherwise)]


def install(code, flags, calls):
    text = ctypes.create_string_buffer(b"".join(code))
    header = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(text))
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    done = LIBC.syscall(calls["seccomp"], SET_MODE_FILTER, flags, ctypes.create_string_buffer(header))
    if done < 0:
        sys.exit(f"seccomp.py: the filter is refused: {os.strerror(ctypes.get_errno())}")
    return done


def watch(near, refuses):
    """Answers for each call whether it is allowed, until nobody is left who could make one."""
    _, ancillary, _, _ = near.recvmsg(1, 64)
    listener = array.array("i", ancillary[0][2])[0]
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while not any(events & select.POLLHUP for _, events in poll.poll()):
        asked = bytearray(NOTIFICATION_BYTES)
        try:
            fcntl.ioctl(listener, RECEIVE, asked)
            (number,) = struct.unpack_from("Q", asked)
            refused = refuses()
            answer = struct.pack("QqiI", number, 0, -errno.EPERM if refused else 0, 0 if refused else CONTINUE)
            fcntl.ioctl(listener, ANSWER, answer)
        except OSError:
            # Whoever asked was interrupted, or has ended.
            pass


def main():
    how, *words = sys.argv[1:]
    calls = numbers()
    if how == "profile":
        profile, *command = words
        with open(profile) as file:
            rules = json.load(file)["syscalls"]
        blocks = [
            block(calls[name], tests(rule), action(rule)) for rule in rules for name in rule["names"] if name in calls
        ]
        install(program(blocks, ERRNO | errno.EPERM), 0, calls)
    elif how == "forbid":
        names, *command = words
        blocks = [block(calls[name], [], ERRNO | errno.EPERM) for name in names.split(",")]
        install(program(blocks, ALLOW), 0, calls)
    else:
        until, names, *command = words
        count = itertools.count()
        refuses = {
            "forbid-later": lambda: os.path.exists(until),
            "forbid-after": lambda: next(count) >= int(until),
        }[how]
        near, far = socket.socketpair()
        if os.fork() == 0:
            far.close()
            watch(near, refuses)
            os._exit(0)
        near.close()
        blocks = [block(calls[name], [], ASK) for name in names.split(",")]
        listener = install(program(blocks, ALLOW), NEW_LISTENER, calls)
        socket.send_fds(far, [b"x"], [listener])
        os.close(listener)
    os.execvp(command[0], command)


main()
