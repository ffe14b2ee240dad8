"""What the products' main loops cost, counted in the machine code that NVIDIA's tools make."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
from test_cuda_compiler import Program

from fastconv.backends.cupy.sources import ProductCode, code_of, expression_of

LABEL = re.compile(r"^\s*(\.L\w+):", re.M)
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?\s*([A-Z]\w*)(.*?);", re.M)
LINE = re.compile(f"{LABEL.pattern}|{INSTRUCTION.pattern}", re.M)


def disassembler():
    """Return the path of nvdisasm, from the package nvidia-cuda-nvdisasm."""
    found = importlib.util.find_spec("nvidia")
    folders = list(found.submodule_search_locations or []) if found else []
    tools = [path for folder in folders for path in Path(folder).glob("*/bin/nvdisasm")]
    if not tools:
        pytest.skip("nvidia-cuda-nvdisasm is not installed")
    return str(max(tools))


def loops_of(assembly):
    """Return the instructions of each loop of a kernel: from a label to a branch back to it."""
    labels, names, loops = {}, [], []
    for label, name, rest in LINE.findall(assembly):
        if label:
            labels[label] = len(names)
            continue
        names.append(name)
        target = re.search(r"`\((\.L\w+)\)", rest) if name == "BRA" else None
        if target and target[1] in labels:
            loops.append(names[labels[target[1]] :])
    return loops


def main_loop_of(kernel, tile, width, precision, folder, source="conv.cu"):
    """Return the instructions of the loop in which a product multiplies its tiles."""
    tool = disassembler()
    program = Program(code_of(source), source)
    instance = expression_of(kernel, "float32", ProductCode(tile, width, precision))
    program.compile([instance], "sm_90")
    file = folder / "product.cubin"
    file.write_bytes(program.code())
    done = subprocess.run([tool, "-c", str(file)], capture_output=True, text=True, check=True)
    multiplies = "FFMA" if precision == "float32" else "HMMA"
    return max(loops_of(done.stdout), key=lambda loop: (loop.count(multiplies), -len(loop)))


KERNELS = ("conv2d_forward", "conv2d_backward_data", "conv2d_backward_weight")
FIRST_OF_THREE = [
    KERNELS[0],
    *(pytest.param(kernel, marks=pytest.mark.nightly) for kernel in KERNELS[1:]),
]


def test_a_loop_is_what_lies_between_a_label_and_a_branch_back_to_it():
    assembly = """
        /*0000*/                   MOV R1, R2 ;
.L_x_1:
        /*0010*/                   FFMA R1, R2, R3, R1 ;
        /*0020*/               @P0 BRA `(.L_x_2) ;
        /*0030*/                   IADD3 R2, R2, 0x1, RZ ;
.L_x_2:
        /*0040*/              @!P1 BRA `(.L_x_1) ;
        /*0050*/                   EXIT ;
"""
    assert loops_of(assembly) == [["FFMA", "BRA", "IADD3", "BRA"]]


@pytest.mark.parametrize("kernel", FIRST_OF_THREE)
def test_of_eight_instructions_in_float32_five_multiply(kernel, tmp_path):
    loop = main_loop_of(kernel, (128, 64), 4, "float32", tmp_path)
    # 16 terms of 8 x 8 results a thread.
    assert loop.count("FFMA") == 16 * 64
    assert len(loop) <= 1.6 * loop.count("FFMA")


@pytest.mark.nightly
@pytest.mark.parametrize("kernel", KERNELS)
def test_so_they_do_where_numbers_are_loaded_one_by_one(kernel, tmp_path):
    loop = main_loop_of(kernel, (128, 64), 1, "float32", tmp_path)
    assert loop.count("FFMA") == 16 * 64
    assert len(loop) <= 1.6 * loop.count("FFMA")


@pytest.mark.nightly
@pytest.mark.parametrize("kernel", KERNELS)
def test_narrow_tiles_read_more_for_each_multiplication(kernel, tmp_path):
    loop = main_loop_of(kernel, (128, 32), 4, "float32", tmp_path)
    assert loop.count("FFMA") == 16 * 32
    assert len(loop) <= 1.6 * loop.count("FFMA")


@pytest.mark.parametrize("kernel", FIRST_OF_THREE)
def test_of_twelve_instructions_in_bf16_one_is_of_tensor_cores(kernel, tmp_path):
    loop = main_loop_of(kernel, (128, 64), 4, "bf16", tmp_path)
    # 32 terms of 64 x 32 results a warp, 16 x 16 x 8 at a time.
    assert loop.count("HMMA") == 2 * 4 * 4
    assert len(loop) <= 12 * loop.count("HMMA")


@pytest.mark.nightly
@pytest.mark.parametrize("kernel", KERNELS)
def test_tf32_takes_as_many(kernel, tmp_path):
    loop = main_loop_of(kernel, (128, 64), 4, "tf32", tmp_path)
    assert loop.count("HMMA") == 2 * 4 * 4
    assert len(loop) <= 12 * loop.count("HMMA")
