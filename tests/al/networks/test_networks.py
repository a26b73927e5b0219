"""Networks against torchvision, parameter counts, and the rules of what is pretrained and what is
trained."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.al.networks.loss_prediction import LossPrediction
from benchmark.al.networks.resnet_cifar import ResNetCifar
from benchmark.al.networks.resnet_imagenet import LATE, ResNetImagenet, read_weights
from benchmark.al.networks.vae import Discriminator, Vae
from benchmark.al.networks.vgg_plain import VggPlain
from benchmark.errors import AlbenchError, DataError, UsageError

TINY = {"blocks": (1, 1, 1, 1), "widths": (4, 6, 8, 10)}


def parameters(network: nn.Module, trainable: bool = False) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trainable)


@pytest.mark.parametrize(
    ("count", "build"),
    [
        (11_173_962, lambda: ResNetCifar(10)),
        (11_220_132, lambda: ResNetCifar(100)),
        (11_179_092, lambda: ResNetCifar(10, heads=2)),
        (11_271_432, lambda: ResNetCifar(100, heads=2)),
        (21_282_122, lambda: ResNetCifar(10, blocks=(3, 4, 6, 3))),
        (11_280_138, lambda: ResNetImagenet(101, heads=2)),
        (11_279_112, lambda: ResNetImagenet(200)),
        (11_307_840, lambda: ResNetImagenet(256)),
        (134_301_514, lambda: VggPlain(10)),
        (123_905, LossPrediction),
        (22_835_139, Vae),
        (280_065, Discriminator),
    ],
)
def test_parameter_counts(count: int, build: type[nn.Module]) -> None:
    with torch.device("meta"):
        assert parameters(build()) == count


def test_trained_parameters_of_the_frozen_network() -> None:
    with torch.device("meta"):
        for classes, count in ((200, 8_496_328), (256, 8_525_056)):
            network = ResNetImagenet(classes, trainable="stage4")
            assert parameters(network, trainable=True) == count
            assert {n.split(".")[0] for n, p in network.named_parameters() if p.requires_grad} == {
                "layer4",
                "fc",
            }


@pytest.fixture(scope="module")
def torchvision_resnet() -> nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18().eval()


@pytest.mark.slow
def test_torchvision_weights_give_torchvision_logits(torchvision_resnet: nn.Module) -> None:
    network = ResNetImagenet(1000).eval()
    network.load_state_dict(torchvision_resnet.state_dict())
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(
            network(images).logits, torchvision_resnet(images), rtol=1e-4, atol=1e-5
        )


def pretrained_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dictionary as torchvision's old file has it: 1000 classes, no batch counters."""
    torch.manual_seed(seed)
    state = ResNetImagenet(1000, **TINY).state_dict()
    return {
        name: value + 1 for name, value in state.items() if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize(("rule", "heads"), [("stages1-3", 2), ("trunk", 1)])
def test_what_pretraining_fills(rule: str, heads: int) -> None:
    network, state = ResNetImagenet(7, heads=heads, pretrained=rule, **TINY), pretrained_state()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_pretrained(state)
    skipped = LATE if rule == "stages1-3" else ("fc.", "fc_b.")
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        expected = before[name] if name.startswith(skipped) else state[name]
        assert torch.equal(value, expected), name


def test_pretraining_is_strict() -> None:
    network = ResNetImagenet(7, **TINY)
    for change, message in (
        ({"layer2.0.conv1.weight": None}, "lacks layer2.0.conv1.weight"),
        ({"layer2.9.conv1.weight": torch.zeros(1)}, "unknown layer2.9.conv1.weight"),
        ({"conv1.weight": torch.zeros(4, 3, 3, 3)}, "another shape for conv1.weight"),
    ):
        state = {
            name: value
            for name, value in (pretrained_state() | change).items()
            if value is not None
        }
        with pytest.raises(DataError, match=message):
            network.load_pretrained(state)


def stored(folder: Path, content: object) -> Path:
    """A weights file under a name that carries its checksum."""
    torch.save(content, folder / "raw")
    name = f"resnet18-{hashlib.sha256((folder / 'raw').read_bytes()).hexdigest()[:8]}.pth"
    return (folder / "raw").rename(folder / name)


def test_weights_files(tmp_path: Path) -> None:
    state = pretrained_state()
    path = stored(tmp_path, state)
    assert all(torch.equal(value, state[name]) for name, value in read_weights(path).items())
    with pytest.raises(DataError, match="no such"):
        read_weights(tmp_path / "resnet18-00000000.pth")
    wrong = path.rename(tmp_path / "resnet18-5c106cde.pth")
    with pytest.raises(DataError, match="sha256"):
        read_weights(wrong)
    with pytest.raises(DataError, match="name of a weights file"):
        read_weights(wrong.rename(tmp_path / "weights.pth"))
    with pytest.raises(DataError, match="named tensors"):
        read_weights(stored(tmp_path, {"epoch": 3}))


class Malicious:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_a_weights_file_cannot_run_code(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    with pytest.raises(DataError, match="not a weights file"):
        read_weights(stored(tmp_path, {"conv1.weight": Malicious(target)}))
    assert not target.exists()


def test_dropout_and_batch_norm_of_the_frozen_network_stay_alive() -> None:
    network = ResNetImagenet(5, dropout=0.5, trainable="stage4", **TINY).train()
    images = torch.randn(4, 3, 64, 64)
    before = network.bn1.running_mean.clone()
    first, second = network(images), network(images)
    assert not torch.equal(network.bn1.running_mean, before), (
        "running statistics go on, as released"
    )
    torch.testing.assert_close(first.features, second.features)
    assert not torch.equal(first.logits, second.logits)
    network.eval()
    assert torch.equal(network(images).logits, network(images).logits)


@pytest.mark.parametrize(
    "build",
    [lambda h: ResNetCifar(5, heads=h, **TINY), lambda h: ResNetImagenet(5, heads=h, **TINY)],
)
def test_heads_and_layout(build: type[nn.Module]) -> None:
    """The second head is separate, and channels-last changes nothing but rounding."""
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    one = build(1).eval()
    torch.manual_seed(1)
    two = build(2).eval()
    with torch.no_grad():
        out = two(images)
        assert torch.equal(out.logits, one(images).logits), (
            "a second head leaves the first one's weights alone"
        )
        assert one(images).consistency is None
        assert out.consistency.shape == (3, 5) and not torch.equal(out.consistency, out.logits)
        assert [stage.shape[1] for stage in out.maps] == list(TINY["widths"])
        assert out.features.shape == (3, 10)
        turned = two.to(memory_format=torch.channels_last)(
            images.contiguous(memory_format=torch.channels_last)
        )
        torch.testing.assert_close(turned.logits, out.logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="1 or 2 heads"):
        build(3)


def test_small_images_and_grey_ones() -> None:
    assert ResNetCifar(4, channels=1, **TINY)(torch.randn(2, 1, 8, 8)).logits.shape == (2, 4)


def test_vgg() -> None:
    network = VggPlain(4, hidden=8).eval()
    with torch.no_grad():
        out = network(torch.randn(1, 3, 32, 32))
        assert [tuple(stage.shape[1:]) for stage in out.maps] == [
            (128, 8, 8),
            (256, 4, 4),
            (512, 2, 2),
            (512, 1, 1),
        ]
        expected = nn.functional.adaptive_avg_pool2d(out.maps[-1], 7).flatten(1)
        torch.testing.assert_close(network.hidden(expected), out.features)
        torch.testing.assert_close(network.fc(out.features), out.logits)
    with pytest.raises(UsageError, match="last map"):
        network(torch.randn(1, 3, 96, 96))


def test_loss_prediction_windows() -> None:
    """On large maps a fixed window sees the top left corner only; 0 sees the whole map."""
    torch.manual_seed(0)
    corner = LossPrediction(channels=(2,), windows=(4,), hidden=3)
    whole = LossPrediction(channels=(2,), windows=(0,), hidden=3)
    whole.load_state_dict(corner.state_dict())
    maps = torch.randn(5, 2, 7, 7)
    assert corner([maps]).shape == (5,)
    torch.testing.assert_close(corner([maps]), whole([maps[:, :, :4, :4]]))
    assert not torch.allclose(corner([maps]), whole([maps]))
    for side in (3, 8):
        with pytest.raises(UsageError, match=f"{side}x{side}"):
            corner([torch.randn(1, 2, side, side)])
    with pytest.raises(AlbenchError):
        LossPrediction(channels=(2, 2), windows=(4,))


def test_vae_samples_around_the_mean() -> None:
    torch.manual_seed(0)
    vae = Vae(conditions=1).eval()
    images, rank = torch.rand(2, 3, 32, 32), torch.rand(2, 1)
    with torch.no_grad():
        out = vae(images, rank, torch.Generator().manual_seed(1))
        noise = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
        code = out.mean + noise * torch.exp(0.5 * out.log_variance)
        torch.testing.assert_close(out.reconstruction, vae.decode(code, rank))
        assert not torch.equal(vae.decode(code, rank), vae.decode(code, rank + 1))
        assert Discriminator(33)(torch.cat([code, rank], dim=1)).shape == (2, 1)
