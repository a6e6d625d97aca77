"""Files with known contents, and what is in the image of a file system."""
import hashlib
import random
import shutil
import subprocess
from pathlib import Path

from .process import LabError

# Around sectors, blocks and pages, and larger than any one request.
_SIZES = [0, 1, 511, 512, 513, 4095, 4096, 4097, 65535, 65537, 1 << 20, 5 * (1 << 20) + 3]


def known_tree(seed: int = 1) -> dict[str, bytes]:
    """Paths and contents, always the same."""
    source = random.Random(seed)
    tree = {f"size-{size}": source.randbytes(size) for size in _SIZES}
    for number in range(60):
        tree[f"folder{number % 6}/file{number}"] = source.randbytes(source.randrange(1, 20_000))
    return tree


def checksums(tree: dict[str, bytes]) -> bytes:
    """The tree as `sha256sum -c` reads it."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, content in tree.items()).encode()


def stored_tree(image: Path, scratch: Path) -> dict[str, bytes]:
    """The files of an ext4 image, which has to be without errors."""
    check = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, text=True)
    if check.returncode != 0:
        raise LabError(f"e2fsck finds errors in {image}: {(check.stdout + check.stderr)[-600:]}")
    folder = scratch / "stored"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    subprocess.run(["debugfs", "-R", f"rdump / {folder}", str(image)], capture_output=True, check=True)
    tree = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(folder)
    return tree


def differences(expected: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """What is missing, too many or different, in words."""
    found_differences = [f"{path} is missing" for path in expected.keys() - found.keys()]
    found_differences += [f"{path} is too many" for path in found.keys() - expected.keys()]
    for path in expected.keys() & found.keys():
        if expected[path] != found[path]:
            byte = next((place for place, (a, b) in enumerate(zip(expected[path], found[path])) if a != b), -1)
            found_differences.append(
                f"{path} differs: {len(found[path])} bytes of {len(expected[path])}, first at {byte}")
    return sorted(found_differences)


def new_image(path: Path, size: int) -> Path:
    """An image of `size` bytes that takes no space yet."""
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def allocated(path: Path) -> int:
    """How many bytes of a file take space."""
    return path.stat().st_blocks * 512


def checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
