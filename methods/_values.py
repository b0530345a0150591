"""Value vectors: what a block should put out at the subject's last token for the model to say the new target.

For every request a vector δ is added to the block's output at that token, and Adam on δ alone minimises

    mean over contexts of NLL(target | context) + kl · KL(new ‖ old on "{subject} is a") + decay · ‖δ‖ / ‖v‖²

with ‖δ‖ held below clamp · ‖v‖ (ROME, arXiv:2202.05262, section 3.1; MEMIT, arXiv:2210.07229, section 4.2; the decay
term as in their public code). Requests do not interact, so all of them are optimised at once, one row each; a row
leaves when its loss is small enough. Only tokens from the subject's last one on are run, above the block
(``editbench.models.tails``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from editbench.models.tails import Piece, Tails
from editbench.savepoint import Savepoint

if TYPE_CHECKING:
    from editbench.models.lm import LM

    from ._locate_then_edit import ValueHparams
    from ._prompts import Case

# Requests optimised at once: bounds the memory for keys and values of their contexts.
GROUP = 128


@dataclass(frozen=True)
class Values:
    """Value vectors of some requests.

    Attributes
    ----------
    z: what the place should put out at the subject's last token, float32: [requests, hidden].
    reference: what it puts out now, in the bare prompt: [requests, hidden].
    loss: the loss when each request was last looked at, in nats: [requests].
    steps: how many updates each took: [requests].
    """

    z: Tensor
    reference: Tensor
    loss: Tensor
    steps: Tensor

    @property
    def usable(self) -> list[int]:
        """The numbers of the requests whose value vector is finite."""
        return torch.isfinite(self.z).all(1).nonzero().flatten().tolist()


def optimise(
    lm: LM,
    cases: Sequence[Case],
    layer: int,
    hparams: ValueHparams,
    *,
    at_projection: bool = False,
    savepoint: Savepoint | None = None,
    progress: Callable[[float], None] | None = None,
) -> Values:
    """Find the value vectors of ``cases`` at block ``layer``.

    ``at_projection``: whether value and clamp refer to the output of the block's MLP projection, as in ROME, and not
    to the block's output, as in MEMIT; the sum is the same, the norm that bounds δ is not.
    ``savepoint``: where those found so far are kept, so that they need not be found again.
    """
    keeper = savepoint or Savepoint()
    saved = keeper.load()
    found = [Values(**saved)] if saved else []
    for first in range(len(found[0].z) if found else 0, len(cases), GROUP):
        group = cases[first : first + GROUP]

        def report(share: float, before: int = first, size: int = len(group)) -> None:
            if progress is not None:
                progress((before + share * size) / len(cases))

        found.append(_Group(lm, group, layer, hparams, at_projection).optimise(report))
        if keeper.due:
            keeper.save(vars(_joined(found)))
    return _joined(found)


def _joined(found: Sequence[Values]) -> Values:
    """Return the value vectors of several groups as one."""
    device = found[-1].z.device
    names = vars(found[0])
    return Values(**{name: torch.cat([vars(part)[name].to(device) for part in found]) for name in names})


class _Group:
    """Requests optimised together. Sequences are numbered; each belongs to one request, its ``owner``."""

    def __init__(self, lm: LM, cases: Sequence[Case], layer: int, hparams: ValueHparams, at_projection: bool) -> None:
        self.h = hparams
        self.sequences: list[list[int]] = []
        self.starts: list[int] = []
        self.owners: list[int] = []
        self.labels: list[list[int]] = []  # empty for a sequence whose answer must not move
        self.weights: list[float] = []
        bare = []
        for number, case in enumerate(cases):
            bare.append(len(self.sequences))
            for completion, start in zip(case.completions, case.starts, strict=True):
                labels = completion.ids[completion.prompt_len :]
                self._add(number, completion.ids[:-1], start, labels, 1 / (len(labels) * len(case.completions)))
            if hparams.kl_factor:
                self._add(number, case.essence, case.essence_start, [], hparams.kl_factor)
        self.tails = Tails(lm, self.sequences, self.starts, layer)
        place = self.tails.projected if at_projection else self.tails.outputs
        self.reference = place[bare]
        self.norm = self.reference.norm(dim=1)
        self.delta = torch.zeros_like(self.reference, requires_grad=True)
        self.old: dict[int, Tensor] = {}  # sequence -> log-probabilities that must not move

    def _add(self, owner: int, ids: list[int], start: int, labels: list[int], weight: float) -> None:
        self.owners.append(owner)
        self.sequences.append(ids)
        self.starts.append(start)
        self.labels.append(labels)
        self.weights.append(weight)

    def optimise(self, report: Callable[[float], None]) -> Values:
        """Take at most ``steps`` - 1 updates: public code looks at the loss ``steps`` times and updates in between."""
        n, h = len(self.reference), self.h
        active = torch.ones(n, dtype=torch.bool, device=self.delta.device)
        losses, steps = torch.zeros(n, device=self.delta.device), torch.zeros(n, dtype=torch.long)
        adam = torch.optim.Adam([self.delta], lr=h.lr)
        for step in range(h.steps - 1):
            losses = torch.where(active, self._losses_and_gradients(), losses)
            active &= (losses >= h.stop_loss) & torch.isfinite(losses)
            if not active.any():
                break
            self._update(adam, active)
            steps += active.cpu()
            wanted = active.tolist()
            self.tails.keep(lambda number, wanted=wanted: wanted[self.owners[number]])
            report((step + 1) / (h.steps - 1))
        z = self.reference + self.delta.detach()
        z[~torch.isfinite(losses)] = torch.nan
        return Values(z, self.reference, losses, steps)

    @torch.no_grad()
    def _update(self, adam: torch.optim.Optimizer, active: Tensor) -> None:
        """Take an Adam step in the active rows and pull them back to the ball they must stay in."""
        before = self.delta.detach().clone()
        adam.step()
        adam.zero_grad(set_to_none=True)
        most = self.h.clamp * self.norm
        size = self.delta.norm(dim=1)
        scale = torch.where(size > most, most / size, 1.0)
        self.delta.copy_(torch.where(active[:, None], self.delta * scale[:, None], before))

    def _losses_and_gradients(self) -> Tensor:
        """Add the gradient of every request's loss to δ's; return the losses, in nats: [requests]."""
        with torch.enable_grad():
            losses = self.h.weight_decay * self.delta.norm(dim=1) / self.norm.square()
            losses.sum().backward()
            losses = losses.detach()
            for piece in self.tails.pieces:
                each = self._piece_losses(piece)
                each.sum().backward()
                losses += each.detach()
        return losses

    def _piece_losses(self, piece: Piece) -> Tensor:
        """Return what this piece's sequences add to every request's loss: [requests]."""
        device = self.delta.device
        rows, positions, labels, weights, owners, still = [], [], [], [], [], []
        for row, number in enumerate(piece.numbers):
            wanted, last = self.labels[number], len(self.sequences[number]) - self.starts[number] - 1
            if not wanted:
                still.append((row, last, number))
                continue
            rows += [row] * len(wanted)
            positions += range(last + 1 - len(wanted), last + 1)
            labels += wanted
            weights += [self.weights[number]] * len(wanted)
            owners += [self.owners[number]] * len(wanted)
        places = (
            torch.tensor([*rows, *(row for row, _, _ in still)]),
            torch.tensor([*positions, *(p for _, p, _ in still)]),
        )
        owner = torch.tensor([self.owners[number] for number in piece.numbers], device=device)
        logits = self.tails.logits(piece, self.delta[owner], *places).to(device)
        nll = F.cross_entropy(
            logits[: len(labels)], torch.tensor(labels, dtype=torch.long, device=device), reduction="none"
        )
        found = torch.zeros(len(self.reference), device=device)
        found = found.index_add(
            0, torch.tensor(owners, dtype=torch.long, device=device), nll * torch.tensor(weights, device=device)
        )
        if still:
            moved = self._moved(logits[len(labels) :], [number for _, _, number in still])
            place = torch.tensor([self.owners[number] for _, _, number in still], device=device)
            found = found.index_add(0, place, self.h.kl_factor * moved)
        return found

    def _moved(self, logits: Tensor, numbers: Sequence[int]) -> Tensor:
        """Return KL(new ‖ old) of each next-token distribution; what is seen first is the old one."""
        new = logits.log_softmax(-1)
        for number, row in zip(numbers, new.detach(), strict=True):
            self.old.setdefault(number, row)
        old = torch.stack([self.old[number] for number in numbers])
        return F.kl_div(old, new, log_target=True, reduction="none").sum(-1)
