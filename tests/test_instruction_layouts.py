"""The C structures of instructions are those of the layouts."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from fastconv.backends.compiled.instructions.header import header, main
from fastconv.backends.compiled.instructions.kernels import Kernel

SOURCES = Path(__file__).parent.parent / "kernels" / "cpu"
if not SOURCES.is_dir():
    pytest.skip("kernels/ is in the source tree alone", allow_module_level=True)
COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]

# Word 0 is the kernel, 4 the first pointer, 16 the first integer, 48 the first real.
WORD_OF = {
    ("conv_tiles", "a"): 4,
    ("conv_tiles", "other"): 8,
    ("conv_tiles", "samples"): 16,
    ("conv_tiles", "last_columns"): 44,
    ("conv_tiles", "slope"): 48,
    ("plane_products", "y"): 7,
    ("plane_products", "plane_sizes.samples"): 16,
    ("plane_products", "plane_sizes.length"): 42,
    ("plane_weight_products", "together"): 44,
    ("dropout_forward", "random_key.stream"): 20,
    ("adam_update", "parameter_ranges.decayed"): 18,
    ("adam_update", "penalties.decoupled_decay"): 50,
    ("adam_update", "epsilon"): 53,
    ("sum_losses", "head.tile_table"): 3,
}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Where a C compiler puts each of those fields, and how long every structure is, in words."""
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is not installed")
    folder = tmp_path_factory.mktemp("layouts")
    prints = [
        f'printf("%zu\\n", offsetof(struct {kernel}, {field}) / 8);' for kernel, field in WORD_OF
    ]
    prints += [f'printf("%zu\\n", sizeof(struct {kernel}) / 8);' for kernel in Kernel]
    source = folder / "words.c"
    source.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "instruction_layouts.h"\n'
        "int main(void) {\n" + "\n".join(prints) + "\nreturn 0;\n}\n",
        "utf-8",
    )
    program = folder / "words"
    subprocess.run([COMPILER, "-I", SOURCES, source, "-o", program], check=True)
    out = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return [int(line) for line in out.split()]


def test_the_header_is_that_of_the_layouts():
    assert (SOURCES / "instruction_layouts.h").read_text("utf-8") == header(), (
        "run python -m fastconv.backends.compiled.instructions.header "
        "kernels/cpu/instruction_layouts.h"
    )


def test_fields_stand_in_their_words(words):
    assert dict(zip(WORD_OF, words, strict=False)) == WORD_OF


def test_every_structure_is_an_instruction_of_64_words(words):
    assert words[len(WORD_OF) :] == [64] * len(Kernel)


def test_no_kernel_reads_its_instruction_by_number():
    for path in sorted(SOURCES.glob("*.[hc]")):
        text = path.read_text("utf-8")
        for kernel in Kernel:
            if f"TYPED({kernel})(const int64_t *instruction" in text:
                assert f"const struct {kernel} *const" in text, f"{path.name}: {kernel}"
        assert "instruction[" not in text, path.name


def test_the_command_writes_the_header(tmp_path, capsys):
    file = tmp_path / "layouts.h"
    assert main([str(file)]) == 0
    assert file.read_text("utf-8") == header()
    assert [each.name for each in tmp_path.iterdir()] == ["layouts.h"]
    assert main([]) == 0
    assert capsys.readouterr().out == header()


def test_a_file_that_cannot_be_written_is_one_line_and_exit_code_2(tmp_path):
    name = "fastconv.backends.compiled.instructions.header"
    done = subprocess.run(
        [sys.executable, "-m", name, tmp_path / "none" / "layouts.h"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "layouts.h cannot be written: No such file" in done.stderr
