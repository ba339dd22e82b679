"""Real Slurm clusters on loopback: munged, slurmctld, some slurmd and slurmrestd, each cluster in a folder of its own.

    with SlurmCluster(tmp_path / "a", cpu_nodes("a", 2, cpus=4), "alpha") as alpha, \\
         SlurmCluster(tmp_path / "b", cpu_nodes("b", 2, cpus=4), "beta") as beta:
        alpha.settings()              # url, user, key_file, partition, working_directory of a member of kind slurm
        alpha.jobs()                  # what Slurm itself says that there is
        alpha.kill_node("a0")         # slurmd and all that runs on it, as if its power had gone
        alpha.kill("slurmrestd")      # one daemon; what it has started lives on: "slurmctld", "slurmd-a0"
        alpha.kill_all()              # the whole cluster with its jobs, at once
        alpha.start()                 # and here again, empty nodes, the queue as it was

Jobs are processes of this machine: they see its files (PENSTOCK_BUILD_DIR's programs), and its loopback network is theirs. How many
cores and how much memory a node has is what its line says, whatever this machine has; nobody is held to them.

Nothing outlives the test: each daemon runs under process_keeper.py, which kills all that descends from it, jobs too. Devices
are made by mknod, since a GPU's file must be a device; so this needs root. PENSTOCK_SLURM_ROOT names the root folder of another Debian
(of debootstrap, with /proc, /dev and /tmp bound into it) whose Slurm is taken instead of this one's."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DAEMONS = ("munged", "slurmctld", "slurmd", "slurmrestd")
START_SECONDS = 150.0
KEEPER = Path(__file__).with_name("process_keeper.py")
ROOT = Path(os.environ.get("PENSTOCK_SLURM_ROOT", "/"))
LIVE_STATES = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STOPPED")


def missing() -> str:
    """Why no cluster can be started here; empty when one can."""
    where = f"{ROOT}/usr/sbin:{ROOT}/usr/bin"
    absent = [name for name in DAEMONS if shutil.which(name, path=where) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "needs root (device files, daemons under other users)"


@dataclass(frozen=True)
class Node:
    name: str
    gres: str = ""  # "gpu:h100:4,shard:16"
    features: str = ""  # "region_eu-de,zone_a"
    cpus: int = 8
    memory_mb: int = 4000


def cpu_nodes(prefix: str, count: int, cpus: int = 4, features: str = "") -> list[Node]:
    """Nodes without GPUs: "a0", "a1"... The feature node_<name> is what the oldest API pins a job to its node by."""
    return [Node(f"{prefix}{i}", features=",".join(filter(None, [features, f"node_{prefix}{i}"])), cpus=cpus) for i in range(count)]


@dataclass(frozen=True)
class Job:
    id: int
    name: str
    state: str
    cpus: int
    memory: str  # "512M"
    comment: str
    nodes: str


@dataclass
class Daemon:
    keeper: subprocess.Popen[bytes]
    pid: int
    handle: int = field(init=False)  # a pidfd: its number cannot become another process's

    def __post_init__(self) -> None:
        try:
            self.handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self.handle = -1

    def is_alive(self) -> bool:
        return self.handle >= 0 and not select.select([self.handle], [], [], 0)[0]

    def end(self, number: int) -> None:
        if self.is_alive():
            signal.pidfd_send_signal(self.handle, number)
            select.select([self.handle], [], [], START_SECONDS)


def free_port() -> int:
    """One below those that the kernel gives to outgoing connections: it must be free again when a daemon is started once more."""
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10000, first_outgoing)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(condition: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


def _account(name: str) -> tuple[int, int]:
    for line in (ROOT / "etc" / "passwd").read_text().splitlines():
        words = line.split(":")
        if words[0] == name:
            return int(words[2]), int(words[3])
    raise KeyError(name)


def _inside(command: list[str], user: str = "root") -> list[str]:
    uid, gid = _account(user)
    return ["chroot", f"--userspec={uid}:{gid}", f"--groups={gid}", str(ROOT), *command]


class SlurmCluster:
    """`name` is the cluster's own; `settings` are further lines of slurm.conf. Partitions: "serve", which may be preempted, and "urgent"."""

    user = "root"
    partition = "serve"

    def __init__(self, folder: Path, nodes: list[Node], name: str = "alpha", settings: str = "") -> None:
        self.folder, self.nodes, self.name = folder, nodes, name
        self.extra = settings
        self.rest_port = free_port()
        self.url = f"http://127.0.0.1:{self.rest_port}"
        self.key_file = folder / "etc" / "jwt.key"
        self.conf = folder / "etc" / "slurm.conf"
        self.version = tuple(int(word) for word in self.run("slurmctld", "-V").split()[-1].split(".")[:2])
        self._environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SLURM_CONF": str(self.conf)}
        self._daemons: dict[str, Daemon] = {}
        self._keepers: dict[str, list[subprocess.Popen[bytes]]] = {}

    def __enter__(self) -> SlurmCluster:
        self._files_make()
        try:
            self.start()
        except BaseException:
            self.kill_all()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()

    def settings(self) -> dict[str, str]:
        """Of a member of kind slurm, for this cluster."""
        return {"url": self.url, "user": self.user, "key_file": str(self.key_file), "partition": self.partition,
                "working_directory": str(self.folder / "work")}  # fmt: skip

    # --- files ---

    def _files_make(self) -> None:
        for part in ("etc", "dev", "state", "log", "spool", "munge", "work"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        for parent in (self.folder, *self.folder.parents):
            if parent.stat().st_mode & 0o001 == 0 and str(parent) != "/":
                parent.chmod(parent.stat().st_mode | 0o011)
        munge_key = self.folder / "etc" / "munge.key"
        munge_key.write_bytes(os.urandom(128))
        munge_key.chmod(0o400)
        self.key_file.write_bytes(os.urandom(32))
        self.key_file.chmod(0o600)
        for path in (munge_key, self.folder / "munge"):
            os.chown(path, *_account("munge"))
        (self.folder / "munge").chmod(0o755)
        gres = []
        for node in self.nodes:
            (self.folder / "spool" / node.name).mkdir()
            gres += self._gres_lines(node)
        (self.folder / "etc" / "gres.conf").write_text("\n".join(gres) + "\n")
        cgroup = "CgroupPlugin=disabled" if self.version >= (23, 2) else "CgroupAutomount=no"
        (self.folder / "etc" / "cgroup.conf").write_text(cgroup + "\n")
        self.conf.write_text(self._conf())

    def _gres_lines(self, node: Node) -> list[str]:
        lines, first = [], 0
        for item in filter(None, node.gres.split(",")):
            words = item.split(":")
            count = int(words[-1])
            if words[0] == "shard":
                lines.append(f"NodeName={node.name} Name=shard Count={count}")
                continue
            kind = f"Type={words[1]} " if len(words) == 3 else ""
            for index in range(first, first + count):
                os.mknod(self._device(node, index), stat.S_IFCHR | 0o666, os.makedev(1, 3))
            span = f"{self.folder}/dev/{node.name}gpu[{first}-{first + count - 1}]"
            lines.append(f"NodeName={node.name} Name=gpu {kind}File={span}")
            first += count
        return lines

    def _device(self, node: Node, index: int) -> Path:
        return self.folder / "dev" / f"{node.name}gpu{index}"

    def _conf(self) -> str:
        host = socket.gethostname().split(".")[0]
        lines = [
            f"ClusterName={self.name}",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"AuthInfo=socket={self.folder}/munge/socket",
            f"AuthAltParameters=jwt_key={self.key_file}",
            f"SlurmctldPort={free_port()}",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd-%n.pid",
            f"SlurmdSpoolDir={self.folder}/spool/%n",
            f"StateSaveLocation={self.folder}/state",
            _COMMON,
            self.extra,
        ]
        for node in self.nodes:
            gres = f"Gres={node.gres} " if node.gres else ""
            features = f"Feature={node.features} " if node.features else ""
            lines.append(
                f"NodeName={node.name} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs={node.cpus} "
                f"RealMemory={node.memory_mb} {gres}{features}State=UNKNOWN"
            )
        names = ",".join(node.name for node in self.nodes)
        lines.append(f"PartitionName=serve Nodes={names} Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE")
        lines.append(f"PartitionName=urgent Nodes={names} MaxTime=INFINITE PriorityTier=100 PreemptMode=OFF")
        return "\n".join(lines) + "\n"

    # --- daemons ---

    def _spawn(self, name: str, command: list[str], user: str = "root", **environment: str) -> None:
        with open(self.folder / "log" / f"{name}.log", "ab") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", KEEPER, str(os.getpid()), *_inside(command, user)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment | environment,
                start_new_session=True,
            )
        self._keepers.setdefault(name, []).append(keeper)
        with keeper.stdout as told:
            self._daemons[name] = Daemon(keeper, int(told.readline()))

    def _wait_ready(self, name: str, is_ready: Callable[[], Any]) -> None:
        def is_known() -> bool:
            return is_ready() or not self._is_running(name)

        wait_until(is_known, f"{self.name}: {name} is not ready")
        if not self._is_running(name):
            told = (self.folder / "log" / f"{name}.log").read_text(errors="replace")
            raise RuntimeError(f"{self.name}: {name} has ended: {told[-800:]}")

    def _is_running(self, name: str) -> bool:
        return name in self._daemons and self._daemons[name].is_alive()

    def start(self) -> None:
        """Starts what does not run, and waits until all nodes answer and slurmrestd does. A gateway may put them to work at once."""
        if not self._is_running("munged"):
            self._munge_start()
        if not self._is_running("slurmctld"):
            self.controller_start()
        for node in self.nodes:
            if not self._is_running(f"slurmd-{node.name}"):
                self.node_start(node.name)
        if not self._is_running("slurmrestd"):
            self.rest_start()
        wait_until(lambda: self.count("idle", "mixed", "allocated", "completing") == len(self.nodes), f"{self.name}: nodes are not up")

    def _munge_start(self) -> None:
        munge = self.folder / "munge"
        (munge / "socket").unlink(missing_ok=True)
        self._spawn(
            "munged",
            ["munged", "-F", "-f", f"--key-file={self.folder}/etc/munge.key", f"--socket={munge}/socket",
             f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed", "--num-threads=2"],
            user="munge",
        )  # fmt: skip
        self._wait_ready("munged", (munge / "socket").exists)

    def controller_start(self) -> None:
        self._spawn("slurmctld", ["slurmctld", "-D", "-i", "-f", str(self.conf)])
        self._wait_ready("slurmctld", lambda: "UP" in self.run("scontrol", "ping"))

    def node_start(self, node: str) -> None:
        self._spawn(f"slurmd-{node}", ["slurmd", "-D", "-f", str(self.conf), "-N", node])

    def rest_start(self) -> None:
        command = ["slurmrestd", "-f", str(self.conf), "-a", "rest_auth/jwt"]
        command += ["-s", "slurmctld"] if self.version >= (23, 11) else ["-s", "openapi/v0.0.38"]
        self._spawn("slurmrestd", [*command, f"127.0.0.1:{self.rest_port}"], user="games", SLURM_JWT="daemon")
        self._wait_ready("slurmrestd", self._rest_listens)

    def _rest_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.rest_port)) == 0

    # --- ends of all kinds ---

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends one daemon and waits for its end. Jobs of a slurmd that is ended so go on, as Slurm has it."""
        self._daemons.pop(name).end(number)

    def kill_node(self, node: str) -> None:
        """A node with all that runs on it."""
        self._keepers_end([f"slurmd-{node}"])

    def kill_all(self) -> None:
        """The whole cluster, its jobs with it."""
        self._keepers_end(list(self._keepers))

    def _keepers_end(self, names: list[str]) -> None:
        keepers = [keeper for name in names for keeper in self._keepers.pop(name, [])]
        for keeper in keepers:
            keeper.terminate()
        for keeper in keepers:
            keeper.wait(START_SECONDS)
        for name in names:
            daemon = self._daemons.pop(name, None)
            if daemon is not None and daemon.handle >= 0:
                os.close(daemon.handle)

    def reset(self) -> None:
        """Ends all jobs, and mends what a test has broken."""
        if not self._is_running("munged"):
            self._munge_start()
        if not self._is_running("slurmctld"):
            self.controller_start()
        if self.live_jobs():
            self.run("scancel", "--user=root", "--full")
        for node in self.nodes:
            if not self._is_running(f"slurmd-{node.name}"):
                self.node_start(node.name)
        if self.count("idle") < len(self.nodes):
            self.run("scontrol", "update", f"nodename={','.join(node.name for node in self.nodes)}", "state=resume")
        self.start()
        wait_until(lambda: not self.live_jobs(), f"{self.name}: jobs do not end")
        wait_until(lambda: self.count("idle") == len(self.nodes), f"{self.name}: nodes are not idle")

    # --- asking it ---

    def run(self, *command: str) -> str:
        """Output of one of Slurm's own tools."""
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SLURM_CONF": str(self.conf)}
        return subprocess.run(_inside(list(command)), env=environment, capture_output=True, text=True, check=False).stdout

    def count(self, *states: str) -> int:
        """Nodes in one of these states; of one that does not answer the state has a mark behind it."""
        lines = self.run("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return len({line for line in lines if line.split()[-1] in states})

    def jobs(self) -> list[Job]:
        """All that slurmctld still knows, also what is over."""
        jobs = []
        for line in self.run("squeue", "-h", "-a", "-t", "all", "-o", "%i|%j|%T|%C|%m|%k|%N").splitlines():
            words = line.split("|")
            jobs.append(Job(int(words[0]), words[1], words[2], int(words[3]), *words[4:]))
        return jobs

    def live_jobs(self) -> list[Job]:
        return [job for job in self.jobs() if job.state in LIVE_STATES]

    def submit(self, *options: str, program: str = "sleep 600") -> int:
        """Somebody else's job, by sbatch."""
        told = self.run("sbatch", "--parsable", "--output=/dev/null", "--job-name=foreign", "--mem=100", *options, f"--wrap=exec {program}")
        return int(told.split(";")[0])


_COMMON = """SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthAltTypes=auth/jwt
SlurmctldDebug=info
SlurmdDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
InactiveLimit=0
KillWait=3
MinJobAge=300
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,bf_interval=2,sched_interval=5,batch_sched_delay=0,defer_batch
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PreemptExemptTime=0
JobRequeue=1
GresTypes=gpu,shard
PriorityType=priority/basic
SlurmdParameters=config_overrides"""
