"""A Slurm cluster on this machine, of Debian's packages: accounting, three nodes, two GPUs each that are none.

Every daemon, its files and its log lie in one folder. Only root can start it, and only where no other cluster is
configured. A GPU is a copy of the null device: without a device file, Slurm sets no CUDA_VISIBLE_DEVICES.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

NODES = ("n1", "n2", "n3")
GPUS, CPUS, MEMORY = 2, 16, 200_000
PACKAGES = ("slurm-wlm", "slurmdbd", "munge", "mariadb-server")
# Where Slurm's commands look when nobody names a file: the plug-in's job steps lose SLURM_CONF.
SYSTEM = Path("/etc/slurm")
PATIENCE = 120

SLURM = """
ClusterName=hfprune
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.sock
CredType=cred/munge
SlurmctldPort=26817
SlurmctldPidFile={home}/slurmctld.pid
SlurmctldLogFile={home}/log/slurmctld
StateSaveLocation={home}/state
SlurmdPidFile={home}/%n.pid
SlurmdLogFile={home}/log/%n
SlurmdSpoolDir={home}/spool/%n
SlurmdParameters=config_overrides
SlurmdTimeout=30
KillWait=10
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SchedulerParameters=batch_sched_delay=1,sched_interval=5,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=26819
AccountingStoragePass={home}/munge.sock
AccountingStorageTRES=gres/gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
NodeName=n[1-3] NodeHostname={host} NodeAddr=127.0.0.1 Port=[27001-27003] {shape}
PartitionName=gpu Nodes=ALL Default=YES DefaultTime=60 MaxTime=1440 State=UP
PartitionName=short Nodes=ALL DefaultTime=1 MaxTime=5 State=UP
"""
GRES = "NodeName=n[1-3] Name=gpu File={home}/gpu[0-{last}] Flags=nvidia_gpu_env\n"
ACCOUNTING = """
AuthType=auth/munge
AuthInfo=socket={home}/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=26819
SlurmUser=root
PidFile={home}/slurmdbd.pid
LogFile={home}/log/slurmdbd
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounting
"""


def run(*command: object, check: bool = True, **options) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


def wait_for(what: Callable[[], object], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} seconds: {what}")
        time.sleep(0.5)


def install() -> None:
    if all(map(shutil.which, ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd"))):
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})  # fmt: skip
    finally:
        if ours:
            policy.unlink()


class Cluster:
    """Starts with `up`, ends with `down`; in between, nodes and the controller can be killed and started."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.daemons: dict[str, subprocess.Popen] = {}
        self.linked: list[Path] = []

    def up(self) -> None:
        if os.geteuid() != 0:
            raise RuntimeError("only root can start a Slurm cluster")
        install()
        self._configure()
        self._start("munged", "munged", "--foreground", "--force", f"--key-file={self.home}/munge/key",
                    f"--socket={self.home}/munge.sock", f"--pid-file={self.home}/munge.pid",
                    f"--log-file={self.home}/log/munge", f"--seed-file={self.home}/munge/seed")  # fmt: skip
        database = self._start_database()
        os.environ["MYSQL_UNIX_PORT"] = str(database)  # slurmdbd's "localhost"
        self._start("slurmdbd", "slurmdbd", "-D")
        wait_for(lambda: "Cluster" in run("sacctmgr", "list", "cluster", check=False))
        run("sacctmgr", "-i", "add", "cluster", "hfprune", check=False)
        run("sacctmgr", "-i", "add", "account", "lab", check=False)
        run("sacctmgr", "-i", "add", "user", "root", "Account=lab", check=False)
        self.start_controller()
        for node in NODES:
            self.start(node)
        wait_for(lambda: all(self.state(node) == "idle" for node in NODES))

    def down(self) -> None:
        if "slurmctld" in self.daemons:
            run("scancel", "--user=root", check=False)
            wait_for(lambda: not run("squeue", "--noheader", check=False).strip(), 60)
        for name in [*reversed(self.daemons)]:
            self._end(name, signal.SIGTERM)
        for link in self.linked:
            link.unlink()
        if self.linked and not any(SYSTEM.iterdir()):
            SYSTEM.rmdir()
        shutil.rmtree(self.home)

    def start(self, node: str) -> None:
        (self.home / "spool" / node).mkdir(parents=True, exist_ok=True)
        self._start(node, "slurmd", "-D", "-N", node)

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld", "-D")
        wait_for(lambda: "is UP" in run("scontrol", "ping", check=False))

    def stop_controller(self) -> None:
        self._end("slurmctld", signal.SIGTERM)

    def lose_accounting(self) -> None:
        """Go on without accounting, as on many small clusters."""
        self.stop_controller()
        conf = self.home / "slurm.conf"
        lines = conf.read_text().splitlines(keepends=True)
        conf.write_text("".join(line for line in lines if not line.startswith("AccountingStorage")))
        self.start_controller()
        wait_for(lambda: all(self.state(node) == "idle" for node in NODES))

    def cut_power(self, node: str) -> None:
        """Kill a node's daemon, the jobs on it and every process below them at once."""
        # A job's supervisor says which job it is, and the name of its socket on which node.
        steps = {path.name.partition("_")[2] for path in (self.home / "spool" / node).glob(f"{node}_*")}
        processes = [line.split(None, 2) for line in run("ps", "-eo", "pid=,ppid=,args=").splitlines()]
        doomed = {
            pid
            for pid, _, name in processes
            if name.startswith("slurmstepd: [") and name[13:].split("]")[0] in steps
        }
        grown = -1
        while grown != len(doomed):
            grown = len(doomed)
            doomed |= {pid for pid, parent, _ in processes if parent in doomed}
        self._end(node, signal.SIGKILL)
        for pid in doomed:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def state(self, node: str) -> str:
        return run("sinfo", "-h", "-n", node, "-p", "gpu", "-o", "%T", check=False).strip().rstrip("*")

    def _configure(self) -> None:
        for folder in ("munge", "database", "log", "state", "spool"):
            (self.home / folder).mkdir(parents=True)
        self.home.chmod(0o755)
        (self.home / "munge").chmod(0o700)
        (self.home / "munge/key").write_bytes(os.urandom(1024))
        (self.home / "munge/key").chmod(0o600)
        for gpu in range(GPUS):
            os.mknod(self.home / f"gpu{gpu}", 0o20666, os.makedev(1, 3))
        words = {"host": socket.gethostname().split(".")[0], "home": self.home, "last": GPUS - 1}
        words["shape"] = f"CPUs={CPUS} RealMemory={MEMORY} Gres=gpu:{GPUS}"
        texts = {"slurm": SLURM, "gres": GRES, "slurmdbd": ACCOUNTING, "cgroup": "CgroupPlugin=disabled\n"}
        SYSTEM.mkdir(exist_ok=True)
        for name, text in texts.items():
            link, file = SYSTEM / f"{name}.conf", self.home / f"{name}.conf"
            if link.exists():
                raise RuntimeError(f"{link}: this machine belongs to a cluster")
            file.write_text(text.format(**words))
            file.chmod(0o600 if name == "slurmdbd" else 0o644)
            link.unlink(missing_ok=True)  # of a run that was killed
            link.symlink_to(file)
            self.linked.append(link)

    def _start_database(self) -> Path:
        folder, place = self.home / "database", self.home / "sql"
        place.mkdir()
        for path in (folder, place):
            shutil.chown(path, "mysql")
        run("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={folder}",
            "--auth-root-authentication-method=socket")  # fmt: skip
        self._start("mariadb", "mariadbd", "--no-defaults", "--user=mysql", f"--datadir={folder}",
                    f"--socket={place}/sock", "--skip-networking", f"--pid-file={place}/pid",
                    "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900")  # fmt: skip
        # Made here: slurmdbd dies if its first connection finds no database.
        make = ("mariadb", "--no-defaults", f"--socket={place}/sock", "-e", "create database accounting")
        wait_for(lambda: subprocess.run(make, capture_output=True, check=False).returncode == 0)
        return place / "sock"

    def _start(self, name: str, *command: str) -> None:
        log = (self.home / "log" / f"{name}.out").open("a")
        self.daemons[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def _end(self, name: str, how: signal.Signals) -> None:
        daemon = self.daemons.pop(name)
        daemon.send_signal(how)
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
