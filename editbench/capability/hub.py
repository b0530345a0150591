"""The hub, asked whether it is there before anything is taken from it: where it is not, its cache alone is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 10.0


class Hub:
    """What is known in this process of the hub.

    Its own clients try for 23 seconds for each dataset, and a group has up to hundreds; one question is enough.

    Attributes
    ----------
    why_not: why it cannot be reached; "" if it can, None if it has not been asked.
    """

    def __init__(self) -> None:
        self.why_not: str | None = None

    @contextmanager
    def at_hand(self) -> Iterator[None]:
        """Let datasets be loaded: from the hub, or, where it cannot be reached, from its cache without trying.

        Where a connection breaks within, the hub is asked again next time.
        """
        if self.why_not is None:
            self.why_not = _why_not()
        if self.why_not:
            with _offline():
                yield
            return
        try:
            yield
        except ConnectionError:
            self.why_not = None
            raise

    def explain(self, dataset: str) -> str:
        """Return why a dataset could not be loaded without the hub."""
        return f"the hub cannot be reached ({self.why_not}), and its cache does not hold {dataset}"


def _why_not() -> str:
    """Ask the hub once, and return why it does not answer; "" if it does, whatever it says."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # the client's library, and so its errors, differ between versions
        said = " ".join(str(error).split())
        return f"{type(error).__name__}: {said}" if said else type(error).__name__
    return ""


@contextmanager
def _offline() -> Iterator[None]:
    """Do for a while what ``HF_HUB_OFFLINE=1`` does, which is read from the environment only when a process begins."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
