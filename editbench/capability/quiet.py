"""Keeping lm-eval, datasets and transformers off the user's screen."""

from __future__ import annotations

import io
import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

_LOGGERS = ("lm_eval", "datasets", "evaluate", "absl", "sqlitedict", "huggingface_hub", "httpx", "httpx2", "urllib3")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence bars, warnings and prints of lm-eval and what it calls, and put everything back after."""
    from editbench.capability.lm_eval_parts import without_bars
    from editbench.models.quiet import quiet as quiet_transformers

    with ExitStack() as stack:
        stack.enter_context(quiet_transformers())
        stack.enter_context(_quiet_datasets())
        stack.enter_context(without_bars())
        stack.enter_context(quiet_loggers())
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextmanager
def quiet_loggers() -> Iterator[None]:
    """Silence the loggers of lm-eval and what it calls, and put their levels back after."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    import datasets

    was_on = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if was_on:
            datasets.enable_progress_bars()


@contextmanager
def own_random_state() -> Iterator[None]:
    """Seed what lm-eval seeds, with its own default seeds, and give the caller's random states back after."""
    import numpy as np
    import torch

    from editbench.capability.lm_eval_parts import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    python, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        random.seed(DEFAULT_RANDOM_SEED)
        np.random.seed(DEFAULT_OTHER_SEED)
        torch.manual_seed(DEFAULT_OTHER_SEED)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)
