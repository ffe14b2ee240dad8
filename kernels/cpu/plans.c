/* Plans of the C interface: see plans.h and fastconv.h. */
#include "plans.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "thread_pool.h"

#if defined(_WIN32)
#define THREAD_EXITS 0 /* no destructors of a thread's memory: it is given back after each call */
#else
#define THREAD_EXITS 1
#include <pthread.h>
#endif

enum { BUCKETS = 1024, CACHE_LINE = 64 };

/* Everything is behind it in the same memory, which is never given back. */
struct fastconv_plan {
    struct fastconv_plan *next; /* in its bucket; an older one */
    uint64_t hash;
    int64_t function, count;
    const int64_t *words;
    const char *owner;
    const struct plan_array *arrays;
    int64_t number_of_arrays;
    const int64_t *stream;
    int64_t instructions;
    const struct relocation *relocations;
    int64_t number_of_relocations, workspace_bytes;
};

plan_maker *fastconv_plan_maker;

static _Thread_local char message[MOST_MESSAGE_BYTES];

void fastconv_say(const char *text) { snprintf(message, sizeof message, "%s", text); }

static const char *last_error(void) { return message; }

static const char *error_string(int status) {
    switch (status) {
        case FASTCONV_OK: return "no error";
        case FASTCONV_INVALID_ARGUMENT: return "an argument is not what it may be";
        case FASTCONV_OUT_OF_MEMORY: return "out of memory";
        case FASTCONV_NULL_ARRAY: return "an array that the plan needs is NULL";
        case FASTCONV_WORKSPACE_TOO_SMALL: return "the workspace is smaller than workspace_bytes";
        case FASTCONV_INVALID_THREADS: return "threads is less than 1";
        case FASTCONV_UNEXPECTED: return "an unexpected error of Python";
        default: return "no status of fastconv";
    }
}

/* ---- finding ------------------------------------------------------------------------------ */

/* New plans come to the front, complete before the bucket shows them; none ever leaves. */
static _Atomic(struct fastconv_plan *) buckets[BUCKETS];

/* A sum of products, all of them independent: words are few and calls are short. */
static uint64_t hash_of(int64_t function, const int64_t *words, int64_t count) {
    uint64_t factor = 0x9E3779B97F4A7C15u, hash = (uint64_t)function * 0xD1B54A32D192ED03u;
    for (int64_t i = 0; i < count; i++) {
        hash += ((uint64_t)words[i] + 1) * factor;
        factor += 0xBF58476D1CE4E5BAu; /* even: factors stay odd */
    }
    return hash ^ hash >> 32;
}

static const struct fastconv_plan *find(int64_t function, const int64_t *words, int64_t count,
                                        uint64_t hash) {
    const struct fastconv_plan *each =
        atomic_load_explicit(&buckets[hash % BUCKETS], memory_order_acquire);
    for (; each; each = each->next)
        if (each->hash == hash && each->function == function && each->count == count &&
            !memcmp(each->words, words, (size_t)count * sizeof *words))
            break;
    return each;
}

/* Behind `used` bytes of `memory`, or the room that they need where memory is NULL. */
static void *put(char *memory, size_t *used, const void *bytes, size_t size) {
    char *const place = memory ? memory + *used : NULL;
    if (memory && size) memcpy(place, bytes, size);
    *used += (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    return place;
}

static const char *put_text(char *memory, size_t *used, const char *text) {
    return put(memory, used, text, strlen(text) + 1);
}

const struct fastconv_plan *fastconv_keep_plan(int64_t function, const int64_t *words, int64_t count,
                                               const char *owner, const struct plan_array *arrays,
                                               int64_t number_of_arrays, const int64_t *stream,
                                               int64_t instructions,
                                               const struct relocation *relocations,
                                               int64_t number_of_relocations,
                                               int64_t workspace_bytes) {
    const uint64_t hash = hash_of(function, words, count);
    /* Another thread may have made it while this one did. */
    const struct fastconv_plan *const there = find(function, words, count, hash);
    if (there) return there;
    char *memory = NULL;
    for (;;) { /* once to know the size, once to fill it */
        size_t used = 0;
        struct plan_array own[MOST_ARRAYS];
        struct fastconv_plan plan = {.hash = hash, .function = function, .count = count,
                                     .number_of_arrays = number_of_arrays,
                                     .instructions = instructions,
                                     .number_of_relocations = number_of_relocations,
                                     .workspace_bytes = workspace_bytes};
        put(memory, &used, &plan, sizeof plan);
        plan.words = put(memory, &used, words, (size_t)count * sizeof *words);
        plan.owner = put_text(memory, &used, owner);
        for (int64_t i = 0; i < number_of_arrays; i++) {
            own[i] = arrays[i];
            own[i].name = put_text(memory, &used, arrays[i].name);
            own[i].why = put_text(memory, &used, arrays[i].why);
        }
        plan.arrays = put(memory, &used, own, (size_t)number_of_arrays * sizeof *own);
        plan.stream = put(memory, &used, stream, (size_t)(instructions * WORDS) * sizeof *stream);
        plan.relocations = put(memory, &used, relocations,
                               (size_t)number_of_relocations * sizeof *relocations);
        if (memory) {
            _Atomic(struct fastconv_plan *) *const bucket = &buckets[hash % BUCKETS];
            struct fastconv_plan *const kept = (struct fastconv_plan *)memory;
            memcpy(kept, &plan, sizeof plan);
            kept->next = atomic_load_explicit(bucket, memory_order_relaxed);
            /* Until no other thread put one there in between, without a lock of Python's. */
            while (!atomic_compare_exchange_weak_explicit(bucket, &kept->next, kept,
                                                          memory_order_release,
                                                          memory_order_relaxed)) {
            }
            return kept;
        }
        if (!(memory = malloc(used))) return NULL;
    }
}

static int plan_of(int64_t function, const void *description, size_t size,
                   const struct fastconv_plan **plan) {
    const int64_t *const words = description;
    const int64_t count = (int64_t)(size / sizeof *words);
    *plan = NULL;
    if (!description || size % sizeof *words || count > MOST_DESCRIPTION_WORDS) {
        fastconv_say("plan: description is NULL or size is not that of its structure; use sizeof");
        return FASTCONV_INVALID_ARGUMENT;
    }
    *plan = find(function, words, count, hash_of(function, words, count));
    return *plan ? FASTCONV_OK : fastconv_plan_maker(function, words, count, plan);
}

/* ---- running ------------------------------------------------------------------------------ */

void fastconv_relocate(int64_t *stream, const struct relocation *relocations, int64_t count,
                       void *const *arrays, void *workspace) {
    const intptr_t start = ((intptr_t)workspace + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    for (int64_t i = 0; i < count; i++) {
        const struct relocation *const each = relocations + i;
        const intptr_t at = each->argument >= 0 ? (intptr_t)arrays[each->argument] : start;
        stream[each->instruction * WORDS + each->word] = at ? at + each->offset : 0;
    }
}

static size_t stream_bytes(const struct fastconv_plan *plan) {
    return (size_t)(plan->instructions * WORDS) * sizeof *plan->stream;
}

/* The stream with its addresses filled in, from a cache line on, and behind it what kernels work in. */
static size_t workspace_bytes(const struct fastconv_plan *plan) {
    return CACHE_LINE + stream_bytes(plan) + (size_t)plan->workspace_bytes;
}

static int shape(const struct fastconv_plan *plan, int array, int64_t sizes[4]) {
    if (array < 0 || array >= plan->number_of_arrays) return -1;
    memcpy(sizes, plan->arrays[array].sizes, sizeof plan->arrays[array].sizes);
    return (int)plan->arrays[array].axes;
}

static int run(const struct fastconv_plan *plan, void *const *arrays, void *workspace, size_t size,
               int threads) {
    if (!plan->instructions) return FASTCONV_OK;
    for (int64_t i = 0; i < plan->number_of_arrays; i++)
        if (!arrays[i] && plan->arrays[i].is_needed) return FASTCONV_NULL_ARRAY;
    if (!workspace || size < workspace_bytes(plan)) return FASTCONV_WORKSPACE_TOO_SMALL;
    if (threads < 1) return FASTCONV_INVALID_THREADS;
    int64_t *const stream =
        (int64_t *)(((intptr_t)workspace + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    memcpy(stream, plan->stream, stream_bytes(plan));
    fastconv_relocate(stream, plan->relocations, plan->number_of_relocations, arrays,
                      (char *)stream + stream_bytes(plan));
    fastconv_run(stream, plan->instructions, 1, threads, NULL);
    return FASTCONV_OK;
}

const struct fastconv_api fastconv_c_api = {
    .version = FASTCONV_API_VERSION,
    .size = sizeof(struct fastconv_api),
    .plan = plan_of,
    .workspace_bytes = workspace_bytes,
    .shape = shape,
    .run = run,
    .error_string = error_string,
    .last_error = last_error,
};

/* ---- for compiled Python code ------------------------------------------------------------- */

static const struct fastconv_plan *at(int64_t plan) {
    return (const struct fastconv_plan *)(intptr_t)plan;
}

int64_t fastconv_plan_of(int64_t function, const int64_t *words, int64_t count) {
    const struct fastconv_plan *plan;
    const int status = plan_of(function, words, (size_t)count * sizeof *words, &plan);
    return plan ? (int64_t)(intptr_t)plan : -status;
}

int64_t fastconv_plan_size(int64_t plan, int64_t array, int64_t axis) {
    return at(plan)->arrays[array].sizes[axis];
}

/* Memory that a thread keeps between its calls, as fastconv/functional/memory.py does; larger memory is
 * given back after the call. */
enum { MOST_KEPT_BYTES = 64 << 20 };
static _Thread_local struct {
    void *memory;
    size_t size;
} kept;

#if THREAD_EXITS
static pthread_key_t key_of_memory;
static pthread_once_t watches_exits = PTHREAD_ONCE_INIT;
static void watch_exits(void) { pthread_key_create(&key_of_memory, free); }
#endif

/* Keep memory instead of what is kept, and give that back when the thread ends. */
static void keep(void *memory, size_t size) {
    kept.memory = memory;
    kept.size = memory ? size : 0;
#if THREAD_EXITS
    pthread_once(&watches_exits, watch_exits);
    pthread_setspecific(key_of_memory, memory);
#endif
}

static _Atomic(int64_t) plan_threads = 1;

void fastconv_set_plan_threads(int64_t threads) { atomic_store(&plan_threads, threads); }

int64_t fastconv_run_plan(int64_t plan, void *const *arrays) {
    const size_t size = workspace_bytes(at(plan));
    const int threads = (int)atomic_load_explicit(&plan_threads, memory_order_relaxed);
    if (size > kept.size) {
        free(kept.memory);
        void *const memory = malloc(size);
        keep(memory, size);
        if (!memory) {
            fastconv_say("no memory for the workspace of a call; use fewer samples at a time");
            return FASTCONV_OUT_OF_MEMORY;
        }
    }
    const int status = run(at(plan), arrays, kept.memory, kept.size, threads);
    if (!THREAD_EXITS || kept.size > MOST_KEPT_BYTES) {
        free(kept.memory);
        keep(NULL, 0);
    }
    if (status) fastconv_say(error_string(status));
    return status;
}

/* Append to the message; what does not fit is left out. */
static void say_text(const char *text) {
    const size_t used = strlen(message);
    snprintf(message + used, sizeof message - used, "%s", text);
}

static void say_number(int64_t number) {
    const size_t used = strlen(message);
    snprintf(message + used, sizeof message - used, "%lld", (long long)number);
}

static void say_shape(const int64_t *sizes, int64_t axes) {
    say_text("(");
    for (int64_t i = 0; i < axes; i++) {
        if (i) say_text(", ");
        say_number(sizes[i]);
    }
    say_text(axes == 1 ? ",)" : ")");
}

static void say_whose(const struct fastconv_plan *plan, const struct plan_array *array) {
    fastconv_say(plan->owner);
    say_text(": ");
    say_text(array->name);
}

int64_t fastconv_check_shape(int64_t plan, int64_t array, const int64_t *sizes, int64_t axes,
                             const int64_t *wanted, int64_t wanted_axes) {
    const struct plan_array *const checked = at(plan)->arrays + array;
    int same = axes == wanted_axes;
    for (int64_t i = 0; same && i < axes; i++) same = sizes[i] == wanted[i];
    if (same) return FASTCONV_OK;
    say_whose(at(plan), checked);
    say_text(" has shape ");
    say_shape(sizes, axes);
    say_text("; expected ");
    say_shape(wanted, wanted_axes);
    say_text(": ");
    say_text(checked->why);
    return FASTCONV_INVALID_ARGUMENT;
}

int64_t fastconv_check_range(int64_t plan, int64_t array, const void *integers, int64_t bytes_of_each,
                             int64_t end) {
    const struct plan_array *const checked = at(plan)->arrays + array;
    int64_t count = 1;
    for (int64_t i = 0; i < checked->axes; i++) count *= checked->sizes[i];
    for (int64_t i = 0; i < count; i++) {
        const int64_t value = bytes_of_each == 4 ? ((const int32_t *)integers)[i]
                                                 : ((const int64_t *)integers)[i];
        if (value >= 0 && value < end) continue;
        say_whose(at(plan), checked);
        say_text(" holds ");
        say_number(value);
        say_text("; expected 0 to ");
        say_number(end - 1);
        return FASTCONV_INVALID_ARGUMENT;
    }
    return FASTCONV_OK;
}

int64_t fastconv_error_length(void) { return (int64_t)strlen(message); }

int64_t fastconv_copy_error(char *to) {
    const size_t length = strlen(message);
    memcpy(to, message, length + 1);
    return (int64_t)length;
}
