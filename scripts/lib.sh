# What the scripts beside this file share. Sourced, not run.

# The real path, as the compiler prints it.
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

# Says what comes now.
step() { printf '\n==> %s\n' "$*" >&2; }

# Ends with a sentence.
fail() {
  printf '\nerror: %s\n' "$*" >&2
  exit 1
}

# What a Swift toolchain needs to compile, link and fetch on Debian, and what this package is built with.
build_packages=(binutils ca-certificates g++ git libc6-dev libcurl4 libncurses6 libsqlite3-0 libxml2 tzdata
  libpci-dev libudev-dev liburing-dev pkg-config)
# The front-end that drives the sockets: DPDK's testpmd with its drivers.
peer_packages=(dpdk-dev)
# What counts instructions.
measure_packages=(valgrind)
# What the tests look at machines with.
test_packages=(iproute2 pciutils python3 umockdev)
# The lab's guests: what boots them, what is in them, and what looks at their disks afterwards.
lab_packages=(busybox-static e2fsprogs iproute2 iputils-ping lz4 python3 qemu-system-x86 qemu-utils)

# Installs those of the given Debian packages that are missing, as root or through sudo.
install_packages() {
  local missing=() package
  if ! command -v dpkg-query apt-get >/dev/null; then
    step "no Debian: see to it yourself that there is what these packages have: $*"
    return
  fi
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then
    step "System packages: all there"
    return
  fi
  step "System packages: installing ${missing[*]} (a few minutes at most)"
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "become root and run: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -q >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
}

need_swift() {
  command -v swift >/dev/null || fail "no swift in PATH; install a toolchain from https://www.swift.org/install"
}

# Builds with those options of `swift build` and fails if this package's own files have warnings, or SwiftPM about this
# package, which it calls by its folder's name in small letters; what it says of dependencies is not ours to fix.
build_without_warnings() {
  local log warnings
  log=$(mktemp)
  if ! swift build "$@" 2>&1 | tee "$log" >&2; then
    rm -f "$log"
    return 1
  fi
  warnings=$(awk -v folder="$PWD/" '
    BEGIN { name = folder; sub(/\/$/, "", name); sub(/.*\//, "", name); own = "warning: \047" tolower(name) "\047" }
    index($0, folder) == 1 && index($0, folder ".build") != 1 && /: warning: / { print }
    index(tolower($0), own) == 1 { print }
  ' "$log" | sort -u)
  rm -f "$log"
  if [[ -n "$warnings" ]]; then
    # What has compiled is not compiled again, and would not warn again.
    sed -nE 's/^(\/[^:]+):[0-9]+:[0-9]+: warning: .*/\1/p' <<<"$warnings" | sort -u | xargs -r touch --
    fail "the build has warnings:"$'\n'"$warnings"
  fi
}
