"""What the two compiled CPU backends share: kernel calls as rows of integers.

A kernel of the ``cython`` and the ``numba`` backend gets all that it needs in one
:class:`Instruction`: the addresses of its arrays, its sizes, its tile, its split among threads. The
modules here make these instructions from a spec, so that the choice of algorithm is written once;
the backends hold the kernels themselves and the threads that run them.
``kernels/cpu/instruction.h`` gives the layout of a row.
"""
