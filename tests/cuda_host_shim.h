// What CUDA C++ kernels need to compile and run as ordinary C++: grids and blocks are loops, the
// threads of a block are fibers that change places at barriers, the lanes of a warp show each other
// their parts of what tensor cores multiply. Shared memory is of the thread that runs all of this,
// so that it lies together and can be filled.
//
// HOST_LAUNCH(symbol, kernel) exports symbol(grid, block, arguments), with grid and block as three
// numbers each and the arguments as cuLaunchKernel takes them: an array of pointers to values; and
// symbol_parameters(), the names of the types of the kernel's parameters.
//
// host_schedule(seed) chooses the order of what has none: 0 takes blocks and threads one after the
// other; with any other seed a launch takes its blocks, and a block after each barrier its threads,
// in an order that is drawn, and shared memory is full of NaN when a block begins. host_shared(bytes)
// is how much of it a launch asks for; that is full of NaN in any order.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <link.h>
#include <math.h>
#include <memory>
#include <numeric>
#include <tuple>
#include <ucontext.h>
#include <utility>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __restrict__
#define __shared__ static thread_local
#define __launch_bounds__(...)
#define __noinline__
#define DYNAMIC_SHARED(name) unsigned char *const name = host::dynamic_shared()

struct HostIndex {
    unsigned x, y, z;
};
static HostIndex gridDim{1, 1, 1}, blockDim{1, 1, 1}, blockIdx{0, 0, 0}, threadIdx{0, 0, 0};

// Of the C library: where a variable of a thread lies (Drepper, "ELF Handling For Thread-Local
// Storage").
struct TlsIndex {
    unsigned long library, offset;
};
extern "C" void *__tls_get_addr(TlsIndex *);

namespace host {

constexpr std::size_t STACK = 64 * 1024;
constexpr unsigned WARP = 32;

[[noreturn]] inline void fail(const char *why) {
    std::fprintf(stderr, "cuda_host_shim: %s\n", why);
    std::abort();
}

// What decides where a launch leaves the order open.
class Schedule {
public:
    void begin(std::uint64_t seed) {
        is_drawn = seed != 0;
        state = seed;
    }
    // 0 to count - 1, in the order that is next.
    void order(std::vector<unsigned> &numbers, unsigned count) {
        numbers.resize(count);
        std::iota(numbers.begin(), numbers.end(), 0u);
        if (!is_drawn) return;
        for (unsigned left = count; left > 1; left--)
            std::swap(numbers[left - 1], numbers[next() % left]);
    }
    bool is_drawn = false;

private:
    std::uint64_t next() { // SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)
        std::uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
    }
    std::uint64_t state = 0;
};

inline Schedule &schedule() {
    static Schedule only;
    return only;
}

// The shared memory of all kernels of this library: its block of what each thread has of its own.
// A kernel without any has none.
struct SharedMemory {
    void *start = nullptr;
    std::size_t size = 0;
};

static char of_this_library;

inline SharedMemory shared_memory() {
    SharedMemory found;
    dl_iterate_phdr(
        [](dl_phdr_info *library, std::size_t, void *result) {
            SharedMemory &memory = *static_cast<SharedMemory *>(result);
            const auto here = reinterpret_cast<ElfW(Addr)>(&of_this_library);
            bool is_this = false;
            std::size_t size = 0;
            for (int i = 0; i < library->dlpi_phnum; i++) {
                const auto &part = library->dlpi_phdr[i];
                const auto start = library->dlpi_addr + part.p_vaddr;
                if (part.p_type == PT_LOAD && here >= start && here < start + part.p_memsz)
                    is_this = true;
                if (part.p_type == PT_TLS) size = part.p_memsz;
            }
            if (!is_this || size == 0) return static_cast<int>(is_this);
            TlsIndex first = {library->dlpi_tls_modid, 0};
            memory = {__tls_get_addr(&first), size};
            return 1;
        },
        &found);
    return found;
}

// Shared memory whose size the launch chooses; the sanitizer of memory knows where it ends.
struct DynamicShared {
    unsigned char *start = nullptr;
    std::size_t size = 0;
};

inline DynamicShared &dynamic_memory() {
    static DynamicShared only;
    return only;
}

inline unsigned char *dynamic_shared() { return dynamic_memory().start; }

inline void allocate_shared(std::size_t size) {
    DynamicShared &memory = dynamic_memory();
    if (size == memory.size) return;
    std::free(memory.start);
    memory = {size ? static_cast<unsigned char *>(std::aligned_alloc(16, size)) : nullptr, size};
}

// Threads that wait for each other: how many are alive, how many have arrived, and how often all
// of them have.
struct Meeting {
    unsigned alive = 0, arrived = 0, times = 0;
};

struct Fiber {
    std::unique_ptr<char[]> stack{new char[STACK]};
    ucontext_t start;
    jmp_buf place;
    bool is_new = true, is_done = true;
    unsigned number = 0;
    void *sanitizer = nullptr;
    // What this thread shows to the others of its warp.
    alignas(8) unsigned char shown[32];
};

struct Block {
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Meeting> warps;
    std::vector<unsigned> order;
    Meeting all;
    Fiber *current = nullptr;
    jmp_buf scheduler;
    void *sanitizer = nullptr;
    const void *stack = nullptr; // of the scheduler
    std::size_t stack_size = 0;
    void (*body)(void *) = nullptr;
    void *argument = nullptr;
    bool moved = false; // whether any thread got on since this was last set to false
};

inline Block &block() {
    static Block only;
    return only;
}

// The sanitizer of memory is told of every change of stacks.
inline void leave_stack([[maybe_unused]] void **own, [[maybe_unused]] const void *other,
                        [[maybe_unused]] std::size_t size) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(own, other, size);
#endif
}

inline void enter_stack([[maybe_unused]] void *own, [[maybe_unused]] const void **other,
                        [[maybe_unused]] std::size_t *size) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(own, other, size);
#endif
}

inline void yield() {
    Fiber &self = *block().current;
    if (_setjmp(self.place) == 0) {
        leave_stack(&self.sanitizer, block().stack, block().stack_size);
        _longjmp(block().scheduler, 1);
    }
    enter_stack(self.sanitizer, &block().stack, &block().stack_size);
}

inline void arrive(Meeting &meeting) {
    block().moved = true;
    if (++meeting.arrived == meeting.alive) {
        meeting.arrived = 0;
        meeting.times++;
    }
}

inline void meet(Meeting &meeting) {
    const unsigned times = meeting.times;
    arrive(meeting);
    while (meeting.times == times) yield();
}

inline void leave(Meeting &meeting) {
    if (--meeting.alive && meeting.arrived == meeting.alive) {
        meeting.arrived = 0;
        meeting.times++;
    }
}

// A fiber lives for many threads, one after the other.
inline void fiber_main() {
    enter_stack(nullptr, &block().stack, &block().stack_size);
    for (;;) {
        Fiber &self = *block().current;
        block().body(block().argument);
        self.is_done = true;
        block().moved = true;
        leave(block().all);
        leave(block().warps[self.number / WARP]);
        yield();
    }
}

inline void set_thread(unsigned number) {
    threadIdx.x = number % blockDim.x;
    threadIdx.y = number / blockDim.x % blockDim.y;
    threadIdx.z = number / (blockDim.x * blockDim.y);
}

inline void resume(Fiber &fiber) {
    block().current = &fiber;
    set_thread(fiber.number);
    if (_setjmp(block().scheduler) != 0) {
        enter_stack(block().sanitizer, nullptr, nullptr);
        return;
    }
    leave_stack(&block().sanitizer, fiber.stack.get(), STACK);
    if (!fiber.is_new) _longjmp(fiber.place, 1);
    fiber.is_new = false;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
    fiber.start.uc_stack.ss_size = STACK;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, fiber_main, 0);
    setcontext(&fiber.start);
}

inline void run_block(unsigned threads, void (*body)(void *), void *argument) {
    Block &b = block();
    while (b.fibers.size() < threads) b.fibers.emplace_back(new Fiber);
    b.body = body;
    b.argument = argument;
    b.all = {threads, 0, 0};
    b.warps.assign((threads + WARP - 1) / WARP, Meeting{});
    for (unsigned number = 0; number < threads; number++) {
        b.warps[number / WARP].alive++;
        b.fibers[number]->number = number;
        b.fibers[number]->is_done = false;
    }
    while (b.all.alive) {
        b.moved = false;
        schedule().order(b.order, threads);
        for (const unsigned number : b.order)
            if (!b.fibers[number]->is_done) resume(*b.fibers[number]);
        if (!b.moved) fail("all threads of a block wait, not all at the same barrier");
    }
}

template <typename... P, std::size_t... I>
void launch(void (*kernel)(P...), const unsigned *grid, const unsigned *block_size,
            void **arguments, std::index_sequence<I...>) {
    std::tuple<P...> values{*static_cast<P *>(arguments[I])...};
    struct Call {
        void (*kernel)(P...);
        std::tuple<P...> *values;
    } call{kernel, &values};
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block_size[0], block_size[1], block_size[2]};
    const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    if (threads == 0 || threads > 1024) fail("a block has 1 to 1024 threads");
    const SharedMemory shared = schedule().is_drawn ? shared_memory() : SharedMemory{};
    std::vector<unsigned> order;
    schedule().order(order, gridDim.x * gridDim.y * gridDim.z);
    for (const unsigned number : order) {
        blockIdx.x = number % gridDim.x;
        blockIdx.y = number / gridDim.x % gridDim.y;
        blockIdx.z = number / gridDim.x / gridDim.y;
        if (shared.start) std::memset(shared.start, 0xff, shared.size); // NaN, or -1
        // Nothing but the launch's own blocks has been there.
        if (dynamic_shared()) std::memset(dynamic_shared(), 0xff, dynamic_memory().size);
        run_block(
            threads,
            [](void *argument) {
                const Call &c = *static_cast<Call *>(argument);
                c.kernel(std::get<I>(*c.values)...);
            },
            &call);
    }
}

template <typename... P>
void launch(void (*kernel)(P...), const unsigned *grid, const unsigned *block_size,
            void **arguments) {
    launch(kernel, grid, block_size, arguments, std::index_sequence_for<P...>{});
}

// A type as NumPy calls it; a pointer with a star behind it.
template <typename T> constexpr const char *NAME = nullptr;
#define NAMED(type, name)                                                                          \
    template <> inline constexpr const char *NAME<type> = name;                                    \
    template <> inline constexpr const char *NAME<type *> = name "*";                              \
    template <> inline constexpr const char *NAME<const type *> = name "*";
NAMED(bool, "bool")
NAMED(unsigned char, "uint8")
NAMED(unsigned short, "uint16")
NAMED(int, "int32")
NAMED(unsigned, "uint32")
NAMED(long long, "int64")
NAMED(unsigned long long, "uint64")
NAMED(float, "float32")
NAMED(double, "float64")
#undef NAMED

// The types of a kernel's parameters, and null behind them.
template <typename... P>
const char *const *parameters_of(void (*)(P...)) {
    static_assert((... && (NAME<P> != nullptr)), "a parameter that no launch has");
    static const char *const names[] = {NAME<P>..., nullptr};
    return names;
}

}  // namespace host

inline void __threadfence() {}

inline int atomicAdd(int *place, int value) {
    const int before = *place;
    *place += value;
    return before;
}

inline void __syncthreads() { host::meet(host::block().all); }

namespace host {

// What `read(values)` makes of the values that the lanes of this thread's warp have at this point.
template <typename T, typename Read>
auto exchange(const T &value, const Read &read) {
    static_assert(sizeof(T) <= sizeof(Fiber::shown), "no such exchange");
    Block &b = block();
    Fiber &self = *b.current;
    Meeting &warp = b.warps[self.number / WARP];
    if (warp.alive != WARP) fail("a shuffle of part of a warp");
    std::memcpy(self.shown, &value, sizeof value);
    meet(warp);
    T values[WARP];
    for (unsigned lane = 0; lane < WARP; lane++)
        std::memcpy(&values[lane], b.fibers[self.number / WARP * WARP + lane]->shown, sizeof value);
    const auto result = read(values);
    meet(warp); // nobody shows the next value before all have seen this one
    return result;
}

inline unsigned lane() { return block().current->number % WARP; }

// The parts of a lane of two factors.
struct Fragments {
    unsigned a[4], b[2];
};

struct Sums {
    float of[4];
};

inline float as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline unsigned as_bits(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// sums += a b for a warp; NUMBERS of each word are `number(word, which)`. Element (i, k) of a lies
// in lane 4 (i % 8) + k % 4, in the second pair of words from k = 4 on and in the second of a pair
// from i = 8 on; element (k, j) of b in lane 4 j + k % 4. The sums are exact, and rounded once.
template <int NUMBERS, typename Number>
void multiply(float *sums, const unsigned *a, const unsigned *b, const Number &number) {
    const Fragments own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const Sums made = exchange(own, [&](const Fragments *lanes) {
        Sums result;
        for (int e = 0; e < 4; e++) {
            const unsigned i = lane() / 4 + e / 2 * 8, j = lane() % 4 * 2 + e % 2;
            double sum = sums[e];
            for (int k = 0; k < 8; k++) {
                const unsigned left = lanes[i % 8 * 4 + k % 4].a[k / 4 * 2 + i / 8];
                const unsigned right = lanes[j * 4 + k % 4].b[k / 4];
                for (int which = 0; which < NUMBERS; which++)
                    sum += static_cast<double>(number(left, which)) * number(right, which);
            }
            result.of[e] = static_cast<float>(sum);
        }
        return result;
    });
    std::memcpy(sums, made.of, sizeof made.of);
}

}  // namespace host

template <typename T>
T __shfl_xor_sync(unsigned lanes, T value, int mask) {
    if (lanes != 0xffffffffu) host::fail("a shuffle of part of a warp");
    return host::exchange(value, [mask](const T *values) { return values[host::lane() ^ mask]; });
}

// The functions of tensor_cores.cuh.
namespace fastconv {

inline unsigned to_tf32(float x) {
    const unsigned bits = host::as_bits(x);
    if (x != x) return 0x7fffffffu;
    // The magnitude stands in the low bits; an infinity stays one.
    return (bits + (isinf(x) ? 0 : 0x1000u)) & 0xffffe000u;
}

inline unsigned half_of_bf16(float x) {
    const unsigned bits = host::as_bits(x);
    if (x != x) return 0x7fffu;
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

inline unsigned to_bf16(float low, float high) {
    return half_of_bf16(high) << 16 | half_of_bf16(low);
}

inline void mma_tf32(float *sums, const unsigned *a, const unsigned *b) {
    host::multiply<1>(sums, a, b, [](unsigned word, int) {
        return host::as_float(word & 0xffffe000u); // tensor cores do not read the low bits
    });
}

inline void mma_bf16(float *sums, const unsigned *a, const unsigned *b) {
    host::multiply<2>(sums, a, b, [](unsigned word, int which) {
        return host::as_float(which ? word & 0xffff0000u : word << 16);
    });
}

}  // namespace fastconv

#include "cuda_copies_shim.h"

#define HOST_LAUNCH(symbol, ...)                                                                   \
    extern "C" void symbol(const unsigned *grid, const unsigned *block_size, void **arguments) {   \
        host::launch(__VA_ARGS__, grid, block_size, arguments);                                    \
    }                                                                                              \
    extern "C" const char *const *symbol##_parameters() {                                          \
        return host::parameters_of(__VA_ARGS__);                                                   \
    }

extern "C" void host_schedule(unsigned long long seed) { host::schedule().begin(seed); }

// Bytes of dynamic shared memory of the launches to come, a multiple of 16.
extern "C" void host_shared(unsigned long long size) { host::allocate_shared(size); }
