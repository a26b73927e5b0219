"""Passes of one network: masks that all images share, weights that move by a known length, and the
layer behind the logits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.al.learner import Learner
from benchmark.al.networks.outputs import Outputs
from benchmark.al.networks.small_cnn import SmallCnn
from benchmark.al.networks.vgg_plain import VggPlain
from benchmark.al.random.philox import Counter
from benchmark.al.training.passes import (
    ASSUMED,
    PERTURBATION,
    draw_normal,
    dropout_passes,
    find_head,
    head_outputs,
    perturbed_copies,
)
from benchmark.errors import UsageError
from tests.helpers import trials as kit

COUNTER = Counter(7)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 1, 8, 8)


def learner(cache: Path, *, dropout: float = 0.0, batch: int = 250) -> Learner:
    params = {"width": 4, "heads": 2, "dropout": dropout}
    sets = {"protocol.models.0.params": params, "protocol.evaluation.batch_size": batch}
    return kit.assembled(kit.trial("random", sets=sets), cache)[1]


def test_the_head_makes_the_logits_from_the_features() -> None:
    network = SmallCnn(10, width=4, heads=2, channels=1).eval()
    made = network(images())
    head = find_head(network, images())
    weight, bias = head_outputs(head, "weight"), head_outputs(head, "bias")
    torch.testing.assert_close(made.features @ weight.T + bias, made.logits)
    assert not torch.allclose(made.features @ weight.T + bias, made.consistency), (
        "not the second head"
    )


def test_a_layer_without_bias_has_one_of_zeros() -> None:
    assert head_outputs(nn.Linear(3, 2, bias=False), "bias").tolist() == [0.0, 0.0]
    with pytest.raises(UsageError, match="has no 'gain'"):
        head_outputs(nn.Linear(3, 2), "gain")


def test_features_that_are_not_the_heads_input_are_refused() -> None:
    with pytest.raises(UsageError, match="does not make its logits from its features"):
        find_head(VggPlain(10, hidden=8, features="map"), torch.randn(2, 3, 32, 32))


def test_masks_at_a_site_are_the_same_for_all_images_and_batches() -> None:
    network = SmallCnn(10, width=4, dropout=0.25, channels=1).eval()
    seen = images(40)
    head = find_head(network, seen)
    features = network(seen).features
    (one, two) = dropout_passes(network, 2, COUNTER, seen)
    together = one(seen).logits
    mask = (COUNTER.uniform(torch.tensor([0]), 0, 0, 16) >= 0.25) / 0.75
    torch.testing.assert_close(together, (features * mask) @ head.weight.T + head.bias)
    apart = torch.cat([one(part).logits for part in (seen[:7], seen[7:])])
    torch.testing.assert_close(apart, together)
    assert not torch.allclose(two(seen).logits, together)
    torch.testing.assert_close(
        network(seen).logits, head(features), msg="the network itself is as it was"
    )


def test_a_network_that_drops_nothing_loses_half_of_its_heads_input() -> None:
    network = SmallCnn(10, width=4, channels=1).eval()
    (one,) = dropout_passes(network, 1, COUNTER, images())
    head, seen = find_head(network, images()), images()
    mask = (COUNTER.uniform(torch.tensor([0]), 0, 0, 16) >= ASSUMED) / (1 - ASSUMED)
    torch.testing.assert_close(
        one(seen).logits, (network(seen).features * mask) @ head.weight.T + head.bias
    )
    assert 0 < int((mask == 0).sum()) < 16


class Channels(nn.Module):
    """Drops whole maps."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.head = nn.Dropout2d(0.5), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Outputs:
        maps = self.drop(x.expand(-1, 8, -1, -1))
        features = maps.mean(dim=(2, 3))
        return Outputs(self.head(features), features, (maps,))


def test_whole_channels_are_dropped_where_the_site_drops_channels() -> None:
    (one,) = dropout_passes(Channels().eval(), 1, COUNTER, images())
    (maps,) = one(torch.ones(2, 1, 4, 4)).maps
    assert set(maps.amax(dim=(2, 3)).flatten().tolist()) == {0.0, 2.0}
    torch.testing.assert_close(maps.amax(dim=(2, 3)), maps.amin(dim=(2, 3)))


def test_perturbed_weights_move_by_the_stated_length_and_others_stay() -> None:
    network = SmallCnn(10, width=4, channels=1).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    one, two = perturbed_copies(network, 2, COUNTER)
    for name, value in one.named_parameters():
        moved = float((value - before[name]).norm() / before[name].norm().clamp(min=1e-12))
        assert moved == pytest.approx(PERTURBATION if value.dim() >= 2 else 0.0, rel=1e-3)
    assert not torch.equal(one.head.weight, two.head.weight)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_normal_numbers() -> None:
    drawn = draw_normal(COUNTER, 1, 0, 400_003).double()
    assert (
        len(drawn) == 400_003
        and abs(float(drawn.mean())) < 0.01
        and abs(float(drawn.std()) - 1) < 0.01
    )
    assert abs(float((drawn.abs() < 1.96).double().mean()) - 0.95) < 0.002
    assert torch.equal(drawn[:100], draw_normal(COUNTER, 1, 0, 100).double()), (
        "however many are drawn"
    )


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_learner_answers_them_whatever_the_batch_size(dropout: float, tmp_path: Path) -> None:
    names = {
        "dropout3.logits",
        "perturbed2.logits",
        "perturbed2.features",
        "head.weight",
        "head.bias",
        "logits",
    }
    indices = np.arange(30)
    large, small = (
        learner(tmp_path, dropout=dropout, batch=size).outputs(names, indices, 1)
        for size in (250, 7)
    )
    shapes = {name: tuple(value.shape) for name, value in large.items()}
    assert shapes == {
        "dropout3.logits": (3, 30, 10),
        "perturbed2.logits": (2, 30, 10),
        "perturbed2.features": (2, 30, 16),
        "head.weight": (10, 16),
        "head.bias": (10,),
        "logits": (30, 10),
    }
    for name, value in large.items():
        torch.testing.assert_close(small[name], value, rtol=1e-4, atol=1e-5)


def test_fewer_passes_are_the_first_ones(tmp_path: Path) -> None:
    made = learner(tmp_path)
    few, many = (
        made.outputs({name}, np.arange(5), 0)[name]
        for name in ("dropout2.logits", "dropout4.logits")
    )
    assert torch.equal(few, many[:2])
    later = made.outputs({"dropout2.logits"}, np.arange(5), 1)["dropout2.logits"]
    assert not torch.equal(few, later), "each cycle has masks of its own"


def test_a_head_of_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs 'teacher\.head\.weight'"):
        learner(tmp_path).outputs({"teacher.head.weight"}, np.arange(2), 0)
