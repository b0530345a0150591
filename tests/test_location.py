"""The location study: which places there are, in what order they are tried, which is chosen, what is left behind."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from results_tree import save_tiny_model

from editbench.base.progress import Progress
from editbench.datasets import DatasetSpec
from editbench.errors import UserError
from editbench.plan.runs import RunOptions
from editbench.plan.settings_file import read_settings
from editbench.tune.bench import Bench
from editbench.tune.frame import Frame
from editbench.tune.launch import study_location
from editbench.tune.location import KINDS, PAIR, Place, Seen, chosen, places, smoothed


def test_every_place_is_tried_once_from_coarse_to_fine() -> None:
    found = places(30, ["down", PAIR])
    assert len(found) == len(set(found)) == 30 + 29
    assert [place.block for place in found if place.kind == "down"][:8] == [4, 12, 20, 28, 2, 6, 10, 14]
    assert Place(PAIR, 28) in found and Place(PAIR, 29) not in found
    assert len(places(1, KINDS)) == len(KINDS) - 1  # there are no neighbours
    with pytest.raises(UserError, match="no weights called 'head'"):
        places(3, ["head"])


def test_a_place_is_hyper_parameters_of_fine_tuning() -> None:
    assert Place("mlp", 3).hparams == {"module": "mlp", "layer": 3}
    assert Place(PAIR, 3).hparams == {"module": "down", "layer": [3, 4]}


def seen(kind: str, block: int, value: float | None, keeps: float = 1.0) -> Seen:
    metrics = {} if value is None else {"reliability": value, "capability-ratio": keeps}
    return Seen(Place(kind, block), "done" if value is not None else "skipped", "", value, metrics, 1.0)


def test_the_place_chosen_is_good_with_its_neighbours_and_keeps_capability() -> None:
    lonely = [
        seen("down", 0, 0.9),
        seen("down", 1, 0.0),
        seen("down", 5, 0.7),
        seen("down", 6, 0.8),
        seen("down", 7, 0.7),
    ]
    assert smoothed(lonely)[Place("down", 6)] == pytest.approx((0.7 + 0.8 + 0.7) / 3)
    assert smoothed(lonely)[Place("down", 0)] == pytest.approx(0.45)
    best = chosen(lonely, keep=0.9)
    assert best is not None and best.place.block in (5, 7, 6) and best.place.block == 5  # 0.75, as block 7: the lower
    harmful = [seen("down", 3, 0.9, keeps=0.5), seen("down", 9, 0.6)]
    assert chosen(harmful, keep=0.9) is harmful[1] and chosen(harmful, keep=0.0) is harmful[0]
    equal = [seen("block", 2, 0.5), seen("down", 2, 0.5), seen("mlp", 2, 0.5)]
    assert chosen(equal, keep=0.9) is equal[1]
    assert chosen([seen("gate", 1, None)], keep=0.9) is None


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), layers=2, hidden=16)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITBENCH_CACHE", str(tmp_path / "cache"))


def test_a_study_is_a_run_per_place_and_goes_on_where_it_stopped(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = Frame(str(model), DatasetSpec(name="facts"), scales=(4,), objective="likelihood", keep=0.0)
    folder, said = tmp_path / "tune" / "x", list[str]()

    def study(kinds: tuple[str, ...], hours: float | None = None) -> tuple[Path, list[Seen]]:
        options = RunOptions(device="cpu")
        return study_location("locft-bf", what, kinds, hours, folder, options, progress=Progress(), said=said.append)

    _, first = study(("down",), hours=1e-9)
    assert len(first) == 1 and len(said) == 1  # the place that was begun is carried to its end
    settings, found = study(("down", "up"))
    assert len(found) == 4 and {one.status for one in found} == {"done"}
    measured = Bench.measure
    asked: list[object] = []
    monkeypatch.setattr(Bench, "measure", lambda self, *rest: (asked.append(rest), measured(self, *rest))[1])
    monkeypatch.setattr("editbench.running.runner.Editing", lambda *_: pytest.fail("edited again"))
    assert study(("down", "up"))[1] == found and len(asked) == 4

    rows = list(csv.DictReader((folder / "places.csv").open(encoding="utf-8")))
    assert [(row["weights"], row["block"]) for row in rows] == [
        (kind, str(b)) for kind in ("down", "up") for b in range(2)
    ]
    best = chosen(found, 0.0)
    assert best is not None
    [entry] = read_settings(settings).settings["locft-bf"]
    assert {name: entry[name] for name in ("layer", "module")} == best.place.hparams
    assert "4 places in" in entry["searched"]
    drawn = (folder / "places.svg").read_text(encoding="utf-8")
    assert "down" in drawn and "block" in drawn
