"""--print_config, --dry_run, --help and --version: they need no data, tokenizer or GPU, and write nothing."""
import functools
import json
import re
import time
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


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_dry_run_writes_nothing(titan_train, tmp_path, job):
    plan = titan_train(job, "--dry_run", cwd=tmp_path).stdout
    assert "GiB" in plan
    assert json.loads(titan_train(job, "--dry_run", "--json", cwd=tmp_path).stdout)
    assert files_below(tmp_path) == []


def test_dry_run_refuses_what_a_run_refuses(titan_train):
    done = titan_train(DEBUG_JOB, "--dry_run", "--parallelism.pipeline_parallel_degree", 2, expect=2)
    assert "pipeline_parallel_degree" in done.stderr


def dry_run(titan_train, *arguments):
    return json.loads(titan_train(*arguments, "--dry_run", "--json").stdout)


def test_dry_run_of_512_ranks(titan_train):
    job, ranks = ROOT / "configs" / "llama3_405b.toml", ("--world_size", 512)
    start = time.monotonic()
    text = titan_train(job, "--dry_run", *ranks).stdout
    assert time.monotonic() - start < 5  # 0.3 s on a quiet machine
    assert "Mesh: 512 ranks = 1 dp_replicate x 64 dp_shard x 8 tp" in text
    assert "Tokens per step: 1,048,576, 16,384 on each of 64 data ranks" in text
    assert re.search(r"feed_forward.w2 +126 x  M  16384  K   53248/8  N     16384  float8", text)
    assert re.search(r"output +1 x .* N  128256/8  not: filter_fqns", text)
    assert "Fits GPUs of 80 GB, 141 GB" in text

    plan = dry_run(titan_train, job, *ranks)
    assert plan["mesh"] == {"ranks": 512, "dp_replicate": 1, "dp_shard": 64, "tp": 8}
    # But for the norms, each rank holds a 512th; of the norms a 64th.
    norms = (2 * 126 + 1) * 16384
    own = (plan["parameters"] - norms) // 512 + norms // 64
    near = functools.partial(pytest.approx, rel=1e-3)  # a rank has whole rows
    assert plan["memory"]["masters"] == near(4 * own)
    assert plan["memory"]["moments"] == near(8 * own)
    sent = {(row["axis"], row["collective"], row["what"]): row["bytes"] for row in plan["traffic"]}
    block = own - 2 * (plan["embedding_parameters"] // 512) - 16384 // 64
    weights = 2 * block + 2 * (plan["embedding_parameters"] // 512) + 16384 // 64
    assert sent["dp_shard", "all_gather", "weights"] == near(2 * weights * 63)
    assert sent["dp_shard", "reduce_scatter", "gradients"] == near(4 * own * 63)
    assert ("dp_replicate", "all_reduce", "gradients") not in sent
    assert sent["tp", "reduce_scatter", "activations"] == (126 * 5 + 2) * 16384 * 16384 * 2 // 8 * 7


def test_dry_run_takes_the_ranks_that_the_degrees_need(titan_train):
    degrees = ("--parallelism.tensor_parallel_degree=2", "--parallelism.data_parallel_replicate_degree=3")
    assert dry_run(titan_train, DEBUG_JOB)["mesh"]["ranks"] == 1
    assert dry_run(titan_train, DEBUG_JOB, *degrees)["mesh"] == {"ranks": 6, "dp_replicate": 3, "dp_shard": 1, "tp": 2}
    assert dry_run(titan_train, DEBUG_JOB, *degrees, "--world_size=24")["mesh"]["dp_shard"] == 4
    four = dry_run(titan_train, DEBUG_JOB, *degrees, "--parallelism.data_parallel_shard_degree=4")
    assert four["mesh"]["ranks"] == 24


MISFITS = {
    "world size": (("--world_size=6", "--parallelism.tensor_parallel_degree=4"), "do not make up the 6 ranks"),
    "heads": (("--parallelism.tensor_parallel_degree=3", "--training.seq_len=129"), "3 does not divide what llama3 debugmodel has: 16 heads"),
    "vocabulary": (("--parallelism.tensor_parallel_degree=2", "--model.vocab_size=2001"), "2001 vocabulary entries"),
    "batch": (("--world_size=8", "--training.global_batch_size=12"), "ranks = 4 x 8 = 32, got 12"),
    "tokens": (("--parallelism.tensor_parallel_degree=8", "--training.seq_len=3"), "4 x 3 tokens of a micro-batch"),
}


@pytest.mark.parametrize("flags, message", MISFITS.values(), ids=MISFITS)
def test_dry_run_refuses_meshes_that_do_not_fit(titan_train, flags, message):
    done = titan_train(DEBUG_JOB, "--dry_run", *flags, expect=2)
    assert message in done.stderr


def test_dry_run_warns_of_what_no_gpu_holds(titan_train):
    job = ROOT / "configs" / "llama3_70b.toml"
    large = "--training.local_batch_size=32"
    eight, many = titan_train(job, "--dry_run", large), titan_train(job, "--dry_run", "--world_size=256")
    assert "Warning: does not fit GPUs of 80 GB, 141 GB; use more ranks" in eight.stdout
    assert "Fits GPUs of" in many.stdout
    assert dry_run(titan_train, job, large)["memory"]["fits"] == {"80 GB": False, "141 GB": False}


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
