import pytest
import torch

from editbench.method import Context, ContextEdit
from editbench.models.generate import Question, ask, ask_batch, find_stop, plan_batches
from editbench.plan.protocol import Protocol
from editbench.testing.tiny import TINY_KINDS, tiny_lm, tiny_requests

PROTOCOL = Protocol(max_new_tokens=12)
NO_STOP = ".!?\n"


def questions(n=7, stop_free=NO_STOP):
    """Prompts of quite different lengths, some longer than the sliding window of the tiny models."""
    fillers = ["", "It is said that ", "In the book that she wrote in the north of the land, one reads that "]
    return [
        Question(fillers[i % 3] + r.prompt, (r.target_new, r.target_true, None, "violin of the king"), stop_free)
        for i, r in enumerate(tiny_requests(n))
    ]


def full_logits(lm, ids):
    return lm.model(torch.tensor([ids])).logits[0].float()


def slow_answer(lm, prompt, limit):
    """Greedy tokens by running the whole text again for each token, without any cache."""
    ids = lm.text.prompt(prompt)
    new = []
    while len(new) < limit:
        token = int(full_logits(lm, ids + new)[-1].argmax())
        if token in lm.text.eos_ids:
            break
        new.append(token)
    return new


def slow_score(lm, prompt, answer):
    done = lm.text.completion(prompt, answer)
    logits = full_logits(lm, done.ids)[done.prompt_len - 1 : done.prompt_len + done.target_len - 1]
    target = torch.tensor(done.target_ids)
    nll = torch.nn.functional.cross_entropy(logits, target)
    return float(nll), int((logits.argmax(-1) == target).sum()), done.target_len


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_batched_generation_equals_transformers_one_by_one(kind):
    lm = tiny_lm(kind)
    asked = questions()
    got = ask_batch(lm, asked, PROTOCOL)
    for question, outcome in zip(asked, got, strict=True):
        ids = torch.tensor([lm.text.prompt(question.prompt)])
        out = lm.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=lm.text.pad_id
        )[0, ids.shape[1] :].tolist()
        out = out[: out.index(2)] if 2 in out else out
        assert outcome.generated == lm.text.decode(out).removeprefix(" ")


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_batched_generation_and_scores_equal_full_forwards_one_by_one(kind):
    lm = tiny_lm(kind, seed=1)
    asked = questions()
    for question, outcome in zip(asked, ask_batch(lm, asked, PROTOCOL), strict=True):
        assert outcome.generated == lm.text.decode(slow_answer(lm, question.prompt, 12)).removeprefix(" ")
        for i, answer in enumerate(question.answers):
            if answer is None:
                assert (outcome.nll[i], outcome.hits[i], outcome.tokens[i]) == (None, None, None)
                continue
            nll, hits, tokens = slow_score(lm, question.prompt, answer)
            assert outcome.nll[i] == pytest.approx(nll, abs=1e-4)
            assert (outcome.hits[i], outcome.tokens[i]) == (hits, tokens)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "mistral"])
def test_outcomes_do_not_depend_on_batch_size_or_order(kind):
    lm = tiny_lm(kind)
    asked = questions(9, stop_free="")
    alone = [ask_batch(lm, [question], PROTOCOL)[0] for question in asked]
    for budget in (1, 100, 10_000):
        by_index = {i: outcome for batch in ask(lm, asked, PROTOCOL, token_budget=budget) for i, outcome in batch}
        together = [by_index[i] for i in range(len(asked))]
        for one, many in zip(alone, together, strict=True):
            assert (one.generated, one.stop, one.hits, one.tokens) == (
                many.generated,
                many.stop,
                many.hits,
                many.tokens,
            )
            assert [n for n in one.nll if n] == pytest.approx([n for n in many.nll if n], abs=1e-5)


def test_what_the_model_says_is_found_without_and_with_its_own_answer_to_score():
    lm = tiny_lm("llama", seed=2)
    bare = [Question(q.prompt, (), NO_STOP) for q in questions()]
    said = ask_batch(lm, bare, Protocol(max_new_tokens=4))
    drafted = [Question(q.prompt, (o.generated,), NO_STOP) for q, o in zip(bare, said, strict=True)]
    again = ask_batch(lm, drafted, Protocol(max_new_tokens=4))
    assert [(o.generated, o.stop) for o in again] == [(o.generated, o.stop) for o in said]
    assert any(o.hits[0] == o.tokens[0] for o in again)


def test_a_row_that_says_its_answer_and_ends_is_not_decoded(monkeypatch):
    lm = tiny_lm("llama")
    done = lm.text.completion("The capital is", "Paris")
    _teach(lm, done.ids)
    calls = []
    monkeypatch.setattr(lm.model, "forward", _counting(lm.model.forward, calls))
    outcome = ask_batch(lm, [Question("The capital is", ("Paris",), "Paris")], PROTOCOL)[0]
    assert (outcome.generated, outcome.stop, outcome.hits) == ("Paris", "eos", (done.target_len,))
    assert len(calls) == 2


def _counting(forward, calls):
    def counted(*args, **kwargs):
        calls.append(kwargs["input_ids"].shape)
        return forward(*args, **kwargs)

    return counted


def _teach(lm, ids):
    """Train the tiny model on one text until it is what it says."""
    lm.model.requires_grad_(True)
    optimiser = torch.optim.Adam(lm.model.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(full_logits(lm, ids)[:-1], torch.tensor(ids[1:])).backward()
        optimiser.step()
    lm.model.requires_grad_(False)


@pytest.mark.parametrize(
    ("text", "free", "ended", "expected"),
    [
        (" Paris", "", False, None),
        (" Paris.", "", False, None),
        (" Paris.", "", True, (" Paris", "sentence")),
        (" Paris. It", "", False, (" Paris", "sentence")),
        (" Paris! It", "", False, (" Paris", "sentence")),
        (" Paris? It", "", False, (" Paris", "sentence")),
        (" 3.5 million", "", True, None),
        (" U.S. It", "U.S.", False, None),
        (" U.S. It! No", "U.S.", False, (" U.S. It", "sentence")),
        (" Paris\nQ:", "", False, (" Paris", "newline")),
        (" Paris.\nQ:", "", False, (" Paris", "sentence")),
        ("\nParis. It", "", False, ("", "newline")),
        (" a\nb", "a\nb", True, None),
        (" a.! \n", ".!?\n", True, None),
    ],
)
def test_stop_rule_by_hand(text, free, ended, expected):
    assert find_stop(text, free, ended=ended) == expected


@pytest.mark.parametrize(
    ("continuation", "free", "generated", "stop"),
    [
        (" Paris. It is", "", "Paris", "sentence"),
        (" Paris.", "", "Paris", "sentence"),
        (" Paris\nThe", "", "Paris", "newline"),
        (" Paris", "", "Paris", "eos"),
        (" St. Paul", "St. Paul", "St. Paul", "eos"),
        (" St. Paul", "Paul", "St", "sentence"),
        (" 3.5 million", "", "3.5 million", "eos"),
    ],
)
@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_a_model_that_says_a_text_is_stopped_where_the_rule_says(kind, continuation, free, generated, stop):
    lm = tiny_lm(kind)
    _teach(lm, [*lm.text.completion("The town is", continuation).ids])
    outcome = ask_batch(lm, [Question("The town is", (), free)], Protocol(max_new_tokens=20))[0]
    assert (outcome.generated, outcome.stop) == (generated, stop)


def test_generation_ends_at_the_length_limit():
    lm = tiny_lm("qwen2", seed=4)
    outcome = ask_batch(lm, [Question("The king", (), NO_STOP)], Protocol(max_new_tokens=3))[0]
    assert outcome.stop == "length"
    assert outcome.generated == lm.text.decode(slow_answer(lm, "The king", 3)).removeprefix(" ")


def fact_before(lm, memory, prompts):
    return [f"New fact: {prompt} blue. " for prompt in prompts]


def shared_story(lm, memory, prompts):
    return [Context(before="It is said: ", after=" surely") for _ in prompts]


def test_a_shared_prefix_is_read_once_and_changes_no_answer():
    lm = tiny_lm("llama")
    asked = questions(3)
    story = "The author of the book is unknown. "
    ledger = ContextEdit(shared_story, shared_prefix=story).apply(lm)
    seen = []
    hook = lm.model.get_input_embeddings().register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    found = ask_batch(lm, asked, PROTOCOL)
    hook.remove()
    ledger.revert()
    spelled = [Question(f"{story}It is said: {q.prompt} surely", q.answers, q.stop_free) for q in asked]
    expected = ask_batch(lm, spelled, PROTOCOL)
    assert seen[0][0] == 1 and seen[0][1] >= len(lm.text.prompts([story])[0]) - 1 and seen[1][0] == 3
    for one, other in zip(found, expected, strict=True):
        assert (one.generated, one.stop, one.hits) == (other.generated, other.stop, other.hits)
        assert one.nll == pytest.approx(other.nll, abs=1e-4)


def test_every_pass_says_which_rows_it_has_and_where_prompts_end():
    lm = tiny_lm("llama")
    asked = questions(5)
    calls = []
    inner = lm.model.forward
    lm.model.forward = lambda **given: (calls.append((lm.call, given["input_ids"].shape)), inner(**given))[1]
    ask_batch(lm, asked, Protocol(max_new_tokens=4))
    del lm.model.forward
    lengths = [len(ids) for ids in lm.text.prompts([q.prompt for q in asked])]
    first, shape = calls[0]
    assert first.phase == "prompt" and first.rows.tolist() == list(range(5))
    assert list(first.prompts) == [q.prompt for q in asked] and first.prompt_ends.tolist() == [shape[1] - 1] * 5
    assert first.real.sum(1).tolist() == lengths and first.positions[:, -1].tolist() == [n - 1 for n in lengths]
    assert {call.phase for call, _ in calls} == {"prompt", "answer", "step"}
    for call, shape in calls[1:]:
        assert call.prompt_ends is None and call.positions.shape == shape and len(call.rows) == shape[0]
        # the first new token of a row stands right behind its prompt
        behind = [at - lengths[row] for row, at in zip(call.rows.tolist(), call.positions[:, 0].tolist(), strict=True)]
        assert min(behind) >= 0 and (call.phase == "step" or set(behind) == {0})
    assert lm.call is None


def test_the_context_stands_before_the_prompt():
    lm = tiny_lm("llama")
    asked = questions(3)
    ledger = ContextEdit(fact_before).apply(lm)
    with_context = ask_batch(lm, asked, PROTOCOL)
    ledger.revert()
    spelled = [Question(f"New fact: {q.prompt} blue. {q.prompt}", q.answers, q.stop_free) for q in asked]
    assert with_context == ask_batch(lm, spelled, PROTOCOL)


def test_the_plan_holds_every_question_once_within_the_budget():
    lm = tiny_lm("llama")
    asked = questions(20)
    plan = plan_batches(lm, asked, 120)
    assert sorted(i for batch in plan for i in batch) == list(range(20))
    lengths = [len(lm.text.prompt(q.prompt)) for q in asked]
    assert all(len(batch) * max(lengths[i] for i in batch) <= 120 or len(batch) == 1 for batch in plan)
    assert len(plan) > 1
    assert plan == plan_batches(lm, asked, 120)


def test_a_prompt_too_long_for_the_model_has_an_error_and_spoils_no_other():
    lm = tiny_lm("gpt2")
    fine, long = questions(1)[0], Question("the king of the land " * 100, ("Paris",))
    outcomes = ask_batch(lm, [fine, long], PROTOCOL)
    assert outcomes[0] == ask_batch(lm, [fine], PROTOCOL)[0]
    assert "256" in outcomes[1].error
    assert (outcomes[1].generated, outcomes[1].nll) == ("", (None,))


def test_parts_can_be_left_out():
    lm = tiny_lm("opt")
    asked = questions(3)
    both = ask_batch(lm, asked, PROTOCOL)
    scored = ask_batch(lm, asked, PROTOCOL, generate=False)
    generated = ask_batch(lm, asked, PROTOCOL, score=False)
    assert [o.generated for o in generated] == [o.generated for o in both]
    assert all(o.nll == (None,) * 4 for o in generated)
    assert [o.hits for o in scored] == [o.hits for o in both]
    assert {(o.generated, o.stop) for o in scored} == {("", "")}


def test_blank_answers_have_no_score():
    outcome = ask_batch(tiny_lm(), [Question("The king is", ("", " ", "Paris"))], PROTOCOL)[0]
    assert outcome.nll[:2] == (None, None)
    assert outcome.nll[2] is not None


def test_long_answers_are_scored_in_chunks_with_the_same_result(monkeypatch):
    lm = tiny_lm("gemma2")
    whole = ask_batch(lm, questions(), PROTOCOL)
    monkeypatch.setattr("editbench.models.generate._LOGITS_AT_ONCE", 1)
    parts = ask_batch(lm, questions(), PROTOCOL)
    for one, other in zip(whole, parts, strict=True):
        assert one.hits == other.hits
        assert [n for n in one.nll if n] == pytest.approx([n for n in other.nll if n], abs=1e-5)


def test_no_hooks_gradients_or_changes_are_left():
    lm = tiny_lm("llama")
    before = {name: value.clone() for name, value in lm.model.state_dict().items()}
    ask_batch(lm, questions(2), PROTOCOL)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.model.modules())
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert torch.is_grad_enabled()
    assert all(torch.equal(before[name], value) for name, value in lm.model.state_dict().items())
