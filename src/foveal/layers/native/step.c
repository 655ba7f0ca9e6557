/* One step of a Llama-like decoder on a CPU, in one call.
 *
 * A step has few rows, of one or of several sequences. Its time is the time of reading the weights once, so that every matrix
 * is read as one stream, by all threads, and a thread never waits longer than for the others' last rows. The arithmetic is
 * float32. Knows nothing of torch and Python: pointers in, numbers out; decoder.py owns every buffer, and library.py mirrors
 * the structs of records.h.
 *
 * Letters as in layers/decoder.py: T rows, W hidden width, H query heads, K key-value heads, D head width, M MLP width.
 */
#include "attention.h"
#include "pool.h"
#include "products.h"
#include "records.h"
#include "vectors.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(GRAIN % UNROLL == 0, "a share is whole tiles");

typedef struct {
    const Decoder *decoder;
    const Step *step;
    float *x, *normed;      /* [threads, T, W]: each thread has its own */
    int64_t *offsets;       /* [threads, tokens] */
    float *qkv, *attended, *after_attention, *gated, *up, *after_mlp;
} Task;

static void add(float *x, const float *y, const Norm *after, int64_t rows, int64_t width, float eps, float *scratch) {
    for (int64_t t = 0; t < rows; t++) {
        const float *added = y + t * width;
        if (after->weight) {
            rms_norm(after, added, width, eps, scratch);
            added = scratch;
        }
        for (int64_t i = 0; i < width; i++) x[t * width + i] += added[i];
    }
}

/* A product of a layer, shared out: its outputs go to `y`. */
static void share(Pool *pool, int64_t counter, const Matrix *m, const float *x, int64_t num_rows, float *y, int64_t y_stride) {
    int64_t start, stop;
    while (take(pool, counter, m->out, &start, &stop)) product(m, x, num_rows, y, y_stride, start, stop);
}

static void attention_share(const Task *task, int64_t layer, int thread, int num_threads) {
    const Decoder *d = task->decoder;
    const Step *s = task->step;
    const int64_t H = d->num_heads, K = d->num_kv_heads, D = d->head_dim, group = H / K, qkv_width = (H + 2 * K) * D;
    int64_t *offsets = task->offsets + thread * s->max_blocks * d->block_size;
    for (int64_t k = thread; k < K; k += num_threads) { /* all rows of a head in one thread: they may see each other */
        for (int64_t t = 0; t < s->num_rows; t++) place(d, s, layer, t, k, task->qkv + t * qkv_width);
        for (int64_t t = 0; t < s->num_rows; t++)
            attend(d, s, layer, t, k, offsets, task->qkv + t * qkv_width + k * group * D, task->attended + (t * H + k * group) * D);
    }
}

static void step_share(Pool *pool, int thread) {
    const Task *task = pool->task;
    const Decoder *d = task->decoder;
    const Step *s = task->step;
    const int64_t T = s->num_rows, W = d->width, H = d->num_heads, K = d->num_kv_heads, D = d->head_dim, M = d->mlp_width;
    const int64_t qkv_width = (H + 2 * K) * D;
    float *x = task->x + thread * T * W, *normed = task->normed + thread * T * W;
    int64_t counter = 0, start, stop;
    memcpy(x, s->x, T * W * sizeof(float));
    for (int64_t i = 0; i < d->num_layers; i++, counter += 6) {
        const Layer *l = &d->layers[i];
        for (int64_t t = 0; t < T; t++) rms_norm(&l->attention_norm, x + t * W, W, d->eps, normed + t * W);
        share(pool, counter, &l->query, normed, T, task->qkv, qkv_width);
        share(pool, counter + 1, &l->key, normed, T, task->qkv + H * D, qkv_width);
        share(pool, counter + 2, &l->value, normed, T, task->qkv + (H + K) * D, qkv_width);
        barrier(pool);
        attention_share(task, i, thread, pool->num_threads);
        barrier(pool);
        share(pool, counter + 3, &l->out, task->attended, T, task->after_attention, W);
        barrier(pool);
        add(x, task->after_attention, &l->after_attention_norm, T, W, d->eps, normed);
        for (int64_t t = 0; t < T; t++) rms_norm(&l->mlp_norm, x + t * W, W, d->eps, normed + t * W);
        while (take(pool, counter + 4, M, &start, &stop)) {
            product(&l->gate, normed, T, task->gated, M, start, stop);
            product(&l->up, normed, T, task->up, M, start, stop);
            for (int64_t t = 0; t < T; t++)
                for (int64_t o = t * M + start; o < t * M + stop; o++)
                    task->gated[o] = activate(d->activation, task->gated[o]) * task->up[o];
        }
        barrier(pool);
        share(pool, counter + 5, &l->down, task->gated, T, task->after_mlp, W);
        barrier(pool);
        add(x, task->after_mlp, &l->after_mlp_norm, T, W, d->eps, normed);
    }
    if (thread == 0)
        for (int64_t t = 0; t < T; t++) rms_norm(&d->norm, x + t * W, W, d->eps, s->x + t * W);
}

/* Runs all layers and the last norm over a step's rows, in place in step->x. Returns 0, or 1 if there is no memory. */
int foveal_step(Pool *pool, const Decoder *d, const Step *s) {
    const int64_t T = s->num_rows, H = d->num_heads, K = d->num_kv_heads, D = d->head_dim, W = d->width, M = d->mlp_width;
    const int64_t N = pool->num_threads;
    Task task = {.decoder = d, .step = s};
    struct { void **place; int64_t num_bytes; } parts[] = {
        {(void **)&task.x, N * T * W * 4}, {(void **)&task.normed, N * T * W * 4}, {(void **)&task.qkv, T * (H + 2 * K) * D * 4},
        {(void **)&task.attended, T * H * D * 4}, {(void **)&task.after_attention, T * W * 4}, {(void **)&task.gated, T * M * 4},
        {(void **)&task.up, T * M * 4}, {(void **)&task.after_mlp, T * W * 4},
        {(void **)&task.offsets, N * s->max_blocks * d->block_size * 8}};
    const int num_parts = sizeof parts / sizeof *parts;
    int64_t total = 0;
    for (int i = 0; i < num_parts; i++) total += (parts[i].num_bytes + 63) / 64 * 64;
    char *scratch = aligned_alloc(64, total), *next = scratch;
    if (!scratch) return 1;
    for (int i = 0; i < num_parts; i++) {
        *parts[i].place = next;
        next += (parts[i].num_bytes + 63) / 64 * 64;
    }
    const int failed = run(pool, step_share, &task, 6 * d->num_layers);
    free(scratch);
    return failed;
}
