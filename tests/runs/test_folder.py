"""Run folders: nothing overwritten, no row lost or doubled, nothing of another run taken for its own."""

import importlib.metadata
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_agent import make_agent

import metarl
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.runs.folder import Run, RunConfig, versions
from metarl.runs.training_loop import train
from metarl.training.logs import STEPS

CONFIG = RunConfig(
    "rl2", "bernoulli-bandit", {"arms": 3}, seed=1, total_timesteps=500, options={"rate": 0.1, "net": {"width": 8}}
)


def write_rows(run: Run, start: int, *steps: int) -> None:
    logger = run.logger(start)
    for step in steps:
        logger.record(STEPS, step)
        logger.record("train/loss", step + start / 1000)
        if step >= 300:
            logger.record("train/late", 1.0)  # a column that appears later
        logger.dump(step)
    logger.close()


def test_config_survives_the_folder(tmp_path: Path) -> None:
    Run.create(tmp_path / "a" / "b", CONFIG)
    assert Run.open(tmp_path / "a" / "b").config == CONFIG


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    Run.create(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"already holds a run: go on with --resume"):
        Run.create(tmp_path, CONFIG)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="not empty"):
        Run.create(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_opening_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a run folder"):
        Run.open(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"agent": "rl2"')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text('{"agent": "rl2"}')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        Run.open(tmp_path)


WRONG_FIELDS: list[tuple[str, object]] = [
    ("distribution_options", None),
    ("options", None),
    ("options", []),
    ("seed", "x"),
    ("seed", True),
    ("total_timesteps", "x"),
    ("agent", 3),
    ("distribution", None),
    ("teaching", "x"),
    ("threads", None),
]
BROKEN_CONFIGS: dict[str, tuple[str | bytes, str]] = {
    "no JSON": ("{", "config.json is damaged"),
    "no text": (b"\xff\xfe{", "config.json is damaged"),
    "too deep": ("[" * 100_000, "config.json is damaged"),
    "a list": ("[1]", "config.json is damaged"),
    **{
        f"{name} is {value!r}": (
            json.dumps({**CONFIG.to_json(), name: value}),
            rf"config.json is damaged: {name} must be .*, got {re.escape(repr(value))}",
        )
        for name, value in WRONG_FIELDS
    },
    "another field": (json.dumps({**CONFIG.to_json(), "colour": 1}), "config.json is damaged: .*colour"),
}


@pytest.mark.parametrize("what", BROKEN_CONFIGS)
def test_a_damaged_config_is_one_line_that_names_it(what: str, tmp_path: Path) -> None:
    content, words = BROKEN_CONFIGS[what]
    (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words):
        Run.open(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 3}, "seed 1, not 3"),
        ({"options": {"rate": 0.25}}, "options.rate 0.5, not 0.25"),
        ({"distribution_options": {"arms": 10**9}}, "distribution_options.arms 3, not 1000000000"),
        ({"distribution_options": {"pulls": 20}}, "distribution_options.pulls 10, not 20"),
        ({"ranges": {"horizon": 11}}, "ranges.horizon 1, not 11"),
    ],
)
def test_a_config_that_is_not_that_of_its_checkpoint_is_refused_before_it_is_used(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    """It would be evaluated in another family, or a size in it would fill the memory."""
    config = replace(CONFIG, options={})
    train(Run.create(tmp_path / "a", replace(config, total_timesteps=100)), make_agent(), progress_bar=False)
    metarl.load(tmp_path / "a", trust=True)
    (tmp_path / "a" / "config.json").write_text(json.dumps(replace(config, **changes).to_json()))
    with pytest.raises(ValueError, match=rf"a/config.json is not that of its checkpoint: {words}"):
        metarl.load(tmp_path / "a", trust=True)


def test_a_folder_whose_writer_was_killed_before_the_config_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".config.json.0123abcd.part").write_text("{")
    assert Run.create(tmp_path, CONFIG).config == CONFIG
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_a_family_that_was_edited_does_not_go_on(tmp_path: Path) -> None:
    """The name and the options are the same; what it draws from is not."""
    ranges = {"train.length": "(0.25, 1.5)", "horizon": 500}
    Run.create(tmp_path, replace(CONFIG, ranges=ranges))
    with pytest.raises(ValueError, match=r"ranges\.train\.length '\(0.25, 1.5\)', not '\(5, 6\)'"):
        Run.resume(tmp_path, replace(CONFIG, ranges={**ranges, "train.length": "(5, 6)"}))
    assert Run.resume(tmp_path, replace(CONFIG, ranges={})).config.ranges == ranges  # a caller that does not say


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"a" * 200_000], ids=["no text", "one long cell"])
def test_a_damaged_log_is_named(damage: bytes, tmp_path: Path) -> None:
    run = Run.create(tmp_path, CONFIG)
    (tmp_path / "progress.csv").write_bytes(damage + b"\n1\n")
    with pytest.raises(ValueError, match=r"progress\.csv is damaged"):
        run.log()


def test_cells_without_a_column_are_left_out(tmp_path: Path) -> None:
    run = Run.create(tmp_path, CONFIG)
    write_rows(run, 0, 100, 200)
    file = tmp_path / "progress.csv"
    first, *rows = file.read_text().splitlines()
    file.write_text("\n".join([first, f"{rows[0]},1,2,3", *rows[1:]]) + "\n")
    assert [row[STEPS] for row in run.log()] == [100, 200]
    assert run.training_seconds() == 0  # these rows have no time


def test_resuming_with_other_settings_names_them(tmp_path: Path) -> None:
    Run.create(tmp_path, CONFIG)
    other = replace(CONFIG, seed=2, options={"rate": 0.1, "net": {"width": 16}})
    with pytest.raises(ValueError, match=r"options.net.width 8, not 16; seed 1, not 2"):
        Run.resume(tmp_path, other)


def test_a_run_does_not_go_on_under_another_teacher(tmp_path: Path) -> None:
    teaching = {"expert": "KnownBestArm", "share": 0.3, "privileged_critic": True}
    Run.create(tmp_path, replace(CONFIG, teaching=teaching))
    with pytest.raises(ValueError, match=r"teaching.expert 'KnownBestArm', not None"):
        Run.resume(tmp_path, replace(CONFIG, teaching={**teaching, "expert": None}))


def test_a_run_that_does_not_say_who_taught_it_goes_on(tmp_path: Path) -> None:
    Run.create(tmp_path, CONFIG)
    assert Run.resume(tmp_path, replace(CONFIG, teaching={"expert": None})).config.teaching == {}


def test_a_resumed_run_may_go_further(tmp_path: Path) -> None:
    Run.create(tmp_path, CONFIG)
    Run.resume(tmp_path, replace(CONFIG, total_timesteps=900, versions={"torch": "another"}))
    assert Run.open(tmp_path).config == replace(CONFIG, total_timesteps=900)


def test_settings_are_equal_when_their_json_is() -> None:
    assert replace(CONFIG, options={"sizes": (8, 8)}).differences(replace(CONFIG, options={"sizes": [8, 8]})) == []


def test_rows_are_neither_lost_nor_doubled_after_a_crash(tmp_path: Path) -> None:
    run = Run.create(tmp_path, CONFIG)
    write_rows(run, 0, 100, 200, 300)  # killed here, its last checkpoint at 200
    write_rows(run, 200, 300, 400)  # killed again
    write_rows(run, 200, 300, 400, 500)
    rows = run.log()
    assert [row[STEPS] for row in rows] == [100, 200, 300, 400, 500]
    assert [row["train/loss"] for row in rows] == pytest.approx([100, 200, 300.2, 400.2, 500.2])
    assert [row.get("train/late") for row in rows] == [None, None, 1, 1, 1]


def test_going_back_to_an_older_checkpoint_drops_what_came_after(tmp_path: Path) -> None:
    run = Run.create(tmp_path, CONFIG)
    write_rows(run, 0, 100, 200)
    write_rows(run, 200, 300, 400)
    write_rows(run, 100, 200, 300)
    assert [row[STEPS] for row in run.log()] == [100, 200, 300]


def test_a_torn_last_row_is_ignored(tmp_path: Path) -> None:
    run = Run.create(tmp_path, CONFIG)
    write_rows(run, 0, 100, 200)
    file = tmp_path / "progress.csv"
    file.write_text(file.read_text() + "30")
    assert [row[STEPS] for row in run.log()] == [100, 200]


def test_a_new_run_has_no_rows(tmp_path: Path) -> None:
    assert Run.create(tmp_path, CONFIG).log() == []


def test_config_names_the_versions(tmp_path: Path) -> None:
    Run.create(tmp_path, CONFIG)
    versions = json.loads((tmp_path / "config.json").read_text())["versions"]
    assert {"python", "torch", "metarl-toolkit"} <= versions.keys()


def test_a_checkout_that_is_not_installed_has_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.metadata.version

    def version(package: str) -> str:
        if package == "metarl-toolkit":
            raise importlib.metadata.PackageNotFoundError(package)
        return known(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert versions() == {**CONFIG.versions, "metarl-toolkit": "not installed"}


def test_a_folder_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Run.create(tmp_path / "file" / "run", CONFIG)


def test_a_run_of_a_family_that_is_no_option_of_metarl_loads_by_its_folder(tmp_path: Path, user_project: Path) -> None:
    """A checkpoint alone cannot tell where a user's own environment comes from; the run's config can."""
    config = RunConfig("rl2", "drift_family:drift", {}, 0, 1, {})
    run = Run.create(tmp_path / "run", config)
    drift = config.make_distribution(trust=True)
    RL2(drift, RL2Options(batch_steps=60), device="cpu").save(run.checkpoint)
    assert metarl.load(run.path, device="cpu", trust=True).distribution.name == drift.name
    with pytest.raises(ValueError, match="give it as the argument `distribution`"):
        metarl.load(run.checkpoint, device="cpu")
