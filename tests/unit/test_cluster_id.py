"""All brokers of a local cluster are formatted with one id, and it is no option of StorageTool."""

from __future__ import annotations

import pytest

from labkit.stack.kafka import _cluster_id


@pytest.mark.parametrize("run_id", ["00" * 8, "f8" * 8, "fb" * 8, "ff" * 8])
def test_brokers_share_an_id_that_does_not_begin_with_a_hyphen(run_id: str) -> None:
    identity = _cluster_id(bytes.fromhex(run_id))
    assert len(identity) == 22
    assert not identity.startswith("-")
