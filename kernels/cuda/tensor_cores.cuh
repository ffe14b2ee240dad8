// What tensor cores do, in PTX: round the factors of a product, and multiply small matrices of them
// with float32 sums. A device of compute capability 8.0 or more has them; for earlier ones these
// functions compile to a trap, and the host launches no kernel that calls them.
//
// Sources: NVIDIA, "Parallel Thread Execution ISA" (sections "Multiply-and-accumulate instruction:
// mma", "ldmatrix" and "cvt"); Markidis et al., "NVIDIA Tensor Core Programmability, Performance & Precision"
// (arXiv:1803.04014); Fasi et al., "Numerical behavior of NVIDIA tensor cores" (PeerJ Computer
// Science 7:e330, 2021) for the sums, which may be truncated rather than rounded.
#pragma once

#ifdef __CUDACC__ // what compiles kernels for the host has functions of its own for these

namespace fastconv {

// The nearest number with 10 bits of mantissa, of two as near the larger one.
__device__ inline unsigned to_tf32(float x) {
#if __CUDA_ARCH__ >= 800
    unsigned rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
    return rounded;
#else
    __trap();
    return 0;
#endif
}

// The nearest numbers with 7 bits of mantissa, of two as near the even one; `low` in the low half.
__device__ inline unsigned to_bf16(float low, float high) {
#if __CUDA_ARCH__ >= 800
    unsigned rounded;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(rounded) : "f"(high), "f"(low));
    return rounded;
#else
    __trap();
    return 0;
#endif
}

// sums += a b for a warp, whose lanes share the matrices: with group = lane / 4 and member =
// lane % 4, a lane has of
//   a     words (row, k) = (group, member), (group + 8, member), (group, member + 4) and
//         (group + 8, member + 4),
//   b     words (k, column) = (member, group) and (member + 4, group),
//   sums  (row, column) = (group, 2 member), (group, 2 member + 1), and the same of row group + 8.
// A word is a number of tf32, or two neighbours along k of bf16: 8 of them make a depth of 8 or 16.
#if __CUDA_ARCH__ >= 800
#define MULTIPLY(INSTRUCTION, sums, a, b)                                                        \
    asm volatile(INSTRUCTION " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"  \
                 : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                    \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#else
#define MULTIPLY(INSTRUCTION, sums, a, b) __trap()
#endif

__device__ inline void mma_tf32(float *sums, const unsigned *a, const unsigned *b) {
    MULTIPLY("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", sums, a, b);
}

__device__ inline void mma_bf16(float *sums, const unsigned *a, const unsigned *b) {
    MULTIPLY("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", sums, a, b);
}

#undef MULTIPLY

// Four matrices of 8 rows of 16 bytes each, in shared memory: lane 8 i + j gives the address of row j
// of matrix i, and gets in words[i] the word lane % 4 of row lane / 4. Transposed, of matrices of
// halves of words: rows 2 (lane % 4) and 2 (lane % 4) + 1 of column lane / 4.
template <typename T>
__device__ inline void load_matrices(unsigned (&words)[4], const T *row) {
#if __CUDA_ARCH__ >= 800
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
                 : "memory");
#else
    __trap();
#endif
}

__device__ inline void load_transposed(unsigned (&words)[4], const unsigned short *row) {
#if __CUDA_ARCH__ >= 800
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
                 : "memory");
#else
    __trap();
#endif
}

}  // namespace fastconv

#endif
