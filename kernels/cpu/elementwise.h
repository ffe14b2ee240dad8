/* An activation of one's own: each thread calls a loop that was compiled elsewhere for its elements;
 * fastconv/backends/compiled/rules/elementwise.py makes the instructions. */

/* y = f(x), or dy * f(x). */
static void TYPED(elementwise)(const int64_t *instruction, int64_t step, int64_t thread,
                               int64_t threads) {
    const struct elementwise *const n = fields_of(instruction);
    void (*const loop)(const REAL *, const REAL *, REAL *, int64_t) =
        (void (*)(const REAL *, const REAL *, REAL *, int64_t))(intptr_t)n->function;
    const REAL *const dy = array_at(n->dy), *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    const int64_t first = first_in_blocks(n->size, thread, threads);
    const int64_t end = first_in_blocks(n->size, thread + 1, threads);
    (void)step;
    if (end > first) loop(dy == NULL ? NULL : dy + first, x + first, y + first, end - first);
}

#define ELEMENTWISE_KERNELS ENTRY(elementwise)
