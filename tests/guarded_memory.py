"""Instructions run one by one over memory that is watched, byte for byte."""

import ctypes

import numpy as np

from fastconv.backends.compiled.instructions.effects import effects_of
from fastconv.backends.compiled.instructions.instruction import encode

GUARD = 512
"""Bytes in front of an array and behind it."""
_FUNCTION = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] + [ctypes.c_int64] * 3)


class GuardedMemory:
    """The arrays of some instructions by number, each between guards, in one block of bytes."""

    def __init__(self, sizes, fill):
        """``sizes``: bytes of each array; ``fill``: what is in some of them, by number."""
        self.starts, self.sizes, end = {}, dict(sizes), GUARD
        for number, size in sizes.items():
            self.starts[number] = end
            end += -(-size // 64) * 64 + GUARD
        block = np.zeros(end + 64, np.uint8)
        self.bytes = block[-block.ctypes.data % 64 :][:end]
        for number, array in fill.items():
            start = self.starts[number]
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            self.bytes[start : start + len(data)] = data

    def places_of(self, regions):
        """Which bytes are in any of these regions."""
        inside = np.zeros(len(self.bytes), bool)
        for region in regions:
            start = self.starts[region.pointer.argument]
            if region.sizes is None:
                inside[
                    start + region.pointer.offset : start + self.sizes[region.pointer.argument]
                ] = 1
                continue
            places = np.array([start + region.pointer.offset + region.start * region.itemsize])
            for size, stride in zip(region.sizes, region.strides, strict=True):
                steps = np.arange(size) * stride * region.itemsize
                places = (places[:, None] + steps).reshape(-1)
            places = (places[:, None] + np.arange(region.itemsize)).reshape(-1)
            assert places.min() >= 0
            assert places.max() < len(self.bytes)
            inside[places] = True
        return inside

    def arrays(self):
        """Which bytes are not guards."""
        inside = np.zeros(len(self.bytes), bool)
        for number, start in self.starts.items():
            inside[start : start + self.sizes[number]] = True
        return inside


class Processor:
    """Runs instructions with kernels of one engine and instruction set."""

    def __init__(self, address_of, target, tiles_of=None):
        self.target = target
        self._address_of, self._tiles_of = address_of, tiles_of

    def run(self, instruction, memory, shares=(0,), threads=1):
        """Do some threads' shares of a instruction, one after the other."""
        stream, relocations = encode([instruction], self._address_of, self._tiles_of)
        for _, word, number, offset in relocations.tolist():
            stream[0, word] = memory.bytes.ctypes.data + memory.starts[number] + offset
        function = _FUNCTION(int(stream[0, 0]))
        for share in shares:
            function(stream.ctypes.data, 0, share, threads)

    def watch(self, instruction, memory, rng):
        """Run a instruction for real, and say what is wrong with what it declares; None if nothing.

        Whatever it does not declare to read is random bytes: its results must not depend on them.
        Whatever it does not declare to write must stay; what it does, must be written whole.
        """
        effects = effects_of(instruction, instruction.lanes(self.target))
        reads, writes, scratch = map(
            memory.places_of, (effects.reads, effects.writes, effects.scratch)
        )
        if ((reads | writes | scratch) & ~memory.arrays()).any():
            return "it declares to touch what is outside of its arrays"
        before, seen = memory.bytes.copy(), []
        for _ in range(2):
            memory.bytes[~reads] = rng.integers(0, 256, (~reads).sum(), np.uint8)
            garbled = memory.bytes.copy()
            self.run(instruction, memory)
            changed = memory.bytes != garbled
            if (changed & ~writes & ~scratch).any():
                return f"it writes {np.flatnonzero(changed & ~writes & ~scratch)[:8]} undeclared"
            seen.append(memory.bytes[writes].copy())
            memory.bytes[:] = before
        if not np.array_equal(*seen):
            return "it reads what it does not declare, or does not write what it declares"
        self.run(instruction, memory)
        after = memory.bytes[writes].copy()
        for threads in {min(instruction.max_threads, most) for most in (2, 3, 7)} - {1, 0}:
            memory.bytes[:] = before
            self.run(instruction, memory, range(threads - 1, -1, -1), threads)
            if not np.array_equal(memory.bytes[writes], after):
                return f"shares of {threads} threads depend on each other"
        return None
