"""Net devices with a network behind them: guests on a switch, and a guest on the host's network."""
import functools
import subprocess
from dataclasses import dataclass

from harness.backends import BackEnd
from harness.cases import Case, Lab
from harness.guest import Guest
from harness.process import LabError
from harness.ring import Ring, switch

_PING = "/sbin/ping"
_PORT = 5000
_MEGABYTES = 4
_HOST = "192.0.2.100"

# The host's side: fetches a file from the guest and says what it hashes to, or offers one and says so.
_HOST_PROGRAM = """
import hashlib, http.server, os, sys, urllib.request
if sys.argv[1] == "fetch":
    data = urllib.request.urlopen(sys.argv[2], timeout=60).read()
    print(hashlib.sha256(data).hexdigest())
else:
    data = os.urandom(int(sys.argv[2]))
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        def log_message(self, *_):
            pass
    with http.server.HTTPServer(("", %d), Handler) as server:
        print(hashlib.sha256(data).hexdigest(), flush=True)
        server.handle_request()
""" % _PORT


@dataclass(frozen=True)
class Setup:
    """How the guests' devices are set up, one after the other."""
    rings: tuple[Ring, ...]
    offloads: tuple[bool, ...]


def _guest(lab: Lab, setup: Setup, number: int, socket) -> Guest:
    offloads = ",".join(
        f"{name}={switch(setup.offloads[number])}" for name in
        ("csum", "guest_csum", "host_tso4", "host_tso6", "guest_tso4", "guest_tso6", "host_ecn", "guest_ecn"))
    ring = setup.rings[number]
    guest = lab.qemu(
        ["-chardev", f"socket,id=net,path={socket}", "-netdev", "vhost-user,id=net,chardev=net",
         "-device", f"virtio-net-pci,netdev=net,vectors=0,mac=52:54:00:00:00:0{number + 1},{offloads},"
                    f"{ring.qemu_with_generation()}"],
        ["virtio_net"], ["ping"])
    ring.require(guest, "/sys/bus/virtio/devices/virtio0")
    guest.check(f"ip addr add 192.0.2.{number + 1}/24 dev eth0 && ip link set eth0 up")
    guest.check(f"dd if=/dev/urandom of=/tmp/out bs=1M count={_MEGABYTES} 2>/dev/null")
    guest.check(f"httpd -p {_PORT} -h /tmp")
    return guest


def _hash(guest: Guest, path: str) -> str:
    return guest.check(f"sha256sum {path}").split()[0]


def _require_no_errors(guest: Guest) -> None:
    for protocol, column in (("Tcp", "InErrs"), ("Tcp", "InCsumErrors")):
        names, values = [line.split()[1:] for line in guest.check(f"grep ^{protocol}: /proc/net/snmp").splitlines()]
        if dict(zip(names, values)).get(column, "0") != "0":
            raise LabError(f"{guest.name}: {protocol} {column} is not 0")


def _switched(lab: Lab, setup: Setup) -> str:
    """Two guests reach each other, and nobody else does."""
    back_end, sockets = lab.back_ends.net_switch(2)
    lab.serve(back_end)
    guests = [_guest(lab, setup, number, socket) for number, socket in enumerate(sockets)]
    guests[0].check(f"{_PING} -c 5 -i 0.1 -s 1400 192.0.2.2")
    for receiver, sender in ((0, 1), (1, 0)):
        guests[receiver].check(f"wget -q -O /tmp/in http://192.0.2.{sender + 1}:{_PORT}/out", 120)
        if _hash(guests[receiver], "/tmp/in") != _hash(guests[sender], "/tmp/out"):
            raise LabError(f"guest {receiver} has received something else than guest {sender} has sent")
    for guest in guests:
        _require_no_errors(guest)
    # The control: nothing else connects them.
    back_end.process.pause()
    guests[0].check_fails(f"{_PING} -c 2 -i 0.2 -w 3 192.0.2.2")
    back_end.process.resume()
    guests[0].check(f"{_PING} -c 5 -i 0.1 192.0.2.2")
    ports = back_end.process.output().rsplit("switch lan, ", 2)[1:]
    if len(ports) != 2 or any("addresses 1," not in port or "forwarded" not in port for port in ports):
        raise LabError(f"the switch's ports: {ports}")
    for guest in guests:
        guest.power_off()
    back_end.stop()
    return f"{_MEGABYTES} MiB each way"


def _tapped(lab: Lab, setup: Setup) -> str:
    """A guest and the host's kernel reach each other through a TAP device in a network namespace."""
    back_end = lab.serve(lab.back_ends.net_tap(f"{_HOST}/24"))
    guest = _guest(lab, setup, 0, back_end.socket)
    guest.check(f"{_PING} -c 5 -i 0.1 -s 1400 {_HOST}")
    with _host(back_end, "fetch", f"http://192.0.2.1:{_PORT}/out") as peer:
        if peer.communicate(timeout=60)[0].strip() != _hash(guest, "/tmp/out"):
            raise LabError("the host has received something else than the guest has sent")
    with _host(back_end, "offer", str(_MEGABYTES << 20)) as peer:
        wanted = peer.stdout.readline().strip()
        guest.check(f"wget -q -O /tmp/in http://{_HOST}:{_PORT}/", 120)
        if _hash(guest, "/tmp/in") != wanted:
            raise LabError("the guest has received something else than the host has sent")
        peer.wait(10)
    _require_no_errors(guest)
    back_end.process.pause()
    guest.check_fails(f"{_PING} -c 2 -i 0.2 -w 3 {_HOST}")
    back_end.process.resume()
    guest.check(f"{_PING} -c 5 -i 0.1 {_HOST}")
    guest.power_off()
    back_end.stop()
    return f"{_MEGABYTES} MiB each way"


def _host(back_end: BackEnd, *arguments: str) -> subprocess.Popen:
    """A program in the back-end's network namespace."""
    return subprocess.Popen(
        ["nsenter", "--target", str(back_end.process.pid), "--user", "--net", "--preserve-credentials",
         "python3", "-c", _HOST_PROGRAM, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


_PACKED = Ring(packed=True)
_NEEDS = {"network"}

CASES = [
    Case("net-switch-offloads", "net",
         functools.partial(_switched, setup=Setup((Ring(), _PACKED), (True, True))), _NEEDS),
    Case("net-switch-mixed", "net",
         functools.partial(_switched, setup=Setup((_PACKED, Ring()), (True, False))), _NEEDS),
    Case("net-tap-offloads", "net", functools.partial(_tapped, setup=Setup((Ring(),), (True,))), _NEEDS),
    Case("net-tap-plain", "net", functools.partial(_tapped, setup=Setup((_PACKED,), (False,))), _NEEDS),
]
