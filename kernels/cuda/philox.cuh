// Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): every word
// by itself, from its number, the stream, the step and the seed.
#pragma once

namespace fastconv {

struct Words {
    unsigned word[4];
};

__device__ inline Words philox(unsigned block, unsigned stream, long long step,
                               unsigned long long seed) {
    unsigned c0 = block, c1 = stream;
    unsigned c2 = static_cast<unsigned>(step), c3 = static_cast<unsigned>(step >> 32);
    unsigned k0 = static_cast<unsigned>(seed), k1 = static_cast<unsigned>(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        const unsigned high0 = static_cast<unsigned>(p0 >> 32);
        const unsigned high1 = static_cast<unsigned>(p1 >> 32);
        c0 = high1 ^ c1 ^ k0;
        c1 = static_cast<unsigned>(p1);
        c2 = high0 ^ c3 ^ k1;
        c3 = static_cast<unsigned>(p0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

}  // namespace fastconv
