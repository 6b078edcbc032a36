"""A model sharded over two processes is measured as one process measures it (FSDP2 on gloo)."""

from __future__ import annotations

from ranks import outcomes
from sharded_probes import SCENARIOS


def test_shards_are_measured_as_a_whole() -> None:
    said = outcomes(2, SCENARIOS)
    assert said == dict.fromkeys(said, "")
