#!/usr/bin/env bash
# Installs, once, what titan-train needs: Debian packages, and LibTorch in .venv.
#   scripts/bootstrap.sh [--test]     --test: also what the tests and the plots need
# Returns at once when nothing is missing; can be interrupted and called again. Exit 2: the message says what to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(build-essential ccache cmake git libbenchmark-dev libcli11-dev libfmt-dev libgloo-dev libgmock-dev
  libgtest-dev libicu-dev libpcre2-dev libsimdjson-dev libspdlog-dev libtomlplusplus-dev libxxhash-dev libzstd-dev
  mold ninja-build nlohmann-json3-dev pkg-config python3-venv zlib1g-dev)
if [[ ${1:-} == --test ]]; then packages+=(clang libclang-rt-dev); fi  # for libFuzzer

say() { echo "bootstrap: $*" >&2; }
stop() { say "$@"; exit 2; }

# Runs a command with its output kept back, and shown if it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  if ((status)); then tail -n 40 "$log" >&2; fi
  rm -f "$log"
  return $status
}

install_packages() {
  command -v dpkg-query >/dev/null || stop "needs Debian 12 or Ubuntu 24.04 (dpkg-query was not found)"
  local missing
  missing=$(comm -13 \
    <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null | sed -n 's/^installed //p' | sort -u) \
    <(printf '%s\n' "${packages[@]}" | sort))
  [[ $missing ]] || return 0
  missing=${missing//$'\n'/ }
  if ((EUID)); then
    stop "Debian packages are missing; install them and call again:
sudo apt-get install --no-install-recommends $missing"
  fi
  say "installing Debian packages: $missing"
  export DEBIAN_FRONTEND=noninteractive
  # An interrupted installation is finished first.
  # shellcheck disable=SC2086
  if ! { quietly dpkg --configure -a && quietly apt-get -qq -o DPkg::Lock::Timeout=300 update &&
    quietly apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing; }; then
    stop "apt-get failed, see above; put it right and call again"
  fi
}

# The system's CUDA libraries, as paths with size and time: an update of them leads to a new look.
system_cuda() {
  /sbin/ldconfig -p | sed -nE 's/^\s*lib(cudart|cublasLt|cudnn|nccl)\.so\.[0-9]+ .* => //p' | sort -u |
    xargs -r stat -L -c '%n %s %Y' 2>/dev/null || true
}

need_disk() {  # $1: GB
  local have
  have=$(($(df --output=avail -k . | tail -n 1) / 1000000))
  ((have >= $1)) || stop "about $1 GB of free disk are needed for LibTorch in $PWD/.venv, there are $have GB"
}

pip_install() {
  .venv/bin/python -m pip --disable-pip-version-check install --no-deps --quiet "${@/#/--requirement=}" ||
    stop "pip failed, see above; put the network or the disk right and call again"
}

install_libtorch() {
  if /usr/bin/python3 scripts/check_libraries.py system 2>/dev/null; then
    say "installing LibTorch 2.11.0 in .venv beside the system's CUDA libraries (download 0.8 GB)"
    need_disk 4
    pip_install requirements.txt
  else
    say "installing LibTorch 2.11.0 and its CUDA libraries in .venv (download 2.5 GB)"
    need_disk 9
    pip_install requirements.txt requirements-cuda.txt
  fi
  .venv/bin/python scripts/check_libraries.py torch .venv/lib/python3*/site-packages/torch ||
    stop "LibTorch in .venv does not load, see above; remove .venv and call again"
}

install_test_packages() {
  say "installing the Python packages of the tests in .venv (download 0.1 GB)"
  pip_install requirements-test.txt
}

# A .venv in which something was interrupted cannot be trusted (pip takes half a package for a whole one), nor can
# one of another Python.
make_venv() {
  [[ ! -e .venv/unfinished && -x .venv/bin/python && -d .venv/lib/$(basename "$(readlink -f /usr/bin/python3)") ]] && return
  rm -rf .venv
  mkdir .venv
  touch .venv/unfinished
  /usr/bin/python3 -m venv .venv
}

# once NAME FUNCTION KEY: calls the function unless it has succeeded in this .venv with this key.
once() {
  [[ $(cat ".venv/$1.done" 2>/dev/null) == "$3" ]] && return
  touch .venv/unfinished
  "$2"
  echo "$3" >".venv/$1.done"
  rm .venv/unfinished
}

install_packages
exec 9<scripts/bootstrap.sh
flock 9  # one set-up at a time
make_venv
once libtorch install_libtorch "$(cat requirements.txt requirements-cuda.txt; system_cuda)"
if [[ ${1:-} == --test ]]; then once tests install_test_packages "$(cat requirements-test.txt)"; fi
