"""The laws of how an edited model is asked: alone or with others, padded left or right, with a cache or without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editbench.models.call import Call, positions_of
from editbench.models.generate import Outcome, Question, ask_batch
from editbench.testing.laws import close, law, refuse_undeclared
from editbench.testing.trial import PROTOCOL, UNRELATED, Broken, Trial, asked

if TYPE_CHECKING:
    from editbench.models.lm import LM
    from editbench.models.tokens import Completion


def _questions(trial: Trial) -> list[Question]:
    """Return prompts of many lengths: each request's own, other ways to ask for it, and unrelated ones."""
    known = [(r.prompt, (r.target_new, r.target_true)) for r in trial.requests]
    others = [(probe.prompt, (r.target_new, r.target_true)) for r in trial.requests for probe in r.probes[:1]]
    unrelated = [(prompt, (trial.requests[0].target_new, None)) for prompt in UNRELATED]
    return [Question(prompt, answers, answers[0]) for prompt, answers in (*known, *others, *unrelated)]


def _anew(lm: LM, questions: Sequence[Question]) -> list[Outcome]:
    """Ask at once, and look every context up anew."""
    if lm.context is not None:
        lm.context.forget()
    return ask_batch(lm, questions, PROTOCOL)


@law("a prompt alone is answered as in a left-padded batch")
def _alone(trial: Trial) -> None:
    questions, exact = _questions(trial), trial.lm.model.dtype == torch.float32
    with trial.edited():
        together = _anew(trial.lm, questions)
        for question, expected in zip(questions, together, strict=True):
            [found] = _anew(trial.lm, [question])
            if not close(found.nll, expected.nll, trial.tolerance):
                raise Broken(f"the NLL of {question.prompt!r} is {found.nll} alone and {expected.nll} in a batch")
            said = [(one.generated, one.hits) for one in (found, expected)]
            if exact and said[0] != said[1]:  # elsewhere rounding turns near ties
                raise Broken(f"{question.prompt!r} is answered {said[0]} alone and {said[1]} in a batch")


@law("left padding and a cache give what right padding and whole texts give")
def _whole(trial: Trial) -> None:
    with trial.edited():
        behind_cache = asked(trial.lm, trial.requests)
        prompts = [request.prompt for request in trial.requests]
        pairs = list(zip(trial.lm.as_read(prompts), [r.target_new for r in trial.requests], strict=True))
        whole = _whole_nll(trial.lm, trial.lm.text.completions(pairs), prompts)
    for prompt, one, other in zip(prompts, behind_cache, whole, strict=True):
        if not close(one.nll[:1], (other,), trial.tolerance):
            raise Broken(f"the NLL of {prompt!r} is {one.nll[0]:.4f} behind a cache and {other:.4f} as a whole text")


@torch.no_grad()
def _whole_nll(lm: LM, completions: Sequence[Completion], prompts: Sequence[str]) -> list[float]:
    """Return the mean NLL per token of each target, from one pass over whole texts padded on the right."""
    ids, mask = lm.text.pad_right([completion.ids for completion in completions])
    ids, mask = ids.to(lm.device), mask.to(lm.device)
    ends = torch.tensor([completion.prompt_len - 1 for completion in completions], device=lm.device)
    call = Call("answer", positions_of(mask), torch.arange(len(ids), device=lm.device), ends, prompts)
    with lm.calling(call):
        scores = lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float().log_softmax(-1)
    found = []
    for row, done in enumerate(completions):
        places = torch.arange(done.prompt_len, done.prompt_len + done.target_len)
        labels = torch.tensor(done.target_ids)
        found.append(-scores[row, places - 1, labels].mean().item())
    return found


@law("where an edit is gated, unrelated prompts keep their bits")
def _gated(trial: Trial) -> None:
    refuse_undeclared(trial, "gated")
    prompts = [*(request.prompt for request in trial.requests), *UNRELATED]
    with trial.edited():
        texts = trial.lm.as_read(prompts)
        together = _Said.to(trial.lm, prompts, texts)
        alone = [_Said.to(trial.lm, [prompt], [prompt]) for prompt in UNRELATED]
    places = range(len(trial.requests), len(prompts))
    for place, prompt, said in zip(places, UNRELATED, alone, strict=True):
        if texts[place] != prompt:
            raise Broken(f"text stands around {prompt!r}")
        if _Said.to(trial.lm, [prompt], [prompt]).differs(said, 0):
            raise Broken(f"the logits of {prompt!r} are not the unedited model's bits")
    before = _Said.to(trial.lm, prompts, texts)
    for place, prompt in zip(places, UNRELATED, strict=True):
        if before.differs(together, place):
            raise Broken(f"the logits of {prompt!r} beside an edited prompt are not the unedited model's bits")


@dataclass(frozen=True)
class _Said:
    """Logits after prompts that were padded on the left, and after one more token: both [prompts, vocabulary]."""

    first: Tensor
    second: Tensor

    @classmethod
    @torch.no_grad()
    def to(cls, lm: LM, prompts: Sequence[str], texts: Sequence[str]) -> _Said:
        """Ask as a run does, with a step that is the same for edited and unedited models."""
        ids, mask = lm.text.pad_left(lm.text.prompts(texts))
        ids, mask = ids.to(lm.device), mask.to(lm.device)
        rows = torch.arange(len(ids), device=lm.device)
        ends = torch.full_like(rows, ids.shape[1] - 1)
        first = cls._pass(lm, Call("prompt", positions_of(mask), rows, ends, prompts), ids, mask, None)
        mask = torch.cat([mask, mask.new_ones(len(ids), 1)], dim=1)
        step = Call("step", positions_of(mask, 1), rows, None, prompts)
        second = cls._pass(lm, step, ids[:, -1:], mask, first.past_key_values)
        return cls(first.logits[:, -1], second.logits[:, -1])

    @staticmethod
    def _pass(lm: LM, call: Call, ids: Tensor, mask: Tensor, cache: Any) -> Any:
        places = call.positions.clamp(min=0)
        with lm.calling(call):
            return lm.model(
                input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
            )

    def differs(self, other: _Said, row: int) -> bool:
        """Whether a row's bits differ."""
        return not (torch.equal(self.first[row], other.first[row]) and torch.equal(self.second[row], other.second[row]))
