"""Bad input: exit status 2, a message that names the file, the line or the key, and nothing written."""
import gzip
import re

import pytest
from driver import DEBUG_JOB, SMALL, files_below

# name: (arguments, what the message must contain, as regular expressions)
ARGUMENTS = {
    "unknown option": (["--training.stepz", 3], [r"training\.stepz", r"training\.steps"]),
    "unknown section": (["--trainings.steps", 3], [r"trainings\.steps", r"training\.steps"]),
    "no value": (["--training.steps"], [r"training\.steps"]),
    "word for a number": (["--training.steps", "many"], [r"training\.steps", "many"]),
    "fraction for a whole number": (["--training.steps", "1.5"], [r"training\.steps", r"1\.5"]),
    "zero steps": (["--training.steps", 0], [r"training\.steps"]),
    "negative length": (["--training.seq_len", -1], [r"training\.seq_len"]),
    "not among the words": (["--activation_checkpoint.mode", "some"], [r"activation_checkpoint\.mode", "selective"]),
    "selective option": (
        ["--activation_checkpoint.mode", "selective", "--activation_checkpoint.selective_ac_option", "x"],
        [r"selective_ac_option", "op"],
    ),
    "batch no multiple": (["--training.global_batch_size", 3], [r"training\.global_batch_size", "2"]),
    "keep one": (["--checkpoint.keep_latest_k", 1], [r"checkpoint\.keep_latest_k"]),
    "export without model only": (["--checkpoint.last_save_in_hf"], [r"checkpoint\.last_save_in_hf"]),
    "unknown model": (["--model.name", "lama3"], [r"lama3", "llama3"]),
    "unknown flavor": (["--model.flavor", "8b"], [r"model\.flavor|flavou?r", "8b", "8B"]),
    "flex attention": (["--model.flavor", "debugmodel_flex_attn"], ["flex"]),
    "later: pipeline": (["--parallelism.pipeline_parallel_degree", 2], [r"pipeline_parallel_degree"]),
    "later: optimizer in backward": (["--optimizer.early_step_in_backward"], [r"optimizer\.early_step_in_backward"]),
    "refused: module": (["--job.custom_config_module", "mine"], [r"job\.custom_config_module"]),
    "unknown converter": (["--model.converters", "float9"], [r"model\.converters", "float9", r"quantize\.linear\.float8"]),
    "unknown float8 recipe": (
        ["--model.converters", "float8", "--float8.recipe_name", "rowwize"],
        [r"recipe_name", "rowwize", r"rowwise\b", "rowwise_with_gw_hp"],
    ),
    "tensorwise": (
        ["--model.converters", "float8", "--float8.recipe_name", "tensorwise"], [r"recipe_name", "tensorwise", "rowwise"]
    ),
    "unknown float8 option": (
        ["--quantize.linear.float8.filter_fqn", "output"],
        [r"quantize\.linear\.float8\.filter_fqn\b", r"quantize\.linear\.float8\.filter_fqns"],
    ),
    "unknown dataset": (["--training.dataset", "c5"], [r"training\.dataset", "c5", "c4"]),
    "c4 without a path": (["--training.dataset", "c4"], [r"training\.dataset_path"]),
    "validation data without a path": (["--validation.enable"], [r"validation\.dataset_path"]),
    "missing data": (["--training.dataset_path", "/nowhere/x.jsonl"], [r"training\.dataset_path|/nowhere/x\.jsonl"]),
    "missing tokenizer": (["--model.hf_assets_path", "/nowhere"], [r'model\.hf_assets_path = "/nowhere" does not exist']),
    "vocabulary too small": (["--model.vocab_size", 100], [r"vocab", "100"]),
    "load_step missing": (["--checkpoint.load_step", 7], [r"step-7|load_step"]),
    "initial path missing": (["--checkpoint.initial_load_path", "/nowhere"], [r'initial_load_path = "/nowhere" is not a']),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(titan_train, tmp_path, case):
    arguments, patterns = ARGUMENTS[case]
    dump = tmp_path / "out"
    done = titan_train(*SMALL, "--training.steps", 2, "--job.dump_folder", dump, *arguments, expect=2)
    for pattern in patterns:
        assert re.search(pattern, done.stderr), done.output
    assert "terminate" not in done.stderr and "Exception raised" not in done.stderr
    assert not dump.exists() or files_below(dump) in ([], ["checkpoint/.lock"])


# name: (job file, patterns); {line} of the fault is in the message too.
JOB_FILES = {
    "malformed": ("[training]\nsteps = = 3\n", ["2"]),
    "lone bracket": ("[training]\nsteps = 3\n[\n", ["3"]),
    "unclosed string": ('[job]\ndescription = "x\n', ["2"]),
    "not UTF-8": (b'[job]\ndescription = "\xff\xfe"\n', ["2|UTF-8"]),
    "unknown section": ("[trainig]\nsteps = 3\n", ["1", r"trainig", r"training"]),
    "unknown key": ("[training]\n\nstep = 3\n", ["3", r"training\.step", r"training\.steps"]),
    "text for a number": ('[training]\nsteps = "3"\n', ["2", r"training\.steps"]),
    "number for text": ("[model]\nflavor = 8\n", ["2", r"model\.flavor"]),
    "number for a bool": ("[checkpoint]\nenable = 1\n", ["2", r"checkpoint\.enable"]),
    "key twice": ("[training]\nsteps = 3\nsteps = 4\n", ["3", "steps"]),
    "out of range": ("[training]\n\n\nseq_len = 0\n", ["4", r"training\.seq_len"]),
    "list for a number": ("[training]\nsteps = [3]\n", ["2", r"training\.steps"]),
}


@pytest.mark.parametrize("case", JOB_FILES)
def test_job_file(titan_train, tmp_path, case):
    text, patterns = JOB_FILES[case]
    job = tmp_path / "job.toml"
    job.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = titan_train(job, "--job.dump_folder", tmp_path / "out", expect=2)
    for pattern in [r"job\.toml", *patterns]:
        assert re.search(pattern, done.stderr), done.output
    assert not (tmp_path / "out").exists()


def test_all_problems_of_a_job_file_at_once(titan_train, tmp_path):
    job = tmp_path / "job.toml"
    job.write_text('[training]\nsteps = "x"\nsequence = 3\n[model]\nname = 1\n')
    done = titan_train(job, expect=2)
    for place in ("job.toml:2", "job.toml:3", "job.toml:5"):
        assert place in done.stderr


def test_missing_job_file(titan_train, tmp_path):
    done = titan_train(tmp_path / "none.toml", expect=2)
    assert "none.toml" in done.stderr
    done = titan_train(tmp_path, expect=2)  # a folder
    assert str(tmp_path) in done.stderr


# name: (file name, content, patterns)
DATA = {
    "empty text": ("a.txt", b"", []),
    "empty lines only": ("a.jsonl", b"\n\n", []),
    "no line is JSON": ("a.jsonl", b"hello\nworld\n", []),
    "no text key": ("a.jsonl", b'{"content": "x"}\n{"content": "y"}\n', ["text"]),
    "not gzip": ("a.jsonl.gz", b"hello", []),
    "cut gzip": ("a.jsonl.gz", gzip.compress(b'{"text": "hello"}\n' * 1000)[:-12], []),
    "not zstd": ("a.jsonl.zst", b"hello", []),
    "unknown suffix": ("a.parquet", b"PAR1", [r"\.jsonl"]),
    "odd bytes": ("a.bin", b"abc", []),
    "token beyond the vocabulary": ("a.bin", b"\xff\xff" * 4000, ["65535"]),
    "cut index": ("a.idx", b"MMIDIDX\0\0", []),
}


@pytest.mark.parametrize("case", DATA)
def test_data(titan_train, tmp_path, case):
    name, content, patterns = DATA[case]
    file = tmp_path / name
    file.write_bytes(content)
    if name.endswith(".idx"):
        (tmp_path / "a.bin").write_bytes(b"\0\0" * 100)
        file = tmp_path / "a.bin"
    dump = tmp_path / "out"
    done = titan_train(*SMALL, "--training.dataset_path", file, "--job.dump_folder", dump, expect=2)
    for pattern in [rf"{re.escape(str(tmp_path / name).rsplit('.', 1)[0])}", *patterns]:
        assert re.search(pattern, done.stderr), done.output
    assert not dump.exists() or files_below(dump) in ([], ["checkpoint/.lock"])


def test_bad_lines_are_counted_and_the_rest_is_used(titan_train, tmp_path):
    good = b'{"text": "' + b"the quick brown fox jumps over the lazy dog. " * 40 + b'"}\n'
    data = tmp_path / "a.jsonl"
    data.write_bytes(good * 20 + b"{broken\n" + good * 20 + b"\xff\n")
    done = titan_train(
        *SMALL, "--training.steps", 2, "--training.dataset_path", data, "--job.dump_folder", tmp_path / "out"
    )
    assert re.search(r"\b2\b.*line|line.*\b2\b", done.output)
    assert re.search(r"a\.jsonl:21\b|line 21\b", done.output)


def test_no_arguments_at_all_is_the_default_job(titan_train, tmp_path):
    """As upstream: without a job file the defaults hold; their tokenizer is not here, which is said."""
    done = titan_train(cwd=tmp_path, expect=2)
    assert done.stderr


def test_usage_of_the_debug_job_is_fine(titan_train, tmp_path):
    """The cases above fail for their own reason: the job they change runs."""
    titan_train(*SMALL, "--training.steps", 2, "--job.dump_folder", tmp_path)
    assert DEBUG_JOB.exists()
