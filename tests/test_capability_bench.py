"""Tasks on the model in memory: as lm-eval itself measures them, with edits as they are used, and kept."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from capability_folder import rows, write_lines, write_tasks

from editbench.cache import Cache
from editbench.capability import bench as bench_module
from editbench.capability import tasks as tasks_module
from editbench.capability.bench import Bench
from editbench.capability.evaluate import EditedLM, measure
from editbench.capability.loading import load_tasks
from editbench.capability.spec import CapabilitySpec
from editbench.capability.tasks import Asked
from editbench.method import ContextEdit, ModuleEdit, WeightEdit
from editbench.metrics.capability import capability
from editbench.models.load import weights_hash
from editbench.testing.tiny import tiny_lm

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


def made(folder: Path, cache: Path, data: Path | None = None, **settings: Any) -> Bench:
    return Bench(CapabilitySpec(tasks=[str(folder)], batch_size=4, **settings), data, Cache(cache))


def silent(share: float, note: str) -> None:
    return None


def ruin(lm: Any) -> Any:
    name = lm.layout.weight_name(1, "down")
    weight = lm.parameter(name)
    generator = torch.Generator().manual_seed(3)
    return WeightEdit({name: torch.randn(weight.shape, generator=generator) * 3}).apply(lm)


def native_yaml(path: str) -> Path:
    import lm_eval

    return Path(str(lm_eval.__file__)).parent / "tasks" / path


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
    with ruin_of(lm):
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


class ruin_of:  # noqa: N801 — reads as a word
    """A model damaged for as long as the block lasts."""

    def __init__(self, lm: Any) -> None:
        self.lm = lm

    def __enter__(self) -> None:
        self.applied = ruin(self.lm)

    def __exit__(self, *error: object) -> None:
        self.applied.revert()


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
    with ruin_of(lm):
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


def test_outcomes_are_kept_per_document_beside_the_unedited_models(lm: Any, tmp_path: Path) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    with ruin_of(lm):
        entry = bench.measure(tmp_path / "cell", silent, lm, changed=True)["toy"]
    lines = [json.loads(line) for line in (tmp_path / "cell" / "capability.jsonl").read_text().splitlines()]
    scored = [line for line in lines if line["task"].startswith("toy/")]
    assert len(scored) == 15 and len({(line["task"], line["doc_id"]) for line in lines}) == 21
    assert entry["value"] == pytest.approx(sum(line["outcome"] for line in scored) / 15)
    assert entry["unedited"] == pytest.approx(sum(line["unedited"] for line in scored) / 15)
    assert all(len(line["doc_hash"]) == 64 for line in lines)
    assert {line["said"] is None for line in scored} == {True}
    assert all(isinstance(line["said"], str) for line in lines if line["task"] == "toy_write")


def test_the_standard_error_of_the_difference_is_that_of_the_pairs(lm: Any, tmp_path: Path) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    with ruin_of(lm):
        bench.measure(tmp_path / "cell", silent, lm, changed=True)
    entry = json.loads((tmp_path / "cell" / "capability.json").read_text())["toy/toy_two"]
    lines = [json.loads(line) for line in (tmp_path / "cell" / "capability.jsonl").read_text().splitlines()]
    differences = [r["outcome"] - r["unedited"] for r in lines if r["task"] == "toy/toy_two"]
    mean = sum(differences) / 9
    expected = math.sqrt(sum((d - mean) ** 2 for d in differences) / 8 / 9)
    assert entry["difference_stderr"] == pytest.approx(expected, rel=1e-12)


def test_model_tokeniser_and_random_states_are_left_as_they_were(lm: Any, tmp_path: Path) -> None:
    import random

    before, torch_state, python_state = (
        weights_hash(lm.model, lm.text.tokenizer),
        torch.get_rng_state(),
        random.getstate(),
    )
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert weights_hash(lm.model, lm.text.tokenizer) == before
    assert torch.equal(torch.get_rng_state(), torch_state) and random.getstate() == python_state


def test_nothing_of_lm_evals_reaches_the_screen(lm: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_in_shares_that_grow_to_one(lm: Any, tmp_path: Path) -> None:
    bench, told = made(write_tasks(tmp_path / "mine"), tmp_path / "cache"), []
    bench.baseline(lm, silent)
    bench.measure(tmp_path / "cell", lambda share, note: told.append((share, note)), lm, changed=True)
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 20
    assert any("toy/toy_two (2 of 3)" in note for _, note in told)


def test_the_unedited_model_is_measured_once_per_content(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from editbench.capability import baseline as baseline_module

    measured: list[str] = []

    def counting(model: Any, task: Any, *rest: Any) -> Any:
        measured.append(task.task_name)
        return measure(model, task, *rest)

    monkeypatch.setattr(baseline_module, "measure", counting)
    folder = write_tasks(tmp_path / "mine")
    everything = ["toy_one", "toy_two", "toy_write"]
    made(folder, tmp_path / "cache").baseline(lm, silent)
    assert measured == everything
    made(folder, tmp_path / "cache").baseline(tiny_lm("llama"), silent)
    assert measured == everything  # the same weights, in another process or not
    write_tasks(folder, version="1.1")
    made(folder, tmp_path / "cache").baseline(lm, silent)
    assert measured == [*everything, "toy_one", "toy_two"]  # the third has kept its version
    made(folder, tmp_path / "cache", num_fewshot=1).baseline(lm, silent)
    made(folder, tmp_path / "cache").baseline(tiny_lm("llama", seed=1), silent)
    assert len(measured) == 5 + 2 * 3


def test_an_unedited_model_is_not_asked_again_and_equals_itself(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    monkeypatch.setattr(bench_module, "measure", lambda *a: pytest.fail("asked again"))
    found = bench.measure(tmp_path / "cell", silent, lm, changed=False)
    assert all(entry["value"] == entry["unedited"] for entry in found.values())


def test_a_killed_cell_goes_on_with_the_task_it_was_at(
    lm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tasks(tmp_path / "mine")
    whole = made(folder, tmp_path / "cache")
    whole.baseline(lm, silent)
    with ruin_of(lm):
        expected = whole.measure(tmp_path / "whole", silent, lm, changed=True)
        measured: list[str] = []

        def killed(model: Any, task: Any, *rest: Any) -> Any:
            measured.append(task.task_name)
            if measured == ["toy_one", "toy_two"]:
                raise KeyboardInterrupt
            return measure(model, task, *rest)

        monkeypatch.setattr(bench_module, "measure", killed)
        with pytest.raises(KeyboardInterrupt):
            whole.measure(tmp_path / "cell", silent, lm, changed=True)
        with (tmp_path / "cell" / "capability.jsonl").open("a") as file:
            file.write('{"task": "toy/toy_two", "doc_id": 0}\n{"task": "toy/to')  # what a kill may leave behind
        assert whole.measure(tmp_path / "cell", silent, lm, changed=True) == expected
    assert measured == ["toy_one", "toy_two", "toy_two", "toy_write"]
    for name in ("capability.jsonl", "capability.json"):
        assert (tmp_path / "cell" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_a_task_without_documents_fails_with_its_reason_and_the_others_go_on(lm: Any, tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine")
    (folder / "toy_two.jsonl").unlink()
    bench = made(folder, tmp_path / "cache")
    bench.baseline(lm, silent)
    found = bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert found["toy"]["status"] == "failed" and found["toy"]["at"] == "loading"
    assert "1 of its 2 tasks failed; toy_two: FileNotFoundError" in found["toy"]["reason"]
    assert found["toy_write"]["status"] == "done"
    assert not bench.changed(found)
    write_tasks(folder)
    assert made(folder, tmp_path / "cache").changed(found)


def test_a_task_that_writes_beyond_the_models_context_is_a_recorded_failure(lm: Any, tmp_path: Path) -> None:
    bench = made(write_tasks(tmp_path / "mine", max_gen_toks=300), tmp_path / "cache")
    bench.baseline(lm, silent)
    found = bench.measure(tmp_path / "cell", silent, lm, changed=True)
    assert found["toy_write"]["status"] == "failed" and found["toy_write"]["at"] == "unedited"
    assert "requested max tokens to generate (300) must be less than" in found["toy_write"]["reason"]
    assert found["toy"]["status"] == "done"


def test_prompts_that_had_to_be_cut_are_counted(lm: Any, tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine", max_gen_toks=250)  # of 256
    bench = made(folder, tmp_path / "cache")
    bench.baseline(lm, silent)
    lengths = [len(lm.text.tokenizer(str(row["question"]))["input_ids"]) for row in rows(6)]
    expected = sum(length > 6 for length in lengths)
    assert 0 < expected == bench.measure(tmp_path / "cell", silent, lm, changed=True)["toy_write"]["truncated"]


def test_examples_that_are_not_in_the_folder_are_a_reason_and_without_examples_they_are_not_needed(
    tmp_path: Path,
) -> None:
    from editbench.capability.local_data import LocalData

    write_lines(tmp_path / "data" / "arc_easy_test.jsonl", NATIVE["arc_easy"][2])
    index = tasks_module.resolve(CapabilitySpec(tasks=[str(native_yaml("arc/arc_easy.yaml"))]), Cache(tmp_path)).index
    data = LocalData(tmp_path / "data")
    assert "arc_easy" in load_tasks(Asked("arc_easy"), index, data).tasks
    failed = load_tasks(Asked("arc_easy", num_fewshot=3), index, data).failed
    assert "holds no train split, which its 3 examples are from" in failed["arc_easy"]


def test_a_metric_that_is_not_there_is_a_reason_that_names_those_that_are(lm: Any, tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "mine")
    tasks = [{"task": "toy_one", "metric": "acc_norm"}, {"task": "toy_two", "metric": "bleu"}]
    bench = Bench(CapabilitySpec(tasks=tasks, include=[str(folder)]), None, Cache(tmp_path / "cache"))
    bench.baseline(lm, silent)
    found = bench.measure(tmp_path / "cell", silent, lm, changed=False)
    assert found["toy_one"]["metric"] == "acc_norm,none"
    assert "no metric 'bleu'; it has acc,none, acc_norm,none" in found["toy_two"]["reason"]
    assert found["toy_two"]["at"] == "asked" and capability({"capability": found}) == found["toy_one"]["value"]


def test_an_edit_that_adds_a_module_is_measured_with_the_module(lm: Any, tmp_path: Path) -> None:
    class Doubled(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner, self.calls = inner, 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            out: torch.Tensor = -2 * self.inner(x)
            return out

    name = lm.layout.weight_name(1, "down").removesuffix(".weight")
    bench = made(write_tasks(tmp_path / "mine"), tmp_path / "cache")
    bench.baseline(lm, silent)
    module = Doubled(lm.model.get_submodule(name))
    applied = ModuleEdit({name: module}, wraps="inner").apply(lm)
    bench.measure(tmp_path / "cell", silent, lm, changed=True)
    applied.revert()
    assert module.calls > 0


@pytest.mark.parametrize("task", ["toy_one", "toy_write"])
def test_an_in_context_edit_is_measured_with_its_text_before_each_prompt(lm: Any, tmp_path: Path, task: str) -> None:
    folder = write_tasks(tmp_path / "mine")
    model = EditedLM(lm, 4)
    index = tasks_module.resolve(CapabilitySpec(tasks=[str(folder)]), Cache(tmp_path)).index
    asked: list[str] = []

    def lookup(prompt: str) -> str:
        asked.append(prompt)
        return "The king lives. "

    applied = ContextEdit(lookup).apply(lm)
    edited = measure(model, load_tasks(Asked(task), index, None).tasks[task], Asked(task))
    applied.revert()
    assert len(set(asked)) == 6 and all(prompt.startswith("The ") for prompt in asked)
    for name in ("toy_one.jsonl", "shots.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        write_lines(folder / name, [{**line, "question": f"The king lives. {line['question']}"} for line in lines])
    written_out = measure(model, load_tasks(Asked(task), index, None).tasks[task], Asked(task))
    assert [sample.outcomes for sample in edited.samples] == [sample.outcomes for sample in written_out.samples]
    assert [sample.said for sample in edited.samples] == [sample.said for sample in written_out.samples]


def test_with_a_chat_template_the_text_goes_before_the_last_message(lm: Any) -> None:
    model = EditedLM(lm, 4)
    model.tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    applied = ContextEdit(lambda prompt: f"[{prompt}] ").apply(lm)
    assert model.apply_chat_template(messages) == "<user>a<assistant>b<user>[c] c"
    applied.revert()
    assert model.apply_chat_template(messages) == "<user>a<assistant>b<user>c"
