"""Dry runs as forks of one process that has imported Snakemake, which takes a third of their time.

    python dry_runs.py ADDRESS      the server, started by `dry_run`; it ends with its parent

Each fork runs Snakemake's command line from its start, in the folder and environment of its call,
and ends as any Python process does.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Lock

READY = "ready"
_starting = Lock()


def dry_run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess:
    """Run ``snakemake`` with arguments, -n among them.

    Args:
        arguments: Of the command line.
        folder: Where it runs.
        environment: All its variables.

    Returns:
        As subprocess.run does: exit status, stdout and stderr merged.

    Raises:
        RuntimeError: the fork was killed.
    """
    command = ["snakemake", *arguments]
    assert "-n" in arguments, f"no dry run: {command}"
    with tempfile.TemporaryFile("w+") as output, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(_address())
        call = {"command": command, "folder": str(folder), "environment": dict(environment)}
        socket.send_fds(connection, [b"\n"], [output.fileno()])
        connection.sendall(json.dumps(call).encode() + b"\n")
        with connection.makefile() as answer:
            status = answer.read()  # to its end: the fork has ended
        output.seek(0)
        said = output.read()
    if not status:
        raise RuntimeError(f"{command} was killed; it said: {said[-3000:]}")
    return subprocess.CompletedProcess(command, int(status), said)


def _address() -> str:
    """Address of this process's server, which the first call starts."""
    with _starting:  # calls come from several threads
        return _started()


@cache
def _started() -> str:
    address = f"{tempfile.mkdtemp(prefix='dry-runs-')}/socket"
    server = subprocess.Popen(
        [sys.executable, __file__, address], text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    atexit.register(server.communicate)  # closes its stdin, at which it ends
    assert server.stdout.readline().strip() == READY, "the server of dry runs did not start"
    return address


def serve(address: str) -> None:
    """Import Snakemake, then run each call in a fork, until stdin is closed."""
    import jsonschema  # noqa: F401
    import pandas  # noqa: F401
    import snakemake.cli  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system forgets forks that have ended
    with socket.socket(socket.AF_UNIX) as calls:
        calls.bind(address)
        calls.listen()
        print(READY, flush=True)
        while sys.stdin not in select.select([calls, sys.stdin], [], [])[0]:
            connection, _ = calls.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                calls.close()
                sys.exit(_answer(connection))
            connection.close()
    Path(address).unlink()
    Path(address).parent.rmdir()


def _answer(connection: socket.socket) -> int:
    """Run one call in this process; returns its exit status, which is sent as well.

    The connection stays open until the process ends, so that the caller waits for what is written
    at its exit.
    """
    _, (output,), _, _ = socket.recv_fds(connection, 1, 1)
    call = json.loads(connection.makefile().readline())
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(call["environment"])
    os.chdir(call["folder"])
    sys.argv, sys.path[0] = call["command"], call["folder"]  # as `python -m snakemake` has it
    status = 0
    try:
        runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(str(status).encode())
    connection.detach()
    return status


if __name__ == "__main__":
    serve(sys.argv[1])
