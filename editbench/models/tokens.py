"""All tokenisation rules in one place: prompts, targets, subjects, padding.

The rules: a prompt has its special tokens as the tokeniser adds them, the beginning-of-sequence token at most once
and never an end-of-text token; between prompt and target stands exactly one space; how many tokens a prompt has is
decided by the prompt alone; masks come from lengths, never from token values, so that a padding token that is also
the end-of-text token hides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from editbench.errors import RequestFailed
from editbench.requests import Request

_SAMPLES = (
    ("The capital of France is", "Paris"),
    ("The mother tongue of Danielle Darrieux is", "French"),
    ("2 + 2 =", "4"),
    ("Q: Who wrote it?\nA:", "José María"),
)


@dataclass(frozen=True, slots=True)
class Completion:
    """A prompt with its target, as token ids.

    Attributes
    ----------
    ids: prompt tokens, target tokens, and the end-of-text token if ``eos``.
    prompt_len: number of prompt tokens, special tokens included.
    target_len: number of target tokens, without the end-of-text token.
    eos: whether ``ids`` ends with the end-of-text token.
    """

    ids: list[int]
    prompt_len: int
    target_len: int
    eos: bool

    @property
    def target_ids(self) -> list[int]:
        """The target's own tokens, without the end-of-text token."""
        return self.ids[self.prompt_len : self.prompt_len + self.target_len]


@dataclass(frozen=True)
class TextRules:
    """A tokeniser and the rules by which editbench uses it.

    Attributes
    ----------
    tokenizer: a transformers tokeniser, fast or slow.
    target_eos: whether a training target ends with the end-of-text token.
    more_eos: further token ids that end a generation (a generation config may list several).
    """

    tokenizer: Any
    target_eos: bool = True
    more_eos: tuple[int, ...] = ()

    @property
    def eos_id(self) -> int | None:
        """Id of the end-of-text token that targets end with, or None if the tokeniser has none."""
        return (
            self.tokenizer.eos_token_id if self.tokenizer.eos_token_id is not None else next(iter(self.more_eos), None)
        )

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Every id that ends a generation."""
        return frozenset(self.more_eos) | ({self.eos_id} if self.eos_id is not None else set())

    @property
    def pad_id(self) -> int:
        """Id used for padding: the tokeniser's own, else the end-of-text token, else 0. Masks never depend on it."""
        own = self.tokenizer.pad_token_id
        return own if own is not None else (self.eos_id or 0)

    @cached_property
    def longest_token(self) -> int:
        """Most characters that one token stands for."""
        return max(map(len, self.tokenizer.get_vocab()), default=1)

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokeniser puts before and after a text."""
        bare, framed = self._encode(["a"], special=False)[0], self._encode(["a"])[0]
        for start in range(len(framed) - len(bare) + 1):
            if framed[start : start + len(bare)] == bare:
                return framed[:start], framed[start + len(bare) :]
        return [], []

    @property
    def opening(self) -> list[int]:
        """The special tokens that the tokeniser puts before a text: often one, often none."""
        return self._frame[0]

    def _encode(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        if not texts:
            return []
        found = self.tokenizer(list(texts), add_special_tokens=special, return_attention_mask=False)
        ids: list[list[int]] = found["input_ids"]
        return ids

    def _clean(self, prompt: str) -> str:
        """Drop the spaces at the end, and a beginning-of-sequence token that the tokeniser will add itself."""
        bos = self.tokenizer.bos_token
        if bos and self._frame[0]:
            prompt = prompt.removeprefix(bos)
        return prompt.rstrip(" ")

    def _framed(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of cleaned texts, with the tokens before them and without those after."""
        tail = len(self._frame[1])
        return [ids[: len(ids) - tail] if tail else ids for ids in self._encode(texts)]

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of many prompts; see :meth:`prompt`."""
        return [ids or [self._first_id()] for ids in self._framed([self._clean(text) for text in texts])]

    def _first_id(self) -> int:
        """The token that stands for an empty prompt, for a model must have something to continue."""
        bos = self.tokenizer.bos_token_id
        return int(bos) if bos is not None else (self.eos_id or 0)

    def prompt(self, text: str) -> list[int]:
        """Return a prompt's token ids: special tokens in front as the tokeniser adds them, none behind.

        Spaces at the end are dropped, for the space before the answer belongs to the answer.
        """
        return self.prompts([text])[0]

    def completion(self, prompt: str, target: str) -> Completion:
        """Return prompt and target as token ids. Raises ``ValueError`` for a target without any text."""
        return self.completions([(prompt, target)])[0]

    def completions(self, pairs: Sequence[tuple[str, str]]) -> list[Completion]:
        """Return many (prompt, target) pairs as token ids, with one space between prompt and target.

        The two are tokenised together; where that would change the prompt's own tokens, the target is tokenised by
        itself. Raises ``ValueError`` for a target without any text.
        """
        clean = {prompt: self._clean(prompt) for prompt, _ in pairs}
        alone = dict(zip(clean, self.prompts(list(clean)), strict=True))
        joint = self._framed([f"{clean[prompt]} {target.strip()}" for prompt, target in pairs])
        found = []
        for (prompt, target), ids in zip(pairs, joint, strict=True):
            head = alone[prompt]
            whole = len(ids) > len(head) and ids[: len(head)] == head
            tail = ids[len(head) :] if whole else self._separate(head, target)
            found.append(self._completion(head, tail, target))
        return found

    def _completion(self, head: list[int], tail: list[int], target: str) -> Completion:
        if not tail or not target.strip():
            raise ValueError(f"The target {target!r} has no tokens.")
        end = [self.eos_id] if self.target_eos and self.eos_id is not None else []
        return Completion([*head, *tail, *end], len(head), len(tail), bool(end))

    def _separate(self, head: list[int], target: str) -> list[int]:
        """Tokenise a target by itself, such that it decodes to one space and the target behind ``head``."""
        text = target.strip()
        spaced, bare = self._encode([f" {text}", text], special=False)
        before = self.decode(head)
        for ids in (spaced, bare):
            if self.decode([*head, *ids]) == f"{before} {text}":
                return ids
        return spaced

    def subject_last_token(self, request: Request) -> int:
        """Return the index, among the prompt's own token ids, of the last token that overlaps the subject.

        Raises :class:`RequestFailed` if the subject does not stand in the prompt.
        """
        span = request.subject_span()
        if span is None or span[0] == span[1]:
            raise RequestFailed(request.id, f"its subject {request.subject!r} does not stand in its prompt")
        text = self._clean(request.prompt)
        shift = len(request.prompt.rstrip(" ")) - len(text)
        start, end = max(span[0] - shift, 0), span[1] - shift
        index = self._last_overlap(text, start, end)
        if index is None:
            raise RequestFailed(request.id, f"no token of its prompt covers its subject {request.subject!r}")
        return index

    def _last_overlap(self, text: str, start: int, end: int) -> int | None:
        if self.tokenizer.is_fast:
            spans = self.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
            hits = [i for i, (a, b) in enumerate(spans) if a < end and b > start and b > a]
            return max(hits, default=None)
        ids = self.prompt(text)
        for length in range(1, len(ids) + 1):
            if self.decode(ids[:length]).lstrip().startswith(text[:end].strip()):
                return length - 1
        # A tokeniser that changes the text (lower case, say) never gives it back: count the tokens up to that place.
        return len(self.prompt(text[:end])) - 1

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of these ids, without special tokens."""
        return self.decode_all([ids])[0]

    def decode_all(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Return the texts of many rows of ids, without special tokens."""
        lists = [list(row) for row in rows]
        if not lists:
            return []
        texts: list[str] = self.tokenizer.batch_decode(
            lists, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts

    def pad_left(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``(input_ids, attention_mask)``, both [rows, longest], padding on the left."""
        return self._pad(rows, left=True)

    def pad_right(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``(input_ids, attention_mask)``, both [rows, longest], padding on the right."""
        return self._pad(rows, left=False)

    def _pad(self, rows: Sequence[Sequence[int]], left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, rows), default=0)
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[i, place] = torch.tensor(list(row), dtype=torch.long)
            mask[i, place] = 1
        return ids, mask

    def self_test(self) -> list[str]:
        """Return what is wrong with this tokeniser, one sentence each; an empty list if the rules hold."""
        problems = []
        if self.eos_id is None:
            problems.append("The tokeniser defines no end-of-text token, so a target cannot end.")
        for prompt, target in _SAMPLES:
            problems += self._test_sample(prompt, target)
        return list(dict.fromkeys(problems))

    def _test_sample(self, prompt: str, target: str) -> list[str]:
        ids, done = self.prompt(prompt), self.completion(prompt, target)
        subject = prompt.split()[1]
        place = self.subject_last_token(Request("self-test", prompt, subject, target))
        upto = prompt[: prompt.index(subject) + len(subject)]
        around = self.decode_all([ids[:place], ids[: place + 1]])
        bos = self.tokenizer.bos_token_id
        checks = {
            f"Special tokens stand inside {prompt!r}.": bos is not None and bos in ids[1:],
            f"The prompt {prompt!r} ends with an end-of-text token.": ids[-1] in self.eos_ids and len(ids) > 1,
            f"{prompt!r} does not come back from its tokens.": self.decode(ids).strip() != prompt,
            f"{target!r} does not come back from its tokens.": self.decode(done.target_ids).strip() != target,
            f"Not one space before {target!r}.": self.decode(ids + done.target_ids).strip() != f"{prompt} {target}",
            f"{prompt!r} has other tokens when {target!r} follows.": done.ids[: len(ids)] != ids
            or self._separate(ids, target) != done.target_ids,
            f"The last token of {subject!r} in {prompt!r} was not found.": [upto in text for text in around]
            != [False, True],
        }
        return [problem for problem, found in checks.items() if found]
