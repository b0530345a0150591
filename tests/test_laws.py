"""The laws themselves: over lawful methods of every kind, and over methods that break them one at a time."""

from __future__ import annotations

from pathlib import Path

import culprits
import culprits_of_batches
import pytest
from reference_methods import REFERENCES, Codebook, Good, Retrieval
from results_tree import save_tiny_model

from editbench.errors import UserError
from editbench.method import Method
from editbench.testing import LawResult, OtherProcess, TrialModel, check_method
from editbench.testing.laws import LAWS

PROCESS = "edit returns, and changes nothing of the process: random state, threads, torch's settings"
KIND = "edit returns an edit of the declared kind, whose code has a name"
FOUND = "edit leaves the model bitwise as found"
MODES = "edit leaves gradients, their flags and train or eval mode as they were"
HOOKS = "no hooks are left behind"
SURROUNDINGS = "context, configuration and tokeniser are untouched"
REVERT = "revert restores the model bitwise"
REVERT_STREAM = "revert restores the model bitwise after a stream of two chunks"
NOBODY = "no requests, no change"
SEED = "the same seed gives the same edit"
ELSEWHERE = "the same seed gives the same edit in another process"
PROBES = "the edit does not depend on its requests' probes"
NAMED = "what the edit does not name stays bitwise equal"
SAVED = "an edit that is saved and loaded, here and in another process, is the same"
CUT_OFF = "an edit cut off at a savepoint ends with the same bits"
LEARNS = "the edit makes the target likelier"
INDEPENDENT = "where requests are independent, all at once equals one by one"
RESUMED = "a stream resumed from its checkpoint equals an unbroken one"
CUMULATIVE = "where a method is cumulative, a stream of two chunks ends as one edit of all"
SURVIVES = "the first chunk survives the second"
ALONE = "a prompt alone is answered as in a left-padded batch"
WHOLE = "left padding and a cache give what right padding and whole texts give"
GATED = "where an edit is gated, unrelated prompts keep their bits"

CULPRITS: list[tuple[type[Method], set[str]]] = [
    (culprits.WrongKind, {KIND}),
    (culprits.UnnamedLookup, {KIND}),
    (culprits.DrawsUnseeded, {PROCESS, SEED, ELSEWHERE, PROBES}),
    (culprits.LeavesItsChange, {FOUND}),
    (culprits.LeavesTrainMode, {MODES}),
    (culprits.LeavesAHook, {HOOKS}),
    (culprits.ChangesTheTokeniser, {SURROUNDINGS}),
    (culprits.ForgetsToRevert, {REVERT, REVERT_STREAM, SAVED, RESUMED}),
    (culprits.EditsNothingLoudly, {NOBODY}),
    (culprits.NeverTheSame, {SEED, ELSEWHERE, PROBES, RESUMED}),
    (culprits.HashSalted, {ELSEWHERE}),
    (culprits.ReadsProbes, {PROBES}),
    (culprits.TouchesMore, {NAMED}),
    (culprits.KeepsASecret, {SAVED}),
    (culprits.HidesItsSize, {SAVED}),
    (culprits.SavesHalf, {CUT_OFF}),
    (culprits.Unlearns, {LEARNS}),
    (culprits.ClaimsIndependence, {INDEPENDENT}),
    (culprits.ClaimsToBeCumulative, {CUMULATIVE}),
    (culprits.ClaimsAGate, {GATED}),
    (culprits.ForgetsItsState, {RESUMED}),
    (culprits.KeysOfNumbers, {RESUMED}),
    (culprits.ForgetsChunkOne, {CUMULATIVE, SURVIVES}),
    (culprits.ForgetsSentences, {CUMULATIVE, SURVIVES}),
    (culprits.PilesUp, {CUMULATIVE}),
    (culprits_of_batches.FirstPromptDecides, {ALONE, INDEPENDENT, GATED}),
    (culprits_of_batches.FirstRowDecides, {ALONE, GATED}),
    (culprits_of_batches.IgnoresRightPadding, {WHOLE}),
    (culprits_of_batches.IgnoresLeftPadding, {ALONE, WHOLE, SURVIVES}),  # rows that are not found are not edited
    (culprits_of_batches.IgnoresRows, {ALONE}),
    (culprits_of_batches.ForgetsLaterPasses, {WHOLE}),
    (culprits_of_batches.AlwaysFires, {GATED}),
]


@pytest.mark.parametrize("method", REFERENCES, ids=lambda method: method.name)
def test_a_lawful_method_of_every_kind_obeys_every_law(method: type[Method], elsewhere: OtherProcess) -> None:
    results = check_method(method, elsewhere=elsewhere)
    assert [result.law for result in results] == [*LAWS, *LAWS]
    assert not [result for result in results if not result.passed]


@pytest.mark.parametrize(("culprit", "laws"), CULPRITS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_law_catches_a_method_that_breaks_it_and_no_other_law_does(
    culprit: type[Method], laws: set[str], elsewhere: OtherProcess
) -> None:
    broken = [one for one in check_method(culprit, kinds=("llama",), elsewhere=elsewhere) if not one.passed]
    assert {result.law for result in broken if not result.same_as} == laws, broken
    assert all(result.detail for result in broken)


def test_there_is_a_culprit_for_every_law() -> None:
    assert set().union(*(laws for _, laws in CULPRITS)) == set(LAWS)


def told_once(results: list[LawResult]) -> LawResult:
    """Return the only result with a cause of its own, of a method that breaks many laws by one."""
    [first, *others] = [result for result in results if not result.passed]
    assert len(others) > 30 and not first.same_as
    assert {one.detail for one in others} == {f"the same cause as: {first.law}"}
    return first


def test_one_cause_that_breaks_every_law_is_told_once_with_its_place() -> None:
    first = told_once(check_method(culprits.Raises))
    assert "by nought" in first.detail and "culprits.py" in first.detail
    assert "edit returned nothing" in told_once(check_method(culprits.ReturnsNothing)).detail


def test_a_law_that_does_not_apply_says_why() -> None:
    found = {one.law: one for one in check_method(Good, kinds=("llama",), laws=(GATED, CUT_OFF, SURVIVES))}
    assert {one.status for one in found.values()} == {"not applicable"}
    assert found[GATED].detail == "it does not declare gated"
    [read] = check_method(Retrieval, kinds=("llama",), laws=(LEARNS,))
    assert read.status == "not applicable" and "random weights" in read.detail


def test_a_model_that_is_not_supported_is_no_law_that_holds() -> None:
    class Never(Good):
        def supports(self, lm: object) -> str:
            return "it is too small"

    found = check_method(Never, kinds=("llama",))
    assert {(one.status, one.detail) for one in found} == {("not applicable", "it is too small")}


def test_a_real_model_is_loaded_afresh_after_a_law_that_left_it_changed(tmp_path: Path) -> None:
    model = TrialModel(str(save_tiny_model(tmp_path / "model")), tiny=False)
    found = check_method(culprits.LeavesItsChange, laws=(FOUND, REVERT, LEARNS, ALONE), model=model)
    assert [(one.law, one.status) for one in found if one.status != "holds"] == [(FOUND, "broken")]
    assert {one.kind for one in found} == {model.name}


def test_a_wrong_hyper_parameter_is_one_error_before_any_law() -> None:
    with pytest.raises(UserError, match="hyper-parameter of good named 'nonsense'"):
        check_method(Good, {"nonsense": 1})


def test_a_weight_within_a_replaced_module_comes_back_from_a_checkpoint_and_from_a_file(
    elsewhere: OtherProcess,
) -> None:
    from culprits import InsideAModule

    results = check_method(InsideAModule, kinds=("llama",), laws=(RESUMED, SAVED, REVERT_STREAM), elsewhere=elsewhere)
    assert [one.status for one in results] == ["holds"] * 3, results


def test_numbers_of_a_method_reach_its_stream() -> None:
    from editbench.base.seeds import torch_generator
    from editbench.running.stream import Stream
    from editbench.testing import tiny_lm, tiny_requests

    stream = Stream(tiny_lm("llama"), Codebook())
    stream.write(tiny_requests(2), torch_generator(0))
    stream.write(tiny_requests(4)[2:], torch_generator(0))
    assert stream.numbers == [(2, None, "keys", 2.0), (4, None, "keys", 4.0)]
    assert stream.size()["nbytes"] == sum(t.numel() * 4 for t in stream.method.state_dict().values())
