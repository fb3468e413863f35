"""TensorBoard's own reader on our event files, and Python's json on metrics.jsonl."""

import json
import math
import os
import pathlib
import re
import subprocess
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event

BUILD = pathlib.Path(os.environ.get("TITAN_BUILD", pathlib.Path(__file__).parents[2] / "build"))

# tag: its value at a step
STEP_TAGS = {
    "loss_metrics/global_avg_loss": lambda s: math.nan if s == 3 else 8 / s,
    "loss_metrics/global_max_loss": lambda s: math.nan if s == 3 else 8 / s + 1,
    "grad_norm": lambda s: 0.1 * s,
    "throughput(tps)": lambda s: 1000 * s,
    "tflops": lambda s: 2 * s,
    "mfu(%)": lambda s: 3 * s,
    "time_metrics/end_to_end(s)": lambda s: 0.25 * s,
    "time_metrics/data_loading(s)": lambda s: 0.01 * s,
    "time_metrics/data_loading(%)": lambda s: 4 * s,
    "memory/max_active(GiB)": lambda s: 5 * s,
    "memory/max_active(%)": lambda s: 6 * s,
    "memory/max_reserved(GiB)": lambda s: 7 * s,
    "memory/max_reserved(%)": lambda s: 8 * s,
    "memory/num_alloc_retries": lambda s: s,
    "memory/num_ooms": lambda s: 2 * s,
    "n_tokens_seen": lambda s: 4096 * s,
    "lr": lambda s: 1e-4 * s,
}
VALIDATION = {
    "validation_metrics/loss": 2.5,
    "validation_metrics/throughput(tps)": 512,
    "validation_metrics/memory/max_active(GiB)": 1,
    "validation_metrics/memory/max_active(%)": 2,
    "validation_metrics/memory/max_reserved(GiB)": 3,
    "validation_metrics/memory/max_reserved(%)": 4,
}


def log_metrics(dump_folder, first, last):
    subprocess.run([BUILD / "tests/log_metrics", dump_folder, str(first), str(last)], check=True, timeout=60)


def event_files(dump_folder):
    return sorted(dump_folder.glob("tb/*/events.out.tfevents.*"))


def test_tensorboard_reads_every_scalar(tmp_path):
    before = time.time()
    log_metrics(tmp_path, 1, 6)
    (path,) = event_files(tmp_path)
    assert re.fullmatch(r"\d{8}-\d{4}", path.parent.name)

    run = EventAccumulator(str(path.parent)).Reload()
    assert set(run.Tags()["scalars"]) == set(STEP_TAGS) | set(VALIDATION)
    for tag, value_at in STEP_TAGS.items():
        events = run.Scalars(tag)
        assert [event.step for event in events] == list(range(1, 7))
        expected = [value_at(event.step) for event in events]
        assert [event.value for event in events] == pytest.approx(expected, rel=1e-6, nan_ok=True), tag
    for tag, value in VALIDATION.items():
        (event,) = run.Scalars(tag)
        assert (event.step, event.value) == (4, value)
        assert before - 1 <= event.wall_time <= time.time() + 1


def test_frames_and_checksums_hold(tmp_path):
    """The raw loader checks the lengths and both checksums of each frame, and stops at the first bad one."""
    log_metrics(tmp_path, 1, 3)
    (path,) = event_files(tmp_path)
    events = [Event.FromString(payload) for payload in RawEventFileLoader(str(path)).Load()]
    assert events[0].file_version == "brain.Event:2"
    assert [event.step for event in events[1:]] == [1, 2, 3]
    assert [len(event.summary.value) for event in events[1:]] == [len(STEP_TAGS)] * 3

    damaged = bytearray(path.read_bytes())
    damaged[-20] ^= 1  # in the payload of the last frame
    path.write_bytes(damaged)
    assert len(list(RawEventFileLoader(str(path)).Load())) == 3


def test_a_resumed_run_appends_records_and_starts_a_new_event_file(tmp_path):
    log_metrics(tmp_path, 1, 4)
    log_metrics(tmp_path, 3, 5)
    assert len(event_files(tmp_path)) == 2
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if record["kind"] == "step"] == [1, 2, 3, 4, 3, 4, 5]
    assert [record["step"] for record in records if record["kind"] == "validation"] == [4, 4]


def test_metrics_jsonl_is_strict_json(tmp_path):
    log_metrics(tmp_path, 3, 3)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    record = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert record["update_skipped"] is True
    assert math.isnan(float(record["global_avg_loss"]))
    assert record["lr"] == pytest.approx(3e-4, rel=1e-15)
