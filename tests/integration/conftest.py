"""Fixtures of the tests that run titan-train."""
import os

import pytest
from driver import TITAN_TRAIN, TitanTrain


@pytest.fixture(scope="session")
def titan_train(tmp_path_factory):
    assert TITAN_TRAIN.exists(), f"{TITAN_TRAIN} is not built: run scripts/test.sh"
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' common folder
    return TitanTrain(base / "cache")
