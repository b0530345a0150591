"""One task on one model, through lm-eval as it is."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from editbench.capability.lm_eval_parts import DEFAULT_OTHER_SEED, HFLM, evaluate, mean
from editbench.capability.passes import Scored, generating
from editbench.capability.quiet import own_random_state, quiet
from editbench.capability.tasks import Asked
from editbench.models.call import text_call
from editbench.models.partial import last_logits

if TYPE_CHECKING:
    from editbench.models.lm import LM

# What lm-eval's results hold beside metrics.
_NO_METRICS = ("alias", "name", "sample_len", "sample_count")


@dataclass(frozen=True, slots=True)
class DocumentOutcome:
    """What came of one document.

    Attributes
    ----------
    doc_id, doc_hash: its place in the task, and lm-eval's sha256 of it.
    outcomes: ``metric,filter`` -> the value; only those that are one number per document.
    said: what the model wrote, for a task that generates.
    """

    doc_id: int
    doc_hash: str
    outcomes: dict[str, float | None]
    said: str | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A task's results on one model.

    Attributes
    ----------
    metrics: ``metric,filter`` -> lm-eval's value; None where it is no finite number.
    means: those of the metrics that are means over documents, higher being better.
    higher: those of which more is better.
    samples: one per document.
    truncated: prompts that did not fit the model's context and were cut from the left.
    """

    metrics: dict[str, float | None]
    means: tuple[str, ...]
    higher: tuple[str, ...]
    samples: tuple[DocumentOutcome, ...] = field(repr=False)
    truncated: int = 0


class EditedLM(HFLM):  # type: ignore[misc]
    """lm-eval's own wrapper of a transformers model, around the model in memory, edited or not.

    Made once while the model is unedited: lm-eval ties weights anew when it wraps a model, which could undo an edit.
    The tokeniser is a copy, because lm-eval gives it a padding token. The context of an in-context edit is put where
    a user would: before the prompt, or before the last message where a chat template is used.

    Parameters
    ----------
    lm: the model; its ``context`` is looked at whenever it is asked something.
    batch_size: sequences at once.
    """

    def __init__(self, lm: LM, batch_size: int) -> None:
        tokenizer = copy.deepcopy(lm.text.tokenizer)
        with quiet():
            super().__init__(pretrained=lm.model, tokenizer=tokenizer, batch_size=batch_size)
        self.edited = lm
        self._begun(False, lambda share: None)

    def _begun(self, chat_template: bool, report: Callable[[float], None]) -> None:
        self.truncated, self._chat, self._report = 0, chat_template, report
        self._prompts: list[str] = []  # those that are being continued
        self._scored: Scored | None = None  # what is being scored
        self._longest: int | None = None  # tokens of the longest continuation that is being scored

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> Any:
        """Score continuations, without a bar."""
        self._count(requests)
        return super().loglikelihood(self._in_context(requests), disable_tqdm=True)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> Any:
        """Score whole texts, without a bar. There is no prompt, and so no context before it."""
        self._count(requests)
        return super().loglikelihood_rolling(requests, disable_tqdm=True)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> Any:
        """Continue prompts, without a bar."""
        self._count(requests)
        asked = self._in_context(requests)
        self._refuse_nan(next((tokens for one in asked if (tokens := self.tok_encode(one.args[0]))), []))
        return super().generate_until(asked, disable_tqdm=True)

    def _refuse_nan(self, tokens: list[int]) -> None:
        """Raise FloatingPointError if no logit after this prompt is a number: text is written whatever they are."""
        if not tokens:
            return
        with last_logits(self.edited):
            logits = self._model_call(torch.tensor([tokens[-self.max_length :]], device=self.device))
        if bool(logits.isnan().all()):
            raise FloatingPointError("no logit is a finite number")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return the messages as one prompt; an in-context edit's text goes before the last message of the user."""
        contexts = self.edited.context
        last = max((i for i, message in enumerate(chat_history) if message["role"] == "user"), default=None)
        if contexts is not None and last is not None:
            asked = chat_history[last]["content"]
            [found] = contexts.of([asked])
            said = contexts.shared_prefix + found.before + asked + found.after
            message = {**chat_history[last], "content": said}
            earlier = [dict(turn) for turn in found.messages]
            chat_history = [*chat_history[:last], *earlier, message, *chat_history[last + 1 :]]
        prompt: str = super().apply_chat_template(chat_history, add_generation_prompt)
        return prompt

    def tok_batch_encode(
        self, strings: Sequence[str], padding_side: str = "left", left_truncate_len: int | None = None, **named: Any
    ) -> Any:
        """Encode prompts to continue, and count those that are cut."""
        ids, mask = super().tok_batch_encode(list(strings), padding_side=padding_side, **named)
        self._prompts = list(strings)
        if left_truncate_len:
            self.truncated += int((mask.sum(dim=1) > left_truncate_len).sum())
            ids, mask = ids[:, -left_truncate_len:], mask[:, -left_truncate_len:]
        return ids, mask

    def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = True, override_bs: int | None = None) -> Any:
        self.truncated += sum(len(prompt) + len(answer) > self.max_length + 1 for _, prompt, answer in requests)
        self._longest = max((len(answer) for _, _, answer in requests), default=None)
        self._scored = Scored(requests, self.max_length)
        try:
            found = super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs)
        finally:
            self._longest = self._scored = None
        if found and all(math.isnan(loglikelihood) for loglikelihood, _ in found):
            raise FloatingPointError("no log-likelihood is a finite number")
        return found

    def _model_call(self, inps: Any, attn_mask: Any = None, labels: Any = None) -> Any:
        """Compute logits from where the first continuation of the batch begins; lm-eval counts them from the end."""
        call = text_call(inps) if self._scored is None else self._scored.call(inps)
        with last_logits(self.edited, _kept(inps, self._longest)), self.edited.calling(call):
            return super()._model_call(inps, attn_mask, labels)

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **named: Any) -> Any:
        with generating(self.edited, self._prompts):
            return super()._model_generate(context, max_length, stop, **named)

    def _in_context(self, requests: Sequence[Any]) -> list[Any]:
        """Return the requests with what in-context edits put around their prompts, looked up all at once."""
        if self.edited.context is None or self._chat:
            return list(requests)
        texts = self.edited.as_read([request.args[0] for request in requests])
        return [
            replace(request, arguments=(text, *request.args[1:])) for request, text in zip(requests, texts, strict=True)
        ]

    def _count(self, requests: Sequence[Any]) -> None:
        # the hook is lm-eval's way to learn of each answer; it is meant for a cache
        self.set_cache_hook(_Counter(len(requests), self._report))


def _kept(inps: Tensor, longest: int | None) -> int:
    """Return how many last places of a batch, [rows, tokens], hold every row's continuation of ``longest`` at most.

    Rows are padded on the right with zeros. A row that ends in zeros of its own is taken for a shorter one, so that
    more is kept.
    """
    width = inps.shape[1]
    if longest is None:
        return width
    ends = torch.arange(1, width + 1, device=inps.device) * (inps != 0)
    return min(width, width - int(ends.amax(dim=1).min()) + longest)


class _Counter:
    def __init__(self, total: int, report: Callable[[float], None]) -> None:
        self.total, self.report, self.done = max(total, 1), report, 0

    def add_partial(self, attribute: str, request: Any, answer: Any) -> None:
        self.done += 1
        self.report(min(self.done / self.total, 1.0))


def measure(model: EditedLM, task: Any, asked: Asked, report: Callable[[float], None] | None = None) -> Measured:
    """Return a task's results on the model as it is now. Raises what lm-eval raises."""
    model._begun(asked.chat_template, report or (lambda share: None))
    # lm-eval's standard errors of what is no mean come from a pool of processes; ours are taken from the outcomes
    means = {metric for metric, function in task.aggregation().items() if function is mean}
    higher = {metric for metric, better in task.higher_is_better().items() if better}
    with quiet(), own_random_state(), _Bounds(task):
        name = task.task_name  # to ask a task for its name draws from Python's own random state
        _seed(task)
        found = evaluate(
            lm=model,
            task_dict={"tasks": {name: task}, "groups": {}},
            limit=asked.limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=asked.chat_template,
            fewshot_as_multiturn=asked.chat_template,
        )
    values = found["results"][name]
    keys = [key for key in values if key not in _NO_METRICS and "_stderr," not in key]
    return Measured(
        metrics={key: _finite_or_none(values[key]) for key in keys},
        means=tuple(key for key in keys if key.partition(",")[0] in means & higher),
        higher=tuple(key for key in keys if key.partition(",")[0] in higher),
        samples=tuple(_samples(found["samples"][name])),
        truncated=model.truncated,
    )


def _seed(task: Any) -> None:
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


class _Bounds:
    """Within it, a metric of the task that overflows is infinite: a ruined model's perplexity is a result."""

    def __init__(self, task: Any) -> None:
        self.functions = task.aggregation()
        self.before = dict(self.functions)

    def __enter__(self) -> None:
        self.functions.update({name: _bounded(function) for name, function in self.before.items()})

    def __exit__(self, *error: object) -> None:
        self.functions.update(self.before)


def _bounded(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def bounded(items: Any) -> Any:
        try:
            return function(items)
        except OverflowError:
            return math.inf

    return bounded


def _finite_or_none(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _samples(rows: Sequence[Mapping[str, Any]]) -> list[DocumentOutcome]:
    """Return one sample per document from lm-eval's one per document and filter."""
    found: dict[int, DocumentOutcome] = {}
    for row in rows:
        outcomes = {f"{name},{row['filter']}": row[name] for name in row["metrics"]}
        numbers = {key: _finite_or_none(value) for key, value in outcomes.items() if isinstance(value, (int, float))}
        numbers |= {key: _finite_or_none(v.item()) for key, v in outcomes.items() if getattr(v, "shape", None) == ()}
        first = found.get(row["doc_id"])
        if first is None:
            found[row["doc_id"]] = DocumentOutcome(row["doc_id"], row["doc_hash"], numbers, _said(row))
        else:
            first.outcomes.update(numbers)
    return list(found.values())


def _said(row: Mapping[str, Any]) -> str | None:
    """Return what was generated: a text in the first answer, where scored tasks have numbers."""
    first = row["resps"][0][0] if row["resps"] and row["resps"][0] else None
    return first if isinstance(first, str) else None


def documents_hash(task: Any, limit: int | None) -> str:
    """Return 16 hex digits of the documents that a task would put to a model now."""
    digest = hashlib.sha256()
    with quiet(), own_random_state():
        for number, doc in task.doc_iterator(limit=limit):
            digest.update(json.dumps([number, doc], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def requests_hash(task: Any, asked: Asked, model: EditedLM) -> str:
    """Return the sha256 (hex) of all that a task puts to a model and of the documents it scores the answers by."""
    with quiet(), own_random_state():
        _seed(task)
        task.build_all_requests(
            limit=asked.limit,
            apply_chat_template=asked.chat_template,
            fewshot_as_multiturn=asked.chat_template,
            chat_template=model.apply_chat_template if asked.chat_template else None,
            tokenizer_name=model.tokenizer_name if asked.chat_template else "",
        )
    digest = hashlib.sha256()
    seen: set[Any] = set()
    for one in task.instances:
        doc = [] if one.doc_id in seen else [one.doc]
        seen.add(one.doc_id)
        digest.update(json.dumps([one.request_type, one.args, doc], default=str).encode())
    return digest.hexdigest()
