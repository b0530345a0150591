"""UltraEdit: one closed-form step from hidden states and gradients, normalised over the whole stream of edits.

Per edited projection and answer token: h, the projection's input, and g, the gradient of the loss at its output. With
ĥ and ĝ normalised by the running mean and standard deviation of all rows (h, g) seen so far, the wanted change of the
output is v = −lr·‖ĥ‖²·ĝ, and ΔWᵀ = (HᵀH + ridge·I)⁻¹ HᵀV is the ridge regression of V on the raw H.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import NonNegativeInt, PositiveFloat, model_validator

from editbench.errors import Diverged, UserError
from editbench.method import Edit, Hparams, Method, WeightEdit
from editbench.requests import Request
from editbench.spaces import Blocks, LogRange

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from editbench.models.layout import Role
    from editbench.models.lm import LM, ModelShape
    from editbench.models.prefix import PrefixCache

    from ._running import Running
    from ._training import Example

ROLES: tuple[Role, ...] = ("gate", "up", "down")
# GPT-J's published choice of `down`, which every architecture has: blocks 18 to 26 of 28.
FIRST, LAST, OF = 18, 26, 28


class UltraEdit(Method):
    """Regress normalised gradients on hidden states: one forward, one backward, no training (UltraEdit)."""

    name = "ultraedit"
    cite = "arXiv:2505.14679"
    regimes = frozenset({"batch", "sequential"})

    class Hparams(Hparams):
        """Hyper-parameters of UltraEdit. A suite that overrides one list of blocks keeps the others.

        Attributes
        ----------
        gate, up, down: blocks, from 0, whose MLP projection of this kind is edited; at least one in all.
        lr: size of the wanted change of an output, per squared length of the normalised input.
        ridge: weight of the identity in the regression, in squared units of the input.
        eps: added to the standard deviations; the public code's is the machine epsilon of float32.
        """

        gate: Annotated[tuple[NonNegativeInt, ...], Blocks((0, 3, 7), 0.3)] = ()
        up: Annotated[tuple[NonNegativeInt, ...], Blocks((3, 7), 0.3)] = ()
        down: Annotated[tuple[NonNegativeInt, ...], Blocks((0, 3, 7), 0.3)] = ()
        lr: Annotated[PositiveFloat, LogRange(1.0e-7, 1.0e-2)] = 1.0e-6
        ridge: Annotated[PositiveFloat, LogRange(0.1, 100.0)] = 1.0
        eps: PositiveFloat = 1.2e-7

        @model_validator(mode="after")
        def _edits_something(self) -> Self:
            if not (self.gate or self.up or self.down):
                raise ValueError("name at least one block in gate, up or down")
            return self

    def __init__(self, hparams: Any = None) -> None:
        super().__init__(hparams)
        self.statistics: dict[str, Running] = {}

    @classmethod
    def heuristics(cls, shape: ModelShape) -> dict[str, Any]:
        """Edit the output projections at GPT-J's relative depths, which every architecture has."""
        n = shape.n_layers
        return {"down": tuple(range(FIRST * n // OF, LAST * n // OF + 1))}

    @classmethod
    def flops(cls, shape: ModelShape, hparams: Any, n_requests: int, tokens: float) -> float:
        """Return the floating-point operations of an edit: a forward pass, a backward one above the lowest block, and
        per projection the regression, in whichever of its two forms is smaller. A third of the tokens are answers.
        """
        blocks = (*hparams.gate, *hparams.up, *hparams.down)
        passes = (2 * shape.n_layers + 2 * (shape.n_layers - min(blocks))) * shape.parameters
        answers = n_requests * tokens / 3
        total = n_requests * tokens * passes + answers * 4 * shape.vocab * shape.hidden
        for count, width in ((len(hparams.down), shape.mlp), (len(hparams.gate) + len(hparams.up), shape.hidden)):
            solve = 2 * min(answers, width) ** 2 * (max(answers, width) + min(answers, width) / 6)
            total += count * (solve + 4 * answers * shape.mlp * shape.hidden)
        return float(total)

    def supports(self, lm: LM) -> str | None:
        """Refuse a block or a projection the model has not, and half of a projection that holds gate and up."""
        layout, h = lm.layout, self.hparams
        try:
            self.weight_names(lm)
        except UserError as error:
            return str(error)
        if layout.gate == layout.up and set(h.gate) != set(h.up):
            return f"gate and up are one matrix, {layout.up}, in this model: name the same blocks for both"
        return None

    def weight_names(self, lm: LM) -> list[str]:
        """Return the full names of the weights to edit, each once. Raises ``UserError`` naming what the model has."""
        chosen = [lm.layout.weight_name(layer, role) for role in ROLES for layer in getattr(self.hparams, role)]
        return list(dict.fromkeys(chosen))

    def edit(self, lm: LM, requests: Sequence[Request], rng: torch.Generator) -> Edit:
        """Update the running statistics with ``requests`` and return one step per projection (float32)."""
        from editbench.models.lengths import fitting

        from ._running import Running

        requests, self.failures = fitting(lm, requests)
        if not requests:
            return WeightEdit({})
        names = self.weight_names(lm)
        found = read_signals(lm, names, requests, lambda share: self.progress(0.7 * share, "hidden states, gradients"))
        kept = self._finite(found, requests)
        if not kept.any():
            return WeightEdit({})
        deltas, updated = {}, {}
        for number, name in enumerate(names):
            h, g = (part[name][kept].to(lm.parameter(name).device) for part in (found.inputs, found.gradients))
            updated[name] = Running.of(h, g).merged(self.statistics.get(name))
            deltas[name] = self._delta(lm, h, g, updated[name])
            self.progress(0.7 + 0.3 * (number + 1) / len(names), f"projection {number + 1}/{len(names)}")
        self.statistics |= {name: running.to("cpu") for name, running in updated.items()}
        return WeightEdit(deltas)

    def _finite(self, found: Signals, requests: Sequence[Request]) -> Tensor:
        """Return which rows belong to requests that are finite everywhere, [n]; the others become failures."""
        import torch

        everything = (*found.inputs.values(), *found.gradients.values())
        lost = found.owners[~torch.stack([part.isfinite().all(1) for part in everything]).all(0)]
        for number in sorted(set(lost.tolist())):
            self.failures[requests[number].id] = "its hidden states or gradients are not finite"
        return ~torch.isin(found.owners, lost)

    def _delta(self, lm: LM, h: Tensor, g: Tensor, running: Running) -> Tensor:
        """Return ΔW in the parameter's own shape, float32. Raises ``Diverged`` if it is not finite."""
        from ._solves import ridge_regression

        h_hat, g_hat = running.normalised(h, g, eps=self.hparams.eps)
        wanted = -self.hparams.lr * h_hat.square().sum(1, keepdim=True) * g_hat
        step = ridge_regression(h.double(), wanted, self.hparams.ridge).float()
        if not step.isfinite().all():
            raise Diverged(f"the change of a projection is not finite at learning rate {self.hparams.lr:g}")
        return step if lm.layout.conv1d else step.T.contiguous()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the running statistics of every weight: its count, mean and m2."""
        from ._running import to_state

        return to_state(self.statistics)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take the running statistics back."""
        from ._running import from_state

        self.statistics = from_state(state)


@dataclass
class Signals:
    """What was read at the answer tokens, in the same order everywhere; float32, in host memory.

    Attributes
    ----------
    owners: [n], number of the request each row belongs to.
    inputs, gradients: weight name -> [n, d_in] inputs of that projection, [n, d_out] gradients at its output.
    """

    owners: Tensor
    inputs: dict[str, Tensor]
    gradients: dict[str, Tensor]


def read_signals(lm: LM, names: Sequence[str], requests: Sequence[Request], report: Callable[[float], None]) -> Signals:
    """Read h and g of every request at these weights, in pieces of similar length; the model is left as it was.

    The loss is the sum over requests of the mean cross-entropy over their target tokens, so that a request's gradients
    do not depend on those beside it. Blocks under the lowest of ``names`` are run once and keep nothing.
    """
    import torch

    from editbench.models.prefix import Cut, PrefixCache, by_length, pass_tokens

    from ._training import PIECE_TOKENS, examples

    data = examples(lm, requests, "target-tokens")
    cache = PrefixCache(lm, [sample.ids for sample in data], Cut(None))  # one pass: there is nothing to keep
    pieces = by_length([len(sample.ids) for sample in data], lm.at_once(PIECE_TOKENS), pass_tokens(lm.device))
    read = []
    for done, piece in enumerate(pieces, 1):
        read.append(_read_piece(cache, names, data, piece))
        report(done / len(pieces))
    inputs = {name: torch.cat([part.inputs[name] for part in read]) for name in names}
    gradients = {name: torch.cat([part.gradients[name] for part in read]) for name in names}
    return Signals(torch.cat([part.owners for part in read]), inputs, gradients)


def _read_piece(cache: PrefixCache, names: Sequence[str], data: Sequence[Example], piece: Sequence[int]) -> Signals:
    """Run one piece forward and backward; return what its answer tokens show."""
    import torch

    chosen = [data[number] for number in piece]
    counts = torch.tensor([len(sample.labels) for sample in chosen])
    rows = torch.arange(len(piece)).repeat_interleave(counts)
    positions = torch.tensor([position for sample in chosen for position in sample.positions])
    labels = torch.tensor([label for sample in chosen for label in sample.labels])
    places = rows * max(len(sample.ids) for sample in chosen) + positions
    with torch.enable_grad(), _tapped(cache.lm, names, places) as taps:
        logits = cache.logits(piece, rows, positions)
        each = torch.nn.functional.cross_entropy(logits, labels.to(logits.device), reduction="none")
        loss = each @ (1 / counts[rows]).to(each.device)
        gradients = torch.autograd.grad(loss, [tap.probe for tap in taps.values()])
    inputs = {name: tap.input for name, tap in taps.items()}
    outputs = {name: gradient.float().cpu() for name, gradient in zip(taps, gradients, strict=True)}
    return Signals(torch.tensor(piece)[rows], inputs, outputs)


@dataclass
class _Tap:
    """A forward hook that reads a projection's input and adds a probe of zeros to its output, to get the gradient.

    ``places``: [n], numbers of the answer tokens among all tokens of the piece, ascending. The last block's MLP may
    be given these tokens only.
    """

    places: Tensor
    input: Tensor = field(init=False)
    probe: Tensor = field(init=False)

    def __call__(self, module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        import torch

        flat, out = args[0].detach().flatten(0, -2), output.flatten(0, -2)
        places = self.places.to(out.device)
        if len(flat) == len(places):
            places = torch.arange(len(places), device=out.device)
        self.input = flat[places].float().cpu()
        self.probe = out.new_zeros(len(places), out.shape[-1]).requires_grad_()
        return out.index_add(0, places, self.probe).view_as(output)


@contextmanager
def _tapped(lm: LM, names: Sequence[str], places: Tensor) -> Iterator[dict[str, _Tap]]:
    """Within the context, every projection of ``names`` has a tap; afterwards none has, whatever happened."""
    taps = {name: _Tap(places) for name in names}
    with ExitStack() as stack:
        for name, tap in taps.items():
            module = lm.model.get_submodule(name.removesuffix(".weight"))
            stack.callback(module.register_forward_hook(tap).remove)
        yield taps
