/* One step of a Llama-like decoder on a CPU, in one call. Steps of more than FEW_ROWS rows: many.c.
 *
 * A step has few rows, of one or of several sequences. Its time is the time of reading the weights once, so that every matrix
 * is read as one stream, by all threads, and a thread never waits longer than for the others' last rows. Knows nothing of torch
 * and Python: pointers in, numbers out; decoder.py owns every buffer, and library.py mirrors the structs of records.h.
 *
 * Letters as in layers/decoder.py: T rows, W hidden width, H query heads, K key-value heads, D head width, M MLP width.
 */
#include "attention.h"
#include "functions.h"
#include "gemm.h"
#include "pool.h"
#include "products.h"
#include "records.h"
#include "room.h"
#include "step.h"
#include "vectors.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(GRAIN % UNROLL == 0 && GRAIN % LANES == 0, "a share is whole tiles");
enum { QUERY, KEY, VALUE, PLACE, ATTEND, OUT, GATE_UP, DOWN, COUNTERS }; /* what is shared out in a layer */

typedef struct {
    const Decoder *decoder;
    const Step *step;
    float *x, *normed, *attended, *factors; /* [threads, T, W], [threads, T, W], [threads, T, H, D], [threads, T] */
    int16_t *rounded;                       /* [threads, T, max(W, H D, M)] */
    float *qkv, *parts, *highest, *totals, *after_attention, *gated, *up, *after_mlp;
    int64_t widest;
} Task;

/* What one thread has of a task for itself. */
typedef struct {
    float *x, *normed, *attended;
    Rows rows;
} Own;

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

static Rows *input(Own *own, const float *x, int64_t width) {
    own->rows.x = x;
    own->rows.x_stride = width;
    own->rows.limit = 0;
    return &own->rows;
}

static Rows *normed(Own *own, const Norm *norm, int64_t width, float eps) {
    for (int64_t t = 0; t < own->rows.num_rows; t++) rms_norm(norm, own->x + t * width, width, eps, own->normed + t * width);
    return input(own, own->normed, width);
}

/* A product of a layer, shared out: its outputs go to `y`. */
static void share(Pool *pool, int64_t counter, const Matrix *m, Rows *rows, float *y, int64_t y_stride) {
    int64_t start, stop;
    round_for(m, rows);
    while (take(pool, counter, m->out, &start, &stop)) product(m, rows, y, y_stride, start, stop);
}

static Part part_of(const Task *task, int64_t number) {
    const Decoder *d = task->decoder;
    const int64_t at = number * (d->num_heads / d->num_kv_heads);
    return (Part){task->parts + at * d->head_dim, task->highest + at, task->totals + at};
}

/* Queries, keys and values -> what the heads found, all of it in own->attended. */
static void attention(Pool *pool, const Task *task, Own *own, int64_t layer, int64_t counter) {
    const Decoder *d = task->decoder;
    const Step *s = task->step;
    const int64_t T = s->num_rows, H = d->num_heads, K = d->num_kv_heads, D = d->head_dim, group = H / K, qkv_width = (H + 2 * K) * D;
    int64_t one;
    while (take_one(pool, counter + PLACE, T * K, &one)) place(d, s, layer, one / K, one % K, task->qkv + one / K * qkv_width);
    barrier(pool); /* the rows may see each other */
    while (take_one(pool, counter + ATTEND, T * K * MAX_STRETCHES, &one)) {
        const int64_t row = one / MAX_STRETCHES / K, kv_head = one / MAX_STRETCHES % K;
        const Stretch stretch = stretch_of(s, &d->layers[layer], row, kv_head, one % MAX_STRETCHES);
        attend(d, s, layer, stretch, task->qkv + row * qkv_width + kv_head * group * D, part_of(task, one));
    }
    barrier(pool);
    for (int64_t head = 0; head < T * H; head++)
        merge(part_of(task, head / group * MAX_STRETCHES), MAX_STRETCHES, head % group, group, D, own->attended + head * D);
}

static void layer_share(Pool *pool, const Task *task, Own *own, int64_t layer) {
    const Decoder *d = task->decoder;
    const Layer *l = &d->layers[layer];
    const int64_t T = task->step->num_rows, W = d->width, H = d->num_heads, K = d->num_kv_heads, D = d->head_dim, M = d->mlp_width;
    const int64_t qkv_width = (H + 2 * K) * D, counter = layer * COUNTERS;
    int64_t start, stop;
    Rows *rows = normed(own, &l->attention_norm, W, d->eps);
    share(pool, counter + QUERY, &l->query, rows, task->qkv, qkv_width);
    share(pool, counter + KEY, &l->key, rows, task->qkv + H * D, qkv_width);
    share(pool, counter + VALUE, &l->value, rows, task->qkv + (H + K) * D, qkv_width);
    barrier(pool);
    attention(pool, task, own, layer, counter);
    share(pool, counter + OUT, &l->out, input(own, own->attended, H * D), task->after_attention, W);
    barrier(pool);
    add(own->x, task->after_attention, &l->after_attention_norm, T, W, d->eps, own->normed);
    rows = normed(own, &l->mlp_norm, W, d->eps);
    while (take(pool, counter + GATE_UP, M, &start, &stop)) {
        round_for(&l->gate, rows);
        product(&l->gate, rows, task->gated, M, start, stop);
        round_for(&l->up, rows);
        product(&l->up, rows, task->up, M, start, stop);
        for (int64_t t = 0; t < T; t++) gate(d->activation, task->gated + t * M + start, task->up + t * M + start, stop - start);
    }
    barrier(pool);
    share(pool, counter + DOWN, &l->down, input(own, task->gated, M), task->after_mlp, W);
    barrier(pool);
    add(own->x, task->after_mlp, &l->after_mlp_norm, T, W, d->eps, own->normed);
}

static void step_share(Pool *pool, int thread) {
    const Task *task = pool->task;
    const Decoder *d = task->decoder;
    const Step *s = task->step;
    const int64_t T = s->num_rows, W = d->width, HD = d->num_heads * d->head_dim;
    Own own = {
        task->x + thread * T * W, task->normed + thread * T * W, task->attended + thread * T * HD,
        {NULL, T, 0, task->rounded + thread * T * task->widest, task->factors + thread * T, 0}};
    memcpy(own.x, s->x, T * W * sizeof(float));
    for (int64_t i = 0; i < d->num_layers; i++) layer_share(pool, task, &own, i);
    if (thread == 0)
        for (int64_t t = 0; t < T; t++) rms_norm(&d->norm, own.x + t * W, W, d->eps, s->x + t * W);
}

int foveal_step(Pool *pool, const Decoder *d, const Step *s) {
    const int64_t T = s->num_rows, H = d->num_heads, K = d->num_kv_heads, D = d->head_dim, W = d->width, M = d->mlp_width;
    if (T > FEW_ROWS) return step_of_many(pool, d, s);
    const int64_t N = pool->num_threads, wider = W > H * D ? W : H * D;
    Task task = {.decoder = d, .step = s, .widest = wider > M ? wider : M};
    const Room rooms[] = {
        {(void **)&task.x, N * T * W * 4}, {(void **)&task.normed, N * T * W * 4}, {(void **)&task.attended, N * T * H * D * 4},
        {(void **)&task.factors, N * T * 4}, {(void **)&task.rounded, N * T * task.widest * 2},
        {(void **)&task.qkv, T * (H + 2 * K) * D * 4}, {(void **)&task.parts, T * H * MAX_STRETCHES * D * 4},
        {(void **)&task.highest, T * H * MAX_STRETCHES * 4}, {(void **)&task.totals, T * H * MAX_STRETCHES * 4},
        {(void **)&task.after_attention, T * W * 4}, {(void **)&task.gated, T * M * 4}, {(void **)&task.up, T * M * 4},
        {(void **)&task.after_mlp, T * W * 4}};
    void *room = make_room(rooms, sizeof rooms / sizeof *rooms);
    if (!room) return 1;
    const int failed = run(pool, step_share, &task, COUNTERS * d->num_layers);
    free(room);
    return failed;
}

/* --- one product alone --- */

typedef struct {
    const Matrix *matrix;
    Rows rows;
    float *y;
    int64_t y_stride;
} Product;

static void product_share(Pool *pool, int thread) {
    (void)thread;
    const Product *task = pool->task;
    int64_t start, stop;
    while (take(pool, 0, task->matrix->out, &start, &stop)) product(task->matrix, &task->rows, task->y, task->y_stride, start, stop);
}

int product_of_few(Pool *pool, const Matrix *m, const float *x, int64_t num_rows, int64_t x_stride, float *y, int64_t y_stride) {
    Product task = {m, {x, num_rows, x_stride, NULL, NULL, 0}, y, y_stride};
    const Room rooms[] = {{(void **)&task.rows.rounded, num_rows * m->in * 2}, {(void **)&task.rows.factors, num_rows * 4}};
    void *room = make_room(rooms, sizeof rooms / sizeof *rooms);
    if (!room) return 1;
    round_for(m, &task.rows);
    const int failed = run(pool, product_share, &task, 1);
    free(room);
    return failed;
}
