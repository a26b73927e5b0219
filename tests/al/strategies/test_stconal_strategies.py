"""Strategies of the ST-CoNAL suites: whole trials on digits, and small pools where the answer is
known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.al.loop import run
from benchmark.al.registry import build_component
from benchmark.al.strategies import Picks, Strategy, View
from benchmark.al.strategies.vaal import AdversarialPair, AdversarialTraining
from benchmark.errors import AlbenchError, UsageError
from benchmark.spec.suite import Component, Trial
from tests.helpers.trials import assembled, session, trial

RANKER = Component(
    name="learning_loss",
    params={
        "joint": True,
        "joint_until": 1,
        "form": "bce",
        "channels": [4, 8, 16, 16],
        "windows": [0, 0, 0, 0],
    },
)
TINY_GAME = {"iterations": 2, "batch_size": 16, "width": 4}
COMPONENTS: dict[str, dict[str, Any]] = {
    "stconal": {},
    "badge": {},
    "uncertain_gcn": {"steps": 20},
    "core_gcn": {"steps": 20},
    "vaal": TINY_GAME,
    "ta_vaal": TINY_GAME,
}


def made(name: str, seed: int = 0, **params: Any) -> Trial:
    """Digits at 32 pixels, three cycles of four epochs with a trajectory."""
    sets = {
        "protocol.data.decode": [{"op": "resize", "size": [32, 32]}],
        "protocol.views.train": [{"op": "normalise", "mean": [0.3], "std": [0.4]}],
        "protocol.training.epochs": 4,
        "protocol.training.start": "fresh",
        "protocol.training.trajectory": {"start": 2, "every": 1},
        "protocol.acquisition.candidates": 60,
        "protocol.acquisition.budget": 20,
        "protocol.models.0.params": {"width": 4},
        "protocol.data.limit": {"train": 200, "test": 50},
        "protocol.data.train_size": 200,
        "protocol.data.test_size": 50,
        "protocol.evaluation.batch_size": 50,
    }
    strategy = Component(name=name, params=COMPONENTS.get(name, {}) | params)
    return trial(
        seed=seed,
        sets=sets,
        strategy=strategy,
        **({"objective": RANKER} if name == "ta_vaal" else {}),
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", COMPONENTS)
def test_whole_trials_are_repeatable_and_buy_distinct_candidates(
    name: str, tmp_path: Path, cache: Path
) -> None:
    runs = []
    for out in ("a", "b"):
        asked = made(name)
        strategy, learner = assembled(asked, cache)
        seen: list[tuple[View, Picks]] = []
        select = type(strategy).select

        def watched(
            view: View,
            budget: int,
            strategy: Strategy = strategy,
            seen: Any = seen,
            select: Any = select,
        ) -> Picks:
            torch.manual_seed(len(runs))  # nothing may depend on torch's own generator
            picks = select(strategy, view, budget)
            seen.append((view, picks))
            return picks

        object.__setattr__(strategy, "select", watched)
        live = session(asked, tmp_path / out)
        run(asked.protocol, strategy, learner, live)
        runs.append(live.results)
        assert live.pool is not None
        live.pool.check()
        for view, picks in seen:
            assert len(view.candidates) == 60 and len(set(picks.positions.tolist())) == 20
            assert picks.scores is None or (
                picks.scores.shape == (60,) and not picks.scores.requires_grad
            )
    assert runs[0] == runs[1]
    assert len({result.picks_digest for result in runs[0][:2]}) == 2


def view(
    outputs: dict[str, torch.Tensor], labelled: int = 0, seed: int = 0, images: Any = None
) -> View:
    count = len(
        next(
            value
            for name, value in outputs.items()
            if not name.startswith(("labelled.", "students"))
        )
    )
    return View(
        cycle=0,
        cycles=2,
        classes=3,
        candidates=np.arange(count),
        labelled=np.arange(count, count + labelled),
        pool_size=count + labelled,
        rng=np.random.default_rng(seed),
        device=torch.device("cpu"),
        outputs=outputs,
        images=images,
    )


def strategy(name: str, **params: Any) -> Any:
    return build_component("strategies", Component(name=name, params=params))


def test_stconal_buys_what_the_students_disagree_on() -> None:
    teacher = torch.tensor([[4.0, 0.0, 0.0]] * 4)
    students = teacher.repeat(2, 1, 1)
    students[:, 2] = torch.tensor([0.0, 4.0, 0.0])
    students[0, 1] = torch.tensor([0.0, 4.0, 0.0])
    shown = view({"teacher.logits": teacher, "students.logits": students})
    picks = strategy("stconal").select(shown, 4)
    assert picks.positions.tolist() == [2, 1, 0, 3], "equal scores keep the earlier candidate first"


def test_stconal_is_the_mean_divergence_from_the_sharpened_teacher() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    students = torch.randn(4, 7, 5, generator=generator, dtype=torch.float64)
    shown = view({"teacher.logits": teacher, "students.logits": students})
    for temperature in (0.7, None):
        expected = []
        for image in range(7):
            p = np.exp(teacher[image].numpy() / (temperature or 1))
            p /= p.sum()
            terms = []
            for student in students[:, image].numpy():
                q = np.exp(student) / np.exp(student).sum()
                terms.append(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))
            expected.append(np.mean(terms))
        for form in ("prob", "logspace"):
            found = strategy("stconal", temperature=temperature, form=form).score(shown)
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_a_score_that_is_not_a_number_is_refused_and_the_logarithmic_form_has_none() -> None:
    shown = view(
        {
            "teacher.logits": torch.tensor([[200.0, 0.0], [1.0, 0.0]]),
            "students.logits": torch.zeros(2, 2, 2),
        }
    )
    with pytest.raises(AlbenchError, match="not finite"):
        strategy("stconal").select(shown, 1)
    assert strategy("stconal", form="logspace").select(shown, 1).positions.tolist() == [0]


def test_badge_starts_at_the_largest_embedding_and_spreads() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    shown = {"logits": torch.zeros(5, 3), "features": features}
    for seed in range(5):
        positions = strategy("badge").select(view(shown, seed=seed), 5).positions.tolist()
        assert positions[0] == 3 and sorted(positions) == list(range(5))
    firsts = {
        tuple(strategy("badge").select(view(shown, seed=seed), 2).positions.tolist())
        for seed in range(20)
    }
    assert len(firsts) > 1


def clusters() -> dict[str, torch.Tensor]:
    """Candidates around three axes, labelled images around one of them."""
    generator = torch.Generator().manual_seed(1)
    axes = torch.eye(3, 8).repeat_interleave(8, dim=0) + 0.05 * torch.rand(
        24, 8, generator=generator
    )
    labelled = torch.eye(3, 8)[:1].repeat(6, 1) + 0.05 * torch.rand(6, 8, generator=generator)
    return {"features": axes, "labelled.features": labelled}


def test_uncertain_gcn_scores_by_the_distance_from_the_margin() -> None:
    shown = clusters()
    low, high = (
        strategy("uncertain_gcn", margin=margin, steps=60).select(view(shown, 6), 8)
        for margin in (0.0, 1.0)
    )
    assert high.scores is not None and low.scores is not None
    assert set(high.positions.tolist()) == set(range(8)), (
        "most like labelled: the cluster that holds them"
    )
    assert not set(low.positions.tolist()) & set(range(8))
    torch.testing.assert_close(low.scores - high.scores, 1 + 2 * low.scores)


def test_core_gcn_covers_what_is_not_labelled() -> None:
    for space in ("graph", "backbone"):
        positions = (
            strategy("core_gcn", space=space, steps=60)
            .select(view(clusters(), 6), 2)
            .positions.tolist()
        )
        if space == "backbone":
            assert {place // 8 for place in positions} == {1, 2}
        assert not set(positions) & set(range(8))
    a, b = (
        strategy("core_gcn", steps=20).select(view(clusters(), 6, seed=s), 6).positions.tolist()
        for s in (0, 0)
    )
    assert a == b


def recipe(**more: Any) -> AdversarialTraining:
    plain = {
        "latent": 4,
        "width": 4,
        "batch_size": 8,
        "lr": 1e-3,
        "passes": 100,
        "iterations": None,
        "vae_steps": 1,
        "kl": "mean",
        "train_mode": True,
    }
    return AdversarialTraining(**(plain | more))


def dark_and_bright(count: int = 24, labelled: int = 16) -> View:
    """Labelled images and every second candidate are dark, the other candidates bright."""
    generator = torch.Generator().manual_seed(0)
    images = 0.1 * torch.randn(count + labelled, 3, 32, 32, generator=generator)
    images[1:count:2] += 2
    return view(
        {"predicted_loss": torch.zeros(count)},
        labelled,
        images=lambda indices: images[torch.as_tensor(indices)],
    )


def test_vaal_finds_images_of_another_kind() -> None:
    shown = dark_and_bright()
    game = AdversarialPair(shown, recipe(lr=2e-3, train_mode=True))
    game.play(60)
    scores = game.unlikely_labelled()
    assert scores.shape == (24,) and 0 <= float(scores.min()) <= float(scores.max()) <= 1
    assert len(set(scores.topk(12).indices.tolist()) & set(range(1, 24, 2))) >= 10


def test_vaal_trains_as_long_as_pinned_and_no_gradient_leaks() -> None:
    shown = dark_and_bright()
    assert recipe().count(shown, 10) == (10 * 1 + 24) * 100 // 8
    assert recipe(iterations=3).count(shown, 10) == 3
    with torch.no_grad():
        picks = strategy("vaal", **TINY_GAME).select(shown, 5)
        assert not torch.is_grad_enabled()
    assert not picks.scores.requires_grad


def test_vaal_scores_with_batch_statistics_as_released_or_running_ones() -> None:
    found = {}
    for train_mode in (True, False):
        game = AdversarialPair(dark_and_bright(), recipe(train_mode=train_mode))
        game.play(2)
        found[train_mode] = game.unlikely_labelled()
        game.recipe = recipe(train_mode=train_mode, batch_size=24)
        assert torch.allclose(game.unlikely_labelled(), found[train_mode], atol=1e-6) == (
            not train_mode
        )
    assert not torch.allclose(found[True], found[False])


@pytest.mark.parametrize("ranked", [False, True])
def test_vaal_plays_on_224_pixels_too(ranked: bool) -> None:
    images = torch.randn(12, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    shown = view(
        {"predicted_loss": torch.zeros(8)},
        4,
        images=lambda indices: images[torch.as_tensor(indices)],
    )
    game = AdversarialPair(
        shown, recipe(batch_size=4), (torch.zeros(4), torch.zeros(8)) if ranked else None
    )
    game.play(1)
    assert game.unlikely_labelled().shape == (8,)
    assert game.vae(images[:2], torch.zeros(2, 1) if ranked else None).reconstruction.shape == (
        2,
        3,
        224,
        224,
    )


@pytest.mark.parametrize(
    ("redraw", "steps", "advance"), [(False, 2, 1), (True, 2, 2), (True, 1, 1), (True, 3, 3)]
)
def test_every_autoencoder_step_but_the_first_may_draw_new_batches(
    redraw: bool, steps: int, advance: int
) -> None:
    """Batches taken from either list in one iteration, counted; the discriminator sees the last
    ones."""
    shown, asked = dark_and_bright(), []
    whole = shown.images
    shown = dataclasses.replace(
        shown, images=lambda indices: asked.append(indices.tolist()) or whole(indices)
    )
    game = AdversarialPair(shown, recipe(vae_steps=steps, redraw=redraw))
    asked.clear()
    seen: list[torch.Tensor] = []
    judged = game._judged
    game._judged = lambda side: seen.append(side.images) or judged(side)  # type: ignore[method-assign, func-returns-value]
    game.play(1)
    assert len(asked) == 2 * advance
    assert torch.equal(seen[0], whole(np.array(asked[-2])))
    assert torch.equal(seen[1], whole(np.array(asked[-1])))


def test_ta_vaal_depends_on_the_predicted_losses() -> None:
    scores = []
    for ranks in (torch.zeros(24), torch.linspace(-4, 4, 24)):
        game = AdversarialPair(dark_and_bright(), recipe(), (torch.zeros(16), ranks))
        assert game.discriminator.net[0].in_features == 5 and game.vae.decoder[0].in_features == 5
        game.play(3)
        scores.append(game.unlikely_labelled())
    assert not torch.allclose(scores[0], scores[1])


def test_noise_stands_for_the_ranks_in_the_first_iteration_only() -> None:
    """One iteration never sees the predicted losses, so equal noise gives equal networks; a second
    one does."""
    for iterations, same in ((1, True), (2, False)):
        games = []
        for ranks in (torch.zeros(24), torch.linspace(-4, 4, 24)):
            game = AdversarialPair(dark_and_bright(), recipe(), (torch.ones(16), ranks))
            game.play(iterations)
            games.append(torch.cat([value.flatten() for value in game.discriminator.parameters()]))
        assert torch.equal(*games) is same


def test_vaal_refuses_images_of_other_sizes() -> None:
    shown = view(
        {"predicted_loss": torch.zeros(4)},
        2,
        images=lambda indices: torch.zeros(len(indices), 3, 64, 64),
    )
    with pytest.raises(UsageError, match="32 or 224 pixels"):
        strategy("vaal").select(shown, 1)


def test_ta_vaal_needs_an_objective_that_predicts_losses(tmp_path: Path, cache: Path) -> None:
    asked = made("ta_vaal").model_copy(update={"objective": Component(name="supervised")})
    built, learner = assembled(asked, cache)
    with pytest.raises(UsageError, match="'predicted_loss', which neither"):
        run(asked.protocol, built, learner, session(asked, tmp_path))


def test_random_with_replacement_loses_and_doubles_images_as_released(
    tmp_path: Path, cache: Path
) -> None:
    asked = made("random", replacement=True)
    built, learner = assembled(asked, cache)
    live = session(asked, tmp_path)
    run(asked.protocol, built, learner, live)
    assert live.pool is not None
    assert [len(live.pool.labelled), len(live.pool.unlabelled)] == [80, 120]
    reached = np.union1d(live.pool.labelled, live.pool.unlabelled)
    # Of 60 candidates about 37 % are never drawn, twice; everything beyond the candidates stays.
    assert 200 - 2 * 35 <= len(reached) <= 200 - 2 * 10
    with pytest.raises(AlbenchError):
        live.pool.check()
