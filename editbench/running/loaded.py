"""The model that is in memory now, and whether it still is the unedited one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from editbench.errors import BadModel
from editbench.models.load import load_lm
from editbench.running.unedited import differences, fingerprint

if TYPE_CHECKING:
    from editbench.models.lm import LM
    from editbench.plan.runs import RunOptions

Key = tuple[str, str | None, bool]  # name, revision, whether targets end with the end-of-text token


class Loaded:
    """Keeps the last model for the next run, as long as it is the unedited one.

    Parameters
    ----------
    options: device, dtype and the like.
    stage: told what goes on.
    """

    def __init__(self, options: RunOptions, stage: Callable[[str], None]) -> None:
        self.options, self._stage = options, stage
        self._key: Key | None = None
        self._lm: LM | None = None
        self._clean: dict[str, str] = {}

    @property
    def lm(self) -> LM | None:
        """The model in memory, or None."""
        return self._lm

    def get(self, name: str, revision: str | None, eos: bool) -> LM:
        """Return the unedited model of this name, from memory or loaded afresh. Raises :class:`BadModel`.

        One in memory that is not what it was when it was loaded is dropped without a word: who left it so was told by
        :meth:`left_changed`.
        """
        if self._lm is not None and (self._key != (name, revision, eos) or self.changed()):
            self.drop()
        if self._lm is None:
            self._load(name, revision, eos)
        assert self._lm is not None
        return self._lm

    def _load(self, name: str, revision: str | None, eos: bool) -> None:
        options = self.options
        self._stage("loading the model")
        lm = load_lm(
            name,
            revision=revision,
            dtype=options.dtype,
            device=options.device,
            device_map=options.device_map,
            trust_remote_code=options.trust_remote_code,
            target_eos=eos,
            progress=self._stage,
        )
        problems = lm.text.self_test()
        if problems:
            raise BadModel(f"The tokeniser of {name} breaks a rule this needs: {'; '.join(problems)}.")
        if options.keep_edits:
            _ = lm.model_hash  # of the unedited model: a kept edit is held against it
        self._key, self._lm, self._clean = (name, revision, eos), lm, fingerprint(lm)

    def changed(self) -> list[str]:
        """Return what of the model in memory is not as it was loaded; nothing if it is the unedited one."""
        return [] if self._lm is None else differences(self._clean, fingerprint(self._lm))

    def drop(self) -> None:
        """Forget the model: the next run loads it afresh."""
        self._key = self._lm = None
        self._clean = {}
