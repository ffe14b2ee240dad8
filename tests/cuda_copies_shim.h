// Asynchronous copies and ldmatrix for the host: the functions of async_copy.cuh, and those of
// tensor_cores.cuh that read shared memory. Included by cuda_host_shim.h.
//
// A copy is made as late as it may be, when its thread waits for it, and until then NaNs stand in its
// place: a wait that is missing shows, and so does a copy over what others still read.
#pragma once

#include <deque>
#include <map>

namespace host {

struct Copy {
    void *to;
    const void *from; // null for zeros
    std::size_t size;
};

// The copies of a thread: closed groups, and the last one, which is open.
using Groups = std::deque<std::vector<Copy>>;

inline Groups &groups_of_this_thread() {
    static std::map<const Fiber *, Groups> all;
    Groups &groups = all[block().current];
    if (groups.empty()) groups.emplace_back();
    return groups;
}

}  // namespace host

namespace fastconv {

template <typename T, int COUNT>
struct Pack; // of tiles.cuh
template <int COUNT, typename T>
Pack<T, COUNT> read_pack(const T *from);

template <int WIDTH, typename T>
void copy_async(T *to, const T *from, bool exists) {
    constexpr std::size_t SIZE = WIDTH * sizeof(T);
    const T *const read = exists ? from : nullptr;
    if (reinterpret_cast<std::size_t>(to) % SIZE || reinterpret_cast<std::size_t>(read) % SIZE)
        host::fail("a copy from or to an address that is no multiple of its size");
    std::memset(to, 0xff, SIZE);
    host::groups_of_this_thread().back().push_back({to, read, SIZE});
}

template <int WIDTH, typename T>
Pack<T, WIDTH> read_global(const T *from, bool exists) {
    Pack<T, WIDTH> numbers = {};
    if (exists && reinterpret_cast<std::size_t>(from) % sizeof numbers)
        host::fail("a load from an address that is no multiple of its size");
    if (exists) numbers = read_pack<WIDTH>(from);
    return numbers;
}

inline void commit_copies() { host::groups_of_this_thread().emplace_back(); }

template <int GROUPS>
void wait_for_copies() {
    host::Groups &groups = host::groups_of_this_thread();
    while (groups.size() > GROUPS + 1) {
        for (const host::Copy &copy : groups.front()) {
            if (copy.from) std::memcpy(copy.to, copy.from, copy.size);
            else std::memset(copy.to, 0, copy.size);
        }
        groups.pop_front();
    }
}

// `part(matrices, lane)` of the four matrices whose rows the lanes of this warp show.
template <typename T, typename Part>
void read_matrices(unsigned (&words)[4], const T *row, const Part &part) {
    if (reinterpret_cast<std::size_t>(row) % 16) host::fail("a row of ldmatrix is not aligned");
    struct Words {
        unsigned of[4];
    };
    const void *const address = row;
    const Words made = host::exchange(address, [&](const void *const *rows) {
        Words result;
        for (int matrix = 0; matrix < 4; matrix++)
            result.of[matrix] = part(rows + 8 * matrix, host::lane());
        return result;
    });
    std::memcpy(words, made.of, sizeof made.of);
}

template <typename T>
void load_matrices(unsigned (&words)[4], const T *row) {
    read_matrices(words, row, [](const void *const *rows, unsigned lane) {
        unsigned word;
        std::memcpy(&word, static_cast<const unsigned *>(rows[lane / 4]) + lane % 4, sizeof word);
        return word;
    });
}

inline void load_transposed(unsigned (&words)[4], const unsigned short *row) {
    read_matrices(words, row, [](const void *const *rows, unsigned lane) {
        const auto half = [&](unsigned i) -> unsigned {
            return static_cast<const unsigned short *>(rows[2 * (lane % 4) + i])[lane / 4];
        };
        return half(0) | half(1) << 16;
    });
}

}  // namespace fastconv

inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned long long>(a) * b >> 32;
}
inline float __uint_as_float(unsigned bits) { return host::as_float(bits); }
