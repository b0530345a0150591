from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from results_tree import SUITE, done, write_all, write_data, write_run

import editbench.running.launch
from editbench.base.progress import Progress
from editbench.cli import COMMANDS, cli
from editbench.plan.runs import Plan, RunOptions
from editbench.results.store import CellOutcome, Status, Store

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Call the command line in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return lambda *arguments: CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="editbench")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE.format(data=write_data(tmp_path)))
    return path


class Pretender:
    """Stands in for the runner: writes what the store helper writes."""

    def __init__(self) -> None:
        self.options: RunOptions | None = None
        self.fail = False
        self.interrupt = False

    def execute(self, plan: Plan, dataset: object, store: Store, options: RunOptions, progress: Progress) -> None:
        self.options = options
        for run in plan.runs:
            if self.interrupt:
                raise KeyboardInterrupt
            write_run(store, run, dataset, done)  # type: ignore[arg-type]
            if self.fail:
                store.finish_cell(run, run.scales[0], CellOutcome(Status.FAILED, "boom"))


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Pretender:
    pretender = Pretender()
    module = type(sys)("editbench.running.runner")
    module.execute = pretender.execute  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "editbench.running.runner", module)
    return pretender


def test_run_writes_results_and_prints_the_leaderboard_and_how_to_see_it_again(
    invoke: Invoke, suite: Path, runner: Pretender
) -> None:
    result = invoke("run", "--suite", suite)
    assert result.exit_code == 0, result.output
    assert "Reliability" in result.stdout
    assert f"editbench leaderboard {suite}" in result.stdout
    assert Path("results/runs/small").is_dir()
    again = invoke("leaderboard", suite)
    assert again.exit_code == 0
    assert again.stdout.splitlines()[0] in result.stdout


def test_run_with_json_prints_json_only(invoke: Invoke, suite: Path, runner: Pretender) -> None:
    result = invoke("run", "--suite", suite, "--json", "--results", "out", "-q")
    data = json.loads(result.stdout)
    assert {(row["method"], row["scale"]) for row in data["rows"]} == {
        ("none", 1),
        ("none", 4),
        ("local", 1),
        ("local", 4),
    }
    assert data["results"] == "out"
    assert json.loads(invoke("leaderboard", suite, "--results", "out", "--json").stdout)["rows"] == data["rows"]


def test_run_hands_its_options_on(invoke: Invoke, suite: Path, runner: Pretender) -> None:
    arguments = ("--device", "cpu", "--dtype", "bfloat16", "--device-map", "auto", "--token-budget", "512")
    result = invoke("run", "--suite", suite, "--methods", "local", "--max-scale", "1", "--json", *arguments)
    assert [(row["method"], row["scale"]) for row in json.loads(result.stdout)["rows"]] == [("local", 1)]
    options = runner.options
    assert options is not None
    assert (options.device, options.dtype, options.device_map, options.token_budget) == ("cpu", "bfloat16", "auto", 512)


def test_options_come_from_the_environment_too(
    invoke: Invoke, suite: Path, runner: Pretender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITBENCH_RESULTS", "elsewhere")
    monkeypatch.setenv("EDITBENCH_DEVICE", "cpu")
    monkeypatch.setenv("EDITBENCH_RUN_MAX_SCALE", "1")
    assert invoke("run", "--suite", suite).exit_code == 0
    assert Path("elsewhere/runs/small").is_dir()
    assert runner.options is not None
    assert runner.options.device == "cpu"
    assert {row["scale"] for row in json.loads(invoke("leaderboard", suite, "--json").stdout)["rows"]} == {1}


def test_a_failed_cell_ends_with_exit_code_1_after_the_leaderboard(
    invoke: Invoke, suite: Path, runner: Pretender
) -> None:
    runner.fail = True
    result = invoke("run", "--suite", suite)
    assert result.exit_code == 1
    assert "failed: boom" in result.stdout


def test_ctrl_c_says_that_the_same_command_continues(invoke: Invoke, suite: Path, runner: Pretender) -> None:
    runner.interrupt = True
    result = invoke("run", "--suite", suite)
    assert result.exit_code == 130
    assert "the same command continues" in result.stderr


def bad_data(folder: Path, **changes: object) -> Path:
    path = folder / "bad.jsonl"
    row = {
        "id": "a",
        "prompt": "It is",
        "subject": "It",
        "target_new": "x",
        "target_true": "y",
        "probes": [],
        **changes,
    }
    path.write_text(json.dumps({key: value for key, value in row.items() if value is not None}) + "\n")
    return path


@pytest.mark.parametrize(
    ("arguments", "edit", "said"),
    [
        (("--methods", "locft"), None, "Did you mean locft-bf"),
        (("--methods", "a,,b"), None, "There is no method"),
        (("--models", "smollm3"), None, "smollm2-135m"),
        (("--models", "no-model"), None, "no config.json"),
        (("--scales", "1,9"), None, "8 requests"),
        (("--scales", "1,x"), None, "whole numbers"),
        (("--max-scale", "0"), None, "0"),
        (("--hours", "nan"), None, "no number of hours"),
        (("--method", "gone.py:M"), None, "there is no file"),
        (("--method", "bad.py:M"), None, "fails to import: RuntimeError"),
        (("--results", "file/results"), None, "--results"),
        (("--dtype", "float8"), None, "float8"),
        (("--metod", "x"), None, "--method"),
        ((), ("scales:", "scalse:"), "Did you mean scales"),
        ((), ("{data}", "fatcs"), "There is no dataset"),
        ((), ("layer: 3", "layr: 3"), "Did you mean layer"),
        ((), ("{data}", "{subject}"), "subject"),
        ((), ("{data}", "{truth}"), "target equals the true answer"),
    ],
)
def test_bad_input_is_a_short_message_exit_code_2_and_nothing_written(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...], edit: tuple[str, str] | None, said: str
) -> None:
    Path("no-model").mkdir()
    Path("file").write_text("")
    Path("bad.py").write_text("raise RuntimeError('no')")
    there = sorted(Path().iterdir())
    text = SUITE.replace(*edit) if edit else SUITE
    data = {"data": write_data(tmp_path), "subject": "", "truth": ""}
    if edit and edit[1] == "{subject}":
        data["subject"] = bad_data(tmp_path, subject=None)
    if edit and edit[1] == "{truth}":
        data["truth"] = bad_data(tmp_path, target_true="x")
    path = tmp_path / "small.yaml"
    path.write_text(text.format(**data))
    result = invoke("run", "--suite", path, *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stdout == ""
    message = result.stderr.split("Error: ", 1)[1]
    assert len(message.strip().splitlines()) <= 4
    assert sorted(Path().iterdir()) == there


def test_an_unknown_suite_and_an_unknown_command_say_what_is_close(invoke: Invoke) -> None:
    for arguments, said in ((("run", "--suite", "quikstart"), "quickstart"), (("lsit",), "Did you mean list")):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert said in result.stderr


def test_dry_run_shows_every_cell_and_writes_nothing(invoke: Invoke, suite: Path) -> None:
    result = invoke("run", "--suite", suite, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "2 run(s), 4 cell(s)" in result.stdout
    assert "Estimated" in result.stdout
    cells = json.loads(invoke("run", "--suite", suite, "--dry-run", "--json").stdout)["cells"]
    assert [(cell["method"], cell["scale"]) for cell in cells] == [("none", 1), ("none", 4), ("local", 1), ("local", 4)]
    assert list(Path().iterdir()) == []


def test_leaderboard_has_markdown_scales_and_metrics(invoke: Invoke, suite: Path) -> None:
    write_all(suite.parent)
    there = ("--results", suite.parent / "results")
    result = invoke("leaderboard", suite, *there, "--markdown", "--scale", "4", "--metrics", "starts-with,weight-drift")
    assert result.stdout.startswith("### small: A small suite\n\n| Scale | Method | Starts with ↑ | Weight drift ↓ |")
    rows = [line for line in result.stdout.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in rows] == ["| 4", "| 4"]
    for arguments in (("--scale", "7"), ("--metrics", "nonsense")):
        result = invoke("leaderboard", suite, *there, *arguments)
        assert (result.exit_code, result.stdout) == (2, "")


def test_list_shows_everything_that_has_a_name(invoke: Invoke) -> None:
    listed = json.loads(invoke("list", "--json").stdout)
    assert {item["name"] for item in listed["methods"]} >= {"none", "ft-depth-first", "ft-breadth-first", "locft-bf"}
    assert "quickstart" in {item["name"] for item in listed["suites"]}
    assert set(listed) == {"methods", "suites", "datasets", "models", "metrics"}
    assert all(item["says"] for items in listed.values() for item in items)
    assert "reliability" in invoke("list", "metrics").stdout
    licences = {item["name"]: item["says"] for item in listed["models"]}
    assert "Apache-2.0" in licences["smollm2-135m"] and "Gemma Terms of Use" in licences["gemma3-270m"]
    assert "smollm2" not in invoke("list", "metrics").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("quickstart",), "editbench run --suite quickstart"),
        (("suite", "quickstart"), "name: quickstart"),
        (("locft-bf",), "layer: int | tuple[int, ...] = resolved for the model; tune tries Depth(low=0.0, high=1.0)"),
        (("method", "none"), "hyper-parameters:"),
        (("metric", "weight-drift"), "better: lower"),
        (("smollm2-135m",), "n_layers: 30"),
        (("smollm2-135m",), "licence: Apache-2.0"),
        (("gemma3-270m",), "licence: Gemma Terms of Use"),
        (("gemma3-270m",), "n_layers: 18"),
    ],
)
def test_show_says_all_about_one_thing(invoke: Invoke, arguments: tuple[str, ...], said: str) -> None:
    result = invoke("show", *arguments)
    assert said in result.stdout
    assert json.loads(invoke("show", *arguments, "--json").stdout)


def test_show_counts_the_faults_of_a_dataset(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("show", "dataset", write_data(tmp_path))
    assert "8 requests from things.jsonl" in result.stdout
    assert "highest possible exact match: 1.0000" in result.stdout


@pytest.mark.parametrize("arguments", [("nonsense",), ("method", "nonsense"), ("a", "b"), ("suite", "a", "b")])
def test_show_of_nothing_is_exit_code_2(invoke: Invoke, arguments: tuple[str, ...]) -> None:
    result = invoke("show", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(invoke: Invoke, shell: str) -> None:
    assert "_EDITBENCH_COMPLETE" in invoke("completion", shell).stdout


def completed(words: str) -> list[str]:
    environment = {**os.environ, "_EDITBENCH_COMPLETE": "bash_complete", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    code = "from editbench.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_the_shell_completes_names() -> None:
    assert completed("editbench leaderboard quick") == ["quickstart"]
    assert "ft-depth-first" in completed("editbench check --method ft")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS), ["--version"]])
def test_help_is_there_for_every_command(invoke: Invoke, arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 0
    assert "editbench" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], {"torch", "pandas", "pydantic", "numpy"}),
        (["run", "--help"], {"torch", "pandas", "numpy"}),
        (["list"], {"torch", "transformers", "pandas", "scipy"}),
        (["show", "quickstart"], {"torch", "transformers", "pandas", "scipy"}),
        (["show", "locft-bf"], {"torch", "transformers", "pandas", "scipy"}),
        (["leaderboard", "quickstart"], {"torch", "transformers"}),
        (["results", "list"], {"torch", "transformers"}),
    ],
)
def test_quick_commands_load_nothing_heavy(tmp_path: Path, arguments: list[str], absent: set[str]) -> None:
    write_all(tmp_path)
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('LOADED', *sorted({absent!r} & set(sys.modules)), file=sys.stderr))\n"
        "from editbench.cli import main; main()"
    )
    environment = {**os.environ, "EDITBENCH_RESULTS": str(tmp_path / "results")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stderr.splitlines()[-1] == "LOADED"


def test_leaderboard_of_results_loads_no_torch(tmp_path: Path) -> None:
    write_all(tmp_path)
    (tmp_path / "small.yaml").write_text(SUITE.format(data=tmp_path / "things.jsonl"))
    code = (
        "import sys; from editbench.cli import cli\n"
        "cli(sys.argv[1:], standalone_mode=False)\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    arguments = ["leaderboard", str(tmp_path / "small.yaml"), "--results", str(tmp_path / "results")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "Reliability" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_results_are_carried_out_by_the_runner_and_progress_is_closed(
    suite: Path, runner: Pretender, tmp_path: Path
) -> None:
    from editbench.plan.suite_file import load_suite

    closed = []

    class Watched(Progress):
        def close(self) -> None:
            closed.append(True)

    prepared = editbench.running.launch.prepare(load_suite(suite), RunOptions())
    runner.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        editbench.running.launch.carry_out(prepared, tmp_path / "r", RunOptions(), Watched())
    assert closed == [True]
