// Random words (backends/cupy/random.py).
#include "philox.cuh"
#include "threads.cuh"

// words[i], four at a time; launch with any grid and block of one dimension.
__global__ void random_words(int count, unsigned long long seed, unsigned stream,
                             const long long *step, unsigned *words) {
    using namespace fastconv;
    for (int block = first_index(); block < (count + 3) / 4; block += index_step()) {
        const Words four = philox(block, stream, *step, seed);
        for (int i = 0; i < 4 && 4 * block + i < count; i++) words[4 * block + i] = four.word[i];
    }
}
