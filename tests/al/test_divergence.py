"""A training that diverged ends its trial with a word about it, whatever the method."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.al.loop import run
from benchmark.errors import AlbenchError
from tests.helpers.trials import assembled, session, trial


@pytest.mark.parametrize("method", ["random", "coreset", "random+cod", "diam(2)"])
def test_a_diverged_training_is_said_to_be_one(method: str, tmp_path: Path) -> None:
    made = trial(method, sets={"protocol.training.optimizer.lr": 1e30})
    strategy, learner = assembled(made, tmp_path / "cache")
    with pytest.raises(AlbenchError, match="logits of the test images are not finite") as caught:
        run(made.protocol, strategy, learner, session(made, tmp_path / "out"))
    assert "divergence" in caught.value.remedy
