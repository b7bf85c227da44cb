"""The `hfprune` command without its start: a process that has imported everything forks a child a call.

A start is three seconds of imports, and the workflow's tests make hundreds. The shell of a Snakemake job reads the
file `BASH_ENV`, where `hfprune` is a function: a client passes arguments, folder, environment and streams to
the server, whose child calls the same `main` as the script and returns the exit code.
"""

import atexit
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path


def environment() -> dict[str, str]:
    """Return what to add to the environment of Snakemake; starts the server for the current PYTHONPATH."""
    return {"BASH_ENV": functions(_server(os.environ.get("PYTHONPATH", "")))}


@cache
def _server(_path: str) -> Path:
    return start(os.environ | {"CUDA_VISIBLE_DEVICES": ""})


def functions(address: Path) -> str:
    """Write the file that makes `hfprune` a function of a shell, which calls the server at `address`."""
    file = address.with_name("functions.sh")
    file.write_text(f'hfprune() {{ {sys.executable} -IS {__file__} client {address} "$@"; }}\n')
    return str(file)


def start(environment: Mapping[str, str]) -> Path:
    """Start a server, which ends with this process, and return its address."""
    folder = tempfile.TemporaryDirectory(prefix="hfprune-")
    address = Path(folder.name) / "socket"
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    server = subprocess.Popen(
        [sys.executable, "-P", __file__, "server", str(address)],
        env={**environment, **offline},
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(folder.cleanup)
    atexit.register(server.kill)
    assert server.stdout and server.stdout.readline() == "ready\n"
    return address


def serve(address: str) -> None:
    import hfprune

    for module in pkgutil.walk_packages(hfprune.__path__, "hfprune."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    # What libraries import only when they are used.
    late = ("accelerate", "lm_eval.tasks", "matplotlib.pyplot", "peft.tuners.lora", "transformers.trainer")
    models = (f"transformers.models.{name}.modeling_{name}" for name in ("llama", "qwen2", "qwen3"))
    for name in (*late, *models):
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            client, _ = listener.accept()
            request, streams, _, _ = socket.recv_fds(client, 1 << 20, 3)
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                code = _call(json.loads(request), streams)
                client.send(bytes([code]))
                os._exit(code)
            for handle in (*streams, client.detach()):
                os.close(handle)


def _call(request: dict, streams: list[int]) -> int:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["hfprune", *request["arguments"]]
    simulator = sys.modules.get("simcuda")  # see tests/gpu
    if simulator:
        simulator.fresh()
    try:
        from hfprune.commands import main

        main()
        return 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        if simulator:
            simulator.report()
        sys.stdout.flush()
        sys.stderr.flush()


def call(
    address: str | Path,
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    streams: Sequence[int] = (0, 1, 2),
) -> int:
    request = {"folder": str(folder), "environment": {**environment}, "arguments": [*arguments]}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(str(address))
        socket.send_fds(server, [json.dumps(request).encode()], [*streams])
        return (server.recv(1) or b"\1")[0]


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "server":
        serve(*rest)
    else:
        sys.exit(call(rest[0], rest[1:], Path.cwd(), os.environ))
