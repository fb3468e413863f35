"""scripts/train.sbatch with a stand-in for srun: two tasks on what they are told are two hosts."""
import os
import subprocess
import sys

import pytest
from driver import DEBUG_JOB, ROOT, TITAN_TRAIN, losses

SRUN = f"""#!{sys.executable}
import os, subprocess, sys
assert sys.argv[1] == "--kill-on-bad-exit=1" and os.environ["SRUN_CPUS_PER_TASK"] == "1"
step = {{**os.environ, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "SLURM_STEP_NODELIST": "localhost,other[1-3]", "SLURM_LOCALID": "0"}}
places = [{{**step, "SLURM_PROCID": place, "SLURM_NODEID": place}} for place in "01"]
tasks = [subprocess.Popen(sys.argv[2:], env=place) for place in places]
sys.exit(max(task.wait() for task in tasks))
"""


@pytest.fixture
def sbatch(titan_train, tmp_path):
    """Runs the batch script as SLURM would on the first host of a job."""
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)

    def run(*arguments, expect=0):
        batch_shell = {
            **titan_train.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TITAN_TRAIN": str(TITAN_TRAIN),
            "SLURM_JOB_ID": str(os.getpid()), "SLURM_CPUS_PER_TASK": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "2",
        }  # fmt: skip
        done = subprocess.run([ROOT / "scripts/train.sbatch", *map(str, arguments)], cwd=ROOT, env=batch_shell,
                              capture_output=True, text=True, timeout=120)  # fmt: skip
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    return run


def test_two_hosts_train_as_one_process_does(sbatch, titan_train, tmp_path):
    few = (DEBUG_JOB, "--training.steps", 3, "--debug.seed", 1, "--checkpoint.no_enable")
    sbatch(*few, "--training.local_batch_size", 2, "--job.dump_folder", tmp_path / "step")
    titan_train(*few, "--training.local_batch_size", 4, "--job.dump_folder", tmp_path / "single")
    assert losses(tmp_path / "step") == pytest.approx(losses(tmp_path / "single"), rel=1e-5)


def test_bad_input_ends_the_job(sbatch):
    done = sbatch(DEBUG_JOB, "--training.steps", "many", expect=2)
    assert "training.steps" in done.stderr
