#!/usr/bin/env bash
# Builds targets in build/: scripts/build.sh [--preset NAME] TARGET...
# Configures first where that is needed; prints nothing when all is up to date. Call scripts/bootstrap.sh before it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

exec >&2  # stdout stays the program's
preset=$(head -n 1 build/configured 2>/dev/null || echo release)  # as it was built before
if [[ $1 == --preset ]]; then preset=$2; shift 2; fi
folder=build
if [[ $preset == fuzz ]]; then folder=build-fuzz; fi

# What CMake does not notice by itself: another preset, and a CUDA compiler that came or went.
key=$(echo "$preset"; cat CMakePresets.json; command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
if [[ ! -e $folder/build.ninja || $(cat "$folder/configured" 2>/dev/null) != "$key" ]]; then
  rm -f "$folder/configured"
  cmake --preset "$preset" --fresh
  echo "$key" >"$folder/configured"
fi

# A file with LibTorch's headers takes up to 1.3 GB to compile.
jobs=$(awk -v cores="$(nproc)" '/MemAvailable/ {n = int($2 / 1500000); print n < 1 ? 1 : n < cores ? n : cores}' /proc/meminfo)
NINJA_STATUS='[%f/%t, %e s] ' ninja -C "$folder" -j "$jobs" "$@" |
  { grep --line-buffered -vE '^ninja: (Entering directory|no work to do)|Re-checking globbed' || true; }
