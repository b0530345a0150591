"""Value vectors: what a block should put out at the subject's last token for the model to say the new target.

For every request a vector δ is added to the block's output at that token, and Adam on δ alone minimises

    mean over contexts of NLL(target | context) + kl · KL(new ‖ old on "{subject} is a") + decay · ‖δ‖ / ‖v‖²

with ‖δ‖ held below clamp · ‖v‖ (ROME, arXiv:2202.05262, section 3.1; MEMIT, arXiv:2210.07229, section 4.2; the decay
term as in their public code). The loop is ``editbench.models.value_trainer``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from editbench.models.value_trainer import Aim, Values, ValueTrainer

if TYPE_CHECKING:
    from torch import nn

    from editbench.models.lm import LM
    from editbench.savepoint import Savepoint

    from ._locate_then_edit import ValueHparams
    from ._prompts import Case


def optimise(
    lm: LM,
    cases: Sequence[Case],
    layer: int,
    hparams: ValueHparams,
    *,
    at_projection: bool = False,
    norm: nn.Module | None = None,
    savepoint: Savepoint | None = None,
    progress: Callable[[float], None] | None = None,
) -> Values:
    """Find the value vectors of ``cases`` at block ``layer``.

    ``at_projection``: whether value and clamp refer to the output of the block's MLP projection, as in ROME, and not
    to the block's output, as in MEMIT; the sum is the same, the norm that bounds δ is not.
    ``norm``: the norm behind that projection, if there is one: then the value is that of the projection's output.
    ``savepoint``: where those found so far are kept, so that they need not be found again.
    """
    trainer = ValueTrainer(
        lm,
        layer,
        lr=hparams.lr,
        updates=hparams.steps - 1,  # public code looks at the loss ``steps`` times and updates in between
        clamp=hparams.clamp,
        decay=hparams.weight_decay,
        stop_loss=hparams.stop_loss,
        at_projection=at_projection,
        norm=norm,
    )
    return trainer.train([_aims(case, hparams.kl_factor) for case in cases], savepoint=savepoint, progress=progress)


def _aims(case: Case, kl_factor: float) -> list[Aim]:
    """Return what one request's value is trained on: the target in each context, and the essence that must not move."""
    found = []
    for completion, start in zip(case.completions, case.starts, strict=True):
        labels = completion.ids[completion.prompt_len :]
        found.append(Aim(completion.ids[:-1], start, labels, 1 / (len(labels) * len(case.completions))))
    if kl_factor:
        found.append(Aim(case.essence, case.essence_start, (), kl_factor))
    return found
