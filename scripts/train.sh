#!/usr/bin/env bash
# Sets up, builds and runs titan-train: scripts/train.sh JOB.toml [--section.option value ...]
# Works from any folder. JOB.toml is looked for in the caller's folder, then in the repository; every other relative
# path, in the job file or behind a flag, counts from the repository's root, where titan-train runs.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/bootstrap.sh
scripts/build.sh titan-train

arguments=()
for argument in "$@"; do
  option=${argument%%=*}  # the job file may stand alone or behind --job.config_file=
  file=${argument#--job.config[_-]file=}
  if [[ $file == *.toml && -e $here/$file ]]; then
    prefix=
    [[ $file == "$argument" ]] || prefix=$option=
    argument=$prefix$here/$file
  fi
  arguments+=("$argument")
done
exec build/bin/titan-train "${arguments[@]}"
