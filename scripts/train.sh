#!/usr/bin/env bash
# Sets up, builds and runs titan-train: scripts/train.sh JOB.toml [--section.option value ...]
# From the environment, as torchtitan's run_train.sh: NGPU processes on this host (default 1; more are started by
# torchrun), the job file CONFIG_FILE if none is among the arguments, the ranks LOG_RANK whose output is shown under
# torchrun (default 0; 0,1 for two).
# Works from any folder. JOB.toml is looked for in the caller's folder, then in the repository; every other relative
# path, in the job file or behind a flag, counts from the repository's root, where titan-train runs.
set -euo pipefail
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

processes=${NGPU:-1}
if [[ ! $processes =~ ^[1-9][0-9]*$ ]]; then
  echo "train.sh: expected the number of processes on this host in NGPU, got \"$processes\"" >&2
  exit 2
fi
if [[ ${CONFIG_FILE:-} ]]; then set -- "--job.config_file=$CONFIG_FILE" "$@"; fi
if [[ ${COMM_MODE:-} ]]; then  # one process that stands for NGPU: titan-train says what it has in its place
  set -- "$@" "--comm.mode=$COMM_MODE"
  processes=1
fi

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

program=(build/bin/titan-train "${arguments[@]}")
if ((processes == 1)); then exec "${program[@]}"; fi
exec .venv/bin/python -m torch.distributed.run --nproc-per-node "$processes" --rdzv-backend c10d \
  --rdzv-endpoint localhost:0 --local-ranks-filter "${LOG_RANK:-0}" --role rank --tee 3 --no-python "${program[@]}"
