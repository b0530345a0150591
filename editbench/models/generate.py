"""Question a model: greedy answers with a stop rule, and the likelihood of given answers; one prefill serves both.

A batch's prompts are padded on the left and run once. The given answers are scored on copies of that run's key-value
cache; generation goes on from the cache itself, and rows that have stopped leave the batch. Scoring an answer also
shows what greedy decoding begins with, so that a row which says a given answer and stops needs no decoding at all.

The stop rule looks at text, never at tokens. A generation ends

* at an end-of-text token;
* at the first newline;
* at the first ``.``, ``!`` or ``?`` that whitespace follows, or that is the last character of a generation that ended
  otherwise: ``3.5 million`` goes on, ``Paris. It`` ends before the full stop;
* after ``max_new_tokens`` tokens.

A character that the expected answer contains stops nothing: where ``U.S.`` is expected, no full stop ends a text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from editbench.models.call import Call, Phase, positions_of, text_call
from editbench.models.lengths import readable_part
from editbench.models.lm import LM
from editbench.models.partial import kv_cache_copy, last_logits

if TYPE_CHECKING:
    from editbench.plan.protocol import Protocol

# Largest number of logits that scoring holds at once, so that long answers never cost answer x vocabulary for all rows.
_LOGITS_AT_ONCE = 2**26
# Rows that have stopped leave once they are this share of the batch: leaving copies the cache of all that stay.
_LEAVE_SHARE = 1 / 8


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a model.

    Attributes
    ----------
    prompt: the bare prompt, without the space before the answer.
    answers: texts whose likelihood is wanted; None where there is none.
    stop_free: text whose characters never stop the generation: the expected answer.
    """

    prompt: str
    answers: tuple[str | None, ...] = ()
    stop_free: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a model said to a :class:`Question`.

    Attributes
    ----------
    generated: the text up to the stop, without the stop and without the space in front; "" if nothing was generated.
    stop: ``eos``, ``newline``, ``sentence`` or ``length``; "" if nothing was generated.
    nll: for each of the question's answers, its mean negative log-likelihood per token, in nats, end-of-text left out.
    hits: for each answer, how many of its tokens are the most likely one given all before it.
    tokens: for each answer, how many tokens it has.
    error: "" or why there is no outcome (the prompt is longer than the model can read).

    ``nll``, ``hits`` and ``tokens`` are None for an answer that is None or blank, and when nothing was scored.
    """

    generated: str
    stop: str
    nll: tuple[float | None, ...]
    hits: tuple[int | None, ...]
    tokens: tuple[int | None, ...]
    error: str = ""


def find_stop(text: str, free: str = "", *, ended: bool = False) -> tuple[str, str] | None:
    """Return ``(text before the stop, kind)`` of the first newline or sentence's end in ``text``, else None.

    Parameters
    ----------
    text: what has been generated so far.
    free: text whose characters stop nothing.
    ended: whether nothing will follow, so that a mark at the very end ends a sentence too.
    """
    marks = "".join(mark for mark in ".!?" if mark not in free)
    behind = r"\s|\Z" if ended else r"\s"
    sentence = rf"(?P<sentence>[{marks}](?={behind}))" if marks else ""
    newline = r"(?P<newline>\n)" if "\n" not in free else ""
    pattern = "|".join(part for part in (newline, sentence) if part)
    found = re.search(pattern, text) if pattern else None
    return None if found is None else (text[: found.start()], str(found.lastgroup))


def default_token_budget(lm: LM) -> int:
    """Return how many padded prompt tokens make a good batch on the model's device."""
    return 2048 if lm.device.type == "cpu" else 16384


def plan_batches(lm: LM, questions: Sequence[Question], token_budget: int | None = None) -> list[list[int]]:
    """Return the indices of ``questions`` in batches: longest prompts first, rows x longest <= ``token_budget``.

    The plan depends on the prompts' lengths and the budget only, so that a caller who was interrupted can skip whole
    batches and get the same numbers for the others. A prompt above the budget is a batch of its own.
    """
    budget = default_token_budget(lm) if token_budget is None else token_budget
    lengths = [len(ids) for ids in lm.text.prompts(_texts(lm, questions))]
    batches: list[list[int]] = []
    for i in sorted(range(len(questions)), key=lambda i: (-lengths[i], i)):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > budget:
            batches.append([])
        batches[-1].append(i)
    return batches


def ask(
    lm: LM,
    questions: Sequence[Question],
    protocol: Protocol,
    *,
    token_budget: int | None = None,
    generate: bool = True,
    score: bool = True,
) -> Iterator[list[tuple[int, Outcome]]]:
    """Ask all questions and yield, batch by batch in the order of :func:`plan_batches`, ``(index, outcome)`` pairs."""
    for batch in plan_batches(lm, questions, token_budget):
        outcomes = ask_batch(lm, [questions[i] for i in batch], protocol, generate=generate, score=score)
        yield list(zip(batch, outcomes, strict=True))


def ask_batch(
    lm: LM, questions: Sequence[Question], protocol: Protocol, *, generate: bool = True, score: bool = True
) -> list[Outcome]:
    """Ask these questions at once; the context of an in-context edit is put before each prompt.

    The outcomes do not depend on which questions share a batch, but for rounding in the last digits.
    """
    texts = _texts(lm, questions)
    prompts = lm.text.prompts(texts)
    rows = [_Row(i, ids, question) for i, (ids, question) in enumerate(zip(prompts, questions, strict=True))]
    for row, text in zip(rows, texts, strict=True):
        if score:
            row.targets = _targets(lm, text, row.question)
        longest = max([protocol.max_new_tokens if generate else 0, *map(len, row.targets.values())])
        if len(row.prompt) + longest > lm.context_length:
            row.error = (
                f"the prompt has {len(row.prompt)} tokens; with {longest} more, this model reads {lm.context_length}"
            )
    fit = [row for row in rows if not row.error]
    if fit:
        with torch.no_grad():
            _Batch(lm, fit, protocol.max_new_tokens if generate else 0).run()
    return [row.outcome() for row in rows]


def _texts(lm: LM, questions: Sequence[Question]) -> list[str]:
    """Return the prompts as the model reads them, of very long ones as much as tells that they are too long."""
    return [readable_part(lm, text) for text in lm.as_read([question.prompt for question in questions])]


def _targets(lm: LM, prompt: str, question: Question) -> dict[str, list[int]]:
    """Return the token ids of each distinct answer that has any text."""
    answers = list(dict.fromkeys(answer for answer in question.answers if answer and answer.strip()))
    found = lm.text.completions([(prompt, answer) for answer in answers])
    return {answer: completion.target_ids for answer, completion in zip(answers, found, strict=True)}


@dataclass(slots=True)
class _Row:
    """One question's way through its batch."""

    index: int
    prompt: list[int]
    question: Question
    targets: dict[str, list[int]] = field(default_factory=dict)
    scores: dict[str, tuple[float, int]] = field(default_factory=dict)
    new: list[int] = field(default_factory=list)
    generated: str = ""
    stop: str = ""
    error: str = ""

    def outcome(self) -> Outcome:
        answers = self.question.answers
        scores = [self.scores.get(answer or "") for answer in answers]
        return Outcome(
            generated=self.generated,
            stop=self.stop,
            nll=tuple(score[0] if score else None for score in scores),
            hits=tuple(score[1] if score else None for score in scores),
            tokens=tuple(len(self.targets[a or ""]) if s else None for a, s in zip(answers, scores, strict=True)),
            error=self.error,
        )


class _Stopper:
    """Decides when a row has stopped; decodes a row only if its newest tokens can have brought a stop."""

    def __init__(self, lm: LM, max_new_tokens: int) -> None:
        self.text, self.limit = lm.text, max_new_tokens
        self.pieces: dict[int, str] = {}

    def learn(self, ids: Sequence[int]) -> None:
        """Decode, each by itself and all at once, those tokens that were not met before."""
        new = sorted(set(ids) - self.pieces.keys())
        self.pieces.update(zip(new, self.text.decode_all([[i] for i in new]), strict=True))

    def add(self, row: _Row, token: int) -> bool:
        """Append a generated token to a row; return whether the row has stopped, its text and stop set if so."""
        if token in self.text.eos_ids:
            self._end(row, "eos")
            return True
        row.new.append(token)
        recent = "".join(self.pieces[i] for i in row.new[-2:])
        if any(mark in recent for mark in "\n.!?"):
            found = find_stop(self.text.decode(row.new), row.question.stop_free)
            if found:
                self._set(row, *found)
                return True
        if len(row.new) >= self.limit:
            self._end(row, "length")
            return True
        return False

    def _end(self, row: _Row, kind: str) -> None:
        text = self.text.decode(row.new)
        self._set(row, *(find_stop(text, row.question.stop_free, ended=True) or (text, kind)))

    def _set(self, row: _Row, text: str, kind: str) -> None:
        row.generated, row.stop = text.removeprefix(" "), kind


def _shared_tokens(lm: LM, rows: Sequence[_Row]) -> int:
    """Return how many tokens all prompts of a batch begin with, where an in-context edit shares a prefix; else 0.

    At least one token of each prompt is left, for its logits.
    """
    if lm.context is None or not lm.context.shared_prefix or len(rows) == 1:
        return 0
    columns = zip(*(row.prompt[:-1] for row in rows), strict=False)
    return next((n for n, column in enumerate(columns) if len(set(column)) > 1), min(len(r.prompt) - 1 for r in rows))


class _Batch:
    """The rows of one batch, the cache behind them, and the logits of their next tokens."""

    def __init__(self, lm: LM, rows: list[_Row], max_new_tokens: int) -> None:
        self.lm, self.rows, self.max_new_tokens = lm, rows, max_new_tokens
        self.stopper = _Stopper(lm, max_new_tokens)
        self.prompts = [row.question.prompt for row in rows]
        shared = _shared_tokens(lm, rows)
        ids, mask = lm.text.pad_left([row.prompt[shared:] for row in rows])
        own = mask.to(lm.device)
        self.mask = torch.cat([own.new_ones(len(rows), shared), own], dim=1)  # [rows, tokens so far]
        self.numbers = torch.arange(len(rows), device=lm.device)  # of the rows in the cache
        ends = torch.full_like(self.numbers, ids.shape[1] - 1)
        out = self._next("prompt", ids, self._shared_cache(rows[0].prompt[:shared]), ends)
        self.cache = out.past_key_values
        self.logits = out.logits[:, -1].float()  # [rows, vocabulary]
        self.best: list[int] = self.logits.argmax(dim=-1).tolist()

    def _shared_cache(self, tokens: list[int]) -> Any:
        """Run tokens that all prompts begin with once, and return their keys and values for every row."""
        if not tokens:
            return None
        ids = torch.tensor([tokens], device=self.lm.device)
        with last_logits(self.lm), self.lm.calling(text_call(ids)):
            cache = self.lm.model(input_ids=ids, use_cache=True).past_key_values
        return kv_cache_copy(cache, torch.zeros(len(self.rows), dtype=torch.long, device=self.lm.device))

    def _next(self, phase: Phase, ids: torch.Tensor, cache: Any, ends: torch.Tensor | None = None) -> Any:
        """Run the last tokens of ``mask`` and return the output with the logits after the last ones only."""
        with last_logits(self.lm):
            return self._forward(phase, ids, self.mask, cache, (self.numbers, ends))

    def _forward(
        self,
        phase: Phase,
        ids: torch.Tensor,
        mask: torch.Tensor,
        cache: Any,
        rows: tuple[torch.Tensor, torch.Tensor | None],
    ) -> Any:
        positions = positions_of(mask, ids.shape[1])
        with self.lm.calling(Call(phase, positions, *rows, self.prompts)):
            return self.lm.model(
                input_ids=ids.to(self.lm.device),
                attention_mask=mask,
                position_ids=positions.clamp(min=0),
                past_key_values=cache,
                use_cache=True,
            )

    def run(self) -> None:
        """Score every row's targets, then generate until all rows have stopped."""
        drafts = self._score()
        del self.logits
        if self.max_new_tokens:
            self._generate([i for i, row in enumerate(self.rows) if not self._finish_by_draft(row, drafts[i])])

    def _score(self) -> list[list[list[int]]]:
        """Fill in the rows' scores; return, for each row, what its greedy generation is known to begin with."""
        drafts: list[list[list[int]]] = [[[self.best[i]]] for i in range(len(self.rows))]
        pairs = [(i, answer, ids) for i, row in enumerate(self.rows) for answer, ids in row.targets.items()]
        if not pairs:
            return drafts
        norms = self.logits.logsumexp(dim=-1)
        first = self.logits[[i for i, _, _ in pairs], [ids[0] for _, _, ids in pairs]]
        losses = (norms[[i for i, _, _ in pairs]] - first).tolist()
        later = self._score_later(pairs)
        for pair, loss, (more, preds) in zip(pairs, losses, later, strict=True):
            i, answer, ids = pair
            guesses = [self.best[i], *preds]
            hits = [guess == token for guess, token in zip(guesses, ids, strict=False)]
            self.rows[i].scores[answer] = (math.fsum([loss, *more]) / len(ids), sum(hits))
            said = next((n for n, hit in enumerate(hits) if not hit), len(ids))
            drafts[i].append([*ids[:said], *guesses[said : said + 1]])
        return drafts

    def _score_later(self, pairs: Sequence[tuple[int, str, list[int]]]) -> list[tuple[list[float], list[int]]]:
        """Return, per pair, the losses of its tokens after the first, and the model's guesses for them.

        Where the model says the first token by itself, a guess for what follows the whole target is added: it may
        finish the row without any decoding.
        """
        found: list[tuple[list[float], list[int]]] = [([], []) for _ in pairs]
        feeds = []
        for i, _, ids in pairs:
            draft = self.max_new_tokens and self.best[i] == ids[0]
            feeds.append(ids if draft else ids[:-1])
        order = sorted((n for n in range(len(pairs)) if feeds[n]), key=lambda n: (-len(feeds[n]), n))
        while order:
            size = max(1, _LOGITS_AT_ONCE // (len(feeds[order[0]]) * self.logits.shape[-1]))
            chunk, order = order[:size], order[size:]
            rows, labels = [pairs[n][0] for n in chunk], [pairs[n][2][1:] for n in chunk]
            losses, guesses = self._continue(rows, [feeds[n] for n in chunk], labels)
            for n, loss, guess in zip(chunk, losses, guesses, strict=True):
                found[n] = (loss[: len(pairs[n][2]) - 1], guess[: len(feeds[n])])
        return found

    def _continue(
        self, rows: list[int], feeds: list[list[int]], labels: list[list[int]]
    ) -> tuple[list[list[float]], list[list[int]]]:
        """Run ``feeds`` behind these rows' prompts; return losses of ``labels`` and argmaxes, padded on the right."""
        ids, own = self.lm.text.pad_right(feeds)
        want = torch.zeros_like(ids)
        for n, label in enumerate(labels):
            want[n, : len(label)] = torch.tensor(label, dtype=torch.long)
        place = torch.tensor(rows, device=self.mask.device)
        mask = torch.cat([self.mask[place], own.to(self.mask.device)], dim=1)
        logits = self._forward("answer", ids, mask, kv_cache_copy(self.cache, place), (place, None)).logits.float()
        losses = logits.logsumexp(dim=-1) - logits.gather(-1, want.to(logits.device)[..., None])[..., 0]
        return losses.tolist(), logits.argmax(dim=-1).tolist()

    def _finish_by_draft(self, row: _Row, drafts: list[list[int]]) -> bool:
        """Whether what is known of the row's generation already contains its stop."""
        draft = max(drafts, key=len)
        self.stopper.learn(draft)
        if any(self.stopper.add(row, token) for token in draft):
            return True
        row.new = []
        return False

    def _generate(self, live: list[int]) -> None:
        """Decode the rows ``live`` (places in the batch) until each has stopped; ``kept`` are those in the cache."""
        if not live:
            return
        rows, best = self.rows, dict(enumerate(self.best))
        kept = list(range(len(rows)))
        for _ in range(self.max_new_tokens):
            self.stopper.learn([best[i] for i in live])
            live = [i for i in live if not self.stopper.add(rows[i], best[i])]
            if not live:
                return
            if len(kept) - len(live) >= len(kept) * _LEAVE_SHARE:
                kept = self._keep(kept, set(live))
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(kept), 1)], dim=1)
            out = self._next("step", torch.tensor([[best[i]] for i in kept]), self.cache)
            best = dict(zip(kept, out.logits[:, -1].argmax(dim=-1).tolist(), strict=True))

    def _keep(self, kept: list[int], live: set[int]) -> list[int]:
        """Drop from cache, mask and numbers the rows that have stopped; return those that stay."""
        stay = [n for n, i in enumerate(kept) if i in live]
        place = torch.tensor(stay, device=self.mask.device)
        self.cache.batch_select_indices(place)
        self.mask, self.numbers = self.mask[place], self.numbers[place]
        return [kept[n] for n in stay]
