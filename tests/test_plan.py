from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from results_tree import SUITE, small_plan, small_suite, write_data

from editbench.datasets import load_dataset
from editbench.errors import BadModel, BadPlugin, BadSuite, UnknownName, UserError
from editbench.models.families import family_of, shape_of_name
from editbench.plan.estimate import Load, estimate, machine_flops, trim
from editbench.plan.runs import RunOptions, bind, check_names, check_scales, make_plan
from editbench.plan.settings import Origin, Override
from editbench.plan.suite import Probes, Suite
from editbench.plan.suite_file import parse_suite
from editbench.report.plans import left_out


def test_a_plan_has_one_run_per_model_seed_and_method(tmp_path: Path) -> None:
    suite = small_suite(tmp_path).with_options(seeds=[0, 1])
    plan = make_plan(suite)
    assert [(run.seed, run.label) for run in plan.runs] == [(0, "none"), (0, "local"), (1, "none"), (1, "local")]
    assert [scale for _, scale in plan.cells()] == [1, 4] * 4


def test_ids_are_the_same_in_another_process(tmp_path: Path) -> None:
    plan, _ = small_plan(tmp_path)
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from results_tree import small_plan;"
        "print(*[r.cell_id(4) for r in small_plan(pathlib.Path(sys.argv[2]))[0].runs])"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [run.cell_id(4) for run in plan.runs]


def test_an_id_changes_with_everything_that_decides_the_bits(tmp_path: Path) -> None:
    plan, _ = small_plan(tmp_path)
    run = plan.runs[1]
    others = [
        replace(run, model="org/other"),
        replace(run, revision="abc"),
        replace(run, dtype="bfloat16"),
        replace(run, device="cuda"),
        replace(run, seed=1),
        replace(run, given=(Override({"layer": 4}, Origin("suite")),)),
        replace(run, source_hash="0"),
        replace(run, dataset_hash="0"),
        replace(run, regime="sequential", chunk=2),
        replace(run, protocol=run.protocol.model_copy(update={"eos": False})),
        replace(run, probes=run.probes.model_copy(update={"rephrase": 1})),
    ]
    assert len({other.run_id for other in [run, *others]}) == len(others) + 1
    assert run.cell_id(1) != run.cell_id(4)


def test_batch_cells_do_not_depend_on_the_other_scales_and_sequential_ones_do(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    fewer = suite.with_options(scales=[4])
    assert make_plan(suite).runs[0].cell_id(4) == make_plan(fewer).runs[0].cell_id(4)
    in_chunks = Suite.model_validate({**suite.model_dump(), "regime": {"sequential": 3}})
    cut = make_plan(in_chunks).runs[0].cell_id(4)
    assert make_plan(in_chunks.with_options(scales=[4])).runs[0].cell_id(4) != cut


@pytest.mark.parametrize("regime", ["batch", {"sequential": 3}])
def test_a_largest_scale_leaves_the_ids_of_smaller_cells_alone(tmp_path: Path, regime: object) -> None:
    suite = Suite.model_validate({**small_suite(tmp_path).model_dump(), "regime": regime})
    whole, part = make_plan(suite).runs[0], make_plan(suite.with_options(max_scale=1)).runs[0]
    assert part.scales == (1,)
    assert (part.run_id, part.cell_id(1)) == (whole.run_id, whole.cell_id(1))


def test_the_label_is_not_part_of_the_id(tmp_path: Path) -> None:
    run = small_plan(tmp_path)[0].runs[0]
    assert replace(run, label="other").run_id == run.run_id


def test_binding_puts_the_data_into_every_run(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    dataset = load_dataset(suite.dataset)
    bound = bind(make_plan(suite), dataset)
    assert {run.dataset_hash for run in bound.runs} == {dataset.content_hash}
    assert {run.protocol.target_field for run in bound.runs} == {dataset.target_field}


def test_a_scale_above_the_size_of_the_data_names_the_line(tmp_path: Path) -> None:
    text = SUITE.format(data=write_data(tmp_path)).replace("[1, 4]", "[1, 9]")
    suite = parse_suite(text, "small.yaml")
    with pytest.raises(BadSuite, match=r"small.yaml, line 9: The scale 9 is above the size .*: 8 requests"):
        check_scales(make_plan(suite), load_dataset(suite.dataset))
    fine = suite.with_options(max_scale=8)
    check_scales(make_plan(fine), load_dataset(fine.dataset))


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("layer: 3", "layers: 3", BadSuite, "line 8: There is no hyper-parameter of local named 'layers'"),
        ("layer: 3", "passes: no", BadSuite, "line 8: local: passes = False"),
        ("layer: 3", "passes: some", BadSuite, "line 8: local: passes = 'some'"),
        ("smollm2-135m", "smollm3", BadSuite, "line 5: There is no model named 'smollm3'"),
        ("reliability,", "reliabilty,", BadSuite, "Did you mean reliability"),
    ],
)
def test_bad_names_and_values_are_found_before_anything_runs(
    tmp_path: Path, old: str, new: str, error: type[UserError], said: str
) -> None:
    suite = parse_suite(SUITE.format(data=write_data(tmp_path)).replace(old, new), "small.yaml")
    with pytest.raises(error, match=said):
        check_names(make_plan(suite))


def test_an_unknown_method_of_the_file_names_its_line(tmp_path: Path) -> None:
    text = SUITE.format(data=write_data(tmp_path)).replace("method: locft-bf", "method: locft-fb")
    with pytest.raises(BadSuite, match=r"small.yaml, line 8: .*'locft-fb'"):
        make_plan(parse_suite(text, "small.yaml"))


def test_unknown_method_model_and_dataset_of_the_command_line_are_refused(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    with pytest.raises(UnknownName, match="locft-bf"):
        make_plan(suite.with_options(methods=["locft"]))
    with pytest.raises(BadModel):
        check_names(make_plan(suite.with_options(models=["./nothing"])))


def test_a_method_that_does_not_know_the_regime_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from editbench.method import Method\n"
        "class Own(Method):\n"
        "    'Mine.'\n"
        "    name = 'own'\n"
        "    def edit(self, lm, requests, rng): ...\n"
    )
    suite = small_suite(tmp_path).with_options(methods=[f"{own}:Own"])
    plan = make_plan(suite)
    check_names(plan)
    assert plan.runs[0].label == "own"
    sequential = Suite.model_validate({**suite.model_dump(), "regime": {"sequential": 2}})
    with pytest.raises(UserError, match="does not work in the sequential regime"):
        check_names(make_plan(sequential))


@pytest.mark.parametrize(
    "body", ["raise RuntimeError('no')\nclass Own: ...", "class Other: ...", "import not_there_at_all", "def ("]
)
def test_a_method_file_that_fails_to_import_is_a_short_message(tmp_path: Path, body: str) -> None:
    own = tmp_path / "own.py"
    own.write_text(body)
    suite = small_suite(tmp_path).with_options(add_methods=[f"{own}:Own"])
    with pytest.raises(BadPlugin) as caught:
        check_names(make_plan(suite))
    assert len(str(caught.value).splitlines()) <= 3


def test_estimates_grow_with_the_scale_and_name_no_cost_for_an_unknown_shape(tmp_path: Path) -> None:
    plan, dataset = small_plan(tmp_path)
    small, large = (cell for cell in estimate(plan, dataset) if cell.run.label == "local")
    assert small.edit_s and small.evaluate_s and large.edit_s and large.evaluate_s
    assert large.edit_s == pytest.approx(4 * small.edit_s)
    assert large.evaluate_s == pytest.approx(4 * small.evaluate_s)
    unknown = estimate(make_plan(small_suite(tmp_path).with_options(models=["org/unknown"])), dataset)
    assert {(cell.seconds, cell.memory) for cell in unknown} == {(None, None)}


def test_the_load_of_a_dataset_counts_its_probes_up_to_the_suites_limits(tmp_path: Path) -> None:
    plan, dataset = small_plan(tmp_path)
    load = Load.of(dataset)
    assert load.probes == {"rephrase": 1.0}
    assert load.prompt == pytest.approx(len("The colour of thing 0 is") / 4.2)
    assert load.answer == pytest.approx(len(" blue0") / 4.2 + 1)
    run = plan.runs[0]
    assert load.asked(run) == 2 and load.asked(replace(run, probes=Probes(rephrase=0))) == 1


def test_a_plan_is_trimmed_to_a_time_small_scales_first(tmp_path: Path) -> None:
    plan, dataset = small_plan(tmp_path)
    cost = {(cell.run.label, cell.scale): cell.seconds or 0.0 for cell in estimate(plan, dataset)}
    enough = sum(cost.values()) - 0.5 * cost["local", 4]
    found = trim(plan, dataset, enough / 3600, lambda run, scale: False)
    assert [(cell.run.label, cell.scale) for cell in found.left_out] == [("local", 4)]
    assert found.plan is not None and [run.scales for run in found.plan.runs] == [(1, 4), (1,)]
    assert [run.run_id for run in found.plan.runs] == [run.run_id for run in plan.runs]
    [said] = left_out(found.left_out)
    assert "local" in said and "at 4," in said


def test_what_is_finished_costs_nothing_when_a_plan_is_trimmed(tmp_path: Path) -> None:
    plan, dataset = small_plan(tmp_path)
    assert trim(plan, dataset, 1e-9, lambda run, scale: False).plan is None
    later = trim(plan, dataset, 1e-9, lambda run, scale: run.label == "local")
    assert later.plan is not None and [run.label for run in later.plan.runs] == ["local"]


def test_a_run_keeps_no_scale_above_one_that_was_left_out(tmp_path: Path) -> None:
    plan, dataset = small_plan(tmp_path)
    found = trim(plan, dataset, 1e-9, lambda run, scale: scale == 4)
    assert found.plan is None and len(found.left_out) == 4


def test_the_shape_is_read_from_a_folders_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,'
        '"vocab_size": 49152, "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_act": "silu"}'
    )
    read, built_in = shape_of_name(str(tmp_path)), shape_of_name("smollm2-135m")
    assert read is not None and built_in is not None
    assert read.n_layers == built_in.n_layers
    assert read.parameters == pytest.approx(built_in.parameters, rel=0.001)


def test_the_shape_of_a_model_whose_heads_are_wider_than_their_share_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,'
        '"vocab_size": 262144, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,'
        '"hidden_activation": "gelu_pytorch_tanh"}'
    )
    read, built_in = shape_of_name(str(tmp_path)), shape_of_name("gemma3-270m")
    assert read is not None and built_in is not None
    assert read.parameters == pytest.approx(built_in.parameters, rel=0.001)
    assert family_of(read) == family_of(built_in) == "gemma3-270m"


def test_the_calibration_times_products_of_the_runs_own_dtype(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert all(machine_flops(dtype, "cpu", 0.01) > 1e8 for dtype in ("float32", "bfloat16"))
    speed = {"float32": 1e9, "bfloat16": 4e9}
    monkeypatch.setattr("editbench.plan.estimate.machine_flops", lambda dtype, device: speed[dtype])
    plans = [small_plan(tmp_path, RunOptions(dtype=dtype)) for dtype in speed]
    slow, fast = ([cell.seconds for cell in estimate(*plan)] for plan in plans)
    assert [x for x in slow if x is not None] and slow == pytest.approx([4 * x if x else x for x in fast])


def test_planning_imports_neither_torch_nor_transformers(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); from results_tree import small_plan;"
        "small_plan(pathlib.Path(sys.argv[2])); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False False\n"


def test_options_name_the_dtype_in_every_run(tmp_path: Path) -> None:
    plan, _ = small_plan(tmp_path, RunOptions(dtype="bfloat16"))
    assert {run.dtype for run in plan.runs} == {"bfloat16"}


def test_a_method_may_have_its_own_regime_and_a_cap(tmp_path: Path) -> None:
    suite = small_suite(tmp_path)
    first, *others = suite.model_dump()["methods"]
    cap = {"scale": suite.scales[0], "why": "it is slow"}
    own = {**first, "label": "in-chunks", "regime": {"sequential": 2}, "cap": cap}
    plan = make_plan(Suite.model_validate({**suite.model_dump(), "methods": [first, own, *others]}))
    batch, chunked = (next(r for r in plan.runs if r.label == label) for label in (suite.methods[0].shown, "in-chunks"))
    assert (batch.regime, batch.chunk, batch.scales) == ("batch", None, tuple(suite.scales))
    assert (chunked.regime, chunked.chunk, chunked.scales) == ("sequential", 2, tuple(suite.scales[:1]))
    assert batch.suite_regime == chunked.suite_regime == "batch"
    beyond = plan.suite.with_options(scales=[suite.scales[0] + 1])
    assert "in-chunks" not in [run.label for run in make_plan(beyond).runs]
