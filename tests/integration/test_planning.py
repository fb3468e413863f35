"""--print_config, --dry_run, --help and --version: they need no data, tokenizer or GPU, and write nothing."""
import json
import tomllib

import pytest
from driver import DEBUG_JOB, ROOT, files_below

JOBS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_print_config_loads_again(titan_train, tmp_path, job):
    first = titan_train(job, "--print_config", cwd=tmp_path).stdout
    printed = tomllib.loads(first)
    for section, options in tomllib.loads(job.read_text()).items():
        for option, value in options.items():
            if not isinstance(value, dict):
                assert printed[section][option] == value
    (tmp_path / "again.toml").write_text(first)
    again = titan_train(tmp_path / "again.toml", "--print_config", cwd=tmp_path).stdout
    assert tomllib.loads(again) == printed
    assert files_below(tmp_path) == ["again.toml"]


def test_a_flag_overrides_the_file_and_the_file_the_default(titan_train, tmp_path):
    job = tmp_path / "job.toml"
    job.write_text("[training]\nsteps = 11\nseq_len = 128\n")
    printed = tomllib.loads(titan_train(job, "--training.seq-len=256", "--print_config").stdout)["training"]
    assert (printed["steps"], printed["seq_len"], printed["local_batch_size"]) == (11, 256, 8)
    same = tomllib.loads(titan_train("--job.config_file", job, "--print_config").stdout)["training"]
    assert (same["steps"], same["seq_len"]) == (11, 128)


# What those of the job files ask for that does not exist yet.
NOT_YET = ("--parallelism.tensor_parallel_degree=1", "--parallelism.no_enable_async_tensor_parallel", "--model.converters=")


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_dry_run_writes_nothing(titan_train, tmp_path, job):
    plan = titan_train(job, "--dry_run", *NOT_YET, cwd=tmp_path).stdout
    assert "GiB" in plan
    assert json.loads(titan_train(job, "--dry_run", "--json", *NOT_YET, cwd=tmp_path).stdout)
    assert files_below(tmp_path) == []


def test_dry_run_refuses_what_a_run_refuses(titan_train):
    done = titan_train(DEBUG_JOB, "--dry_run", "--parallelism.pipeline_parallel_degree", 2, expect=2)
    assert "pipeline_parallel_degree" in done.stderr


def test_help_and_version(titan_train):
    page = titan_train("--help").stdout
    for option in ("--training.steps", "--model.n_layers", "--dry_run"):
        assert option in page
    assert "2.11.0" in titan_train("--version").stdout


def test_job_print_config_logs_and_goes_on(titan_train, tmp_path):
    done = titan_train(
        DEBUG_JOB, "--job.print_config", "--training.steps", 1, "--job.dump_folder", tmp_path, "--model.n_layers", 1,
        "--job.save_config_file", "config.json",
    )  # fmt: skip
    assert '"local_batch_size": 4' in done.output
    assert json.loads((tmp_path / "config.json").read_text())["training"]["steps"] == 1
    assert "step:  1" in done.output
