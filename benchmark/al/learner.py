"""A model that is trained, evaluated and asked for outputs, cycle after cycle; it knows nothing of
pools.

What it keeps between cycles: the student's weights and the objective's branches. What it can be
asked for by name: `<output>` of the student, `reference.<output>` and `previous.<output>` of the
network one cycle earlier (they differ in the first cycle, see `_earlier`), `extractor.<output>` of
the protocol's fixed network, and `<network>.<output>` of what the objective keeps, such as
`teacher.logits`. `dropout<k>.<output>` and `perturbed<k>.<output>` are those of k passes of the
student, `head.weight` and `head.bias` its last linear layer (`training/passes.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from benchmark.al.augmentation.images import ImageSource
from benchmark.al.networks import build_network, pretrain
from benchmark.al.objectives.base import (
    SCORING,
    Batch,
    Build,
    CycleData,
    DrawnOrders,
    Objective,
    Orders,
)
from benchmark.al.output_name import OutputName
from benchmark.al.pool import Indices
from benchmark.al.random.streams import Streams
from benchmark.al.state.checkpoint import weights_digest
from benchmark.al.training import optimizers
from benchmark.al.training.batch_counters import counted_once
from benchmark.al.training.cuda_graphs import Captured, CudaGraphs, Graphs, TrainStep
from benchmark.al.training.half_weights import half_weights
from benchmark.al.training.inference import Evaluated, Inference
from benchmark.al.training.joint_batch import forward_jointly, forward_separately
from benchmark.al.training.numerics import Numerics
from benchmark.al.training.passes import dropout_passes, find_head, head_outputs, perturbed_copies
from benchmark.al.training.recorder import CycleStart, EpochEnd
from benchmark.al.training.recorders import recorders_of
from benchmark.al.training.schedules import in_cycle, learning_rate_at
from benchmark.errors import UsageError
from benchmark.spec.protocol import Protocol
from benchmark.spec.training import Adam, Model, Sgd


@dataclass(frozen=True)
class LearnerData:
    """The images a learner works on, on its device."""

    train: ImageSource
    """The pool through the train view."""
    pool: ImageSource
    """The pool through the scoring view."""
    test: ImageSource
    train_labels: Tensor
    test_labels: Tensor
    voted: ImageSource | None = None
    """The pool through the scoring view at the size of training, for votes (None: through the train
    view)."""
    pretext: ImageSource | None = None
    """The pool through the view of the stage before the first cycle, while it is trained."""
    pretext_test: ImageSource | None = None
    """The same while it is measured."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """Features of the pool from files, by name: (pool, d) float32 on the CPU."""
    validation: ImageSource | None = None
    """What the protocol keeps from the pool, through the test view, where it does."""
    validation_labels: Tensor | None = None


Recorder = TypeVar("Recorder")
InitialWeights = Callable[[str, int, nn.Module], None]
"""Called with the name of a network or of an objective's branch, the cycle it is made for and the
new module on its device; may set its weights in place."""


class TrainingInterrupted(Exception):
    """Training was asked to stop; its state is saved."""


class Learner:
    """One network, its objective and its recipe."""

    def __init__(
        self,
        protocol: Protocol,
        objective: Objective,
        parts: LearnerData,
        streams: Streams,
        numerics: Numerics,
        weights: Path = Path("weights"),
        place: int = 0,
        orders: Orders | None = None,
        initial: InitialWeights | None = None,
    ) -> None:
        """`weights` is the folder of pre-trained weights files, read only where the protocol asks
        for them; `place` says which of the protocol's models this is. `orders` and `initial` take
        the place of what is drawn from the streams: in which order images are gone through, and
        where networks start."""
        self.protocol, self.objective, self.parts, self.place = protocol, objective, parts, place
        self.streams, self.numerics, self._weights = streams, numerics, weights
        self.orders: Orders = orders or DrawnOrders()
        self.initial = initial
        self._before: nn.Module | None = None
        self.graphs: Callable[[torch.device], Graphs] = CudaGraphs
        self.recorders = recorders_of(protocol.training, numerics.number)
        self.metrics: dict[str, float] = {}
        if numerics.step == "captured":
            self._check_capturable()
        self._start_afresh(cycle=0)
        first = place == protocol.trained()[0]
        self.extractor = (
            self._built(protocol.extractor, "extractor") if protocol.extractor and first else None
        )

    # ------------------------------------------------------------------------------------- training

    def fit(
        self,
        cycle: int,
        labelled: Indices,
        unlabelled: Indices,
        needs: Iterable[str],
        resume: Mapping[str, Any] | None = None,
        after_epoch: Callable[[int, float, Callable[[], dict[str, Any]]], None] = lambda *_: None,
    ) -> None:
        """Train for one cycle. `after_epoch(epochs done, mean loss, state)` may raise
        `TrainingInterrupted`; `resume` is such a state."""
        training = self.protocol.training
        self.start_cycle(cycle, needs)
        optimizer = self._optimizer()
        data = self._cycle_data(cycle, labelled, unlabelled)
        first = 0
        if resume is not None:
            self.load_progress(resume)
            optimizer.load_state_dict(resume["optimizer"])
            first = int(resume["epochs"])
        else:
            self.objective.start_cycle(cycle, self.student)
            self.best = (-1.0, 0)
            start = CycleStart(
                training,
                self.student,
                frozenset(needs),
                unlabelled[: self.protocol.acquisition.candidates],
                partial(self._network, "average", self._drawn_for(cycle)),
            )
            for recorder in self.recorders:
                recorder.start_cycle(start)
        update = self.updates(optimizer)
        for epoch in range(first, training.epochs):
            loss = self._epoch(data, epoch, optimizer, update)
            end = EpochEnd(
                epoch + 1,
                self.student,
                partial(self.objective.refresh_batches, data, epoch),
                partial(self._training_inference, cycle),
                self.numerics.autocast,
            )
            for recorder in self.recorders:
                recorder.after_epoch(end)
            self._evaluate_during_training(epoch)
            after_epoch(epoch + 1, loss, partial(self._progress, epoch + 1, optimizer))

    def start_cycle(self, cycle: int, needs: Iterable[str]) -> None:
        """Keep the network one cycle earlier if it is asked for, and put the student where the
        protocol says."""
        self._before = self._earlier(cycle, needs)
        if cycle > 0 and self.protocol.training.start == "fresh":
            self._start_afresh(self._drawn_for(cycle), first=False)

    def _drawn_for(self, cycle: int) -> int:
        """The cycle whose stream gives a cycle's initial weights."""
        return 0 if self.protocol.training.same_init else cycle

    def _start_afresh(self, cycle: int, first: bool = True) -> None:
        """New random weights for the student and for everything the objective adds."""
        self.student = self._network("student", cycle)
        self.objective.build(
            Build(
                network=lambda name: self._network(name, cycle),
                seeded=lambda name: self.streams.torch_seeded("init", cycle, name),
                training=self.protocol.training,
                classes=self.protocol.data.classes,
                halves=forward_separately if self.numerics.step == "eager" else forward_jointly,
                number=self.numerics.number,
                first=first,
            )
        )
        for name, module in self.objective.modules().items():
            self.numerics.place(module)
            if self.initial is not None:
                self.initial(name, cycle, module)

    def _earlier(self, cycle: int, needs: Iterable[str]) -> nn.Module | None:
        """The network at the end of the previous cycle. In the first cycle `reference` is an
        independent untrained network, as TOD's release has it, and `previous` the student's own
        initial weights."""
        asked = {OutputName.parse(name).network for name in needs} & {"reference", "previous"}
        if not asked:
            return None
        if cycle == 0 and "reference" in asked:
            return self._network("reference")
        return copy.deepcopy(self.student)

    def _epoch(
        self, data: CycleData, epoch: int, optimizer: torch.optim.Optimizer, update: TrainStep
    ) -> float:
        training, steps = self.protocol.training, self.objective.epoch_steps(data)
        torch.manual_seed(self.streams.key("order", data.cycle, f"dropout {epoch}"))
        self.student.train()
        total = torch.zeros((), dtype=self.numerics.dtype, device=self.numerics.device)
        schedule = in_cycle(training.schedule, data.cycle, self.protocol.acquisition.cycles)
        recipe = training.optimizer
        assert isinstance(recipe, Sgd | Adam), "the learner of `probe.py` has no epochs"
        with counted_once([self.student, *self.objective.modules().values()]):
            for batch in self.objective.batches(data, epoch):
                lr = learning_rate_at(
                    schedule, recipe.lr, epoch, batch.step, training.epochs, steps
                )
                for group in optimizer.param_groups:
                    if group.get("scheduled", True):
                        group["lr"] = lr
                total += update(batch)
        return float(total) / steps

    def updates(self, optimizer: torch.optim.Optimizer) -> TrainStep:
        """One optimiser step on a batch, at the rates of the optimiser's groups; it gives the
        loss."""
        device_part: TrainStep = partial(self._update, optimizer)
        if self.numerics.step == "captured":
            device_part = Captured(
                device_part, self.objective.kind, self.graphs(self.numerics.device)
            )

        def update(batch: Batch) -> Tensor:
            if isinstance(optimizer, optimizers.CapturableSgd):
                optimizer.before_step()
            self.objective.before_step(batch)
            for recorder in self.recorders:
                recorder.before_step()
            return device_part(batch)

        return update

    def _update(self, optimizer: torch.optim.Optimizer, batch: Batch) -> Tensor:
        with self.numerics.autocast(), self._cast_weights():
            loss = self.objective.loss(self.student, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        self.objective.after_step(self.student)
        for recorder in self.recorders:
            recorder.after_step(self.student)
        return loss.detach()

    def _cast_weights(self) -> AbstractContextManager[None]:
        if self.numerics.precision != "bf16":
            return nullcontext()
        return half_weights([self.student, *self.objective.modules().values()])

    def _check_capturable(self) -> None:
        recipe, name = self.protocol.training.optimizer, type(self.objective).__name__
        if not isinstance(recipe, Sgd) or not self.objective.capturable:
            what = f"the loss of {name}" if isinstance(recipe, Sgd) else f"a step of {recipe.name}"
            raise UsageError(
                f"--step captured: {what} is not captured",
                remedy="use --step together or eager",
            )

    def _optimizer(self) -> torch.optim.Optimizer:
        recipe = self.protocol.training.optimizer
        assert isinstance(recipe, Sgd | Adam), "the learner of `probe.py` has no optimiser"
        named = [
            (name, value) for name, value in self.student.named_parameters() if value.requires_grad
        ]
        exempt = recipe.exempt if isinstance(recipe, Sgd) else ()
        spared = [value for name, value in named if any(mark in name for mark in exempt)]
        decayed = [value for name, value in named if not any(mark in name for mark in exempt)]
        groups: list[dict[str, Any]] = [{"params": decayed}]
        if spared:
            groups.append({"params": spared, "weight_decay": 0.0})
        groups += self.objective.parameter_groups(self.protocol.training)
        if isinstance(recipe, Adam):
            return optimizers.Adam(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
        given = recipe.model_dump(include={"lr", "momentum", "weight_decay", "nesterov"})
        if self.numerics.step != "eager":
            return optimizers.CapturableSgd(groups, self.numerics.number, **given)
        return optimizers.SGD(groups, **given, foreach=True)

    def _cycle_data(self, cycle: int, labelled: Indices, unlabelled: Indices) -> CycleData:
        device = self.numerics.device
        return CycleData(
            cycle,
            torch.from_numpy(labelled).to(device),
            torch.from_numpy(unlabelled).to(device),
            self.parts.train_labels,
            self.parts.train,
            self.streams,
            self.protocol.training,
            device,
            self.orders,
        )

    def _evaluate_during_training(self, epoch: int) -> None:
        every = self.protocol.evaluation.every
        if every is None or (epoch + 1) % every:
            return
        accuracy = self.evaluate(self.student).accuracy
        if accuracy > self.best[0]:
            self.best = (accuracy, epoch + 1)
            if self.protocol.training.start == "warm_best":
                self._best_state = copy.deepcopy(self.student.state_dict())

    # ----------------------------------------------------------------------------------- evaluation

    def finish_cycle(self) -> Evaluated:
        """Evaluate after the last epoch, fill `metrics`, and fall back to the best epoch's weights
        where they are kept."""
        last = self.evaluate(self.student)
        self.metrics = {"accuracy/last": last.accuracy, "loss/last": last.loss}
        if self.protocol.evaluation.every is not None:
            self.metrics |= {"accuracy/best": self.best[0], "epoch/best": float(self.best[1])}
        if self.protocol.training.start == "warm_best":
            self.student.load_state_dict(self._best_state)
        which = (
            "averaged"
            if self.protocol.evaluation.weights == "averaged"
            else self.protocol.evaluation.epoch
        )
        judged: nn.Module = self.student
        for evaluated in (
            *(recorder.evaluated() for recorder in self.recorders),
            self.objective.evaluated(),
        ):
            for name, module in evaluated.items():
                self.metrics[f"accuracy/{name}"] = self.evaluate(module).accuracy
                judged = module if name == which else judged
        self.metrics["accuracy"] = self.metrics[f"accuracy/{which}"]
        self._validate(judged)
        return last

    def _validate(self, model: nn.Module) -> None:
        """Add accuracy and loss on the images that the protocol keeps from the pool, where it
        does."""
        images, labels = self.parts.validation, self.parts.validation_labels
        if images is not None and labels is not None:
            found = self._inference(images, cycle=0).evaluate(model, labels)
            self.metrics |= {"accuracy/validation": found.accuracy, "loss/validation": found.loss}

    def evaluate(self, model: nn.Module) -> Evaluated:
        """Accuracy on the test set in eval mode through the test view."""
        return self._inference(self.parts.test, cycle=0).evaluate(model, self.parts.test_labels)

    def outputs(self, names: Iterable[str], indices: Indices, cycle: int) -> dict[str, Tensor]:
        """Outputs by name for pool images through the scoring view: (n, ...) each, all from one
        pass over the images."""
        networks: dict[str, nn.Module | list[nn.Module]] = {
            "": self.student,
            **self.objective.modules(),
        }
        if self.extractor is not None:
            networks["extractor"] = self.extractor
        for recorder in self.recorders:
            networks |= recorder.networks()
        if self._before is not None:
            networks |= {"reference": self._before, "previous": self._before}
        named = set(names)
        recorded = {
            name: value
            for part in self.recorders
            for name, value in part.outputs(named, indices).items()
        }
        rest = named - set(recorded)
        layers = {
            name: owner for name in rest if (owner := OutputName.parse(name).headed) is not None
        }
        recorded |= {
            name: self._head_output(networks, name, owner, indices)
            for name, owner in layers.items()
        }
        rest -= set(layers)
        networks |= self._passes(rest, cycle, indices)
        if not rest:
            return recorded
        return (
            self._inference(self.parts.pool, cycle).outputs(
                networks, rest, torch.from_numpy(indices)
            )
            | recorded
        )

    def _head_output(
        self,
        networks: Mapping[str, nn.Module | list[nn.Module]],
        name: str,
        owner: str,
        indices: Indices,
    ) -> Tensor:
        """Weights or bias of the last linear layer of a network. Raises UsageError where there is
        no such network or layer."""
        network = networks.get(owner)
        if not isinstance(network, nn.Module):
            raise UsageError(
                f"the strategy needs '{name}', but there is no one network '{owner}'",
                remedy="head.weight",
            )
        return head_outputs(
            find_head(network, self.scoring_images(indices[:1])), OutputName.parse(name).output
        )

    def _passes(
        self, names: Iterable[str], cycle: int, indices: Indices
    ) -> dict[str, nn.Module | list[nn.Module]]:
        """The passes of the student that names ask for, by network. Two numbers of passes share the
        first ones."""
        found: dict[str, nn.Module | list[nn.Module]] = {}
        for name in names:
            asked = OutputName.parse(name)
            if asked.passes is not None and asked.network not in found:
                kind, count = asked.passes
                counter = self.streams.counter("order", cycle, f"{kind} passes")
                found[asked.network] = (
                    dropout_passes(self.student, count, counter, self.scoring_images(indices[:1]))
                    if kind == "dropout"
                    else perturbed_copies(self.student, count, counter)
                )
        return found

    def _training_inference(self, cycle: int, name: str) -> Inference:
        counter = self.streams.counter("augment", cycle, name)
        images = self.parts.voted or self.parts.train
        return Inference(images, self.protocol.evaluation.batch_size, self.numerics, {}, counter)

    def _inference(self, images: ImageSource, cycle: int) -> Inference:
        counter = self.streams.counter("augment", cycle)
        size = self.protocol.evaluation.batch_size
        return Inference(images, size, self.numerics, self.objective.heads(), counter, SCORING)

    # ---------------------------------------------------------------------------------------- state

    def state(self) -> dict[str, Any]:
        """What is carried to the next cycle."""
        return {
            "student": self.student.state_dict(),
            "modules": {
                name: module.state_dict() for name, module in self.objective.modules().items()
            },
            "counters": dict(self.objective.counters()),
            "metrics": dict(self.metrics),
        } | {recorder.key: kept for recorder in self.recorders if (kept := recorder.carried())}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        self.student.load_state_dict(state["student"])
        for name, module in self.objective.modules().items():
            module.load_state_dict(state["modules"][name])
        self.objective.load_counters(state["counters"])
        self.metrics = dict(state["metrics"])
        for recorder in self.recorders:
            if state.get(recorder.key):
                recorder.load_state(state[recorder.key], self.student)

    def trained(self) -> dict[str, Any]:
        """What an identical training would leave behind."""
        best = {"best_state": self._best_state} if hasattr(self, "_best_state") else {}
        kept = {recorder.key: state for recorder in self.recorders if (state := recorder.state())}
        return self.state() | {"best": list(self.best)} | best | kept

    def _progress(self, epochs: int, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """What is needed to go on inside a cycle after so many epochs."""
        return self.trained() | {"epochs": epochs, "optimizer": optimizer.state_dict()}

    def load_progress(self, progress: Mapping[str, Any]) -> None:
        """Take back what `trained` returned."""
        self.load_state(progress)
        self.best = (float(progress["best"][0]), int(progress["best"][1]))
        if "best_state" in progress:
            self._best_state = progress["best_state"]

    def uses_unlabelled(self, needs: Iterable[str]) -> bool:
        """Whether the unlabelled list influences training or what is recorded during it."""
        return self.objective.uses_unlabelled or bool(self.recorded(needs))

    def recorded(self, needs: Iterable[str]) -> frozenset[str]:
        """Which of the needs are recorded while training and cannot be computed afterwards."""
        named = frozenset(needs)
        return frozenset[str]().union(*(recorder.recorded(named) for recorder in self.recorders))

    def recorder(self, kind: type[Recorder]) -> Recorder:
        """The recorder of this class. Raises KeyError where the training has none."""
        for recorder in self.recorders:
            if isinstance(recorder, kind):
                return recorder
        raise KeyError(kind.__name__)

    @property
    def epochs(self) -> int:
        """Epochs of one cycle."""
        return self.protocol.training.epochs

    def scoring_images(self, indices: Indices | Tensor) -> Tensor:
        """(b, c, h, w) pool images through the scoring view."""
        chosen = torch.as_tensor(indices).to(self.numerics.device)
        return self.parts.pool.batch(chosen, self.streams.counter("augment"), 0, SCORING)

    def weights(self) -> str:
        """sha256 of the student's parameters and buffers."""
        return weights_digest(self.student.state_dict())

    def kept_weights(self) -> str:
        """The same as `finish_cycle` leaves the student: at its best epoch, where the next cycle
        starts there."""
        if self.protocol.training.start == "warm_best":
            return weights_digest(self._best_state)
        return self.weights()

    def _network(self, name: str, cycle: int = 0) -> nn.Module:
        return self._built(self.protocol.models[self.place], name, cycle)

    def _built(self, model: Model, name: str, cycle: int = 0) -> nn.Module:
        part = name if self.place == 0 else f"{name} of model {self.place}"
        with self.streams.torch_seeded("init", cycle, part):
            made = build_network(model, self.protocol.data.classes, self.parts.train.shape[0])
        # Teachers and references start random even where the student starts pre-trained (TOD's
        # release).
        if name in ("student", "extractor") and model.weights == "pretrained":
            pretrain(made, self._weights, model.start)
        placed = self.numerics.place(made)
        if self.initial is not None:
            self.initial(part, cycle, placed)
        return placed
