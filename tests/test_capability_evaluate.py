"""One task on the model in memory: as lm-eval itself measures it, and with edits as they are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from capability_folder import made, native_yaml, rows, silent, write_lines, write_tasks

from editbench.cache import Cache
from editbench.capability.bench import Bench
from editbench.capability.evaluate import EditedLM, _kept, measure
from editbench.capability.loading import load_tasks
from editbench.capability.spec import CapabilitySpec
from editbench.capability.tasks import Asked, resolve
from editbench.method import Context, ContextEdit, ModuleEdit
from editbench.metrics.capability import capability
from editbench.testing.damage import damaged
from editbench.testing.tiny import tiny_lm

pytestmark = pytest.mark.usefixtures("lm_eval_lists_no_packages")

# Native lm-eval tasks, by their own YAML, and documents for them in the hub's form: file, split evaluated, rows.
NATIVE: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "hellaswag": (
        "hellaswag/hellaswag.yaml",
        "hellaswag_validation",
        [
            {
                "activity_label": "Singing",
                "ctx_a": "The king sings.",
                "ctx_b": f"he {word}",
                "endings": [f"plays the {word}", "was born", "is [title] unknown", "lives"],
                "label": str(i % 4),
            }
            for i, word in enumerate(("violin", "city", "song", "book", "land"))
        ],
    ),
    "arc_easy": (
        "arc/arc_easy.yaml",
        "ai2_arc/ARC-Easy_test",
        [
            {
                "question": f"What is {row['question']}?",
                "choices": {"text": row["choices"], "label": ["A", "B", "C"]},
                "answerKey": "ABC"[int(str(row["answer"]))],
            }
            for row in rows(7)
        ],
    ),
    "piqa": (
        "piqa/piqa.yaml",
        "piqa_validation",
        [
            {"goal": f"find {n}", "sol1": "in the town of the king", "sol2": "in the land", "label": n % 2}
            for n in range(5)
        ],
    ),
    "lambada_openai": (
        "lambada/lambada_openai.yaml",
        "lambada_openai_test",
        [{"text": f"The author of the {word} is the {end}"} for word, end in (("song", "king"), ("book", "city"))],
    ),
    "sst2": (
        "glue/sst2/default.yaml",
        "sst2_validation",
        [{"sentence": f"the book is {word} ", "label": i % 2} for i, word in enumerate(("unknown", "French", "born"))],
    ),
    "blimp_causative": (
        "blimp/causative.yaml",
        "blimp/causative",
        [{"sentence_good": f"The king plays {n}.", "sentence_bad": f"The king is {n}."} for n in ("songs", "books")],
    ),
}


@pytest.fixture
def lm() -> Any:
    return tiny_lm("llama")


@pytest.mark.parametrize("name", list(NATIVE))
def test_a_native_task_has_to_the_last_digit_what_lm_eval_itself_finds(
    lm: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    path, place, documents = NATIVE[name]
    yaml = native_yaml(path)
    write_lines(tmp_path / "data" / f"{place}.jsonl", documents)
    spec = CapabilitySpec(tasks=[str(yaml)], batch_size=3)
    bench = Bench(spec, tmp_path / "data", Cache(tmp_path / "cache"))
    bench.baseline(lm, silent)
    with damaged(lm.model, 1.0):
        ours = bench.measure(tmp_path / "cell", silent, lm, changed=True)[name]
        assert ours["status"] == "done", ours["reason"]
        split = datasets.Dataset.from_list(documents)
        everything = datasets.DatasetDict(dict.fromkeys(("train", "validation", "test"), split))
        monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: everything)
        theirs = simple_evaluate(
            model=HFLM(pretrained=lm.model, tokenizer=lm.text.tokenizer, batch_size=3),
            tasks=[name],
            task_manager=TaskManager(include_path=str(yaml.parent), include_defaults=False),
            bootstrap_iters=2,
        )
    found = json.loads((tmp_path / "cell" / "capability.json").read_text())[name]["metrics"]
    assert found and all(value == theirs["results"][name][key] for key, value in found.items())
    assert ours["value"] == theirs["results"][name][ours["metric"]]
    if ours["metric"] == "acc,none":
        assert ours["stderr"] == pytest.approx(theirs["results"][name]["acc_stderr,none"], rel=1e-12)
    assert ours["version"] == str(theirs["versions"][name]) and ours["n"] == len(documents)


def test_a_group_is_put_together_as_lm_eval_does_and_examples_and_limits_count(lm: Any, tmp_path: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    folder = write_tasks(tmp_path / "mine")
    for name in ("toy_one", "toy_two"):  # lm-eval itself looks for data where the process runs
        text = (folder / f"{name}.yaml").read_text()
        (folder / f"{name}.yaml").write_text(text.replace(f"test: {name}", f"test: {folder}/{name}"))
        text = (folder / f"{name}.yaml").read_text()
        (folder / f"{name}.yaml").write_text(text.replace("train: shots", f"train: {folder}/shots"))
    bench = made(folder, tmp_path / "cache", num_fewshot=2, limit=5)
    bench.baseline(lm, silent)
    with damaged(lm.model, 1.0):
        ours = bench.measure(tmp_path / "cell", silent, lm, changed=True)["toy"]
        theirs = simple_evaluate(
            model=HFLM(pretrained=lm.model, tokenizer=lm.text.tokenizer, batch_size=4),
            tasks=["toy"],
            num_fewshot=2,
            limit=5,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        )
    assert ours["value"] == theirs["results"]["toy"]["acc,none"] and ours["n"] == 10
    assert ours["stderr"] == pytest.approx(theirs["results"]["toy"]["acc_stderr,none"], rel=1e-12)
    assert bench.manifest()["tasks"]["toy/toy_one"]["num_fewshot"] == 2


def test_prompts_that_had_to_be_cut_are_counted(lm: Any, tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine", max_gen_toks=250)  # of 256
    bench = made(folder, tmp_path / "cache")
    bench.baseline(lm, silent)
    lengths = [len(lm.text.tokenizer(str(row["question"]))["input_ids"]) for row in rows(6)]
    expected = sum(length > 6 for length in lengths)
    assert 0 < expected == bench.measure(tmp_path / "cell", silent, lm, changed=True)["toy_write"]["truncated"]


def test_a_task_that_writes_beyond_the_models_context_is_a_recorded_failure(lm: Any, tmp_path: Path) -> None:
    bench = made(write_tasks(tmp_path / "mine", max_gen_toks=300), tmp_path / "cache")
    bench.baseline(lm, silent)
    found = bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert found["toy_write"]["status"] == "failed" and found["toy_write"]["at"] == "unedited"
    assert "requested max tokens to generate (300) must be less than" in found["toy_write"]["reason"]
    assert found["toy"]["status"] == "done"


class Doubled(torch.nn.Module):
    """Computes twice the opposite, and keeps what it was told of each pass."""

    def __init__(self, lm: Any, inner: torch.nn.Module, data: Any) -> None:
        super().__init__()
        self.lm, self.inner = lm, inner
        self.told: list[Any] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.told.append((self.lm.call, x.shape))
        out: torch.Tensor = -2 * self.inner(x)
        return out


def test_an_edit_that_adds_a_module_is_measured_with_the_module_which_is_told_what_each_pass_is_for(
    lm: Any, tmp_path: Path
) -> None:
    name = lm.layout.weight_name(1, "down").removesuffix(".weight")
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    applied = ModuleEdit(Doubled, {name: {}}).apply(lm)
    module = lm.model.get_submodule(name)
    bench.measure(tmp_path / "cell", silent, lm, changed=True)
    applied.revert()
    assert {call.phase for call, _ in module.told} >= {"answer", "prompt", "step"}
    for call, shape in module.told:
        assert call.positions.shape == shape[:2] and len(call.rows) == shape[0]
        if call.phase == "answer":  # prompts end before the last token that is read, and are known by their text
            lengths = call.real.sum(1)
            assert bool((call.prompt_ends < lengths).all())
            texts = lm.text.tokenizer(list(call.prompts)).input_ids
            assert [len(ids) - 1 for ids in texts] == call.prompt_ends.tolist()
        if call.phase == "prompt":
            assert call.prompt_ends.tolist() == [shape[1] - 1] * shape[0] and len(call.prompts) == shape[0]


@pytest.mark.parametrize("task", ["toy_one", "toy_write"])
def test_an_in_context_edit_is_measured_with_its_text_before_each_prompt(lm: Any, tmp_path: Path, task: str) -> None:
    folder = write_tasks(tmp_path / "mine")
    model = EditedLM(lm, 4)
    index = resolve(CapabilitySpec(tasks=[str(folder)]), Cache(tmp_path)).index
    asked: list[list[str]] = []

    def lookup(lm: Any, memory: Any, prompts: Any) -> list[str]:
        asked.append(list(prompts))
        return ["The king lives. "] * len(prompts)

    applied = ContextEdit(lookup).apply(lm)
    edited = measure(model, load_tasks(Asked(task), index, None).tasks[task], Asked(task))
    applied.revert()
    [once] = asked  # all documents together, each once, however many answers it has
    assert len(set(once)) == len(once) == 6 and all(prompt.startswith("The ") for prompt in once)
    for name in ("toy_one.jsonl", "shots.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        write_lines(folder / name, [{**line, "question": f"The king lives. {line['question']}"} for line in lines])
    written_out = measure(model, load_tasks(Asked(task), index, None).tasks[task], Asked(task))
    assert [sample.outcomes for sample in edited.samples] == [sample.outcomes for sample in written_out.samples]
    assert [sample.said for sample in edited.samples] == [sample.said for sample in written_out.samples]


def in_brackets(lm: Any, memory: Any, prompts: Any) -> list[Context]:
    turns = ({"role": "user", "content": "x"}, {"role": "assistant", "content": "y"})
    return [Context(f"[{prompt}] ", "?", turns) for prompt in prompts]


def test_with_a_chat_template_the_text_goes_before_the_last_message(lm: Any) -> None:
    model = EditedLM(lm, 4)
    model.tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    applied = ContextEdit(in_brackets, shared_prefix="All: ").apply(lm)
    assert model.apply_chat_template(messages) == "<user>a<assistant>b<user>x<assistant>y<user>All: [c] c?"
    applied.revert()
    assert model.apply_chat_template(messages) == "<user>a<assistant>b<user>c"


def test_a_model_of_nan_weights_fails_every_task_instead_of_a_value(lm: Any, tmp_path: Path) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    with torch.no_grad():
        lm.parameter(lm.layout.weight_name(1, "down")).fill_(float("nan"))
    found = bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert {entry["at"] for entry in found.values()} == {"edited"} and capability({"capability": found}) is None
    assert "FloatingPointError: no log-likelihood is a finite number" in found["toy"]["reason"]
    assert found["toy_write"]["reason"] == "FloatingPointError: no logit is a finite number"


def test_logits_are_computed_from_the_first_continuation_of_a_batch_on(lm: Any) -> None:
    inps = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 0, 0]])  # the second row's continuation of 2 is at places 1 and 2
    assert [_kept(inps, longest) for longest in (1, 2, 9, None)] == [3, 4, 5, 5]
    assert _kept(torch.tensor([[5, 0, 0]]), 1) == 3  # zeros at the end may be tokens: more is kept
    model, seen = EditedLM(lm, 4), []
    lm.model.get_output_embeddings().register_forward_hook(lambda module, args, output: seen.append(output.shape[1]))
    asked = [(("", ""), [5, 6, 7, 8, 9], [10, 11]), (("", ""), [5, 6, 7, 8], [10])]
    model._loglikelihood_tokens(asked)
    assert seen == [4]  # of six places: the shorter row, of four, ends two places before the longer one


def test_a_prompt_of_no_tokens_does_not_stop_a_task_that_writes(lm: Any) -> None:
    model = EditedLM(lm, 4)
    with torch.no_grad():
        lm.parameter(lm.layout.weight_name(1, "down")).fill_(float("nan"))
    model._refuse_nan([])
    with pytest.raises(FloatingPointError, match="no logit"):
        model._refuse_nan([5, 6])
