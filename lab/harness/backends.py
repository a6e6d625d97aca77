"""Back-ends that serve a vhost-user socket: vdpad and the entropy example, and references not written here."""
import time
from dataclasses import dataclass, field
from pathlib import Path

from .process import LabError, Process

# What a back-end does not offer; a case that is about it says so instead of running.
_VDPAD_LACKS = {
    "socket-calls": "user mode Linux calls through sockets, and kicks and calls must be eventfds here, which cannot block",
}
_REFERENCE_LACKS = {
    "block": {
        "client": "qemu-storage-daemon does not connect",
        "in-flight": "qemu-storage-daemon keeps no record of what is in flight",
        "log": "qemu-storage-daemon keeps no dirty log",
        "iommu": "qemu-storage-daemon offers no ACCESS_PLATFORM",
        "packed": "qemu-storage-daemon offers no packed ring",
        "legacy": "qemu-storage-daemon serves no legacy driver",
        "io-errors": "qemu-storage-daemon reads zeroes past the end of a short file",
    },
    "net": {
        "client": "the lab starts testpmd as a server only",
        "restart": "the lab does not restart testpmd",
        "log": "the lab migrates between two of vdpad",
        "iommu": "the lab starts testpmd without IOMMU support",
        "network": "the lab connects testpmd with nothing",
        "control-queue": "testpmd offers a control queue and leaves it to the VMM",
    },
    "entropy": {
        "entropy": "Debian has no vhost-user back-end for entropy",
    },
}


@dataclass
class BackEnd:
    """A process that listens on `socket`."""
    process: Process
    socket: Path
    #: What `--stats` prints, if the process has it.
    has_counters: bool = False
    #: What a block device tells its guest as its name.
    serial: str | None = None
    #: Whether it connects, and the front-end listens.
    is_client: bool = False

    def chardev(self, name: str, reconnects: bool = False) -> list[str]:
        """QEMU's end of the socket."""
        role = ",server=on,wait=off" if self.is_client else ",reconnect=1" if reconnects else ""
        return ["-chardev", f"socket,id={name},path={self.socket}{role}"]

    def kill_and_restart(self, pause: float = 0) -> None:
        """Ends it without any warning, and starts it again as its supervisor would, after so many seconds."""
        self.process.kill()
        time.sleep(pause)
        self.process = self.process.again()
        if not self.is_client:
            self.process.wait_listening(self.socket)

    def counters(self) -> dict[str, dict[str, int]]:
        """The counters of each ring, by the names that the process prints; the last ones it printed."""
        text = self.process.output()
        rings: dict[str, dict[str, int]] = {}
        names: list[str] = []
        for line in text.splitlines():
            cells = line.split()
            if cells[:1] == ["vring"]:
                names, rings = cells[1:], {}
            elif names and len(cells) == len(names) + 1 and all(cell.isdigit() for cell in cells[1:]):
                rings[cells[0]] = dict(zip(names, map(int, cells[1:])))
        return rings

    def stop(self) -> None:
        """Ends it, and checks that it ends as it should and takes its socket away."""
        before = self.process.status
        if before is not None:
            raise LabError(f"{self.process.name} ended by itself with {before}: {self.process.tail(5)}")
        status = self.process.stop()
        if status != 0:
            raise LabError(f"{self.process.name} ended with {status} at SIGTERM: {self.process.tail(5)}")
        if not self.is_client and self.socket.exists():
            raise LabError(f"{self.process.name} left its socket {self.socket}")


@dataclass
class Programs:
    """Where the programs under test are; None for what no chosen case needs."""
    vdpad: Path | None
    entropy_device: Path | None


@dataclass
class BackEnds:
    """Starts back-ends of one kind."""
    kind: str
    programs: Programs
    folder: Path
    sockets: Path
    _count: int = field(default=0)

    def lacks(self, needs: set[str], device: str) -> str | None:
        """Why a case with these needs cannot be run; None if it can."""
        known = _VDPAD_LACKS if self.kind == "vdpad" else _REFERENCE_LACKS[device]
        return next((known[need] for need in sorted(needs) if need in known), None)

    def _next(self, name: str) -> tuple[Path, Path]:
        self._count += 1
        return self.sockets / f"{name}{self._count}", self.folder / f"{name}{self._count}.log"

    def _started(self, name: str, argv: list[str], socket: Path, log: Path, **options) -> BackEnd:
        process = Process(name, argv, log)
        back_end = BackEnd(process, socket, **options)
        if not back_end.is_client:
            process.wait_listening(socket)
        return back_end

    def block(self, image: Path, read_only: bool = False, queues: int = 1, threads: bool = False, client: bool = False,
              shared: bool = False, serial: str | None = None) -> BackEnd:
        """A block device on a raw image; `threads`: in place of io_uring, where there is a choice; `client`: it connects;
        `shared`: another back-end has the image open."""
        socket, log = self._next("block")
        if self.kind == "vdpad":
            argv = [str(self.programs.vdpad), "serve", "--type", "block", "--socket-path", str(socket),
                    "--blk-file", str(image), "--queues", str(queues), "--serial", serial or f"lab-{socket.name}",
                    "--stats", "1", *(["--read-only"] if read_only else []), *(["--blk-io=threads"] if threads else []),
                    *(["--blk-shared"] if shared else []), *(["--client"] if client else [])]
            return self._started("vdpad", argv, socket, log, has_counters=True, serial=serial or f"lab-{socket.name}",
                                 is_client=client)
        export = (f"type=vhost-user-blk,id=export,node-name=image,writable={'off' if read_only else 'on'},"
                  f"num-queues={queues},addr.type=unix,addr.path={socket}")
        argv = ["qemu-storage-daemon", "--blockdev",
                f"driver=file,node-name=image,filename={image},discard=unmap,read-only={'on' if read_only else 'off'}",
                "--export", export]
        return self._started("qemu-storage-daemon", argv, socket, log, serial="vhost_user_blk")

    def net(self, queues: int = 1, client: bool = False) -> BackEnd:
        """A net device that answers ARP and ICMP echo for any address; `client`: it connects."""
        socket, log = self._next("net")
        if self.kind == "vdpad":
            argv = [str(self.programs.vdpad), "serve", "--type", "net", "--socket-path", str(socket),
                    "--port", "echo", "--queues", str(queues), "--stats", "1", *(["--client"] if client else [])]
            return self._started("vdpad", argv, socket, log, has_counters=True, is_client=client)
        argv = ["dpdk-testpmd", "-l", "0,1", "--no-pci", "--no-huge", "-m", "256", "--no-telemetry",
                f"--file-prefix={socket.parent.name}", f"--vdev=net_vhost0,iface={socket},queues={queues}",
                "--", "--forward-mode=icmpecho", "--auto-start",
                f"--rxq={queues}", f"--txq={queues}", "--nb-cores=1", "--total-num-mbufs=4096", "--no-mlockall",
                "--stats-period=1"]
        return self._started("dpdk-testpmd", argv, socket, log)

    def net_switch(self, count: int) -> tuple[BackEnd, list[Path]]:
        """Net devices on a switch, each with a socket of its own."""
        socket, log = self._next("switch")
        sockets = [socket, *(socket.with_name(f"{socket.name}-{i}") for i in range(1, count))]
        argv = [str(self.programs.vdpad), "serve", "--port", "switch=lan", "--offloads", "--stats", "1",
                *(argument for path in sockets for argument in ("--socket-path", str(path)))]
        back_end = self._started("vdpad", argv, socket, log)
        for path in sockets:
            back_end.process.wait_listening(path)
        return back_end, sockets

    def net_tap(self, address: str) -> BackEnd:
        """A net device on a TAP device, in a network namespace of its own in which the host has that address."""
        socket, log = self._next("tap")
        script = ("ip tuntap add dev tap0 mode tap multi_queue && ip link set lo up && "
                  f"ip addr add {address} dev tap0 && ip link set tap0 up && exec \"$0\" \"$@\"")
        argv = ["unshare", "--map-root-user", "--net", "sh", "-c", script, str(self.programs.vdpad), "serve",
                "--socket-path", str(socket), "--port", "tap=tap0", "--offloads", "--stats", "1"]
        return self._started("vdpad", argv, socket, log, has_counters=True)

    def entropy(self) -> BackEnd:
        """A source of random numbers."""
        socket, log = self._next("entropy")
        argv = [str(self.programs.entropy_device), "--socket-path", str(socket)]
        return self._started("entropy-device", argv, socket, log)
