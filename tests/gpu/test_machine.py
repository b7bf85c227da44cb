"""What a machine with GPUs does to commands: leases, exclusive devices, UUIDs, kills, memory that runs out."""

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gpu.conftest import FEW
from gpu.simulator import Call, Machine
from gpu.test_commands import CALLS, different

pytestmark = pytest.mark.thorough

TWO = {"SIMCUDA_DEVICES": "2"}
SCORE = "score --model llama --blocks blocks.safetensors --criterion entropy --out"
RECOVER = (
    "recover --model llama --plan plan.safetensors --instructions resources/instructions/pairs"
    f" --options '{json.dumps(FEW)}' --out"
)


def test_each_process_opens_the_gpu_that_it_leases_and_no_other(
    gpus: Machine, project: Path, tmp_path: Path
) -> None:
    """Three processes on two GPUs, each of which takes one process at a time."""

    def score(number: int) -> Call:
        out = tmp_path / f"{number}.safetensors"
        return gpus.call(*shlex.split(SCORE), out, here=project, **TWO, SIMCUDA_EXCLUSIVE=str(tmp_path))

    with ThreadPoolExecutor() as pool:
        calls = [*pool.map(score, range(3))]
    taken = [call.contexts for call in calls]
    assert {0} in taken and {1} in taken and all(len(one) == 1 for one in taken)
    assert len({(tmp_path / f"{n}.safetensors").read_bytes() for n in range(3)}) == 1


def test_a_gpu_is_named_by_number_or_uuid(gpus: Machine, project: Path, tmp_path: Path) -> None:
    for name in ("1", "GPU-00000001-0000-0000-0000-000000000000"):
        chosen, out = TWO | {"CUDA_VISIBLE_DEVICES": name}, tmp_path / f"{name}.safetensors"
        assert gpus.call(*shlex.split(SCORE), out, here=project, **chosen).contexts == {1}


KILLED = """
import os, shlex, sys
import hfprune.recovery.lora, hfprune.scoring.reading
from hfprune.commands import main

def dies(module, name, calls):
    whole = getattr(module, name)
    def part(*arguments, **named):
        calls.append(0)
        if len(calls) == 5:
            os._exit(9)
        return whole(*arguments, **named)
    setattr(module, name, part)

sys.argv = ["hfprune", *shlex.split(sys.argv[1])]
if os.fork() == 0:
    hfprune.recovery.lora.SAVE_SECONDS = hfprune.scoring.reading.SAVE_SECONDS = 0
    dies(hfprune.scoring.reading.Sweep, "_one_batch", [])
    dies(hfprune.recovery.lora.Trainer, "training_step", [])
    main()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 9
main()
"""


@pytest.mark.parametrize(
    "command",
    [f"{SCORE} OUT/s.safetensors --batch-tokens 32", f"{RECOVER} OUT/a --batch-tokens 640"],
    ids=["score", "recover"],
)
def test_a_killed_run_resumes(
    command: str, gpus: Machine, cpu: Machine, project: Path, tmp_path: Path
) -> None:
    sides = {name: command.replace("OUT", str(tmp_path / name)) for name in ("cpu", "gpu")}
    for name in sides:
        (tmp_path / name).mkdir()
    report = tmp_path / "report"
    gpus.python(KILLED, sides["gpu"], here=project, SIMCUDA_REPORT=str(report))
    cpu.call(*shlex.split(sides["cpu"]), here=project)
    gaps = different(tmp_path / "cpu", tmp_path / "gpu", 2e-3 if "recover" in command else 1e-5)
    assert not gaps
    whole = gpus.call(*shlex.split(sides["gpu"].replace("/gpu", "/cpu/again")), here=project)
    assert json.loads(report.read_text())["launches"] < 0.8 * whole.total("launches"), "not from the start"


def limited(gpus: Machine, project: Path, command: str, limit: float, check: bool = True) -> Call:
    memory = {"SIMCUDA_LIMIT": str(limit)}
    return gpus.call(*shlex.split(command), here=project, check=check, **memory)


def peak(call: Call) -> int:
    return max(report["peaks"]["0"] for report in call.reports)


def once(gpus: Machine, project: Path, tmp_path: Path, command: str, where: str = "gpu") -> Call:
    (tmp_path / where).mkdir()
    return gpus.call(*shlex.split(command.replace("OUT", str(tmp_path / where))), here=project)


# A command and a batch, the tokens of a sequence, how near its numbers stay, and what it says of fewer sequences.
BATCHES = {
    "score": (f"{SCORE} OUT/s.safetensors --batch-tokens 512", 32, 1e-5, "tokens at a time"),
    "recover": (f"{RECOVER} OUT/a --batch-tokens 1280", 320, 2e-3, "now half as many"),
}


@pytest.mark.parametrize("name", BATCHES)
def test_fewer_sequences_are_taken_where_memory_runs_out(
    name: str, gpus: Machine, project: Path, tmp_path: Path
) -> None:
    command, length, near, said = BATCHES[name]
    whole = once(gpus, project, tmp_path, command)
    one = once(gpus, project, tmp_path, f"{command} --batch-tokens {length}", "one")
    for share in (0.9, 0.6, 0.4) if name == "score" else (0.5,):
        limit = peak(one) + share * (peak(whole) - peak(one))
        out = tmp_path / f"{share}"
        out.mkdir()
        call = limited(gpus, project, command.replace("OUT", str(out)), limit)
        assert call.total("ooms") <= 1, "it starts with what the cost model says that fits"
        assert said in call.said
        assert not different(tmp_path / "gpu", out, near)
    none = limited(gpus, project, command.replace("OUT", str(tmp_path)), 0.8 * peak(one), check=False)
    assert none.code == 1 and f"not even one sequence of {length} tokens fits" in none.said


MEASURED = ("fidelity", "perplexity", "zeroshot", "gold_bpb", "latency", "cost")


@pytest.mark.parametrize("name", [*MEASURED, "distributions", "linear", "export"])
def test_where_memory_runs_out_a_command_ends_in_one_line(
    name: str, gpus: Machine, project: Path, tmp_path: Path
) -> None:
    command = CALLS[name]
    whole = once(gpus, project, tmp_path, command)
    other = command.replace("OUT", str(tmp_path / "none"))
    call = limited(gpus, project, other, 0.97 * peak(whole), check=False)
    (line,) = [line for line in call.said.splitlines() if "error" in line.lower()]
    _, _, reason = line.partition(f"hfprune {command.split()[0]}: error: ")  # a bar may stand before
    assert call.code == 1 and "out of memory" in reason and "Traceback" not in call.said


def test_products_keep_what_their_dtype_holds_and_results_say_so(
    gpus: Machine, project: Path, tmp_path: Path
) -> None:
    once(gpus, project, tmp_path, f"{SCORE} OUT/s.safetensors --dtype bfloat16")
    hardware = json.loads((tmp_path / "gpu/s.json").read_text())["provenance"]["hardware"]
    assert len(hardware["cuda"]) == 1
    assert (hardware["tf32"], hardware["reduced_sums"]) == (False, False)
    assert {"flash", "math"} <= {*hardware["attention"]}
