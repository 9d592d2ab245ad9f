"""DDP, FSDP2, tensor parallelism and pipeline stages over two gloo processes, beside one process on whole batches."""

from __future__ import annotations

import json
import os
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from probes.ranks import Ranks

SCRIPT = Path(__file__).with_name("rank_training.py")
SHARDED = Path(__file__).with_name("sharded_training.py")
STAGES_RUN = runpy.run_path(str(SHARDED))["stages_run"]()
# How a model is trained on two ranks, and the run of one process that it has to equal.
WAYS = {"ddp": "single", "fsdp": "single", "fsdp-normed": "single-normed", "fsdp-converted": "single-converted"}


def run_ranks(folder, count=2):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    setting = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    setting |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder)]
    ranks = [
        subprocess.Popen(command, env={**setting, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(count)
    ]
    messages = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * count, "\n".join(messages)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Train once in each way and once in this process, on the whole batches."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(folder)
    script = runpy.run_path(str(SCRIPT))
    made = {truth: script["WAYS"][way] for way, truth in WAYS.items()}
    for run, make in made.items():
        script["train"](make(), script["make_batches"](), folder, run=run)
    sharded = runpy.run_path(str(SHARDED))
    sharded["train"](sharded["make_model"](), folder, run="unsplit")
    return folder


def rows(folder, name, run):
    found = pd.read_parquet(folder / "runs" / name)
    return found[found["run"] == run].drop(columns="run").reset_index(drop=True)


@pytest.mark.parametrize("way", WAYS)
def test_rates_and_states_are_those_of_one_process_and_not_their_sum(way, folder):
    for table, columns in {
        "parameters": ["group_lr"],
        "layers": ["requires_grad", "training", "optimizer_group", "weight_epsilon"],
    }.items():
        here, there = (rows(folder, table, run)[columns] for run in (WAYS[way], way))
        assert here.notna().any().all()
        pd.testing.assert_frame_equal(there, here)


@pytest.mark.parametrize("way", WAYS)
def test_a_probe_changes_no_bit_on_several_ranks(way, folder):
    probed, bare = (torch.load(folder / f"{name}.pt") for name in (way, f"{way}-bare"))
    assert list(probed) == list(bare)
    assert all(torch.equal(probed[name], bare[name]) for name in bare)


@pytest.mark.parametrize("way", WAYS)
def test_every_column_equals_the_single_process_on_the_whole_batch(way, folder):
    single, several = rows(folder, "layers", WAYS[way]), rows(folder, "layers", way)
    keys = ["step", "layer", "layer_type"]
    assert several[keys].equals(single[keys])  # once each: rank 0 alone writes
    averaged = ["activation_grad_var"]  # each rank's loss is the mean over its own half
    between = [
        "grad_noise",
        "grad_micro_batches",
        "grad_noise_trace",
        "grad_signal",
    ]  # a single pass of a single process has none
    without_hooks = ["grad_carried"] if way.startswith("fsdp") else []  # sharded parameters have none
    assert several[without_hooks].isna().all(axis=None)
    for column in single.columns.difference([*averaged, *between, *without_hooks, *keys, "epoch"]):
        np.testing.assert_array_equal(several[column].isna(), single[column].isna(), err_msg=column)
        found, truth = (t[column].to_numpy(float, na_value=np.nan) for t in (several, single))
        noise = 2e-6 if column == "update_alignment" else 2e-7  # a cosine: rounding is a share of 1, not of the cosine
        np.testing.assert_allclose(found, truth, rtol=2e-4, atol=noise, err_msg=column)
    # The ranks' losses are means over half as many samples, so that their gradients are twice as large.
    np.testing.assert_allclose(several["activation_grad_var"], 4 * single["activation_grad_var"], rtol=1e-3)


@pytest.mark.parametrize("passes", [1, 2])
def test_gradient_noise_is_that_between_the_passes_of_all_ranks(passes, folder):
    found = rows(folder, "layers", f"noise-{passes}").set_index("layer")
    script = runpy.run_path(str(SCRIPT))
    model, gradients = script["make_model"](), []
    for x in script["make_batches"]().flatten(0, 1)[: 4 * passes].unflatten(0, (2 * passes, 2)):
        loss = model(x).square().mean()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    length = torch.stack([torch.stack(each).mean(0).norm() for each in zip(*gradients, strict=True)]).norm()
    clipped = 0.01 / (length + 1e-6)
    for name, parameter in enumerate(n for n, _ in model.named_parameters()):
        if parameter.endswith("weight"):
            each = torch.stack([g[name] for g in gradients]) * clipped
            noise = each.var(dim=0, correction=1).mean().item()
            assert found.loc[parameter.removesuffix(".weight"), "grad_noise"] == pytest.approx(noise, rel=1e-4)


def test_steps_that_are_recorded_now_and_then_have_the_noise_of_those_recorded_always(folder):
    always, seldom = (rows(folder, "layers", run).set_index(["step", "layer"]) for run in ("ddp", "ddp-seldom"))
    assert seldom.index.unique("step").tolist() == [0, 2]
    np.testing.assert_array_equal(seldom["grad_noise"], always["grad_noise"].loc[seldom.index])
    assert (seldom["grad_noise"] > 0).any()


def test_nan_of_one_rank_is_told_with_its_step_and_leaves_no_rank_waiting(folder):
    assert rows(folder, "layers", "ddp-nan")["step"].unique().tolist() == [0, 3]
    (gap,) = json.loads(rows(folder, "runs", "ddp-nan")["gaps"].item())
    assert (gap["what"], gap["first_step"]) == ("values that are not finite", 1)
    assert gap["why"].startswith("first seen in the gradient of 0.weight; no record is made beside the schedule")


def test_ranks_that_share_no_gradient_have_no_noise_between_them(folder):
    assert rows(folder, "layers", "noise-unshared")["grad_noise"].isna().all()


def test_the_first_rank_alone_passes_the_probe_batch(folder):
    script = runpy.run_path(str(SCRIPT))
    model, batch = script["make_model"](), script["make_batches"]()[0]
    with torch.no_grad():
        first = model[0](batch)
        second = model[2](first.relu())
    found = rows(folder, "channels", "ddp-seldom")
    assert found["layer"].tolist() == ["0"] * 24 + ["2"] * 20
    np.testing.assert_allclose(found["mean"], torch.cat([first.mean(0), second.mean(0)]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("way", WAYS)
def test_histograms_count_every_element_once(way, folder):
    single, several = rows(folder, "histograms", WAYS[way]), rows(folder, "histograms", way)
    assert several[["step", "layer", "tensor", "n"]].equals(single[["step", "layer", "tensor", "n"]])
    assert (several["counts"].map(sum) + several["n_nonfinite"] == several["n"]).all()
    first = several["step"] == 0
    weights = first & (several["tensor"] == "weight")
    for found, truth in zip(several[weights]["counts"], single[weights]["counts"], strict=True):
        np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("way", WAYS)
def test_spectra_are_whole_whichever_rank_computed_them(way, folder):
    single, several = rows(folder, "spectra", WAYS[way]), rows(folder, "spectra", way)
    assert several["singular_values"].map(len).tolist() == single["singular_values"].map(len).tolist()
    for found, truth in zip(several["singular_values"], single["singular_values"], strict=True):
        np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-5)


def test_layers_without_any_matrix_leave_the_other_tables_whole(folder):
    found = rows(folder, "layers", "vectors")
    assert found["layer"].tolist() == ["1"] * 4
    assert found["weight_mean"].notna().all()
    assert rows(folder, "histograms", "vectors")["step"].nunique() == 4
    assert rows(folder, "runs", "vectors")["gaps"].item() == "[]"


@pytest.mark.parametrize("way", WAYS)
def test_each_step_is_logged_once(way, folder):
    assert rows(folder, "steps", way)["step"].tolist() == [0, 1, 2, 3]


def test_ranks_agree_on_the_name_that_a_run_is_given(folder):
    first, second = json.loads((folder / "opened.json").read_text())
    assert re.fullmatch(r"Linear-\d{8}-\d{6}", first["name"])
    assert second["name"] == first["name"]


def test_a_run_that_cannot_be_opened_is_refused_on_every_rank(folder):
    first, second = json.loads((folder / "opened.json").read_text())
    assert "exists in store" in first["error"]
    assert second["error"].endswith(first["error"])


def test_ranks_agree_on_the_step_after_the_last_recorded_one(folder):
    assert rows(folder, "layers", "auto")["step"].tolist() == [0, 1, 2, 3, 4]


OF_CHANNELS = ["activation_drift", "dead_fraction"]
OF_RANKS = ["grad_noise", "grad_micro_batches", "grad_noise_trace", "grad_signal"]


def assert_same_numbers(found, truth, *, but):
    keys = ["step", "epoch", "layer", "layer_index", "layer_type"]
    for column in truth.columns.difference([*keys, *but]):
        a, b = (t[column].to_numpy(float, na_value=np.nan) for t in (found, truth))
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-7, err_msg=column)


def test_a_probe_changes_no_bit_of_a_tensor_parallel_training(folder):
    probed, bare = (torch.load(folder / f"tensor-parallel{way}.pt") for way in ("", "-bare"))
    assert all(torch.equal(probed[name], bare[name]) for name in bare)


def test_tensor_parallel_layers_have_the_numbers_of_the_whole(folder):
    whole, split = rows(folder, "layers", "unsplit"), rows(folder, "layers", "tensor-parallel")
    assert split[["step", "layer", "layer_type"]].equals(whole[["step", "layer", "layer_type"]])
    assert_same_numbers(split, whole, but=[*OF_CHANNELS, *OF_RANKS, "grad_carried"])
    without_hooks = split.loc[split["grad_carried"].isna(), "layer"]
    assert set(without_hooks) == {"down", "up"}  # whose parameters are sharded
    spectra = [
        rows(folder, "spectra", run)["singular_values"].map(len).tolist() for run in ("tensor-parallel", "unsplit")
    ]
    assert spectra[0] == spectra[1]


def test_channels_of_shards_are_taken_for_the_same_channels(folder):
    """The one thing that is of a shard: which of the halves of a split output a channel is in, nobody tells a hook."""
    whole, split = (rows(folder, "layers", run).set_index("layer") for run in ("unsplit", "tensor-parallel"))
    assert not np.allclose(whole.loc["up", "activation_drift"], split.loc["up", "activation_drift"])
    for layer in ("down", "head"):
        np.testing.assert_allclose(
            split.loc[layer, "activation_drift"], whole.loc[layer, "activation_drift"], rtol=1e-3, atol=1e-6
        )


@pytest.mark.skipif(not STAGES_RUN, reason="torch 2.9 aborts in a pipeline over gloo")
def test_each_stage_of_a_pipeline_records_its_own_layers_with_the_numbers_of_the_whole(folder):
    whole = rows(folder, "layers", "unsplit")
    for run, layers in (("stage-0", ["up"]), ("stage-1", ["down", "head"])):
        stage = rows(folder, "layers", run)
        mine = whole[whole["layer"].isin(layers)].reset_index(drop=True)
        assert len(stage) == len(mine)
        # The loss of a micro-batch is the mean over half as many samples.
        assert_same_numbers(stage, mine, but=[*OF_RANKS, "activation_grad_var", "feeds_nonlinearity"])
        last = stage.loc[stage["layer"] == layers[-1], "feeds_nonlinearity"]
        assert last.isna().all()  # what follows is another stage's


def test_stages_that_would_share_a_run_are_refused_on_every_rank(folder):
    first, second = json.loads((folder / "refused.json").read_text())
    assert first == second
    assert "ranks observe different layers (the first is Linear on rank 0, 0 on rank 1)" in first
    assert "distributed=False" in first


def test_one_process_alone_needs_no_group():
    ranks = Ranks()
    assert (ranks.count, ranks.rank) == (1, 0)
    assert ranks.owns(5)


def test_asking_for_ranks_without_a_group_is_refused():
    with pytest.raises(ValueError, match="no process group is initialised; call torch"):
        Ranks(distributed=True)
