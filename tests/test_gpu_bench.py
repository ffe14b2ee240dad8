"""bench/gpu.py: turns, tables and mistakes; and both sides' steps, where there is no GPU."""

import functools
import importlib.util
import json
import subprocess
import sys
import time
import types
import weakref
from pathlib import Path

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import HostDevice, Replayed, standing_in

from fastconv.backends.selection import backend_state
from fastconv.execution.config import ExecutionConfig
from fastconv.profiling.cold_start import PHASES, ColdStart, ColdStartError
from fastconv.runs.experiment import prepare

BENCH = Path(__file__).parent.parent / "bench"
if not BENCH.is_dir():
    pytest.skip("bench/ is in the source tree alone", allow_module_level=True)
sys.path.append(str(BENCH))

import gpu  # noqa: E402
import gpu_ceilings  # noqa: E402
import gpu_fastconv  # noqa: E402
import gpu_table  # noqa: E402
from turns import MOST_STEPS, Contender, Line, take_turns  # noqa: E402
from workload import Workload  # noqa: E402

# Turns.


class Clockwork:
    """Contenders whose steps take the seconds that they are made up to take."""

    def __init__(self):
        self.turns = []
        self.made = []
        """Steps of every turn that was timed, with the contender's name."""

    def contender(self, name, seconds, prepare=None):
        """``seconds``: of a step, in each timed turn; the last goes on."""
        left = list(seconds)

        def run(steps):
            self.made.append((name, steps))

        def clock(work):
            work()
            steps = self.made[-1][1]
            self.turns.append(name)
            each = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(each, Exception):
                raise each
            return steps * each

        return Contender(name, "", prepare or (lambda: run), clock)


def test_contenders_take_turns_and_each_is_warm_before_the_first_round():
    clockwork = Clockwork()
    both = [clockwork.contender("a", [1.0]), clockwork.contender("b", [1.0])]
    take_turns(both, rounds=3, steps=32)
    # One turn each to warm up, then the rounds.
    assert clockwork.turns == ["a", "b", "a", "b", "a", "b", "a", "b"]
    assert clockwork.made[:3] == [("a", 16), ("a", 32), ("b", 16)]


def test_a_lines_seconds_are_those_of_a_step_in_each_round():
    clockwork = Clockwork()
    (line,) = take_turns([clockwork.contender("a", [9.0, 0.3, 0.1, 0.2])], rounds=3, steps=16)
    assert line.seconds == pytest.approx([0.3, 0.1, 0.2])
    assert line.median == pytest.approx(0.2)
    assert line.best == pytest.approx(0.1)
    assert (line.who, line.steps, line.failure) == ("a", 16, None)


@pytest.mark.parametrize(
    ("seconds", "steps"), [(1e-3, 48), (2.0, 16), (1e-9, MOST_STEPS), (0.05 / 64, 64)]
)
def test_a_turn_is_so_many_whole_graphs_as_last_its_span(seconds, steps):
    (line,) = take_turns([Clockwork().contender("a", [seconds])], rounds=1, span=0.05)
    assert line.steps == steps


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (MemoryError("batch size 1024 needs 9 bytes"), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory"),
        (RuntimeError("no\nTriton"), "RuntimeError: no Triton"),
    ],
)
def test_who_fails_says_why_and_the_others_go_on(fault, told):
    def fails():
        raise fault

    clockwork = Clockwork()
    at_once = clockwork.contender("at once", [1.0], fails)
    later = clockwork.contender("later", [1.0, 1.0, fault])
    well = clockwork.contender("well", [1.0])
    lines = take_turns([at_once, later, well], rounds=4, steps=16)
    assert [line.failure for line in lines] == [told, told, None]
    assert [line.seconds for line in lines] == [[], [], [1.0] * 4]
    assert clockwork.turns.count("later") == 3


def test_the_memory_of_who_failed_is_free_when_it_is_given_back():
    class Memory:
        pass

    held, alive = [], []

    def prepare():
        memory = Memory()
        held.append(weakref.ref(memory))

        def run(steps, memory=memory):
            raise MemoryError

        return run

    take_turns(
        [Contender("a", "", prepare, lambda work: 1.0)], 2, 16,
        release=lambda: alive.append(held[0]() is not None),
    )  # fmt: skip
    assert alive == [False, False]  # after the failure, and at the end


# The table.


def line(who, variant, *microseconds, failure=None):
    return Line(who, variant, 16, [each * 1e-6 for each in microseconds], failure)


OURS = [line("fastconv graph", "", 12.0, 10.0, 11.0), line("fastconv stream", "", 20.0)]
EAGER = [line("PyTorch eager", "contiguous", 300.0), line("PyTorch eager", "channels_last", 220.0)]
# 4096 cubed, twice, in 137.438953472 ms: 1000 GFLOP/s.
GEMM = Line("GEMM", "float32", 16, [0.137438953472])
COPY = Line("copy", "", 16, [2 * 2**28 / 1e12, 2 * 2**28 / 2e12, 2 * 2**28 / 4e12])


def report_of(*cells, peers=("PyTorch eager",)):
    return gpu_table.Report(["`python bench/gpu.py`"], list(peers), [COPY, GEMM], list(cells))


def rows_of(report):
    return [each for each in report.text().splitlines() if each.startswith("|")]


def test_a_row_has_medians_spread_ratio_and_rates():
    cell = gpu_table.Cell("lenet5", 32, "float32", 0.0022, OURS + EAGER)
    head, _, row = rows_of(report_of(cell))
    assert head == (
        "| recipe | batch | precision | fastconv graph | fastconv stream | PyTorch eager "
        "| faster than the fastest peer | GFLOP/s | of GEMM |"
    )
    # 0.0022 GFLOP in 11 us are 200 GFLOP/s, a fifth of what the large product reaches.
    assert row == (
        "| lenet5 | 32 | float32 | 11.00 (10.00 to 12.00) | 20.00 (20.00 to 20.00) "
        "| 220.0 (220.0 to 220.0) channels_last | 20.00x | 200.0 | 20.0 % |"
    )


def test_the_ceilings_stand_above_the_table():
    text = report_of().text()
    assert "* copy: 2,000.0 GB/s (1,000.0 to 4,000.0)" in text
    assert "* GEMM float32: 1,000.0 GFLOP/s (1,000.0 to 1,000.0)" in text


def test_a_cell_says_what_befell_it_and_what_failed_is_told_below():
    failing = [
        line("PyTorch eager", "contiguous", failure="out of memory"),
        line("PyTorch eager", "channels_last", failure="out of memory"),
        line("torch.compile", "contiguous", failure="RuntimeError: no Triton"),
        line("torch.compile", "channels_last", failure="RuntimeError: no Triton"),
    ]
    report = report_of(
        gpu_table.Cell("lenet5", 32, "tf32", 1.0, OURS + failing),
        peers=("PyTorch eager", "torch.compile"),
    )
    row = rows_of(report)[-1]
    assert "| out of memory | failed |  |" in row  # and no ratio to nobody
    assert row.endswith("|  |")  # no GEMM rate in this precision
    assert report.failures() == [
        f"lenet5, batch 32, tf32, torch.compile {layout}: RuntimeError: no Triton"
        for layout in ("contiguous", "channels_last")
    ]
    assert f"* {report.failures()[0]}" in report.text()


def test_a_variant_that_fails_leaves_the_column_to_the_other():
    failing = line("PyTorch eager", "channels_last", failure="RuntimeError: no")
    cell = gpu_table.Cell("lenet5", 1, "float32", 1.0, [*OURS, EAGER[0], failing])
    assert "| 300.0 (300.0 to 300.0) contiguous | 27.27x |" in rows_of(report_of(cell))[-1]


def test_without_peers_our_columns_stand_alone():
    cell = gpu_table.Cell("lenet5", 1, "float32", 1.0, OURS)
    head, _, row = rows_of(report_of(cell, peers=()))
    assert "PyTorch" not in head
    assert "peer" not in head
    assert head.count("|") == row.count("|")


def test_whole_trainings_and_first_steps_stand_below_the_table():
    report = report_of()
    report.trainings = [gpu_fastconv.WholeTraining("cifar10-deep", "bf16", 50000, 1.25, 2.5, 1.0)]
    zeros = (0.0,) * len(PHASES)
    report.cold_starts = [ColdStart("compiled code in the cache", zeros, zeros, 1234.0, 1100.0, 3)]
    text = report.text()
    assert "| cifar10-deep, batch 1, bf16: 50000 steps | 1.2 s | 2.50 | 20,000 |" in text
    assert "compiled code in the cache: 1.23 s, median of 3 (fastest 1.10 s)" in text


# The command line.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "there is nothing to measure on: there is no NVIDIA driver; install it"),
        (["--batches", "1,x"], "--batches: '1,x'; expected numbers and commas"),
        (["--batches", "0"], "--batches: 0; expected 1 or more"),
        (["--batches", "60001"], "batch size is 60001; mnist has 60000 images"),
        (["--recipes", ""], "--recipes: nothing; expected one or more"),
        (["--recipes", "cifar10-dep"], "did you mean 'cifar10-deep'"),
        (["--recipes", "digits"], "recipe 'digits' is for the data set digits; expected one for"),
        (["--precisions", "fp16"], "--precisions: 'fp16'; expected some of float32"),
        (["--peers", "jax"], "--peers: 'jax'; expected some of eager, graph, compile"),
        (["--steps", "17"], "--steps: 17; expected a multiple of 16, which a graph holds"),
        (["--rounds", "0"], "--rounds: 0; expected 1 or more"),
        (["--training-steps", "-1"], "--training-steps: -1; expected 0 or more"),
        (["--cold-starts", "x"], "--cold-starts: invalid integer value: 'x'"),
        (["--table", "absent/table.md"], "--table absent/table.md: no such folder"),
        (["--json", "absent/numbers.json"], "--json absent/numbers.json: no such folder"),
    ],
    ids=lambda value: " ".join(value) or "no card" if isinstance(value, list) else "",
)
def test_a_mistake_is_exit_code_2_and_one_line(arguments, told, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    say_that(monkeypatch, "cupy", works=False, reason="there is no NVIDIA driver; install it")
    try:
        code = gpu.main(arguments)
    except SystemExit as leaving:
        code = leaving.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("bench/gpu.py: ")
    assert captured.err.count("\n") == 1
    assert told in captured.err


@pytest.fixture
def host(monkeypatch):
    """The host in place of a GPU, with recordings."""
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    with standing_in(HostDevice()) as device:
        device.recordings = []

        def record(launches):
            device.recordings.append(Replayed(device, launches))
            return device.recordings[-1]

        monkeypatch.setattr(device, "record", record)
        yield device


@pytest.fixture
def few_images(monkeypatch):
    """Data sets of 64 images."""
    sets = {"mnist": ((28, 28, 1), 64), "cifar10": ((32, 32, 3), 64)}
    monkeypatch.setattr("workload.DATA_SETS", sets)


@pytest.fixture
def little(monkeypatch, few_images):
    """A report of the host, with little work."""
    monkeypatch.setattr(gpu, "facts", lambda arguments, pytorch: [" ".join(arguments), pytorch])
    few_bytes = functools.partial(gpu_ceilings.copying, count=1000)
    monkeypatch.setattr(gpu, "copying", few_bytes)
    monkeypatch.setattr(gpu, "_WHOLE", "mnist-strided")
    monkeypatch.setattr(gpu, "pytorch", lambda: (None, "PyTorch is not installed"))
    asked = []

    def measure_cold_start(*arguments):
        asked.append(arguments)
        return [ColdStart("empty cache", (1.0,) * 6, (1.0,) * 6, 6.0, 6.0, 1)]

    monkeypatch.setattr(gpu, "measure_cold_start", measure_cold_start)
    return asked


SHORT = ["--recipes", "mnist-strided", "--batches", "1,2", "--precisions", "float32", "--rounds",
         "2", "--steps", "16", "--training-steps", "16"]  # fmt: skip


@pytest.mark.nightly
def test_a_whole_report_from_the_host(host, little, capsys, tmp_path):
    table, numbers = tmp_path / "gpu.md", tmp_path / "gpu.json"
    files = ["--table", str(table), "--json", str(numbers), "--device", "0"]
    assert gpu.main([*SHORT, *files]) == 0
    shown = capsys.readouterr().out
    text = table.read_text(encoding="utf-8")
    assert shown.split() == text.split()
    assert text.startswith("--recipes mnist-strided --batches 1,2 ")
    assert text.count("\n| mnist-strided | ") == 2
    assert "| mnist-strided, batch 1, float32: 16 steps |" in text
    assert "empty cache: 0.01 s" in text
    content = json.loads(numbers.read_text())
    for cell in content["cells"]:
        assert [len(each["seconds"]) for each in cell["lines"]] == [2, 2]
    # Of a step, 3x3 kernels: 13x13x8 outputs of 1 channel, 6x6x8 of 8; 288 inputs to 10 outputs.
    first, second, dense = 2 * 169 * 8 * 9, 2 * 36 * 8 * 72, 2 * 288 * 10
    flop = 3 * (first + second + dense) - first
    assert [cell["gflop"] for cell in content["cells"]] == pytest.approx(
        [flop / 1e9, 2 * flop / 1e9]
    )
    recipe, config, _, processes = little[0]
    assert (recipe, config.backend, config.device, processes) == ("mnist-strided", "cupy", 0, 3)


def test_peers_stand_beside_us_and_are_measured_in_the_same_rounds(
    host, little, monkeypatch, capsys
):
    clockwork, used = Clockwork(), []
    ours = gpu_fastconv.contenders

    def noted(workload, precision):
        """Ours, as slow as they are made up to be."""
        names = [each.who for each in ours(workload, precision)]
        return [clockwork.contender(name, [1e-3]) for name in names]

    side = types.SimpleNamespace(
        PEERS={"eager": "PyTorch eager", "graph": "PyTorch CUDA graph"},
        contenders=lambda workload, precision, peers: [
            clockwork.contender(f"PyTorch {each}", [4e-3]) for each in peers
        ],
        seconds_of=lambda work: 1.0, release=lambda: None, use_device=used.append,
    )  # fmt: skip
    monkeypatch.setattr(gpu_fastconv, "contenders", noted)
    monkeypatch.setattr(gpu, "pytorch", lambda: (side, "PyTorch 3"))
    monkeypatch.setattr(
        gpu, "multiplying", lambda precision, clock: Contender("GEMM", precision, bool, clock)
    )
    arguments = ["--batches", "1", "--training-steps", "0", "--cold-starts", "0"]
    assert gpu.main([*SHORT, *arguments, "--peers", "eager", "--device", "0"]) == 0
    assert used == [0]
    assert clockwork.turns == ["fastconv graph", "fastconv stream", "PyTorch eager"] * 3
    shown = capsys.readouterr().out
    assert "| fastconv graph | fastconv stream | PyTorch eager | faster" in shown
    assert "| 4,000.0 (4,000.0 to 4,000.0) | 4.00x |" in shown
    assert "* GEMM float32: TypeError" in shown  # what failed is told here too


@pytest.mark.slow
def test_json_on_stdout_is_alone_there(host, little, capsys):
    assert gpu.main([*SHORT, "--batches", "1", "--cold-starts", "0", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["cells"]) == 1
    assert "| mnist-strided | 1 | float32 |" in captured.err


@pytest.mark.nightly
def test_what_is_measured_is_written_before_what_comes_fails(host, little, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu_fastconv, "train", interrupted)
    table = tmp_path / "gpu.md"
    assert gpu.main([*SHORT, "--table", str(table)]) == 130
    assert table.read_text(encoding="utf-8").count("\n| mnist-strided | ") == 2


@pytest.mark.nightly
def test_a_training_and_a_start_that_fail_are_told_and_are_exit_code_1(
    host, little, monkeypatch, capsys
):
    def fails(*_):
        raise RuntimeError("no card any more")

    def does_not_start(*_):
        raise ColdStartError("the process that makes the first step failed: no card")

    monkeypatch.setattr(gpu_fastconv, "train", fails)
    monkeypatch.setattr(gpu, "measure_cold_start", does_not_start)
    assert gpu.main([*SHORT, "--batches", "1"]) == 1
    shown = capsys.readouterr().out
    assert "* training of mnist-strided, float32: RuntimeError: no card any more" in shown
    assert "* the process that makes the first step failed: no card" in shown


def test_another_device_must_be_there(host, little, capsys):
    assert gpu.main([*SHORT, "--device", "3"]) == 2
    assert capsys.readouterr().err == (
        "bench/gpu.py: device is 3; expected 0 to 0, one of the CUDA devices\n"
    )


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_every_precision_is_that_of_the_trainer(host, monkeypatch, precision):
    asked = []

    def keeps(recipe, *, dataset, config):
        asked.append((config.backend, config.precision))
        return types.SimpleNamespace(trainer=None)

    monkeypatch.setattr(gpu_fastconv, "prepare", keeps)
    gpu_fastconv.trainer_of(Workload.of("mnist-strided", 1), precision)
    assert asked == [("cupy", precision)]


# fastconv's side.


def test_the_graph_is_replayed_and_the_stream_takes_every_launch(host):
    workload = Workload.of("mnist-strided", 2)
    graph, stream = (each.prepare() for each in gpu_fastconv.contenders(workload, "float32"))
    recording, _ = host.recordings  # of 16 steps and of one
    replays = recording.replays
    graph(48)
    assert recording.replays == replays + 3
    host.launched.clear()
    stream(2)
    alone = len(host.launched)
    host.launched.clear()
    stream(32)
    assert recording.replays == replays + 3
    assert len(host.recordings) == 2
    assert len(host.launched) == 16 * alone


def test_both_ways_train_alike(host, monkeypatch):
    made = []

    def keeping(*arguments, **options):
        made.append(prepare(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(gpu_fastconv, "prepare", keeping)
    for contender in gpu_fastconv.contenders(Workload.of("mnist-strided", 2), "float32"):
        contender.prepare()(32)
    graph, stream = (each.trainer for each in made)
    for trainer in (graph, stream):
        trainer.update_network()
    assert (graph.runner.steps_of_a_graph, stream.runner.steps_of_a_graph) == (16, 1)
    np.testing.assert_array_equal(graph.network.parameters, stream.network.parameters)


def test_where_nothing_is_recorded_the_graph_fails_and_the_stream_does_not(host, monkeypatch):
    monkeypatch.setattr(host, "record", lambda launches: None)
    lines = take_turns(gpu_fastconv.contenders(Workload.of("mnist-strided", 1), "float32"), 1, 16)
    assert [line.failure for line in lines] == ["RuntimeError: a graph holds 1 steps", None]


def test_time_is_what_the_devices_events_tell(host, monkeypatch):
    done = []

    def nanoseconds_of(work):
        work()
        return 1500

    monkeypatch.setattr(host, "nanoseconds_of", nanoseconds_of)
    assert gpu_fastconv.seconds_of(lambda: done.append(1)) == pytest.approx(1.5e-6)
    assert done == [1]


def test_copies_copy(host):
    copies = []
    known = np.copyto
    arrays = types.SimpleNamespace(
        zeros=np.zeros, copyto=lambda *pair: (copies.append(pair), known(*pair))
    )
    host.arrays = arrays
    gpu_ceilings.copying(lambda work: 1.0, 10).prepare()(3)
    assert [(len(target), len(source)) for target, source in copies] == [(10, 10)] * 3
    assert copies[0][0] is not copies[0][1]


def test_a_whole_training_makes_its_steps_over_epochs(host, monkeypatch):
    monkeypatch.setattr("workload.DATA_SETS", {"mnist": ((28, 28, 1), 20)})
    training = gpu_fastconv.train("mnist-strided", "float32", 45)
    assert (training.recipe, training.steps) == ("mnist-strided", 45)
    assert training.seconds > 0
    assert 0 < training.loss < 10


# PyTorch's side.


@pytest.fixture
def torch():
    """PyTorch with one thread: its threads wait long for a core that others use."""
    there = pytest.importorskip("torch")
    threads = there.get_num_threads()
    there.set_num_threads(1)
    yield there
    there.set_num_threads(threads)


@pytest.fixture
def side(torch, few_images):
    """PyTorch's side, with its settings as they were afterwards."""
    import gpu_pytorch

    cuda = torch.backends.cuda.matmul
    before = cuda.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    yield gpu_pytorch
    cuda.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before


def losses_of_numpy(workload, order):
    """Mean losses of so many steps of the NumPy backend."""
    trainer = prepare(
        workload.recipe, dataset=workload.dataset(), config=ExecutionConfig("numpy")
    ).trainer
    rates = trainer.schedule.rates(np.arange(len(order)))
    return [
        trainer.runner.run(row[None], rates[number : number + 1], number)[0] / len(row)
        for number, row in enumerate(order)
    ]


def losses_of_pytorch(torch, training, order):
    return [training.step(torch.from_numpy(row)).item() for row in order]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("recipe", ["mnist-strided", "cifar10-deep", "lenet5"])
def test_pytorch_has_the_losses_of_our_numpy_backend(side, torch, recipe, layout):
    workload = Workload.of(recipe, 4)
    order = workload.order(3)
    training = side.Training(workload, layout, "float32", "cpu")
    expected = losses_of_numpy(workload, order)
    # The later ones depend on the updates too.
    np.testing.assert_allclose(losses_of_pytorch(torch, training, order), expected, rtol=2e-4)
    assert len(set(expected)) == 3


def test_the_layouts_are_what_they_are_called(side, torch):
    workload = Workload.of("cifar10-deep", 2)
    seen = {}
    for layout in side.LAYOUTS:
        loss = side.BatchLoss(workload, layout, "float32", "cpu")
        loss.model[0].register_forward_pre_hook(
            lambda module, inputs, layout=layout: seen.update({layout: inputs[0]})
        )
        loss(torch.tensor([3, 5]))
        assert loss.model[2].weight.is_contiguous(memory_format=getattr(
            torch, {"contiguous": "contiguous_format"}.get(layout, layout)))  # fmt: skip
    assert seen["contiguous"].is_contiguous()
    assert seen["channels_last"].is_contiguous(memory_format=torch.channels_last)
    assert not seen["channels_last"].is_contiguous()
    torch.testing.assert_close(seen["contiguous"], seen["channels_last"])


def test_bf16_rounds_what_is_multiplied_and_nothing_else(side, torch):
    workload = Workload.of("cifar10-deep", 4)
    order = workload.order(1)
    exact = losses_of_numpy(workload, order)
    training = side.Training(workload, "channels_last", "bf16", "cpu")
    rounded = losses_of_pytorch(torch, training, order)
    np.testing.assert_allclose(rounded, exact, rtol=3e-2)
    assert rounded[0] != pytest.approx(exact[0], rel=1e-5)
    assert {each.dtype for each in training._loss_of.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("precision", "tf32"), [("float32", False), ("tf32", True), ("bf16", False)]
)
def test_a_precision_sets_what_float32_products_are_made_of(side, torch, precision, tf32):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not tf32
    side.set_precision(precision)
    assert torch.backends.cuda.matmul.allow_tf32 is tf32
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert torch.backends.cudnn.benchmark


def weights_after(torch, training, steps):
    for row in torch.from_numpy(Workload.of("mnist-strided", 2).order(MOST_STEPS))[:steps]:
        training.step(row)
    return [each.detach().clone() for each in training._loss_of.parameters()]


def test_steps_one_by_one_follow_the_order(side, torch):
    workload = Workload.of("mnist-strided", 2)
    expected = weights_after(torch, side.Training(workload, "contiguous", "float32", "cpu"), 5)
    training = side.Training(workload, "contiguous", "float32", "cpu")
    training.one_by_one(5)
    for ours, theirs in zip(training._loss_of.parameters(), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


class Capture:
    """A CUDA graph, its capture and its stream in one, for a machine without any."""

    def __init__(self, *_):
        self.replays = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait_stream(self, stream):
        pass

    def replay(self):
        self.replays += 1


def test_a_recorded_piece_is_replayed_for_every_sixteen_steps(side, torch, monkeypatch):
    graphs = []

    def new_graph():
        graphs.append(Capture())
        return graphs[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", new_graph)
    for name in ("Stream", "graph", "stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Capture)
    training = side.Training(Workload.of("mnist-strided", 2), "contiguous", "float32", "cpu")
    run = training.recorded()
    # Three to warm up and sixteen that are recorded, which this machine makes at once.
    assert training._next.item() == 19
    run(48)
    assert [graph.replays for graph in graphs] == [3]
    assert training._next.item() == 0  # the first replay begins with the first row
    expected = side.Training(Workload.of("mnist-strided", 2), "contiguous", "float32", "cpu")
    for ours, theirs in zip(
        training._loss_of.parameters(), weights_after(torch, expected, 19), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # the compiler's own
def test_what_is_compiled_has_the_same_losses(side, torch):
    workload = Workload.of("mnist-strided", 2)
    order = workload.order(2)
    compiler = functools.partial(torch.compile, backend="aot_eager", dynamic=False, fullgraph=True)
    training = side.Training(workload, "channels_last", "bf16", "cpu", compile_with=compiler)
    plain = side.Training(workload, "channels_last", "bf16", "cpu")
    np.testing.assert_allclose(
        losses_of_pytorch(torch, training, order), losses_of_pytorch(torch, plain, order), rtol=1e-3
    )
    training.compiled(2)


def test_each_peer_runs_in_both_layouts_and_its_own_way(side, torch, monkeypatch):
    made = []

    class Noted:
        def __init__(self, workload, layout, precision, in_graph=False, compile_with=None):
            made.append((layout, precision, in_graph, compile_with))

        one_by_one, compiled = "one by one", "compiled"

        def recorded(self):
            return "recorded"

    monkeypatch.setattr(side, "Training", Noted)
    monkeypatch.setattr(torch.compiler, "reset", lambda: made.append("reset"))
    workload = Workload.of("mnist-strided", 2)
    contenders = side.contenders(workload, "tf32", ["eager", "graph", "compile"])
    assert [(each.who, each.variant) for each in contenders] == [
        (who, layout)
        for who in ("PyTorch eager", "PyTorch CUDA graph", "torch.compile")
        for layout in ("contiguous", "channels_last")
    ]
    # Once for all: the compiler forgets nothing that takes turns.
    assert made == ["reset"]
    made.clear()
    runs = [each.prepare() for each in contenders]
    assert runs[::2] == ["one by one", "recorded", "compiled"]
    assert [each[:2] for each in made[:2]] == [("contiguous", "tf32"), ("channels_last", "tf32")]
    assert [each[2] for each in made] == [False, False, True, True, False, False]
    assert [each[3] is not None for each in made] == [False] * 4 + [True] * 2


def test_pytorch_is_timed_between_two_events(side, torch, monkeypatch):
    told = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            told.append("record")

        def synchronize(self):
            told.append("synchronize")

        def elapsed_time(self, end):
            assert end is not self
            return 2.5  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    assert side.seconds_of(lambda: told.append("work")) == pytest.approx(0.0025)
    assert told == ["record", "work", "record", "synchronize"]


def test_products_are_made_in_the_precision_asked_for(side, torch, monkeypatch):
    made = []
    known = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, out: made.append(known(a, b, out=out)))
    for precision, dtype in (("tf32", torch.float32), ("bf16", torch.bfloat16)):
        gpu_ceilings.multiplying(precision, time.perf_counter, 8, "cpu").prepare()(2)
        assert [each.dtype for each in made] == [dtype] * 2
        assert torch.backends.cuda.matmul.allow_tf32 is (precision == "tf32")
        made.clear()


def test_pytorch_without_a_card_leaves_us_alone(side, torch, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.pytorch() == (
        None, f"PyTorch {torch.__version__} finds no CUDA device: fastconv alone"
    )  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found, told = gpu.pytorch()
    assert found is side
    assert told.startswith(f"PyTorch {torch.__version__}, CUDA ")


def test_without_pytorch_a_line_says_so(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert gpu.pytorch() == (None, "PyTorch is not installed: fastconv alone")


# A GPU.


@pytest.mark.gpu
@pytest.mark.skipif(not backend_state("cupy").works, reason=backend_state("cupy").reason)
def test_a_card_gives_numbers_for_every_contender(tmp_path):
    numbers = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCH / "gpu.py"), *SHORT, "--cold-starts", "1", "--peers",
               "eager,graph", "--json", str(numbers)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(numbers.read_text())
    lines = [each for cell in content["cells"] for each in cell["lines"]] + content["ceilings"]
    assert len(lines) >= 5
    for each in lines:
        assert each["failure"] is None
        assert len(each["seconds"]) == 2
        assert all(seconds > 0 for seconds in each["seconds"])
    assert content["trainings"][0]["steps"] == 16
    assert content["cold_starts"]
