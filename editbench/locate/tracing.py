"""Causal tracing: which block carries a fact (Meng et al. 2022, arXiv:2202.05262, section 2).

Three runs of one prompt. In the *clean* run the model gives the true object. In the *corrupted* run Gaussian noise on
the embeddings of the subject's tokens makes it forget. In a *restored* run the noise is the same, but at one token
one part of the model is given its clean value back; how much of the object's probability comes back with it is the
indirect effect of that part.

Only what can differ is computed: everything left of the restored token is the same in all restored runs of a draw, so
it is run once and kept as a key-value cache, and the rows of a pass begin at the restored token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from editbench.analysis.statistics import mean_interval
from editbench.base.seeds import torch_generator
from editbench.errors import RequestFailed, UserError
from editbench.models.partial import hidden_of, kv_cache_copy, last_logits
from editbench.requests import Request

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from editbench.models.lm import LM

KINDS = ("block", "mlp", "attention")
POSITIONS = ("subject", "last")
TOKEN_BUDGET = 4096
# MEMIT and AlphaEdit spread an edit over this many blocks (arXiv:2210.07229: five, the last of them the critical one).
SPREAD = 5

Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class TraceOptions:
    """How to trace.

    Attributes
    ----------
    draws: noise draws per request.
    noise: standard deviation of the noise, in standard deviations of the embeddings of the subjects' tokens.
    window: blocks whose MLP (or attention) outputs are restored together; None: see :func:`default_window`.
    seed: what the noise is drawn from, with the request's id.
    known_only: whether to leave out facts that the model does not know.
    token_budget: most tokens, cached ones included, in one pass.

    Raises :class:`UserError` for no draws, a negative noise, a window or budget below 1.
    """

    draws: int = 4
    noise: float = 3.0
    window: int | None = None
    seed: int = 0
    known_only: bool = True
    token_budget: int = TOKEN_BUDGET

    def __post_init__(self) -> None:
        for name, value in (("draws", self.draws), ("window", self.window), ("token_budget", self.token_budget)):
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}.", "Expected 1 or more.")
        if not self.noise >= 0:
            raise UserError(f"noise is {self.noise}.", "Expected 0 or more; the paper has 3.")


@dataclass(frozen=True, slots=True)
class Curve:
    """A mean over requests for every block, with its 95% interval (Student's).

    Attributes
    ----------
    mean: probability.  # [blocks]
    low, high: the interval's ends; None with fewer than two requests.  # [blocks]
    """

    mean: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Tracing:
    """What was found. All effects are differences of probabilities, between -1 and 1.

    Attributes
    ----------
    model: its name.
    curves: the average indirect effect by kind and position (:data:`KINDS`, :data:`POSITIONS`): of a block's output,
        and of the MLP's and the attention's output over a window of blocks centred on it.
    tried, skipped, unknown, kept: number of requests given; of those without a true object or without their subject
        in the prompt; of those whose object is not what the model says; of those traced.
    clean, corrupted: mean probability of the object in these runs.
    total: the total effect, ``clean - corrupted``, as a curve of one point.
    window: blocks restored together.
    sigma: standard deviation of the subjects' embeddings, before it is multiplied by ``options.noise``.
    options: as given.
    """

    model: str
    curves: Mapping[tuple[str, str], Curve]
    tried: int
    skipped: int
    unknown: int
    kept: int
    clean: float
    corrupted: float
    total: Curve
    window: int
    sigma: float
    options: TraceOptions

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the model."""
        return len(self.curves["block", "last"].mean)

    @property
    def best_layer(self) -> int:
        """The block with the largest effect of the MLP at the subject's last token; the lower one of equals."""
        return int(np.argmax(self.curves["mlp", "subject"].mean))

    @property
    def spread_layers(self) -> tuple[int, ...]:
        """The five blocks that end with :attr:`best_layer`, or as many as there are."""
        return tuple(range(max(self.best_layer - SPREAD + 1, 0), self.best_layer + 1))


@dataclass(frozen=True, slots=True)
class _Fact:
    """A request as tokens: the prompt's ids, the object's first token, which of the prompt's tokens are the subject."""

    id: str
    ids: tuple[int, ...]
    token: int
    subject: range

    @property
    def places(self) -> tuple[int, int]:
        """The two positions, in the order of :data:`POSITIONS`."""
        return self.subject[-1], len(self.ids) - 1


def default_window(n_blocks: int) -> int:
    """Return the largest odd number that is at most a fifth of the depth, and at least 1.

    9 of 48 blocks, where the paper has 10; 5 of 32.
    """
    fifth = n_blocks // 5
    return max(fifth - 1 + fifth % 2, 1)


def subject_tokens(lm: LM, request: Request) -> range:
    """Return which of the prompt's own tokens overlap the subject.

    Raises :class:`~editbench.errors.RequestFailed` if the subject does not stand in the prompt.
    """
    last = lm.text.subject_last_token(request)
    start, _ = request.subject_span() or (0, 0)
    one = lm.text.subject_last_token(replace(request, subject=request.subject[:1], subject_start=start))
    try:
        # a letter may be several tokens, so the subject begins behind what comes before it
        before = lm.text.subject_last_token(replace(request, subject=request.prompt[:start], subject_start=0))
    except RequestFailed:
        special = set(lm.text.tokenizer.all_special_ids)
        before = next(i for i, token in enumerate(lm.text.prompt(request.prompt)) if token not in special) - 1
    return range(min(before + 1, one), last + 1)


def trace(
    lm: LM,
    requests: Sequence[Request],
    options: TraceOptions | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tracing:
    """Return the average indirect effects of every block, MLP and attention module on facts that the model knows.

    A fact's probability is that of the *first* token of ``target_true`` after the prompt; the model knows the fact if
    that token is the likeliest. The model is left bitwise as found.

    Parameters
    ----------
    lm: the model. Its attention modules must not add the residual themselves (BLOOM's and MPT's do).
    requests: facts to try.
    progress: called with the share done.

    Raises :class:`UserError` for a window larger than the model, and if no request can be traced.
    """
    options, note = options or TraceOptions(), progress or (lambda _: None)
    window = _window(lm.layout.n_blocks, options.window)
    with torch.no_grad():
        usable = _facts(lm, requests)
        facts = [fact for fact in usable if not options.known_only or _knows(lm, fact)]
        if not facts:
            raise _nothing(len(requests), len(usable))
        tracer = _Tracer(lm, options, window, _sigma(lm, facts))
        found = []
        for number, fact in enumerate(facts):
            found.append(tracer.probabilities(fact))
            note((number + 1) / len(facts))
    clean, corrupted, restored = (np.array(column) for column in zip(*found, strict=True))
    effects = restored - corrupted[:, None, None, None]
    return Tracing(
        model=lm.name,
        curves={(k, p): _curve(effects[:, i, j]) for i, k in enumerate(KINDS) for j, p in enumerate(POSITIONS)},
        tried=len(requests),
        skipped=len(requests) - len(usable),
        unknown=len(usable) - len(facts),
        kept=len(facts),
        clean=float(clean.mean()),
        corrupted=float(corrupted.mean()),
        total=_curve((clean - corrupted)[:, None]),
        window=window,
        sigma=tracer.sigma,
        options=options,
    )


def _window(n_blocks: int, given: int | None) -> int:
    if given is not None and given > n_blocks:
        hint = f"Leave it out for {default_window(n_blocks)}."
        said = f"The window is {given}, and the model has {n_blocks} blocks."
        raise UserError(said, f"Expected 1 to {n_blocks}.", hint)
    return given or default_window(n_blocks)


def _nothing(tried: int, usable: int) -> UserError:
    if not usable:
        wanted = "Expected a true object (target_true), and the subject standing in the prompt."
        return UserError(f"None of the {tried:,} requests tried can be traced.", wanted, "Name another dataset.")
    wanted = "Expected some whose true object's first token is what the model says next."
    hint = "Try more of them (--requests), or another dataset."
    return UserError(f"The model knows none of the {usable:,} facts tried.", wanted, hint)


def _facts(lm: LM, requests: Sequence[Request]) -> list[_Fact]:
    """Return the requests that have a true object, and their subject in the prompt."""
    found = []
    for request in requests:
        if not (request.target_true or "").strip():
            continue
        try:
            subject = subject_tokens(lm, request)
        except RequestFailed:
            continue
        done = lm.text.completion(request.prompt, request.target_true or "")
        found.append(_Fact(request.id, tuple(done.ids[: done.prompt_len]), done.target_ids[0], subject))
    return found


def _knows(lm: LM, fact: _Fact) -> bool:
    return int(_forward(lm, fact.ids, 1).logits[0, -1].argmax()) == fact.token


def _sigma(lm: LM, facts: Sequence[_Fact]) -> float:
    """Return the standard deviation over all numbers in the embeddings of all subjects' tokens, as the paper has it."""
    ids = [fact.ids[place] for fact in facts for place in fact.subject]
    embedded = lm.model.get_input_embeddings()(torch.tensor([ids], device=lm.device))
    return float(embedded.float().std())


def _curve(values: NDArray[Any]) -> Curve:
    """Return means and intervals of the columns.  # [requests, blocks]"""
    mean = tuple(values.mean(axis=0).tolist())
    if len(values) < 2:
        return Curve(mean)
    low, high = zip(*(mean_interval(column) or () for column in values.T), strict=True)
    return Curve(mean, low, high)


def _forward(lm: LM, ids: Sequence[int], rows: int, cache: Any = None) -> Any:
    """Run ``rows`` equal rows of ids behind a cache of as many rows; logits are [rows, 1, vocabulary]."""
    past = cache.get_seq_length() if cache is not None else 0
    with last_logits(lm):
        return lm.model(
            input_ids=torch.tensor([list(ids)], device=lm.device).expand(rows, -1),
            attention_mask=torch.ones(rows, past + len(ids), dtype=torch.long, device=lm.device),
            position_ids=torch.arange(past, past + len(ids), device=lm.device).expand(rows, -1),
            past_key_values=cache,
            use_cache=True,
        )


def _keep(store: dict[tuple[str, int], Tensor], name: tuple[str, int], places: Sequence[int]) -> Hook:
    """Return a hook that keeps a single row's output at these tokens.  # [places, hidden]"""

    def hook(module: Any, args: Any, output: Any) -> None:
        hidden = hidden_of(output)
        store[name] = hidden.reshape(-1, hidden.shape[-1])[list(places)]

    return hook


def _restore(value: Tensor, chosen: Tensor, rows: int) -> Hook:
    """Return a hook that puts ``value`` [hidden] at the first token of the chosen ones of ``rows`` rows."""

    def hook(module: Any, args: Any, output: Any) -> Any:
        hidden = hidden_of(output)
        changed = hidden.clone()
        # OPT's MLP has rows and tokens in one dimension
        changed.view(rows, -1, hidden.shape[-1])[chosen.to(changed.device), 0] = value.to(changed)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    return hook


@contextmanager
def _hooked(hooks: Sequence[tuple[Any, Hook]]) -> Iterator[None]:
    with ExitStack() as stack:
        for module, hook in hooks:
            stack.callback(module.register_forward_hook(hook).remove)
        yield


@dataclass(frozen=True, slots=True)
class _Tracer:
    """The three runs of a fact."""

    lm: LM
    options: TraceOptions
    window: int
    sigma: float

    def probabilities(self, fact: _Fact) -> tuple[float, float, NDArray[Any]]:
        """Return the object's probability clean, corrupted, and restored [kinds, positions, blocks]; means of draws."""
        store: dict[tuple[str, int], Tensor] = {}
        with _hooked([(m, _keep(store, name, fact.places)) for name, m in self._modules().items()]):
            clean = float(_forward(self.lm, fact.ids, 1).logits[0, -1].float().softmax(-1)[fact.token])
        noise, restored, corrupted = self._noise(fact), [], 0.0
        for number, place in enumerate(fact.places):
            found = self._restored(fact, place, noise, {name: value[number] for name, value in store.items()})
            corrupted = float(found[: self.options.draws].mean())
            restored.append(found[self.options.draws :].reshape(len(KINDS), -1, self.options.draws).mean(axis=-1))
        return clean, corrupted, np.stack(restored, axis=1)

    def _modules(self) -> dict[tuple[str, int], Any]:
        """The module whose output is restored, by kind and block."""
        layout, found = self.lm.layout, {}
        for block in range(layout.n_blocks):
            path = layout.block_path(block)
            paths = {"block": path, "mlp": layout.mlp_out_path(block), "attention": f"{path}.{layout.attention}"}
            found.update({(kind, block): self.lm.model.get_submodule(paths[kind]) for kind in KINDS})
        return found

    def _noise(self, fact: _Fact) -> Tensor:
        """Return what is added to the embeddings, on the CPU.  # [draws, tokens, hidden]"""
        width = self.lm.model.get_input_embeddings().weight.shape[-1]
        drawn = torch.zeros(self.options.draws, len(fact.ids), width)
        random = torch_generator(self.options.seed, "locate", fact.id)
        drawn[:, list(fact.subject)] = torch.randn(self.options.draws, len(fact.subject), width, generator=random)
        return drawn * (self.options.noise * self.sigma)

    def _plan(self) -> Tensor:
        """Return the rows of a position as (kind, block, draw): first corrupted ones, kind -1, then kind by kind."""
        draws, blocks = range(self.options.draws), range(self.lm.layout.n_blocks)
        rows = [(kind, block, draw) for kind in range(len(KINDS)) for block in blocks for draw in draws]
        return torch.tensor([(-1, 0, draw) for draw in draws] + rows)

    def _restored(self, fact: _Fact, place: int, noise: Tensor, values: Mapping[tuple[str, int], Tensor]) -> Any:
        """Return the object's probability in the plan's rows, with clean values put back at one token.  # [rows]"""
        start = None
        if place:
            with _hooked([self._adding(noise[:, :place])]):
                start = _forward(self.lm, fact.ids[:place], self.options.draws).past_key_values
        found = []
        for rows in torch.split(self._plan(), max(self.options.token_budget // len(fact.ids), 1)):
            cache = None if start is None else kv_cache_copy(start, rows[:, 2])
            with _hooked([self._adding(noise[rows[:, 2], place:]), *self._restoring(rows, values)]):
                logits = _forward(self.lm, fact.ids[place:], len(rows), cache).logits[:, -1].float()
            found.append((logits[:, fact.token] - logits.logsumexp(dim=-1)).exp().double().cpu())
        return torch.cat(found).numpy()

    def _adding(self, noise: Tensor) -> tuple[Any, Hook]:
        return self.lm.model.get_input_embeddings(), lambda module, args, output: output + noise.to(output)

    def _restoring(self, rows: Tensor, values: Mapping[tuple[str, int], Tensor]) -> list[tuple[Any, Hook]]:
        """Return the hooks that give each row its clean value, in the blocks of its window."""
        hooks = []
        for (kind, block), module in self._modules().items():
            width = 1 if kind == "block" else self.window
            first = rows[:, 1] - width // 2
            inside = (rows[:, 0] == KINDS.index(kind)) & (first <= block) & (block < first + width)
            if inside.any():
                hooks.append((module, _restore(values[kind, block], inside.nonzero()[:, 0], len(rows))))
        return hooks
