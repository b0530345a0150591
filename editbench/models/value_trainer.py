"""Trains value vectors: a vector added at one token of one block's output, so that what is wanted becomes likely.

For every value a vector δ is added at one token of each of its sequences, and Adam on δ alone minimises

    sum over sequences of weight · NLL(labels), or weight · KL(new ‖ old) without labels, + decay · ‖δ‖ / ‖v‖²

with ‖δ‖ held below clamp · ‖v‖, v being what the block puts out at that token of the value's first sequence. Values do
not interact, so all of them are trained at once, one row each; a row leaves when its loss is small enough. Only tokens
from the changed one on are run, above the block (``editbench.models.tails``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editbench.models.tails import Piece, Tails
from editbench.savepoint import Savepoint

if TYPE_CHECKING:
    from editbench.models.lm import LM
    from editbench.models.tokens import Completion

# Values trained at once: bounds the memory for keys and values of their sequences.
GROUP = 128


@dataclass(frozen=True, slots=True)
class Aim:
    """One sequence that a value vector is trained on.

    Attributes
    ----------
    ids: the tokens that the model reads.
    start: index of the token at which the vector is added.
    labels: what the last ``len(labels)`` tokens shall predict, one token each; () where the prediction of the last
        token must stay what it is.
    weight: of the sum of the labels' NLL, or of the KL divergence.
    """

    ids: Sequence[int]
    start: int
    labels: Sequence[int] = ()
    weight: float = 1.0

    @classmethod
    def completing(cls, completion: Completion, start: int | None = None, weight: float = 1.0) -> Aim:
        """Return the aim of a prompt with its target, as ``lm.text.completions`` gives it.

        ``start``: the token at which the vector is added; None: the prompt's last one. ``weight``: of the mean NLL.
        """
        labels = completion.ids[completion.prompt_len :]
        place = completion.prompt_len - 1 if start is None else start
        return cls(completion.ids[:-1], place, labels, weight / len(labels))


@dataclass(frozen=True)
class Values:
    """Value vectors that were trained.

    Attributes
    ----------
    z: what the place should put out at the changed token, float32: [values, hidden].
    reference: what it puts out now, in each value's first sequence: [values, hidden].
    loss: the loss when each value was last looked at, in nats: [values].
    steps: how many updates each took: [values].
    """

    z: Tensor
    reference: Tensor
    loss: Tensor
    steps: Tensor

    @property
    def added(self) -> Tensor:
        """The vectors to add, δ: [values, hidden]."""
        return self.z - self.reference

    @property
    def usable(self) -> list[int]:
        """The numbers of the values that are finite."""
        return torch.isfinite(self.z).all(1).nonzero().flatten().tolist()


@dataclass(frozen=True)
class ValueTrainer:
    """How value vectors are trained, and where.

    Attributes
    ----------
    lm: the model; its weights must not change meanwhile, and it is left as it was found.
    block: the block whose output changes.
    lr: Adam's step size.
    updates: most updates of each value.
    clamp: largest ‖δ‖ as a share of ‖v‖; infinite: no bound.
    decay: weight of ‖δ‖ / ‖v‖².
    stop_loss: a value whose loss is below this, in nats, is done.
    at_projection: whether v is the output of the block's MLP projection (ROME) and not of the block (MEMIT): the sum
        is the same, the norm that bounds δ is not.
    norm: where the block passes the projection's output on through a norm (Gemma), that norm: δ is added before it, and
        v is the projection's output, whatever ``at_projection`` says. What comes behind a norm is always of one length,
        so that few vectors can be put out there, while every vector can be before it.
    """

    lm: LM
    block: int
    lr: float = 0.5
    updates: int = 20
    clamp: float = math.inf
    decay: float = 0.0
    stop_loss: float = 0.0
    at_projection: bool = False
    norm: nn.Module | None = None

    def train(
        self,
        aims: Sequence[Sequence[Aim]],
        *,
        savepoint: Savepoint | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Values:
        """Return the value vectors: one for each of ``aims``, trained on all of that one's sequences.

        ``savepoint``: where those found so far are kept, so that they need not be found again. ``progress``: called
        with the share done. A value whose loss leaves the finite numbers is NaN, and the others go on.
        """
        keeper = savepoint or Savepoint()
        saved = keeper.load()
        found = [Values(**saved)] if saved else []
        for first in range(len(found[0].z) if found else 0, len(aims), GROUP):
            group = aims[first : first + GROUP]

            def report(share: float, before: int = first, size: int = len(group)) -> None:
                if progress is not None:
                    progress((before + share * size) / len(aims))

            found.append(_Group(self, group).train(report))
            if keeper.due:
                keeper.save(vars(_joined(found)))
        return _joined(found) if found else self._none()

    def _none(self) -> Values:
        nothing = torch.zeros(0, self.lm.shape.hidden, device=self.lm.device)
        return Values(nothing, nothing, nothing[:, 0], torch.zeros(0, dtype=torch.long))


def _joined(found: Sequence[Values]) -> Values:
    """Return the value vectors of several groups as one."""
    device = found[-1].z.device
    names = vars(found[0])
    return Values(**{name: torch.cat([vars(part)[name].to(device) for part in found]) for name in names})


class _Group:
    """Values trained together. Sequences are numbered; each belongs to one value, its ``owner``."""

    def __init__(self, trainer: ValueTrainer, aims: Sequence[Sequence[Aim]]) -> None:
        self.how = trainer
        self.aims = [aim for one in aims for aim in one]
        self.owners = [number for number, one in enumerate(aims) for _ in one]
        firsts = [self.owners.index(number) for number in range(len(aims))]
        sequences, starts = [aim.ids for aim in self.aims], [aim.start for aim in self.aims]
        self.tails = Tails(trainer.lm, sequences, starts, trainer.block)
        before = trainer.at_projection or trainer.norm is not None
        place = self.tails.projected if before else self.tails.outputs
        self.reference = place[firsts]
        self.norm = self.reference.norm(dim=1)
        self.delta = torch.zeros_like(self.reference, requires_grad=True)
        self.old: dict[int, Tensor] = {}  # sequence -> log-probabilities that must not move

    def train(self, report: Callable[[float], None]) -> Values:
        n, how = len(self.reference), self.how
        active = torch.ones(n, dtype=torch.bool, device=self.delta.device)
        losses, steps = torch.zeros(n, device=self.delta.device), torch.zeros(n, dtype=torch.long)
        adam = torch.optim.Adam([self.delta], lr=how.lr)
        for step in range(how.updates):
            losses = torch.where(active, self._losses_and_gradients(), losses)
            active &= (losses >= how.stop_loss) & torch.isfinite(losses)
            if not active.any():
                break
            self._update(adam, active)
            steps += active.cpu()
            self._keep(active.tolist())
            report((step + 1) / how.updates)
        z = self.reference + self.delta.detach()
        z[~torch.isfinite(losses)] = torch.nan
        return Values(z, self.reference, losses, steps)

    def _keep(self, wanted: Sequence[bool]) -> None:
        self.tails.keep(lambda number: wanted[self.owners[number]])

    @torch.no_grad()
    def _update(self, adam: torch.optim.Optimizer, active: Tensor) -> None:
        """Take an Adam step in the active rows and pull them back to the ball they must stay in."""
        before = self.delta.detach().clone()
        adam.step()
        adam.zero_grad(set_to_none=True)
        most = self.how.clamp * self.norm
        size = self.delta.norm(dim=1)
        scale = torch.where(size > most, most / size, 1.0)
        self.delta.copy_(torch.where(active[:, None], self.delta * scale[:, None], before))

    def _losses_and_gradients(self) -> Tensor:
        """Add the gradient of every value's loss to δ's; return the losses, in nats: [values]."""
        with torch.enable_grad():
            losses: Tensor = self.how.decay * self.delta.norm(dim=1) / self.norm.square()
            losses.sum().backward()  # type: ignore[no-untyped-call]
            losses = losses.detach()
            for piece in self.tails.pieces:
                each = self._piece_losses(piece)
                each.sum().backward()  # type: ignore[no-untyped-call]
                losses += each.detach()
        return losses

    def _piece_losses(self, piece: Piece) -> Tensor:
        """Return what this piece's sequences add to every value's loss: [values]."""
        device = self.delta.device
        places, labels, still = self._asked(piece)
        owner = torch.tensor([self.owners[number] for number in piece.numbers], device=device)
        added = self._behind_norm(self.delta[owner], self.tails.projected[piece.numbers])
        logits = self.tails.logits(piece, added, *places).to(device)
        nll = F.cross_entropy(
            logits[: len(labels)],
            torch.tensor([label for _, label in labels], dtype=torch.long, device=device),
            reduction="none",
        )
        found = torch.zeros(len(self.reference), device=device)
        found = self._added(found, [number for number, _ in labels], nll)
        if still:
            found = self._added(found, still, self._moved(logits[len(labels) :], still))
        return found

    def _behind_norm(self, delta: Tensor, projected: Tensor) -> Tensor:
        """Return by how much the block's output changes where δ is added to its projection's: [rows, hidden]."""
        norm = self.how.norm
        if norm is None:
            return delta
        place = next(norm.parameters()).device
        changed: Tensor = norm((projected + delta).to(place)) - norm(projected.to(place))
        return changed.to(delta.device)

    def _asked(self, piece: Piece) -> tuple[tuple[Tensor, Tensor], list[tuple[int, int]], list[int]]:
        """Return where logits are wanted, rows and places in the tails: those with a label, then those without one.

        Returned with them: (sequence, label) of the former, and the sequences of the latter.
        """
        wanted, labels, quiet, still = [], [], [], []
        for row, number in enumerate(piece.numbers):
            aim = self.aims[number]
            last = len(aim.ids) - aim.start - 1
            if not aim.labels:
                quiet.append((row, last))
                still.append(number)
            first = last + 1 - len(aim.labels)
            wanted += [(row, first + k) for k in range(len(aim.labels))]
            labels += [(number, label) for label in aim.labels]
        rows, positions = zip(*wanted, *quiet, strict=True)
        return (torch.tensor(rows), torch.tensor(positions)), labels, still

    def _added(self, sums: Tensor, numbers: Sequence[int], losses: Tensor) -> Tensor:
        """Add losses of sequences, weighted, to those of the values they belong to."""
        owners = torch.tensor([self.owners[number] for number in numbers], dtype=torch.long, device=sums.device)
        weights = torch.tensor([self.aims[number].weight for number in numbers], device=sums.device)
        return sums.index_add(0, owners, losses * weights)

    def _moved(self, logits: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return KL(new ‖ old) of each next-token distribution; what is seen first is the old one."""
        new = logits.log_softmax(-1)
        for number, row in zip(numbers, new.detach(), strict=True):
            self.old.setdefault(number, row)
        old = torch.stack([self.old[number] for number in numbers])
        return F.kl_div(old, new, log_target=True, reduction="none").sum(-1)
