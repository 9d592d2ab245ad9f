"""The sitting on a GPU, dry on a CPU: its parts run, and whatever becomes of one is told and stops no other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
RUN = (HERE / "run.sh").read_text()
OK = "print('fine')"


@pytest.fixture
def modules(monkeypatch):
    """Let the test import what stands beside ``run.sh``, as its parts do."""
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture
def checkout(tmp_path):
    """Return a function that makes a checkout whose parts are other ones, given by their code."""

    def make(**parts):
        folder = tmp_path / "checkout" / "tests" / "gpu"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("run.sh", "sitting.py"):
            shutil.copy(HERE / name, folder)
        for name, code in parts.items():
            (folder / f"{name}.py").write_text(code)
        return folder

    return make


def environment(**variables):
    return {**os.environ, "PYTHON": sys.executable, "MEANDRIFT_DEVICE": "cpu", **variables}


def sit(folder, results, **variables):
    """Run a whole sitting; return its exit status, and what became of each part."""
    command = ["bash", str(folder / "run.sh"), str(results)]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)
    parts = {path.stem: json.loads(path.read_text()) for path in Path(results).glob("*.json")}
    assert not list(Path(results).glob("*.found.json")), done.stdout
    return done.returncode, parts


def statuses(parts):
    return {name: part["status"] for name, part in parts["summary"]["parts"].items()}


def test_the_sitting_runs_dry_on_a_cpu(tmp_path):
    status, parts = sit(HERE, tmp_path / "results")
    assert statuses(parts) == {"gpu_tests": "ok", "silence": "ok", "ratios": "ok"}, parts
    assert status == 0
    tests = parts["gpu_tests"]["found"]["tests"]
    assert {test["outcome"] for test in tests.values()} == {"skipped" if not torch.cuda.is_available() else "passed"}
    assert any("test_no_recorded_step_waits_for_the_device" in name for name in tests)

    silence = parts["silence"]["found"]
    assert set(silence["norms"]) == {"none", "bn", "sn", "msn"}
    for norm, outcomes in silence["norms"].items():
        assert set(outcomes) == {"cnn3 default", "cnn3 deterministic"}
        for outcome in outcomes.values():
            assert outcome["bare_runs_equal"] is True, norm
            assert outcome["silent"] is True, norm
            assert outcome["rows"] >= outcome["recorded_steps"] == outcome["steps"] > 0
    assert silence["notices_a_disturbance"] is True

    ratios = parts["ratios"]["found"]["resnet18_32"]
    arms = ["bare again", "default", "every 10", "weights+gradients", "+activations", "+singular values"]
    assert set(ratios["arms"]) == set(arms)
    assert ratios["bare_ms"] > 0
    assert ratios["peak_mib"] == dict.fromkeys(["bare", *arms])  # of a GPU's memory
    for name, arm in ratios["arms"].items():
        assert all(0.05 < arm[key] < 50 for key in ("ratio", "ratio_of_sums", "ratio_without_flush")), (name, arm)
    assert [ratios["arms"][name]["recorded_steps"] for name in ("default", "every 10")] == [1, 1]
    assert ratios["arms"]["+activations"]["recorded_steps"] == ratios["arms"]["+activations"]["steps"] > 1

    assert parts["summary"]["machine"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert re.fullmatch(r"[0-9a-f]{12}", parts["summary"]["code"])


def test_a_part_that_fails_stops_no_other_and_is_run_again(checkout, tmp_path):
    count = "import sys; open(f'{sys.argv[0]}.runs', 'a').write('x')\n"
    keep = "import json; open(sys.argv[2], 'w').write(json.dumps({}))\n"
    broken = count + keep.format("{'so far': 3}") + "raise ValueError('nothing works')"
    told = keep.format("{'failures': ['bn is not silent', 'sn neither']}") + "sys.exit(1)"
    folder = checkout(gpu_tests=broken, silence=count + OK, ratios=count + told)
    for _ in range(2):
        status, parts = sit(folder, tmp_path / "results")
        assert status == 1
        assert statuses(parts) == {"gpu_tests": "failed", "silence": "ok", "ratios": "failed"}
    assert parts["gpu_tests"]["reason"] == "ValueError: nothing works"
    assert parts["ratios"]["reason"] == "2 failures, the first: bn is not silent"
    assert parts["gpu_tests"]["found"] == {"so far": 3}
    assert parts["silence"]["output"] == ["fine"]
    runs = {path.name.partition(".")[0]: path.read_text() for path in folder.glob("*.runs")}
    assert runs == {"gpu_tests": "xx", "silence": "x", "ratios": "xx"}
    sit(folder, tmp_path / "results", MEANDRIFT_DEVICE="cuda")  # what is ok on a CPU is not on a GPU
    assert (folder / "silence.py.runs").read_text() == "xx"


def test_a_part_out_of_time_is_ended_with_its_children_and_told(checkout, tmp_path):
    child = "import time; time.sleep(3); open('{}', 'w')".format(tmp_path / "survived")
    code = f"""
import json, subprocess, sys
open(sys.argv[2], "w").write(json.dumps({{"rounds": 7}}))
print("under way", flush=True)
subprocess.run([sys.executable, "-c", {child!r}])
"""
    folder = checkout(slow=code)
    began = time.monotonic()
    command = [sys.executable, folder / "sitting.py", tmp_path, "run", "slow", "--seconds", "1"]
    subprocess.run(command, env=environment(), check=True)
    took = time.monotonic() - began
    part = json.loads((tmp_path / "slow.json").read_text())
    assert (part["status"], part["reason"], part["found"]) == ("out of time", "ended after 1 s", {"rounds": 7})
    assert part["output"] == ["under way"]
    time.sleep(max(0, 4 - took))
    assert not (tmp_path / "survived").exists()


def test_a_part_whose_box_does_not_fit_into_the_rest_waits(checkout, tmp_path):
    folder = checkout(gpu_tests=OK, silence=OK, ratios=OK)
    status, parts = sit(folder, tmp_path / "results", MEANDRIFT_SITTING="120")
    assert status == 1
    assert statuses(parts) == {"gpu_tests": "not begun", "silence": "ok", "ratios": "not begun"}
    assert parts["ratios"]["reason"].endswith("and it may take 205")
    assert sit(folder, tmp_path / "results")[0] == 0


def test_a_sitting_takes_at_most_eight_minutes(modules):
    from sitting import GRACE

    boxes = {name: int(seconds) for name, seconds in re.findall(r"^part (\w+) (\d+)$", RUN, flags=re.MULTILINE)}
    sitting = int(re.search(r"MEANDRIFT_SITTING:-(\d+)", RUN)[1])
    assert sum(boxes.values()) + GRACE * len(boxes) <= sitting <= 8 * 60
    assert all((HERE / f"{name}.py").is_file() for name in boxes)
    assert f"sitting summary {' '.join(boxes)}\n" in RUN


def test_a_probe_that_records_nothing_does_not_count_as_silent_or_cheap(modules):
    import ratios
    import silence

    quiet = {"silent": True, "recorded_steps": 3, "steps": 3, "gaps": []}
    assert not list(silence.complaints(quiet))
    nothing = [quiet | {"recorded_steps": 0}, quiet | {"gaps": [{"what": "weights"}]}, quiet | {"silent": False}]
    assert [len(list(silence.complaints(one | {"probed_differ": {}}))) for one in nothing] == [1, 1, 1]
    arms = {"bare again": {}, "default": {"recorded_steps": 0, "gaps": []}}
    assert list(ratios.complaints("tiny", {"arms": arms})) == ["tiny, default: 0 steps recorded, lost: []"]


def test_silence_is_compared_bit_by_bit(modules):
    from silence import differences

    one = {"a": torch.tensor([0.0, torch.nan]), "b": torch.tensor(3)}
    assert differences(one, {"a": torch.tensor([0.0, torch.nan]), "b": torch.tensor(3)}) == {}
    assert differences(one, one | {"a": torch.tensor([-0.0, torch.nan])})["first"] == ["a"]
    assert differences(one, one | {"b": torch.tensor(4)})["largest"] == "1.0"


def test_resnet18_is_torchvisions(modules, seed):
    from resnet18 import ResNet18
    from torchvision.models import resnet18

    torch.manual_seed(seed)
    own, theirs = ResNet18(), resnet18()
    assert list(own.state_dict()) == list(theirs.state_dict())
    own.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(own(images), theirs(images), rtol=0, atol=0)


@pytest.mark.slow
def test_gpu_tests_pass_on_a_cpu_where_they_can():
    names = ("probes/test_cuda.py", "dynamics/test_gpu.py", "dynamics/norms/test_norms.py", "dynamics/gan/test_run.py")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += [str(HERE.parent / name) for name in names]
    rehearsal = environment(MEANDRIFT_REHEARSE="1")
    done = subprocess.run(command, env=rehearsal, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"1[0-9] passed", done.stdout), done.stdout
