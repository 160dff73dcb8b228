// oneDNN's C interface of versions 2 and 3 as far as matrix products need it, by its names alone. Everything that its
// headers hold by value is handed over by address here, so that blocks that are large enough stand for it.
#include "onednn.h"
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef int status;
typedef void *handle;
typedef struct { int argument; handle memory; } execution_argument;
// dnnl_memory_desc_t has 696 bytes in version 2.6, dnnl_matmul_desc_t 2,800.
typedef struct { _Alignas(64) unsigned char bytes[2048]; } memory_description;
typedef struct { _Alignas(64) unsigned char bytes[16384]; } matmul_description;

enum {
    CPU = 1, BF16 = 2, F32 = 3, USER_SCRATCHPAD = 1, QUERY_SCRATCHPAD = 136,
    ARGUMENT_A = 1, ARGUMENT_C = 17, ARGUMENT_B = 33, ARGUMENT_SCRATCHPAD = 80,
    RUNTIME_SEQUENTIAL = 1, RUNTIME_OPENMP = 2
};

typedef struct { int major, minor, patch; const char *hash; unsigned cpu_runtime, gpu_runtime; } version_information;

static struct {
    const version_information *(*version)(void);
    status (*engine_create)(handle *, int kind, size_t index);
    status (*stream_create)(handle *, handle engine, unsigned flags);
    status (*stream_wait)(handle);
    status (*stream_destroy)(handle);
    status (*attributes_create)(handle *);
    status (*attributes_destroy)(handle);
    status (*set_scratchpad_mode)(handle, int mode);
    status (*set_post_operations)(handle attributes, handle operations);
    status (*post_operations_create)(handle *);
    status (*post_operations_destroy)(handle);
    handle append_sum;      // version 2: (operations, scale); 3: with a zero point and a type
    status (*primitive_create)(handle *, handle description);
    status (*primitive_destroy)(handle);
    status (*description_destroy)(handle);
    const void *(*query_memory)(handle description, int what, int index);
    size_t (*memory_size)(const void *description);
    status (*memory_create)(handle *, const void *description, handle engine, void *data);
    status (*memory_destroy)(handle);
    status (*execute)(handle, handle stream, int count, const execution_argument *);
    // Version 2.
    status (*describe_by_strides)(void *, int dimensions, const int64_t *sizes, int type, const int64_t *strides);
    status (*describe_matmul)(void *, const void *a, const void *b, const void *bias, const void *c);
    status (*description_create)(handle *, const void *operation, handle attributes, handle engine, handle hint);
    // Version 3.
    status (*create_by_strides)(handle *, int dimensions, const int64_t *sizes, int type, const int64_t *strides);
    status (*memory_description_destroy)(handle);
    status (*matmul_create)(
        handle *, handle engine, handle a, handle b, handle bias, handle c, handle attributes);
    // OpenMP's, NULL where oneDNN has no threads.
    void (*set_threads)(int);
    int (*most_threads)(void);
} dnn;

static handle engine;
static int major;

// A primitive with the descriptions of what it reads and writes.
typedef struct {
    crux_half_product product;
    handle primitive;
    handle a, b, c;         // version 3's, else NULL
    memory_description a_block, b_block, c_block;
    const void *scratchpad; // description
    handle description;
    size_t scratchpad_size;
} kernel;

static const void *a_of(const kernel *k) { return major == 2 ? (const void *)&k->a_block : k->a; }
static const void *b_of(const kernel *k) { return major == 2 ? (const void *)&k->b_block : k->b; }
static const void *c_of(const kernel *k) { return major == 2 ? (const void *)&k->c_block : k->c; }

static status describe(memory_description *block, handle *made, int64_t rows, int64_t columns, int type,
    int64_t row_step, int64_t column_step) {
    const int64_t sizes[12] = {rows, columns}, strides[12] = {row_step, column_step};
    return major == 2 ? dnn.describe_by_strides(block, 2, sizes, type, strides)
                      : dnn.create_by_strides(made, 2, sizes, type, strides);
}

static void destroy(kernel *k) {
    if (k->primitive) dnn.primitive_destroy(k->primitive);
    if (k->description) dnn.description_destroy(k->description);
    if (k->a) dnn.memory_description_destroy(k->a);
    if (k->b) dnn.memory_description_destroy(k->b);
    if (k->c) dnn.memory_description_destroy(k->c);
    free(k);
}

static status append_sum(handle operations) {
    if (major == 2) return ((status(*)(handle, float))dnn.append_sum)(operations, 1);
    return ((status(*)(handle, float, int32_t, int))dnn.append_sum)(operations, 1, 0, 0);
}

static status build(kernel *k, handle attributes) {
    const crux_half_product *p = &k->product;
    status s = describe(&k->a_block, &k->a, p->m, p->k, BF16, p->a_row_step, p->a_column_step);
    if (!s) s = describe(&k->b_block, &k->b, p->k, p->n, BF16, p->b_row_step, p->b_column_step);
    if (!s) s = describe(&k->c_block, &k->c, p->m, p->n, F32, p->c_row_step, 1);
    if (!s) s = dnn.set_scratchpad_mode(attributes, USER_SCRATCHPAD);
    if (!s && p->adds) {
        handle operations = NULL;
        s = dnn.post_operations_create(&operations);
        if (!s) s = append_sum(operations);
        if (!s) s = dnn.set_post_operations(attributes, operations);
        if (operations) dnn.post_operations_destroy(operations);
    }
    if (s) return s;
    if (major == 2) {
        matmul_description operation;
        memset(&operation, 0, sizeof operation);
        s = dnn.describe_matmul(&operation, &k->a_block, &k->b_block, NULL, &k->c_block);
        if (!s) s = dnn.description_create(&k->description, &operation, attributes, engine, NULL);
    } else {
        s = dnn.matmul_create(&k->description, engine, k->a, k->b, NULL, k->c, attributes);
    }
    if (!s) s = dnn.primitive_create(&k->primitive, k->description);
    if (s) return s;
    k->scratchpad = dnn.query_memory(k->description, QUERY_SCRATCHPAD, 0);
    k->scratchpad_size = k->scratchpad ? dnn.memory_size(k->scratchpad) : 0;
    return 0;
}

static status make(const crux_half_product *product, kernel **out) {
    kernel *k = calloc(1, (sizeof *k + 63) / 64 * 64);
    handle attributes = NULL;
    if (!k) return 1;
    k->product = *product;
    status s = dnn.attributes_create(&attributes);
    if (!s) s = build(k, attributes);
    if (attributes) dnn.attributes_destroy(attributes);
    if (s) destroy(k);
    else *out = k;
    return s;
}

// Kernels stay: products of a run have few shapes. Beyond these a kernel is made for its call alone.
#define MOST_KERNELS 1024
static kernel *kernels[MOST_KERNELS];
static int kernel_count;
static pthread_mutex_t kernel_lock = PTHREAD_MUTEX_INITIALIZER;

static status find(const crux_half_product *product, kernel **out, int *is_own) {
    status s = 0;
    *is_own = 0;
    pthread_mutex_lock(&kernel_lock);
    int i = 0;
    while (i < kernel_count && memcmp(&kernels[i]->product, product, sizeof *product) != 0) i++;
    if (i < kernel_count) {
        *out = kernels[i];
    } else {
        s = make(product, out);
        if (!s && kernel_count < MOST_KERNELS) kernels[kernel_count++] = *out;
        else *is_own = 1;
    }
    pthread_mutex_unlock(&kernel_lock);
    return s;
}

// Scratch memory goes from call to call.
#define MOST_SCRATCH 64
static struct { void *memory; size_t size; } idle[MOST_SCRATCH];
static int idle_count;
static pthread_mutex_t scratch_lock = PTHREAD_MUTEX_INITIALIZER;

static void *take_scratch(size_t *size) {
    void *memory = NULL;
    size_t has = 0;
    pthread_mutex_lock(&scratch_lock);
    if (idle_count > 0) {
        idle_count--;
        memory = idle[idle_count].memory;
        has = idle[idle_count].size;
    }
    pthread_mutex_unlock(&scratch_lock);
    if (has < *size) {
        free(memory);
        memory = aligned_alloc(4096, (*size + 4095) / 4096 * 4096);
        has = *size;
    }
    *size = has;
    return memory;
}

static void give_scratch(void *memory, size_t size) {
    pthread_mutex_lock(&scratch_lock);
    if (idle_count < MOST_SCRATCH) {
        idle[idle_count].memory = memory;
        idle[idle_count].size = size;
        idle_count++;
        memory = NULL;
    }
    pthread_mutex_unlock(&scratch_lock);
    free(memory);
}

static status execute(const kernel *k, const uint16_t *a, const uint16_t *b, float *c, void *scratch) {
    handle memories[4] = {0}, stream = NULL;
    const int arguments[4] = {ARGUMENT_A, ARGUMENT_B, ARGUMENT_C, ARGUMENT_SCRATCHPAD};
    const void *descriptions[4] = {a_of(k), b_of(k), c_of(k), k->scratchpad};
    void *data[4] = {(void *)a, (void *)b, c, scratch};
    execution_argument given[4];
    const int count = k->scratchpad_size > 0 ? 4 : 3;
    status s = dnn.stream_create(&stream, engine, 1);
    for (int i = 0; i < count && !s; i++) {
        s = dnn.memory_create(&memories[i], descriptions[i], engine, data[i]);
        given[i] = (execution_argument){arguments[i], memories[i]};
    }
    if (!s) s = dnn.execute(k->primitive, stream, count, given);
    if (!s) s = dnn.stream_wait(stream);
    for (int i = 0; i < count; i++)
        if (memories[i]) dnn.memory_destroy(memories[i]);
    if (stream) dnn.stream_destroy(stream);
    return s;
}

int crux_half_multiply(const crux_half_product *product, const uint16_t *a, const uint16_t *b, float *c) {
    // One thread of OpenMP's for this call, whose own number the caller gets back: how a product is divided among more
    // would show in its bytes.
    const int before = dnn.most_threads ? dnn.most_threads() : 1;
    if (before != 1) dnn.set_threads(1);
    kernel *k = NULL;
    int is_own = 0;
    status s = find(product, &k, &is_own);
    if (!s) {
        size_t size = k->scratchpad_size;
        void *scratch = size > 0 ? take_scratch(&size) : NULL;
        s = k->scratchpad_size > 0 && !scratch ? 1 : execute(k, a, b, c, scratch);
        if (scratch) give_scratch(scratch, size);
        if (is_own) destroy(k);
    }
    if (before != 1) dnn.set_threads(before);
    return s;
}

static int take_names(handle library) {
    int missing = 0;
#define TAKE(field, name) (*(handle *)&dnn.field = dlsym(library, name), missing |= !dnn.field)
    TAKE(engine_create, "dnnl_engine_create");
    TAKE(stream_create, "dnnl_stream_create");
    TAKE(stream_wait, "dnnl_stream_wait");
    TAKE(stream_destroy, "dnnl_stream_destroy");
    TAKE(attributes_create, "dnnl_primitive_attr_create");
    TAKE(attributes_destroy, "dnnl_primitive_attr_destroy");
    TAKE(set_scratchpad_mode, "dnnl_primitive_attr_set_scratchpad_mode");
    TAKE(set_post_operations, "dnnl_primitive_attr_set_post_ops");
    TAKE(post_operations_create, "dnnl_post_ops_create");
    TAKE(post_operations_destroy, "dnnl_post_ops_destroy");
    TAKE(append_sum, "dnnl_post_ops_append_sum");
    TAKE(primitive_create, "dnnl_primitive_create");
    TAKE(primitive_destroy, "dnnl_primitive_destroy");
    TAKE(description_destroy, "dnnl_primitive_desc_destroy");
    TAKE(query_memory, "dnnl_primitive_desc_query_md");
    TAKE(memory_size, "dnnl_memory_desc_get_size");
    TAKE(memory_create, "dnnl_memory_create");
    TAKE(memory_destroy, "dnnl_memory_destroy");
    TAKE(execute, "dnnl_primitive_execute");
    if (major == 2) {
        TAKE(describe_by_strides, "dnnl_memory_desc_init_by_strides");
        TAKE(describe_matmul, "dnnl_matmul_desc_init");
        TAKE(description_create, "dnnl_primitive_desc_create");
    } else {
        TAKE(create_by_strides, "dnnl_memory_desc_create_with_strides");
        TAKE(memory_description_destroy, "dnnl_memory_desc_destroy");
        TAKE(matmul_create, "dnnl_matmul_primitive_desc_create");
    }
    if (dnn.version()->cpu_runtime == RUNTIME_OPENMP) {
        TAKE(set_threads, "omp_set_num_threads");
        TAKE(most_threads, "omp_get_max_threads");
    }
#undef TAKE
    return missing;
}

// Small whole numbers come out exactly, whatever the order of a sum: that the library means by each argument what is
// meant here.
static int is_right(void) {
    enum { M = 5, N = 35, K = 7 };
    uint16_t a[M * K], b[K * N];
    float c[M * N];
    for (int transposed = 0; transposed < 4; transposed++)
        for (int adds = 0; adds < 2; adds++) {
            // 1, 2 and 3 are the bf16 numbers 0x3f80, 0x4000 and 0x4040.
            static const uint16_t numbers[3] = {0x3f80, 0x4000, 0x4040};
            for (int i = 0; i < M * K; i++) a[i] = numbers[i % 3];
            for (int i = 0; i < K * N; i++) b[i] = numbers[(i * 7 + i / 5) % 3];
            for (int i = 0; i < M * N; i++) c[i] = 100;
            const int ta = transposed & 1, tb = transposed >> 1;
            const crux_half_product p = {M, N, K, ta ? 1 : K, ta ? M : 1, tb ? 1 : N, tb ? K : 1, N, adds};
            if (crux_half_multiply(&p, a, b, c)) return 0;
            for (int i = 0; i < M; i++)
                for (int j = 0; j < N; j++) {
                    float sum = adds ? 100 : 0;
                    for (int k = 0; k < K; k++) {
                        const uint16_t x = a[i * p.a_row_step + k * p.a_column_step],
                                       y = b[k * p.b_row_step + j * p.b_column_step];
                        sum += (x == numbers[0] ? 1 : x == numbers[1] ? 2 : 3)
                             * (y == numbers[0] ? 1 : y == numbers[1] ? 2 : 3);
                    }
                    if (fabsf(sum - c[i * N + j]) > 0) return 0;
                }
        }
    return 1;
}

static crux_onednn_status result;
static int found_version;

static crux_onednn_status load(void) {
    handle library = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = dlopen("libdnnl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!library) return CRUX_ONEDNN_MISSING;
    *(handle *)&dnn.version = dlsym(library, "dnnl_version");
    if (!dnn.version) return CRUX_ONEDNN_OTHER_FORM;
    const version_information *version = dnn.version();
    major = version->major;
    found_version = version->major * 10000 + version->minor * 100 + version->patch;
    const int is_known = version->cpu_runtime == RUNTIME_SEQUENTIAL || version->cpu_runtime == RUNTIME_OPENMP;
    if ((major != 2 && major != 3) || !is_known || take_names(library)) return CRUX_ONEDNN_OTHER_FORM;
    if (dnn.engine_create(&engine, CPU, 0) || !is_right()) return CRUX_ONEDNN_WRONG;
    return CRUX_ONEDNN_READY;
}

static void load_once(void) { result = load(); }

crux_onednn_status crux_onednn_load(int *version) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load_once);
    *version = found_version;
    return result;
}
