"""What enters every block of a model, for some token rows: computed in one pass through the model, kept on disk.

Whoever trains the same requests at one block after another, as a study of places does, runs the same lower blocks over
and over. Within :func:`kept_inputs`, the first who asks what enters a block has what enters every block written down,
and all later ones read it. It is the same to the last bit: the pass is made over the same padded rows, and what is
kept is named by all that decides it. A model that is edited below the block is never given what the unedited one had.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from editbench.base.machine import packages
from editbench.cache import Cache, content_key
from editbench.models.fingerprint import fingerprint
from editbench.models.partial import Stopped, input_seen, run_until_stopped

if TYPE_CHECKING:
    from editbench.models.lm import LM

_NAME = "entering"


@contextmanager
def kept_inputs(lm: LM, cache: Cache | None = None) -> Iterator[KeptInputs]:
    """Within the context, what enters the blocks of ``lm`` is computed once for the same token rows and kept.

    Results are the same with it and without. Processes may share one cache, and one that was killed goes on where it
    was. The files stay when the context ends, until :meth:`KeptInputs.remove`.
    """
    before, lm.kept_inputs = lm.kept_inputs, KeptInputs(lm, cache)
    try:
        yield lm.kept_inputs
    finally:
        lm.kept_inputs = before


class KeptInputs:
    """What enters every block of a model as it is now, for the token rows that were asked for so far.

    A file for each block and each set of rows, of ``hidden`` numbers for every token, padding included, in the
    model's dtype. In memory is one of them at a time.

    Parameters
    ----------
    lm: the model; what is kept is kept for it as it is now.
    cache: where; default: the user's cache folder.

    Attributes
    ----------
    passes: how many passes through the model were made to fill it.
    """

    def __init__(self, lm: LM, cache: Cache | None = None) -> None:
        self.cache = cache or Cache()
        self.passes = 0
        self._was = [fingerprint(part) for part in _parts(lm)]
        self._kind = f"block_inputs/{content_key({'parts': self._was})}"

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.cache.folder / self._kind

    @property
    def nbytes(self) -> int:
        """Bytes on disk of what is kept for this model."""
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))

    def remove(self) -> None:
        """Remove what is kept for this model; whoever asks for it again has it made anew."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def source(self, lm: LM, block: int) -> Source | None:
        """Return what tells what enters a block, for as long as the model stays as it is.

        None if anything below that block is not what it was: what is kept is not what enters it now.
        """
        return Source(self, lm, block) if self._unchanged(lm, 0, block + 1) else None

    def _unchanged(self, lm: LM, start: int, stop: int) -> bool:
        """Whether these parts of a model are what they were: first what is outside the blocks, then each block."""
        parts = _parts(lm)
        if len(parts) != len(self._was):
            return False
        pairs = zip(self._was[start:stop], parts[start:stop], strict=True)
        return all(was and was == fingerprint(part) for was, part in pairs)

    def last_unchanged(self, lm: LM, block: int) -> int:
        """Return the highest block that has nothing below it that changed, given that ``block`` has not."""
        while block + 1 < lm.layout.n_blocks and self._unchanged(lm, block + 1, block + 2):
            block += 1
        return block

    def load(self, facts: Mapping[str, Any], block: int) -> Tensor | None:
        """Return what enters a block under these circumstances, on the CPU, or None."""
        found = self.cache.load_tensors(self._kind, {**facts, "block": block})
        return None if found is None else found[_NAME]

    def save(self, facts: Mapping[str, Any], block: int, states: Tensor) -> bool:
        """Keep what enters a block, if it is not kept yet; return whether it is now."""
        path = self.cache.path(self._kind, {**facts, "block": block}, ".safetensors")
        if not path.is_file():
            self.cache.save_tensors(self._kind, {**facts, "block": block}, {_NAME: states})
        return path.is_file()


class Source:
    """What enters one block of a model, from what is kept, or from a pass that keeps it for all blocks.

    Parameters
    ----------
    kept: what is kept.
    lm: the model; it must not change while this is used.
    block: the block.
    """

    def __init__(self, kept: KeptInputs, lm: LM, block: int) -> None:
        self._kept, self._lm, self._block = kept, lm, block
        self._facts = _circumstances(lm)
        self._last: int | None = None  # the highest block that a pass goes up to

    def states(self, ids: Tensor) -> Tensor:
        """Return what enters the block for token ids [rows, tokens] without a mask: [rows, tokens, hidden].

        It is on the block's device.
        """
        facts = {**self._facts, "ids": content_key({"ids": ids.tolist()})}
        found = self._kept.load(facts, self._block)
        if found is None:
            found = self._pass(ids, facts)
        block = self._lm.layout.block(self._lm.model, self._block)
        return found.to(next(block.parameters()).device)

    @torch.no_grad()
    def _pass(self, ids: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """Run the model once over some rows and keep what enters every block that is what it was."""
        if self._last is None:
            self._last = self._kept.last_unchanged(self._lm, self._block)
        wanted: list[Tensor] = []

        def see(block: int, states: Tensor) -> None:
            if block == self._block:
                wanted.append(states)
            if not self._kept.save(facts, block, states):
                self._last = self._block  # nothing can be kept: no need to go further
            if wanted and block >= (self._last or 0):
                raise Stopped

        with ExitStack() as stack:
            for block in range(self._last + 1):
                input_seen(stack, self._lm.layout.block(self._lm.model, block), partial(see, block))
            run_until_stopped(self._lm, input_ids=ids, use_cache=False)
        self._kept.passes += 1
        return wanted[0]


def _parts(lm: LM) -> list[list[tuple[str, nn.Module]]]:
    """Return the modules outside the blocks, then those of each block, with their names."""
    paths = [lm.layout.block_path(block) for block in range(lm.layout.n_blocks)]
    blocks = [list(lm.model.get_submodule(path).named_modules(prefix=path)) for path in paths]
    inside = {name for block in blocks for name, _ in block}
    return [[(name, part) for name, part in lm.model.named_modules() if name not in inside], *blocks]


def _circumstances(lm: LM) -> dict[str, Any]:
    """Return what decides the bits of a pass beside the model's modules and its ids."""
    return {
        "dtype": str(lm.model.dtype),
        "device": lm.device_name,
        "config": lm.model.config.to_json_string(),
        "attention": str(getattr(lm.model.config, "_attn_implementation", None)),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "packages": {name: packages().get(name) for name in ("torch", "transformers")},
    }
