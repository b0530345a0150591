"""What in-context edits put around prompts: looked up for many prompts at once, and once for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from editbench.errors import EditbenchError

if TYPE_CHECKING:
    from editbench.models.lm import LM


@dataclass(frozen=True, slots=True)
class Context:
    """What stands around one prompt.

    Attributes
    ----------
    before: text in front of the prompt, with its own trailing space or newline.
    after: text behind the prompt, before the answer.
    messages: earlier turns of a conversation, each with ``role`` and ``content``: they go before the user's message
        where a chat template is used; elsewhere their contents, a line each, go before ``before``.
    """

    before: str = ""
    after: str = ""
    messages: tuple[Mapping[str, str], ...] = ()

    def around(self, prompt: str) -> str:
        """Return the prompt with everything that stands around it, as plain text."""
        told = "".join(f"{message['content']}\n" for message in self.messages)
        return told + self.before + prompt + self.after


NOTHING = Context()

Lookup = Callable[[Sequence[str]], Sequence[Context | str]]


@dataclass
class Contexts:
    """All in-context edits that are in a model now, the latest last.

    Attributes
    ----------
    lookups: bare prompts -> what each is given; a plain text is what stands before it.
    shared_prefix: text in front of everything else, the same for all prompts: it is read by the model once for a batch.
    seconds: spent looking up so far.
    asked: how many prompts have been looked up so far; one that was looked up before is not looked up again.
    """

    lm: LM
    lookups: tuple[Lookup, ...]
    shared_prefix: str = ""
    seconds: float = 0.0
    asked: int = 0
    _known: dict[str, Context] = field(default_factory=dict)

    def of(self, prompts: Sequence[str]) -> list[Context]:
        """Return what stands around each prompt; the shared prefix is not part of it.

        While prompts are looked up the model has no context, so that a lookup may question it.
        Raises :class:`EditbenchError` if a lookup returns something else than one context for each prompt.
        """
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if new:
            begun = time.perf_counter()
            self.lm.context = None
            try:
                found = [self._looked_up(lookup, new) for lookup in self.lookups]
            finally:
                self.lm.context = self
            self._known.update({prompt: _joined(parts) for prompt, *parts in zip(new, *found, strict=True)})
            self.seconds += time.perf_counter() - begun
            self.asked += len(new)
        return [self._known[prompt] for prompt in prompts]

    def texts(self, prompts: Sequence[str]) -> list[str]:
        """Return the prompts as the model reads them, with the shared prefix."""
        return [
            self.shared_prefix + context.around(prompt)
            for prompt, context in zip(prompts, self.of(prompts), strict=True)
        ]

    def forget(self) -> None:
        """Look everything up anew from here on, and count from nought: a new cell begins."""
        self._known.clear()
        self.seconds, self.asked = 0.0, 0

    def _looked_up(self, lookup: Lookup, prompts: Sequence[str]) -> list[Context]:
        found = list(lookup(prompts))
        if len(found) != len(prompts):
            raise EditbenchError(f"the lookup of a context edit gave {len(found)} contexts for {len(prompts)} prompts")
        wrong = next((one for one in found if not isinstance(one, (str, Context))), None)
        if wrong is not None:
            raise EditbenchError(f"the lookup of a context edit gave {type(wrong).__name__}, not a Context or a text")
        return [Context(one) if isinstance(one, str) else one for one in found]


def _joined(parts: Sequence[Context]) -> Context:
    """Return several edits' contexts as one: the latest stands outermost."""
    joined = NOTHING
    for part in parts:
        joined = Context(part.before + joined.before, joined.after + part.after, (*part.messages, *joined.messages))
    return joined
