"""The part that both compiled CPU backends share: from a spec or a plan to instructions.

::

    a public function            a plan: the calls of a training step
    fastconv.conv2d(x, w)        Trainer, Inference
           |                            |
           v                            v
    backends/selection           runner.StreamRunner
    which backend                reordering, batch_blocking: the plan rewritten
           |                            |
           v                            v
    kernels.contract_kernel      lowering.lower: neighbours fused
    engine.execute                      |
           |                            |
           +-------------+--------------+
                         v
          lowering.lowered_kernels.lower_kernel      one call of the contract
                         |
                         v
          rules.conv, rules.dense, ...               which algorithm, tile, split
                         |
                         v
          instructions.builder, .instruction         one native kernel each, by the
          with the names of instructions.layouts     layout that both engines read
                         |
                         v  encode: a stream of 64 words each, and relocations
              +----------+-----------+
              v                      v
    engine of C                engine of Numba
    kernels/cpu, through       backends/numba, through
    instruction_layouts.h      fields.py
    thread_pool.c              thread_pool.py

A kernel of the ``cython`` and the ``numba`` backend gets all that it needs in one
:class:`.instruction.Instruction`: the addresses of its arrays, its sizes, its tile, the number of
threads that find work in it. The modules here make instructions, so that the choice of algorithm
is written once; the backends hold the native kernels and the threads that run them.
``docs/engine.md`` tells it in order.
"""
