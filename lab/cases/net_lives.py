"""Net devices whose sockets, back-ends or machines do not stay: roles, a killed back-end, migration, an IOMMU."""
import functools
import time
from dataclasses import dataclass, field

from harness.backends import BackEnd
from harness.cases import Case, Lab
from harness.guest import Guest, QemuGuest
from harness.process import LabError, poll
from harness.ring import Ring, switch

_DEVICE = "/sys/bus/virtio/devices/virtio0"
_PEER = "192.0.2.77"
_PING = "/sbin/ping"
# What a guest needs so that its IOMMU stands between device and memory, each buffer mapped and unmapped by itself.
_IOMMU_MACHINE = ["-device", "intel-iommu,intremap=off,caching-mode=on,device-iotlb=on"]
_IOMMU_KERNEL = "intel_iommu=on iommu.strict=1 iommu.passthrough=0"


@dataclass(frozen=True)
class Setup:
    """A device, and how QEMU and the back-end find each other."""
    ring: Ring = field(default_factory=Ring)
    pairs: int = 1
    ring_size: int = 256
    #: The back-end connects, and QEMU listens.
    client: bool = False
    iommu: bool = False

    def qemu(self, back_end: BackEnd, reconnects: bool = False) -> list[str]:
        properties = [
            "netdev=net", "id=nic", f"mq={switch(self.pairs > 1)}", "vectors=0", "mac=52:54:00:12:34:56",
            f"rx_queue_size={self.ring_size}", f"tx_queue_size={self.ring_size}", self.ring.qemu_with_generation(),
            *(["iommu_platform=on", "ats=on"] if self.iommu else [])]
        return [*(_IOMMU_MACHINE if self.iommu else []), *back_end.chardev("net", reconnects),
                "-netdev", f"vhost-user,id=net,chardev=net,queues={self.pairs}",
                "-device", f"virtio-net-pci,{','.join(properties)}"]


def _guest(lab: Lab, setup: Setup, back_end: BackEnd, reconnects: bool = False, **options) -> QemuGuest:
    return lab.qemu(
        setup.qemu(back_end, reconnects), ["virtio_net"], ["ping"],
        append=_IOMMU_KERNEL if setup.iommu else "", **options)


def _bring_up(guest: Guest) -> None:
    guest.check("ip addr add 192.0.2.1/24 dev eth0 && ip link set eth0 up")


def _counters(guest: Guest) -> dict[str, int]:
    names, values = [line.split()[1:] for line in guest.check("grep ^Icmp: /proc/net/snmp").splitlines()]
    return dict(zip(names, map(int, values)))


def _ping(guest: Guest, count: int, size: int = 1000, interval: float = 0.01, alone: bool = True) -> None:
    """Echoes of which each must be answered, as it was; `alone`: there are no others, so that the kernel's counters tell."""
    before = _counters(guest)
    guest.check(f"{_PING} -c {count} -i {interval} -s {size} {_PEER} >/tmp/ping || (tail -n 3 /tmp/ping; false)", 120)
    if said := guest.run("grep -i -m 1 -A 2 -e wrong -e dup /tmp/ping")[1]:
        raise LabError(f"echoes of {size} bytes: {said}")
    if not alone:
        guest.check(f"grep -q ' {count} received' /tmp/ping || (cat /tmp/ping; false)")
        return

    def lost() -> int:
        after = _counters(guest)
        return (after["OutEchos"] - before["OutEchos"]) - (after["InEchoReps"] - before["InEchoReps"])
    # The last may be late.
    poll(lambda: lost() == 0, 30, 0.5)
    if lost():
        raise LabError(f"{lost()} of {count} echoes are lost")


def _all_sizes(guest: Guest) -> int:
    sizes = (1, 56, 1000, 1472)
    for size in sizes:
        _ping(guest, 30, size)
    return 30 * len(sizes)


def reached(lab: Lab, setup: Setup) -> str:
    """Echoes over a socket of either role, rings of other sizes, behind an IOMMU; the driver is loaded anew meanwhile."""
    back_end = lab.serve(lab.back_ends.net(queues=setup.pairs, client=setup.client))
    guest = _guest(lab, setup, back_end)
    setup.ring.require(guest, _DEVICE)
    if setup.iommu:
        _require_iommu(guest)
    _bring_up(guest)
    echoes = _all_sizes(guest)
    if setup.iommu:
        # QEMU waits for the back-end whenever the guest unmaps something, so that one that stands still stops the machine.
        _require_carried(guest, back_end, echoes)
    else:
        # The control: nothing else answers.
        back_end.process.pause()
        said = guest.check_fails(f"{_PING} -c 3 -i 0.2 -w 4 {_PEER}")
        back_end.process.resume()
        if "100% packet loss" not in said:
            raise LabError(f"echoes without the back-end: {said}")
    guest.check("rmmod virtio_net && load virtio_net")
    _bring_up(guest)
    echoes += _all_sizes(guest)
    back_end.process.require_running()
    guest.power_off()
    back_end.stop()
    return f"{echoes} echoes, none lost"


def _require_iommu(guest: Guest) -> None:
    """Fails unless the device's accesses go through an IOMMU."""
    if guest.read(f"{_DEVICE}/features")[33] != "1":
        raise LabError("the driver has not accepted ACCESS_PLATFORM")
    group = guest.check(f"cat $(readlink -f {_DEVICE}/..)/iommu_group/type")
    if group != "DMA":
        raise LabError(f"the device's IOMMU group is of the type {group} and not DMA, which is the strict one")


def _require_carried(guest: Guest, back_end: BackEnd, echoes: int) -> None:
    """Fails unless the back-end itself has counted all echoes, both ways."""
    # They are printed once a second.
    guest.check("sleep 2")
    counters = back_end.counters()
    if any(sum(ring["packets"] for name, ring in counters.items() if name.startswith(way)) < echoes
           for way in ("rx", "tx")):
        raise LabError(f"{echoes} echoes, and the back-end has counted {counters}")


def killed(lab: Lab, setup: Setup) -> str:
    """The back-end is killed under traffic and started again, three times: QEMU comes back to it, and all echoes that are
    sent from then on are answered."""
    back_end = lab.serve(lab.back_ends.net(queues=setup.pairs, client=setup.client))
    guest = _guest(lab, setup, back_end, reconnects=True)
    setup.ring.require(guest, _DEVICE)
    _bring_up(guest)
    _all_sizes(guest)
    guest.check(f"{_PING} -i 0.005 -s 500 {_PEER} >/tmp/background 2>&1 & background=$!")
    waited = []
    for _ in range(3):
        time.sleep(1)
        back_end.kill_and_restart()
        started = time.monotonic()
        # The link is down until QEMU is connected again.
        if not poll(lambda: guest.run(f"{_PING} -c 1 -w 1 {_PEER} >/dev/null")[0] == 0, 60, 0.1):
            raise LabError("no echo is answered after the back-end was started again")
        waited.append(time.monotonic() - started)
        _ping(guest, 50, alone=False)
    guest.check("kill $background; wait $background; true")
    _all_sizes(guest)
    guest.power_off()
    back_end.stop()
    return "3 kills, answered again after " + ", ".join(f"{seconds:.1f} s" for seconds in waited)


def migration(lab: Lab, setup: Setup, postcopy: bool) -> str:
    """A guest moves from one QEMU, with its back-end, to another while echoes go to and fro: none is lost or altered, and
    the other back-end carries them from then on."""
    source_end = lab.serve(lab.back_ends.net(queues=setup.pairs))
    target_end = lab.serve(lab.back_ends.net(queues=setup.pairs))
    source = _guest(lab, setup, source_end)
    setup.ring.require(source, _DEVICE)
    _bring_up(source)
    _all_sizes(source)
    target = _guest(lab, setup, target_end, incoming=True)
    source.check(f"{_PING} -i 0.01 -s 1200 {_PEER} >/tmp/traffic 2>&1 & traffic=$!")
    found = source.migrate(target, lab.sockets / "migration", postcopy)
    target.take_over(source)
    target.check("sleep 2; kill -INT $traffic; wait $traffic; true")
    if said := target.run("grep -i -m 1 -A 2 -e wrong -e dup /tmp/traffic")[1]:
        raise LabError(f"echoes during the migration: {said}")
    sent, received = map(int, target.check(
        r"sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' /tmp/traffic").split())
    # One may be under way when ping is interrupted.
    if sent - received > 1 or sent < 50:
        raise LabError(f"of {sent} echoes {sent - received} are lost")
    # The control: it is the other back-end now.
    source.power_off_stopped()
    source_end.stop()
    _all_sizes(target)
    target_end.process.pause()
    target.check_fails(f"{_PING} -c 2 -i 0.2 -w 3 {_PEER}")
    target_end.process.resume()
    target.power_off()
    target_end.stop()
    return f"{received} of {sent} echoes, down for {found.get('downtime', '?')} ms"


_PACKED = Ring(packed=True)

_TABLE = [
    (reached, "client", Setup(client=True), {"client"}),
    (reached, "client-packed", Setup(client=True, ring=_PACKED), {"client"}),
    (reached, "1024", Setup(ring_size=1024), set()),
    (reached, "1024-packed-2-pairs", Setup(ring_size=1024, ring=_PACKED, pairs=2), set()),
    (reached, "iommu", Setup(iommu=True), {"iommu"}),
    (reached, "iommu-packed", Setup(iommu=True, ring=_PACKED), {"iommu"}),
    (killed, "split", Setup(), {"restart"}),
    (killed, "split-2-pairs", Setup(pairs=2), {"restart"}),
    (killed, "split-client", Setup(client=True), {"restart", "client"}),
    (functools.partial(migration, postcopy=False), "precopy-split", Setup(), {"log"}),
    (functools.partial(migration, postcopy=False), "precopy-packed", Setup(ring=_PACKED, pairs=2), {"log"}),
    (functools.partial(migration, postcopy=True), "postcopy-split", Setup(), {"log"}),
    (functools.partial(migration, postcopy=True), "postcopy-packed", Setup(ring=_PACKED), {"log"}),
]


def _name(what) -> str:
    return getattr(what, "__name__", "") or what.func.__name__


CASES = [
    Case(f"net-{_name(what)}-{how}", "net", functools.partial(what, setup=setup), needs)
    for what, how, setup, needs in _TABLE
]
