"""Net devices: echoes from a guest, no loss, on each queue pair, before and after the driver is loaded anew."""
import functools
from dataclasses import dataclass, field

from harness.backends import BackEnd
from harness.cases import Case, Lab
from harness.guest import Guest
from harness.process import LabError, poll
from harness.ring import Ring, switch

_DEVICE = "/sys/bus/virtio/devices/virtio0"
# Virtio 1.2, 5: device types.
_NET_TYPE = 1
# Any address will do: the back-end answers for all.
_PEER = "192.0.2.77"
# Not busybox's: this one compares what comes back, and says so unless it is told to be quiet.
_PING = "/sbin/ping"


@dataclass(frozen=True)
class Setup:
    """A front-end, and what it asks for."""
    front_end: str = "qemu"
    ring: Ring = field(default_factory=Ring)
    pairs: int = 1
    mergeable: bool = True
    #: Checksums and segmentation left to the device, both ways.
    offloads: bool = True

    def needs(self) -> set[str]:
        return {"control-queue", "socket-calls"} if self.front_end == "user-mode-linux" else set()

    def qemu(self) -> str:
        """Properties of the QEMU device."""
        offloads = ",".join(
            f"{name}={switch(self.offloads)}" for name in
            ("csum", "guest_csum", "host_tso4", "host_tso6", "host_ufo", "guest_tso4", "guest_tso6", "guest_ufo",
             "host_ecn", "guest_ecn"))
        # QEMU 7.2 emulating crashes with MSI-X of vhost-user net devices.
        vectors = f"vectors={2 * self.pairs + 2}" if self.front_end == "qemu-backports" else "vectors=0"
        multiple = f"mq={switch(self.pairs > 1)}"
        return f"{multiple},{vectors},mrg_rxbuf={switch(self.mergeable)},{offloads},{self.ring.qemu_with_generation()}"


def ping(lab: Lab, setup: Setup) -> str:
    """Echo requests of several sizes: all are answered, by the back-end alone."""
    back_end = lab.serve(lab.back_ends.net(queues=setup.pairs))
    if setup.front_end == "user-mode-linux":
        guest = lab.user_mode([f"{back_end.socket}:{_NET_TYPE}"], ["virtio_net"], ["ping"])
    else:
        guest = lab.qemu(
            ["-chardev", f"socket,id=net,path={back_end.socket}",
             "-netdev", f"vhost-user,id=net,chardev=net,queues={setup.pairs}",
             "-device", f"virtio-net-pci,netdev=net,{setup.qemu()}"],
            ["virtio_net"], ["ping"], backports=setup.front_end == "qemu-backports")
        setup.ring.require(guest, _DEVICE)
    if (interfaces := guest.check("ls /sys/class/net").split()) != ["eth0", "lo"]:
        raise LabError(f"the guest's interfaces are {interfaces} and not the device alone")

    _bring_up(guest, setup)
    echoes = _echoes(guest, setup, back_end)
    # The control: nothing else answers.
    back_end.process.pause()
    said = guest.check_fails(f"{_PING} -c 3 -i 0.2 -w 4 {_PEER}")
    back_end.process.resume()
    if "100% packet loss" not in said:
        raise LabError(f"echoes without the back-end: {said}")

    # The rings start anew, from 0.
    guest.check("rmmod virtio_net && load virtio_net")
    if setup.front_end != "user-mode-linux":
        setup.ring.require(guest, _DEVICE)
    _bring_up(guest, setup)
    echoes += _echoes(guest, setup, back_end)
    if setup.pairs > 1 and back_end.has_counters:
        _require_all_rings_used(guest, setup, back_end)
    guest.power_off()
    back_end.stop()
    return f"{echoes} echoes, none lost"


def _bring_up(guest: Guest, setup: Setup) -> None:
    guest.check(f"ip addr add 192.0.2.1/24 dev eth0 && ip link set eth0 mtu {9000 if setup.mergeable else 1500} up")
    if (queues := int(guest.check("ls -d /sys/class/net/eth0/queues/tx-* | wc -l"))) != setup.pairs:
        raise LabError(f"the guest uses {queues} queue pairs and not {setup.pairs}")


def _echoes(guest: Guest, setup: Setup, back_end: BackEnd) -> int:
    """Pings of several sizes from each CPU, whose packets have a queue pair of their own if there are two. The guest's
    counters say that each was answered once, and that all went through the interface."""
    before = _counters(guest)
    sizes = (0, 1, 56, 1000, 1472, 8000) if setup.mergeable else (0, 1, 56, 1000, 1472)
    for size in sizes:
        for on in ["taskset 1", "taskset 2"] if setup.pairs > 1 else [""]:
            ping = f"{on} {_PING} -c 20 -i 0.02 -s {size} {_PEER}"
            guest.check(f"{ping} >/tmp/ping || (tail -n 3 /tmp/ping; false)", 120)
            if said := guest.run("grep -i -m 1 -A 2 -e wrong -e dup /tmp/ping")[1]:
                raise LabError(f"echoes of {size} bytes: {said}")

    def change():
        return {name: value - before[name] for name, value in _counters(guest).items()}
    # The last may be late.
    poll(lambda: change()["InEchoReps"] >= change()["OutEchos"], 30, 0.5)
    found = change()
    sent = found["OutEchos"]
    if sent < 100 * setup.pairs or found["InEchoReps"] != sent or found["InCsumErrors"] or found["InErrors"]:
        raise LabError(f"the guest's kernel has counted {found}")
    if min(found["tx_packets"], found["rx_packets"]) < sent:
        raise LabError(f"not all has gone through eth0: {found}")
    back_end.process.require_running()
    return sent


def _counters(guest: Guest) -> dict[str, int]:
    names, values = [line.split()[1:] for line in guest.check("grep ^Icmp: /proc/net/snmp").splitlines()]
    counters = dict(zip(names, map(int, values)))
    for name in ("tx_packets", "rx_packets"):
        counters[name] = int(guest.read(f"/sys/class/net/eth0/statistics/{name}"))
    return counters


def _require_all_rings_used(guest: Guest, setup: Setup, back_end: BackEnd) -> None:
    # They are printed once a second.
    guest.check("sleep 2")
    counters = back_end.counters()
    idle = [name for name, ring in counters.items() if name.startswith("tx") and ring.get("packets", 0) < 100]
    if len(counters) != 2 * setup.pairs or idle:
        raise LabError(f"counters of {setup.pairs} queue pairs that were used: {counters}")


_PACKED = Ring(packed=True)
_PLAIN = Ring(indirect=False, event_index=False)
_PACKED_PLAIN = Ring(packed=True, indirect=False, event_index=False)

_TABLE = [
    ("split", Setup()),
    ("packed", Setup(ring=_PACKED)),
    ("split-2-pairs", Setup(pairs=2)),
    ("packed-2-pairs", Setup(ring=_PACKED, pairs=2)),
    ("split-plain", Setup(ring=_PLAIN, mergeable=False, offloads=False)),
    ("packed-plain", Setup(ring=_PACKED_PLAIN, mergeable=False, offloads=False)),
    ("legacy", Setup(ring=Ring(legacy=True))),
    ("legacy-plain", Setup(ring=Ring(legacy=True, indirect=False, event_index=False), mergeable=False, offloads=False)),
    ("user-mode-linux", Setup(front_end="user-mode-linux")),
    ("qemu-backports", Setup(front_end="qemu-backports", pairs=2)),
    ("qemu-backports-packed", Setup(front_end="qemu-backports", ring=_PACKED, pairs=2)),
]

CASES = [
    Case(f"net-ping-{how}", "net", functools.partial(ping, setup=setup), setup.needs())
    for how, setup in _TABLE
]
