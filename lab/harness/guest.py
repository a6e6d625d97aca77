"""Guests: a kernel under QEMU, or one that is a process; both carry out commands that come on a terminal."""
import json
import re
import shlex
import socket
import time
from pathlib import Path

from .kernel import Kernel
from .process import LabError, Process

# What makes an emulated kernel start fast and say little.
_COMMAND_LINE = (
    "quiet panic=-1 nokaslr no_timer_check tsc=reliable mitigations=off random.trust_cpu=on")


class Guest:
    """A running kernel with the lab's `guest/init`, and the terminal that it takes commands from."""

    def __init__(self, name: str, folder: Path):
        self.name = name
        self.folder = folder
        self.process: Process
        self.console = folder / f"{name}.console"
        self._shell, self._far_shell = socket.socketpair()
        self._transcript = open(folder / f"{name}.shell", "w")
        self._received = ""
        self._number = 0
        self._started = time.monotonic()

    def ready(self, timeout: float = 120) -> float:
        """Waits for the shell; returns how many seconds the start took."""
        self._read_until(r"LAB-READY\n", timeout)
        # Before anything depends on it: the channel tells success from failure.
        if self.run("true")[0] != 0 or self.run("false")[0] == 0:
            raise LabError(f"{self.name}: its exit statuses are not to be trusted")
        return time.monotonic() - self._started

    def run(self, command: str, timeout: float = 60) -> tuple[int, str]:
        """Runs a line of shell; returns its exit status and what it printed."""
        if "\n" in command or len(command) > 4000:
            raise ValueError("one line that a terminal takes")
        self._number += 1
        self._shell.settimeout(10)
        self._shell.sendall(f"{self._number}\n{command}\n".encode())
        self._transcript.write(f"$ {command}\n")
        output, status = self._read_until(rf"LAB-STATUS {self._number} (\d+)\n", timeout, command)
        return int(status), output.strip()

    def check(self, command: str, timeout: float = 60) -> str:
        """Runs a line of shell that has to succeed; returns what it printed."""
        status, output = self.run(command, timeout)
        if status != 0:
            raise LabError(f"{self.name}: `{command}` ended with {status}: {output[-600:]}")
        return output

    def check_fails(self, command: str, timeout: float = 60) -> str:
        """Runs a line of shell that must not succeed; returns what it printed."""
        status, output = self.run(command, timeout)
        if status == 0:
            raise LabError(f"{self.name}: `{command}` succeeded, which it must not: {output[-600:]}")
        return output

    def read(self, path: str) -> str:
        """What a file of the guest says."""
        return self.check(f"cat {shlex.quote(path)}")

    def power_off(self, timeout: float = 60) -> None:
        """Lets the guest turn itself off, and waits for the end of its process."""
        self._shell.sendall(b"0\npoweroff -f\n")
        if (status := self.process.wait(timeout)) != 0:
            raise LabError(f"{self.process.name} ended with {status}: {self.process.tail(5)}")

    def stop(self) -> None:
        """Ends the process, if it still runs."""
        try:
            self.process.stop()
        finally:
            self._shell.close()
            self._transcript.close()

    def tail(self) -> str:
        """What to look at when something went wrong."""
        self._transcript.flush()
        parts = [("console", self.console.read_text(errors="replace") if self.console.exists() else ""),
                 ("shell", Path(self._transcript.name).read_text(errors="replace") + self._received)]
        if self.process.log != self.console:
            parts.append((self.process.name, self.process.output()))
        return "\n".join(
            f"  {self.name}, {part}:\n" + "\n".join(f"    {line}" for line in text.splitlines()[-15:])
            for part, text in parts if text.strip())

    def _read_until(self, pattern: str, timeout: float, doing: str = "start") -> tuple[str, str]:
        end = time.monotonic() + timeout
        while not (match := re.search(pattern, self._received)):
            left = end - time.monotonic()
            if left <= 0:
                raise LabError(f"{self.name}: no end of `{doing}` within {timeout} s")
            self._shell.settimeout(left)
            try:
                received = self._shell.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                received = b""
            if not received:
                raise LabError(f"{self.name} is gone during `{doing}`")
            self._received += received.decode(errors="replace").replace("\r", "")
        before = self._received[:match.start()]
        self._received = self._received[match.end():]
        self._transcript.write(before)
        return before, match[1] if match.groups() else ""


class QemuGuest(Guest):
    """A guest under QEMU, emulated: its memory is a memfd, as back-ends need it."""

    def __init__(self, name: str, folder: Path, qemu: list[str], kernel: Kernel, initramfs: Path,
                 devices: list[str], memory: int = 512, cpus: int = 2, reboots: bool = False, append: str = "",
                 incoming: bool = False):
        """`memory` in MiB; `devices` are arguments of QEMU; `reboots`: a reset does not end QEMU; `append` goes to the
        kernel's command line; `incoming`: it waits for a migration."""
        super().__init__(name, folder)
        self._qmp, far_qmp = socket.socketpair()
        argv = [
            *qemu, "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-machine", "q35,memory-backend=memory",
            "-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on", "-m", f"{memory}M",
            "-smp", str(cpus), "-nodefaults", "-display", "none",
            *(() if reboots else ("-no-reboot",)),
            "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
            "-chardev", f"socket,id=shell,fd={self._far_shell.fileno()}", "-serial", "chardev:shell",
            "-chardev", f"socket,id=qmp,fd={far_qmp.fileno()}", "-mon", "chardev=qmp,mode=control",
            "-kernel", str(kernel.image), "-initrd", str(initramfs),
            "-append", f"console=ttyS0 {_COMMAND_LINE} LAB_SHELL=ttyS1 {append}",
            *(["-incoming", "defer"] if incoming else []), *devices,
        ]
        self.process = Process(
            f"{name}-qemu", argv, folder / f"{name}.qemu", (self._far_shell.fileno(), far_qmp.fileno()))
        self._far_shell.close()
        far_qmp.close()
        self._qmp_file = self._qmp.makefile("rw")
        self._qmp.settimeout(60)
        try:
            self._qmp_file.readline()
            self.qmp("qmp_capabilities")
        except (LabError, OSError) as error:
            self.stop()
            raise LabError(f"{name}: QEMU does not start: {self.process.tail(5)}") from error

    def qmp(self, command: str, **arguments):
        """Runs a command of the QEMU machine protocol."""
        self._qmp_file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._qmp_file.flush()
        while line := self._qmp_file.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise LabError(f"{self.name}: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise LabError(f"{self.name}: QEMU is gone during {command}: {self.process.tail(5)}")

    def migrate(self, to: "QemuGuest", socket_path: Path, postcopy: bool = False, timeout: float = 120) -> dict:
        """Moves the guest into another QEMU, which has been waiting for it; what QEMU says of it afterwards."""
        capabilities = [{"capability": "postcopy-ram", "state": postcopy}]
        for side in (self, to):
            side.qmp("migrate-set-capabilities", capabilities=capabilities)
        # Slow enough that memory is written while it is copied.
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 64 << 20, "downtime-limit": 300})
        to.qmp("migrate-incoming", uri=f"unix:{socket_path}")
        self.qmp("migrate", uri=f"unix:{socket_path}")
        end = time.monotonic() + timeout
        has_started_postcopy = False
        while True:
            found = self.qmp("query-migrate")
            state = found.get("status")
            if state == "completed":
                break
            if state in ("failed", "cancelled") or time.monotonic() > end:
                raise LabError(f"{self.name}: the migration is {state}: {found.get('error-desc', found)}; "
                               f"{self.process.tail(5)}; {to.process.tail(5)}")
            if postcopy and not has_started_postcopy and state == "active" and found["ram"]["transferred"] > 1 << 20:
                self.qmp("migrate-start-postcopy")
                has_started_postcopy = True
            time.sleep(0.05)
        if postcopy and not has_started_postcopy:
            raise LabError(f"{self.name}: the migration was over before its second half began")
        # The destination goes on by itself.
        while to.qmp("query-status")["status"] != "running":
            if time.monotonic() > end:
                raise LabError(f"{to.name}: the guest does not go on: {to.process.tail(5)}")
            time.sleep(0.05)
        return found

    def power_off_stopped(self) -> None:
        """Ends a QEMU whose guest has moved away."""
        self.qmp("quit")
        if (status := self.process.wait(30)) != 0:
            raise LabError(f"{self.process.name} ended with {status}: {self.process.tail(5)}")

    def take_over(self, source: "QemuGuest") -> None:
        """Its terminal goes on where that of the source was."""
        self._number = source._number
        self._received = ""

    def reset(self) -> None:
        """Presses the reset button, and waits for the shell."""
        self._received = ""
        self.qmp("system_reset")
        self.ready()

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            self._qmp.close()


class UserModeGuest(Guest):
    """A guest that is a process: Linux's own vhost-user front-end (virtio_uml), and the CPU's own speed."""

    def __init__(self, name: str, folder: Path, kernel: Kernel, initramfs: Path, devices: list[str], memory: int = 512):
        """`devices` are `SOCKET:VIRTIO-TYPE`."""
        super().__init__(name, folder)
        shell = self._far_shell.fileno()
        argv = [
            str(kernel.image), f"mem={memory}M", f"initrd={initramfs}", "con0=null,fd:1", f"con1=fd:{shell}",
            "con=null", "ssl=null", *_COMMAND_LINE.split(), "LAB_SHELL=tty1",
            *(f"virtio_uml.device={device}" for device in devices),
        ]
        self.process = Process(f"{name}-uml", argv, self.console, (shell,))
        self._far_shell.close()
