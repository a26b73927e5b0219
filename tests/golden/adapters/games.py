"""Training and start of the networks of VAAL, TA-VAAL and the graph methods: items 36 and 37."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapters import Expected, adapter, close, load_canonical
from benchmark.al.networks.gcn import Gcn
from benchmark.al.networks.vae import Discriminator, Vae
from benchmark.al.strategies._seeded import Chance
from benchmark.al.strategies.base import Picks, View
from benchmark.al.strategies.vaal import TaVaal, Vaal, played

Arrays = Mapping[str, np.ndarray]


@adapter("36_vaal_game")
def game(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    candidates, labelled = inputs["candidates"], inputs["labelled"]
    total, rule = candidates + labelled, inputs["images"]
    assert rule["scale"] == "0.5 + i / n"
    ramp = rule["x_step"] * np.arange(3 * 32 * 32)
    images = torch.from_numpy(np.stack(
        [np.sin(ramp + rule["x_shift"] * i).reshape(3, 32, 32) * (0.5 + i / total) for i in range(total)]
    ))  # fmt: skip

    class Given(Chance):
        def normal(self, like: Tensor) -> Tensor:
            return torch.full_like(like, inputs["noise_of_the_autoencoder"])

        def uniform(self, like: Tensor) -> Tensor:
            return torch.full_like(like, inputs["noise_for_the_ranks_in_iteration_0"])

        def start(self, name: str, module: nn.Module) -> None:
            load_canonical(module, inputs[f"{name}_canonical"], inputs["fills"][name])

    params: dict[str, Any] = {
        "kl": inputs["kl"], "vae_steps": inputs["vae_steps"], "latent": inputs["latent"], "width": inputs["width"],
        "batch_size": inputs["batch_size"], "lr": inputs["lr"], "passes": inputs["passes"], "redraw": True, "init": "kaiming",
        "hidden": inputs["discriminator_hidden"],
    }  # fmt: skip
    outputs, strategy = {}, Vaal(**params)
    if "rank" in inputs:
        assert inputs["rank"] == "3 * mean of the image"
        ranks = 3 * images.mean(dim=(1, 2, 3))
        outputs = {"predicted_loss": ranks[:candidates], "labelled.predicted_loss": ranks[candidates:]}
        strategy = TaVaal(**params, first_rank="raw")  # type: ignore[assignment]

    def view() -> View:
        return View(
            cycle=inputs["cycle"], cycles=inputs["cycle"] + 2, classes=10, candidates=np.arange(candidates),
            labelled=np.arange(candidates, total), pool_size=total, rng=np.random.default_rng(0),
            device=torch.device("cpu"), outputs=outputs, images=lambda indices: images[torch.as_tensor(indices)], chance=Given,
        )  # fmt: skip

    shown, budget, text = view(), inputs["budget"], tolerance["float64"]
    found = strategy.game(shown)
    scores = played(found, shown, budget)
    assert len(found.losses) == expected["iterations"]
    close([float(coded) for coded, _ in found.losses], expected["vae_loss_last_step"], text)
    close([float(judged) for _, judged in found.losses], expected["discriminator_loss"], text)
    close(1 - scores, expected["discriminator_of_candidates"], text)
    picks: Picks = strategy.select(view(), budget)
    assert sorted(picks.positions.tolist()) == sorted(expected["picked"])


# ---------------------------------------------------------------------------------------------------------------- starts


@adapter("37_baseline_inits")
def starts(inputs: Any, expected: Expected, tolerance: Any, npz: Arrays, case: Expected) -> None:
    assert any("normal with std sqrt(2 / fan_in), bias 0" in rule for rule in inputs["rule"].values())
    assert any("1/sqrt(outputs)" in rule for rule in inputs["rule"].values())
    shapes = {name: list(expected[name]["shape"]) for name in expected}
    latent, width = shapes["vae.fc_mu.weight"][0], shapes["vae.encoder.0.weight"][0]
    channels, hidden = shapes["vae.encoder.0.weight"][1], shapes["discriminator.net.0.weight"][0]
    side = 32 if shapes["vae.decoder.11.weight"][2:] == [1, 1] else 224
    torch.manual_seed(0)
    networks = {
        "vae": Vae(latent, shapes["vae.decoder.0.weight"][1] - latent, channels, width, side, init="kaiming"),
        "discriminator": Discriminator(shapes["discriminator.net.0.weight"][1], hidden, init="kaiming"),
        "gcn": Gcn(*shapes["gcn.gc1.weight"], init="outputs"),
    }
    own = {f"{network}.{name}": value for network, made in networks.items() for name, value in made.named_parameters()}
    assert set(own) == set(shapes)
    for name, value in own.items():
        check_start(name, value.detach(), expected[name], tolerance)


def check_start(name: str, value: Tensor, wanted: Expected, tolerance: Any) -> None:
    """Spread, range and kind of a fresh draw against the official one."""
    assert list(value.shape) == list(wanted["shape"]), name
    count, std, peak, kurtosis = value.numel(), wanted["std"], wanted["abs_max"], wanted["kurtosis"]
    if std == 0 and count > 1:  # a constant: batch norm, or a bias that starts at 0
        assert bool((value.abs() == peak).all()), f"{name}: not {peak} throughout"
        return
    if count == 1:
        assert float(value.abs()) == 0 if peak == 0 else float(value.abs()) < 1, name
        return
    allowed = re.search(r"rel 3 / sqrt\(elements\) and ([0-9.]+)", tolerance["std"])
    assert allowed, tolerance["std"]
    # Both are draws: the difference of two spreads has the noise of both.
    share = max(3 / np.sqrt(count) * np.sqrt(2), float(allowed.group(1)))
    assert abs(float(value.std()) / std - 1) <= share, f"{name}: {float(value.std()):.5f} instead of {std:.5f}"
    if kurtosis is None or count <= 100:
        return
    centred = value.double() - value.double().mean()
    own = float((centred**4).mean() / (centred**2).mean() ** 2)
    assert (own < 2.4) == (kurtosis < 2.4), f"{name}: kurtosis {own:.2f} instead of {kurtosis:.2f}"
    if kurtosis < 2.4:
        assert 0.9 * peak < float(value.abs().max()) < peak / 0.9, name
