"""The lab's command line. lab/run installs and builds what it needs, then starts this."""
import argparse
import fnmatch
import subprocess
import sys
from pathlib import Path

from cases import block, block_lives, entropy, net, net_lives, net_ports

from . import cases
from .backends import Programs

_ALL = [*net.CASES, *net_lives.CASES, *net_ports.CASES, *block.CASES, *block_lives.CASES, *entropy.CASES]


def _chosen(patterns: list[str], smoke: bool) -> list[cases.Case]:
    if not patterns:
        return [case for case in _ALL if case.smoke or not smoke]
    chosen = [case for case in _ALL if any(fnmatch.fnmatch(case.name, pattern) for pattern in patterns)]
    for pattern in patterns:
        if not fnmatch.filter([case.name for case in _ALL], pattern):
            sys.exit(f"error: no case {pattern}; lab/run --list names all")
    return chosen


def _built(product: str) -> Path:
    """The debug build of one of the package's programs."""
    def swift(*arguments: str) -> str:
        done = subprocess.run(["swift", "build", *arguments], stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            print(done.stdout, file=sys.stderr)
            sys.exit(f"error: {product} cannot be built")
        return done.stdout.strip()
    print(f"building {product} (debug; a few minutes the first time)", flush=True)
    swift("--product", product)
    return Path(swift("--show-bin-path")) / product


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab/run", description="Real front-ends against vhost-user back-ends.")
    parser.add_argument("case", nargs="*", help="names or patterns, such as 'block-*' (default: all)")
    parser.add_argument("--smoke", action="store_true", help="only the short run's")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and end")
    parser.add_argument("--back-end", choices=["vdpad", "reference"], default="vdpad",
                        help="what serves: vdpad, or programs that were not written here (default vdpad)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results as JSON")
    parser.add_argument("--vdpad", type=Path, metavar="PATH", help="this daemon (default: built here, debug)")
    parser.add_argument("--entropy-device", type=Path, metavar="PATH",
                        help="this build of the example (default: built here, debug)")
    options = parser.parse_intermixed_args()
    if options.list:
        print("\n".join(case.name for case in _ALL))
        return 0
    chosen = _chosen(options.case, options.smoke)
    programs = Programs(options.vdpad, options.entropy_device)
    if options.back_end == "vdpad":
        devices = {case.device for case in chosen}
        if devices & {"net", "block"} and not programs.vdpad:
            programs.vdpad = _built("vdpad")
        if "entropy" in devices and not programs.entropy_device:
            programs.entropy_device = _built("entropy-device")
    settings = cases.Options(options.back_end, programs)
    results = [cases.run(case, settings) for case in chosen]
    return 0 if cases.report(results, options.json) else 1


sys.exit(main())
