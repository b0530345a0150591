"""The training engine of the fine-tuning methods.

The loss of an example is the mean cross-entropy over its target tokens (the end of text among them, if the protocol
says so); the loss of a mini-batch is the mean over its examples. Weights are trained in float32 whatever the model's
dtype. A mini-batch is computed in pieces of similar length whose gradients add up, so that little padding is paid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from editbench.errors import Diverged
from editbench.method import WeightEdit
from editbench.models.lengths import fitting
from editbench.models.prefix import PrefixCache, by_length, cut_for, pass_tokens
from editbench.requests import Request

if TYPE_CHECKING:
    from editbench.models.lm import LM

    from ._finetune import BreadthFirst, BreadthFirstHparams, FineTune, FineTuneHparams


# Most tokens of a mini-batch computed at once; gradients of its pieces add up, so that this bounds memory only.
PIECE_TOKENS = 16384


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids to read, and which logits must predict which token.

    ``positions[k]`` is the token whose logits are to predict ``labels[k]``. The last label is predicted but never
    read, so it is not among the ``ids``.
    """

    ids: list[int]
    positions: list[int]
    labels: list[int]


def examples(lm: LM, requests: Sequence[Request], loss: str) -> list[Example]:
    """Tokenise every request for the given loss (see ``FineTuneHparams.loss``)."""
    found = []
    for completion in lm.text.completions([(r.prompt, r.target_new) for r in requests]):
        labels = completion.ids[completion.prompt_len :]
        first = completion.prompt_len - 1
        positions = [first] * len(labels) if loss == "last-prompt-token" else [first + k for k in range(len(labels))]
        found.append(Example(completion.ids[:-1], positions, labels))
    return found


class Trainer:
    """Trains some weights of a model on examples, without touching the model.

    Parameters
    ----------
    lm: the model, never changed.
    names: full names of the weights to train.
    data: the examples.
    hparams: learning rate, decay and clamp are used here; order and stopping are the caller's.
    report: called with the share done while what is constant is computed.
    """

    def __init__(
        self,
        lm: LM,
        names: Sequence[str],
        data: Sequence[Example],
        hparams: FineTuneHparams,
        report: Callable[[float], None] | None = None,
    ) -> None:
        self.lm, self.data, self.hparams = lm, data, hparams
        self.originals = {name: lm.parameter(name).detach().float() for name in names}
        self.weights = {name: w.clone().requires_grad_(True) for name, w in self.originals.items()}
        self.cache = PrefixCache(lm, [example.ids for example in data], cut_for(lm, names), progress=report)
        self.lengths = [len(example.ids) for example in data]
        self.slack = pass_tokens(lm.device)
        self.optimizer: torch.optim.Optimizer
        self.reset_optimizer()

    def reset_optimizer(self) -> None:
        """Forget Adam's moments."""
        h = self.hparams
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=h.lr, weight_decay=h.weight_decay)

    def _losses(self, piece: Sequence[int]) -> Tensor:
        """Return each example's loss, in nats: [examples]."""
        rows, positions, labels = [], [], []
        for row, number in enumerate(piece):
            example = self.data[number]
            rows += [row] * len(example.labels)
            positions += example.positions
            labels += example.labels
        row_index = torch.tensor(rows)
        logits = self.cache.logits(piece, row_index, torch.tensor(positions), self.weights)
        each = F.cross_entropy(logits, torch.tensor(labels, device=logits.device), reduction="none")
        row_index = row_index.to(each.device)
        sums = torch.zeros(len(piece), device=each.device).index_add(0, row_index, each)
        return sums / torch.bincount(row_index, minlength=len(piece))

    def losses_and_gradients(self, batch: Sequence[int]) -> Tensor:
        """Put the gradient of the mini-batch's loss into the weights; return its examples' losses: [batch], on the CPU.

        Raises ``Diverged`` if the loss is not finite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        found = torch.empty(len(batch))
        lengths = [self.lengths[number] for number in batch]
        for piece in by_length(lengths, self.lm.at_once(PIECE_TOKENS), self.slack):
            losses = self._losses([batch[k] for k in piece])
            (losses.sum() / len(batch)).backward()
            found[piece] = losses.detach().float().cpu()
        if not torch.isfinite(found).all():
            raise Diverged(f"the training loss is {found.mean().item()} at learning rate {self.hparams.lr:g}")
        return found

    def step(self) -> None:
        """Take one Adam step with the gradients in place, then clamp."""
        self.optimizer.step()
        if self.hparams.clamp is not None:
            with torch.no_grad():
                for name, weight in self.weights.items():
                    origin = self.originals[name]
                    weight.clamp_(origin - self.hparams.clamp, origin + self.hparams.clamp)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights as trained so far and Adam's moments."""
        state = {f"weight:{name}": weight for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            state |= {f"adam:{name}:{key}": value for key, value in self.optimizer.state[weight].items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` returned; an empty ``state`` changes nothing."""
        for key, value in state.items():
            kind, _, name = key.partition(":")
            if kind == "weight":
                self.weights[name].data.copy_(value)
            elif kind == "adam":
                name, _, moment = name.rpartition(":")
                weight = self.weights[name]
                self.optimizer.state[weight][moment] = value if moment == "step" else value.to(weight.device)

    def edit(self) -> WeightEdit:
        """Return what has changed so far. Raises ``Diverged`` if a weight is not finite."""
        deltas = {name: (w.detach() - self.originals[name]) for name, w in self.weights.items()}
        if not all(torch.isfinite(delta).all() for delta in deltas.values()):
            raise Diverged(f"the trained weights are not finite at learning rate {self.hparams.lr:g}")
        return WeightEdit(deltas)


def train(method: FineTune, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> WeightEdit:
    """Fine-tune on ``requests`` in the method's order and return the change; those too long to read are failures."""
    found, method.failures = fitting(lm, requests)
    if not found:
        return WeightEdit({})
    data = examples(lm, found, method.hparams.loss)

    def report(share: float) -> None:
        method.progress(0.0, f"computing what stays constant: {share:.0%}")

    trainer = Trainer(lm, method.weight_names(lm), data, method.hparams, report)
    method.fit(trainer, rng)
    return trainer.edit()


def depth_first(method: FineTune, trainer: Trainer) -> None:
    """Train each request alone until it is learnt, with a fresh optimiser, in the order given."""
    h, n = method.hparams, len(trainer.data)
    saved = method.savepoint.load()
    first = int(saved["next"]) if saved else 0
    trainer.load_state_dict(saved)
    for number in range(first, n):
        if method.savepoint.due:
            method.savepoint.save({**trainer.state_dict(), "next": torch.tensor(number)})
        trainer.reset_optimizer()
        for _ in range(h.passes):
            loss = trainer.losses_and_gradients([number]).item()
            if loss < h.stop_loss:
                break
            trainer.step()
        method.progress((number + 1) / n, f"request {number + 1}/{n}, loss {loss:.3f}")


@dataclass
class _Place:
    """How far breadth-first training has come: what a savepoint holds beside the trainer's own state.

    Attributes
    ----------
    rng: state of the generator when this epoch began.
    losses: every example's loss when it was last seen; NaN before that.
    due: the epoch in which each example is seen next, as of the beginning of this one.
    epoch, step: the mini-batch that comes next, counted from 0; its epoch's order is drawn from ``rng``.
    taken: mini-batches so far, over all epochs.
    curve: the mean of ``losses`` after every whole epoch.
    """

    rng: Tensor
    losses: Tensor
    due: Tensor
    epoch: int = 0
    step: int = 0
    taken: int = 0
    curve: list[float] = field(default_factory=list)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the place as tensors."""
        counts = torch.tensor([self.epoch, self.step, self.taken])
        curve = torch.tensor(self.curve, dtype=torch.float64)
        return {"rng": self.rng, "losses": self.losses, "due": self.due, "counts": counts, "curve": curve}

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> _Place:
        """Return the place that :meth:`state_dict` wrote down."""
        return cls(state["rng"], state["losses"], state["due"], *state["counts"].tolist(), state["curve"].tolist())

    def next_epoch(self, rng: Tensor, seen: Sequence[int], h: BreadthFirstHparams) -> None:
        """Close the epoch in which the examples ``seen`` were: those that are learnt rest in the next ``h.rest``."""
        learnt = self.losses[seen] < h.stop_loss
        self.due[seen] = self.epoch + 1 + h.rest * learnt.long()
        self.curve.append(self.losses.mean(dtype=torch.float64).item())
        self.rng, self.epoch, self.step = rng, self.epoch + 1, 0


def breadth_first(method: BreadthFirst, trainer: Trainer, rng: torch.Generator) -> list[float]:
    """Train all requests in epochs of reshuffled mini-batches; return the mean loss after every whole epoch."""
    h, n = method.hparams, len(trainer.data)
    most = h.max_batches or math.inf
    saved = method.savepoint.load()
    at = _Place.of(saved) if saved else _Place(rng.get_state(), torch.full((n,), math.nan), torch.zeros(n).long())
    trainer.load_state_dict(saved)
    rng.set_state(at.rng)
    while at.epoch < h.passes and not (at.curve and at.curve[-1] < h.stop_loss):
        drawn = torch.randperm(n, generator=rng)
        order = drawn[at.due[drawn] <= at.epoch].tolist()
        steps = math.ceil(len(order) / h.batch_size)
        while at.step < steps and at.taken < most:
            if method.savepoint.due:
                method.savepoint.save({**trainer.state_dict(), **at.state_dict()})
            batch = order[at.step * h.batch_size : (at.step + 1) * h.batch_size]
            at.losses[batch] = losses = trainer.losses_and_gradients(batch)
            if not (h.skip_learnt and losses.mean().item() < h.stop_loss):
                trainer.step()
            at.step, at.taken = at.step + 1, at.taken + 1
            done = max((at.epoch + at.step / steps) / h.passes, at.taken / most)
            method.progress(done, f"epoch {at.epoch + 1}/{h.passes}, loss {losses.mean().item():.3f}")
        if at.step < steps:
            break
        at.next_epoch(rng.get_state(), order, h)
    return at.curve
