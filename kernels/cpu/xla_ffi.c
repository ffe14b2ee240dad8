/* XLA's foreign function interface, as far as one handler for all kernel calls needs it.
 *
 * The structures below are those of XLA's C interface in its major version 0, whose layout stays:
 * what is added comes behind. Nothing of XLA is needed to compile this, nor to load it. */
#include "xla_ffi.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "thread_pool.h"

struct extension {
    size_t size;
    int kind;
    struct extension *next;
};

enum { METADATA = 1 };

struct version {
    size_t size;
    struct extension *extensions;
    int major, minor;
};

struct metadata {
    size_t size;
    struct version version;
    uint32_t traits;
    int64_t type_of_state; /* from minor version 3 on */
};

struct metadata_extension {
    struct extension base;
    struct metadata *metadata;
};

struct error_arguments {
    size_t size;
    struct extension *extensions;
    const char *message;
    int code;
};

enum { NOT_FOUND = 5, RESOURCE_EXHAUSTED = 8 };

struct interface {
    size_t size;
    struct extension *extensions;
    struct version version;
    void *internal;
    void *(*create_error)(struct error_arguments *);
};

struct buffer {
    size_t size;
    struct extension *extensions;
    int dtype;
    void *data;
    int64_t rank;
    int64_t *sizes;
};

struct values {
    size_t size;
    struct extension *extensions;
    int64_t count;
    int *kinds;
    void **values;
};

struct scalar {
    int dtype;
    void *value;
};

struct attributes {
    size_t size;
    struct extension *extensions;
    int64_t count;
    int *kinds;
    void **names;
    void **values;
};

struct call_frame {
    size_t size;
    struct extension *extensions;
    const struct interface *interface;
    void *context;
    int stage;
    struct values arguments, results;
    struct attributes attributes;
};

struct call {
    struct call *next;
    int64_t key, instructions, number_of_relocations, arrays, workspace_bytes;
    int threads;
    int64_t *stream;
    struct relocation *relocations;
    int64_t *places;
};

enum { LISTS = 256, MOST_ARRAYS = 16, LINE = 64 };

/* Calls stay as long as the process does: programs of XLA are not told when nobody needs one more.
 * They are only ever added at the front, so that readers need no lock. */
static _Atomic(struct call *) calls[LISTS];

static _Atomic(struct call *) *list_of(int64_t key) { return &calls[(uint64_t)key % LISTS]; }

static struct call *find(int64_t key) {
    struct call *call = atomic_load_explicit(list_of(key), memory_order_acquire);
    while (call && call->key != key) call = call->next;
    return call;
}

static void *copy_of(const void *memory, size_t bytes) {
    void *copy = malloc(bytes ? bytes : 1);
    return copy ? memcpy(copy, memory, bytes) : NULL;
}

int fastconv_xla_register(int64_t key, const int64_t *stream, int64_t instructions,
                          const int64_t *relocations, int64_t number_of_relocations,
                          const int64_t *places, int64_t arrays, int64_t workspace_bytes,
                          int threads) {
    if (find(key)) return 1;
    if (arrays > MOST_ARRAYS) return 0;
    struct call *call = malloc(sizeof *call);
    if (!call) return 0;
    *call = (struct call){
        .next = atomic_load_explicit(list_of(key), memory_order_relaxed),
        .key = key, .instructions = instructions,
        .number_of_relocations = number_of_relocations, .arrays = arrays,
        .workspace_bytes = workspace_bytes, .threads = threads,
        .stream = copy_of(stream, sizeof(int64_t) * WORDS * (size_t)instructions),
        .relocations =
            copy_of(relocations, sizeof(struct relocation) * (size_t)number_of_relocations),
        .places = copy_of(places, sizeof(int64_t) * (size_t)arrays),
    };
    if (!call->stream || !call->relocations || !call->places) {
        free(call->stream), free(call->relocations), free(call->places), free(call);
        return 0;
    }
    /* Until no other thread put one there in between, without a lock of Python's. */
    while (!atomic_compare_exchange_weak_explicit(list_of(key), &call->next, call,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    return 1;
}

static void *error(const struct call_frame *frame, int code, const char *message) {
    struct error_arguments arguments = {sizeof arguments, NULL, message, code};
    return frame->interface->create_error(&arguments);
}

/* Whether XLA only asks what the handler is; it is then told: one without a state, for the version
 * that asks, of which nothing else is used than what has always been there. */
static int answers_metadata(const struct call_frame *frame) {
    for (struct extension *each = frame->extensions; each; each = each->next)
        if (each->kind == METADATA) {
            struct metadata *metadata = ((struct metadata_extension *)each)->metadata;
            int minor = frame->interface ? frame->interface->version.minor : 1;
            metadata->version.major = 0;
            metadata->version.minor = minor;
            metadata->traits = 0;
            if (minor >= 3) metadata->type_of_state = 0;
            return 1;
        }
    return 0;
}

void *fastconv_xla_handler(void *given) {
    const struct call_frame *frame = given;
    if (answers_metadata(frame)) return NULL;
    int64_t key = 0;
    if (frame->attributes.count == 1)
        memcpy(&key, ((struct scalar *)frame->attributes.values[0])->value, sizeof key);
    const struct call *call = find(key);
    if (!call)
        return error(frame, NOT_FOUND,
                     "fastconv: a compiled program of another process calls a kernel that is not "
                     "known here; clear JAX's compilation cache");
    void *arrays[MOST_ARRAYS];
    for (int64_t i = 0; i < call->arrays; i++) {
        int64_t place = call->places[i];
        const struct buffer *buffer =
            place == FASTCONV_XLA_NONE ? NULL
            : place >= 0               ? frame->arguments.values[place]
                                       : frame->results.values[-1 - place];
        arrays[i] = buffer ? buffer->data : NULL;
    }
    /* A stream holds addresses: every call has one of its own, and its workspace behind it. */
    size_t stream_bytes = sizeof(int64_t) * WORDS * (size_t)call->instructions;
    char *memory = malloc(stream_bytes + (size_t)call->workspace_bytes + LINE);
    if (!memory)
        return error(frame, RESOURCE_EXHAUSTED,
                     "fastconv: there is no memory for the workspace of a kernel");
    int64_t *stream = memcpy(memory, call->stream, stream_bytes);
    intptr_t workspace = ((intptr_t)(memory + stream_bytes) + LINE - 1) / LINE * LINE;
    for (int64_t i = 0; i < call->number_of_relocations; i++) {
        const struct relocation *each = &call->relocations[i];
        intptr_t address = each->argument >= 0 ? (intptr_t)arrays[each->argument] : workspace;
        stream[each->instruction * WORDS + each->word] = address ? address + each->offset : 0;
    }
    fastconv_run(stream, call->instructions, 1, call->threads, NULL);
    free(memory);
    return NULL;
}
