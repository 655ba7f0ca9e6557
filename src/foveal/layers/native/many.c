/* A step of many rows: prompts, beside them streams, or many streams.
 *
 * Its time is arithmetic's. So one phase follows the other, each shared out among all threads by rows or columns, and products
 * of most steps unpack their weights once for many rows (gemm.c). Rows of sequences with few of them attend one by one (attention.h), rows of
 * prompts tile by tile (prefill.c): by their own number alone, so that no row's numbers depend on other sequences.
 */
#include "attention.h"
#include "blocks.h"
#include "functions.h"
#include "gemm.h"
#include "pool.h"
#include "prefill.h"
#include "records.h"
#include "room.h"
#include "step.h"

typedef struct {
    const Decoder *decoder;
    const Step *step;
    const Layer *layer;
    int64_t number;                /* of the layer */
    float *normed, *qkv, *attended, *added, *gated; /* [T, W], [T, (H + 2K) D], [T, H D], [T, W], [T, 2M] */
    const Norm *after, *before;    /* of what is added to x, if it has one; of x, then */
    int32_t *lone;                 /* rows that attend one by one */
    int64_t num_lone;
    float *parts, *highest, *totals; /* of them: [rows, K, stretches, group, D], without D */
} Task;

/* --- phases --------------------------------------------------------------------------------------------------------- */

static void norm_rows(Pool *pool, int thread) {
    (void)thread;
    const Task *task = pool->task;
    const Decoder *d = task->decoder;
    const int64_t W = d->width;
    for (int64_t t; take_one(pool, 0, task->step->num_rows, &t);) {
        float *x = task->step->x + t * W, *added = task->added + t * W;
        if (task->after) {
            if (task->after->weight) rms_norm(task->after, added, W, d->eps, added);
            for (int64_t i = 0; i < W; i++) x[i] += added[i];
        }
        rms_norm(task->before, x, W, d->eps, task->normed + t * W);
    }
}

static void place_rows(Pool *pool, int thread) {
    (void)thread;
    const Task *task = pool->task;
    const Decoder *d = task->decoder;
    const int64_t K = d->num_kv_heads, qkv_width = (d->num_heads + 2 * K) * d->head_dim;
    for (int64_t t; take_one(pool, 0, task->step->num_rows, &t);)
        for (int64_t head = 0; head < K; head++) place(d, task->step, task->number, t, head, task->qkv + t * qkv_width);
}

static Part part_of(const Task *task, int64_t number) {
    const int64_t at = number * (task->decoder->num_heads / task->decoder->num_kv_heads);
    return (Part){task->parts + at * task->decoder->head_dim, task->highest + at, task->totals + at};
}

static void attend_one_by_one(Pool *pool, int thread) {
    (void)thread;
    const Task *task = pool->task;
    const Decoder *d = task->decoder;
    const int64_t H = d->num_heads, K = d->num_kv_heads, D = d->head_dim, group = H / K, qkv_width = (H + 2 * K) * D;
    int64_t one;
    while (take_one(pool, 0, task->num_lone * K * MAX_STRETCHES, &one)) {
        const int64_t row = task->lone[one / MAX_STRETCHES / K], kv_head = one / MAX_STRETCHES % K;
        const Stretch stretch = stretch_of(task->step, task->layer, row, kv_head, one % MAX_STRETCHES);
        attend(d, task->step, task->number, stretch, task->qkv + row * qkv_width + kv_head * group * D, part_of(task, one));
    }
    barrier(pool);
    while (take_one(pool, 1, task->num_lone * H, &one)) {
        float *output = task->attended + (task->lone[one / H] * H + one % H) * D;
        merge(part_of(task, one / group * MAX_STRETCHES), MAX_STRETCHES, one % group, group, D, output);
    }
}

static void gate_rows(Pool *pool, int thread) {
    (void)thread;
    const Task *task = pool->task;
    const int64_t M = task->decoder->mlp_width;
    for (int64_t t; take_one(pool, 0, task->step->num_rows, &t);)
        gate(task->decoder->activation, task->gated + t * 2 * M, task->gated + t * 2 * M + M, M);
}

/* --- a layer: each returns whether memory is missing ---------------------------------------------------------------- */

static int norm(Pool *pool, Task *task, const Norm *after, const Norm *before) {
    task->after = after;
    task->before = before;
    return run(pool, norm_rows, task, 1);
}

static const char *end_of(const Matrix *m) {
    return (const char *)m->weight + m->out * (m->form == INT8 ? m->in : row_bytes(m));
}

/* How many of `parts`, from the first on, are one matrix in memory: `whole`. */
static int joined(const Matrix *parts, int num, Matrix *whole) {
    int i = 1;
    *whole = parts[0];
    for (; i < num && whole->form != FLOAT32; i++) {
        const Matrix *m = &parts[i];
        const float *scale = whole->scale ? whole->scale + whole->out : NULL, *bias = whole->bias ? whole->bias + whole->out : NULL;
        if (m->weight != end_of(whole) || m->form != whole->form || m->limit != whole->limit) break;
        if (m->scale != scale || m->bias != bias) break;
        whole->out += m->out;
    }
    return i;
}

/* Products of the same rows, their outputs side by side in y. */
static int multiply(Pool *pool, const Task *task, const Matrix *parts, int num, const float *x, int64_t x_stride, float *y, int64_t y_stride) {
    Matrix whole;
    for (int i = 0; i < num;) {
        i += joined(parts + i, num - i, &whole);
        if (foveal_product(pool, &whole, x, task->step->num_rows, x_stride, y, y_stride)) return 1;
        y += whole.out;
    }
    return 0;
}

static int attend_by_tiles(Pool *pool, const Task *task) {
    const Decoder *d = task->decoder;
    const Step *s = task->step;
    const int64_t token_stride = d->num_kv_heads * d->head_dim, layer_stride = d->num_blocks * d->block_size * token_stride;
    const float *keys = s->kv_cache + 2 * task->number * layer_stride;
    const int64_t of_window = task->layer->window * s->num_rows;
    const Prefill prefill = {
        task->qkv, keys, keys + layer_stride, task->attended, s->starts, s->block_tables, s->begins + of_window, s->stops + of_window,
        s->num_sequences, s->max_blocks, d->block_size, d->num_heads, d->num_kv_heads, d->head_dim,
        (d->num_heads + 2 * d->num_kv_heads) * d->head_dim, token_stride, FEW_ROWS + 1, d->query_scale};
    return foveal_prefill(pool, &prefill);
}

static int attention(Pool *pool, Task *task) {
    if (run(pool, place_rows, task, 1)) return 1;
    if (task->num_lone && run(pool, attend_one_by_one, task, 2)) return 1;
    return task->num_lone < task->step->num_rows && attend_by_tiles(pool, task);
}

static int compute_layer(Pool *pool, Task *task) {
    const Decoder *d = task->decoder;
    const Layer *l = task->layer;
    const int64_t W = d->width, HD = d->num_heads * d->head_dim, M = d->mlp_width;
    return multiply(pool, task, &l->query, 3, task->normed, W, task->qkv, HD + 2 * d->num_kv_heads * d->head_dim)
        || attention(pool, task)
        || multiply(pool, task, &l->out, 1, task->attended, HD, task->added, W)
        || norm(pool, task, &l->after_attention_norm, &l->mlp_norm)
        || multiply(pool, task, &l->gate, 2, task->normed, W, task->gated, 2 * M)
        || run(pool, gate_rows, task, 1)
        || multiply(pool, task, &l->down, 1, task->gated, 2 * M, task->added, W);
}

/* --- the step ------------------------------------------------------------------------------------------------------- */

static void find_lone(const Step *s, Task *task) {
    for (int64_t i = 0; i < s->num_sequences; i++)
        for (int64_t row = s->starts[i]; row < s->starts[i + 1] && s->starts[i + 1] - s->starts[i] <= FEW_ROWS; row++)
            task->lone[task->num_lone++] = (int32_t)row;
}

static int compute_layers(Pool *pool, Task *task) {
    const Decoder *d = task->decoder;
    if (norm(pool, task, NULL, &d->layers[0].attention_norm)) return 1;
    for (task->number = 0; task->number < d->num_layers; task->number++) {
        const int is_last = task->number + 1 == d->num_layers;
        task->layer = &d->layers[task->number];
        if (compute_layer(pool, task)) return 1;
        if (norm(pool, task, &task->layer->after_mlp_norm, is_last ? &d->norm : &task->layer[1].attention_norm)) return 1;
    }
    memcpy(task->step->x, task->normed, task->step->num_rows * d->width * sizeof(float));
    return 0;
}

int step_of_many(Pool *pool, const Decoder *d, const Step *s) {
    const int64_t T = s->num_rows, H = d->num_heads, K = d->num_kv_heads, D = d->head_dim, W = d->width;
    Task task = {.decoder = d, .step = s};
    int32_t *lone = malloc(T * sizeof *lone);
    if (!lone) return 1;
    task.lone = lone;
    find_lone(s, &task);
    const int64_t num_parts = task.num_lone * H * MAX_STRETCHES;
    const Room rooms[] = {
        {(void **)&task.normed, T * W * 4}, {(void **)&task.qkv, T * (H + 2 * K) * D * 4}, {(void **)&task.attended, T * H * D * 4},
        {(void **)&task.added, T * W * 4}, {(void **)&task.gated, T * 2 * d->mlp_width * 4},
        {(void **)&task.parts, num_parts * D * 4}, {(void **)&task.highest, num_parts * 4}, {(void **)&task.totals, num_parts * 4}};
    void *room = make_room(rooms, sizeof rooms / sizeof *rooms);
    const int failed = !room || compute_layers(pool, &task);
    free(room);
    free(lone);
    return failed;
}
