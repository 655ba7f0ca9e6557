/* Attention of many rows in one call: the rows of prompts over the paged cache.
 *
 * Online softmax over tiles of tokens (Milakov and Gimelshein, 2018; Dao et al., 2022). A tile's keys are transposed and its
 * values copied once, then all rows of a share go over them, a slab of SLAB rows at a time, whose sums stay in registers. Rows
 * are (token, query head of a key-value head), so that grouped heads share a tile. Tiles lie at fixed positions of a sequence:
 * a row's numbers do not depend on what is computed beside it. Float32 throughout.
 */
#include "pool.h"
#include "prefill.h"
#include "vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS 64           /* of a tile: keys and values of 64 channels fit into a core's first cache */
#define PANEL (2 * LANES)   /* outputs of a product that are computed side by side */
#if LANES == 16
#define SLAB 12             /* rows that are computed side by side: as many sums as there are registers for */
#else
#define SLAB 6
#endif
#define MAX_SHARE 384       /* rows of a share; its queries and outputs fit into a core's second cache */
#define SHARES_EACH 4       /* a thread takes on at least so many shares, so that all end at about the same time */

_Static_assert(TOKENS % PANEL == 0, "a tile is whole panels");

typedef struct {
    float *queries;         /* [slabs, D, SLAB], scaled */
    float *outputs;         /* [slabs, SLAB, padded D] */
    float *highest, *total; /* [slabs, SLAB]: of the softmax so far */
    float *keys;            /* [D, TOKENS] */
    float *values;          /* [TOKENS, padded D] */
    float *scores;          /* [SLAB, TOKENS] */
} Scratch;

typedef struct {
    const Prefill *prefill;
    int64_t share_rows, num_shares, padded_dim, scratch_floats;
    float *scratch;         /* [threads, scratch_floats] */
} Task;

typedef struct {
    int64_t sequence, kv_head, first_row, num_rows; /* rows of a sequence's tokens x grouped heads */
} Share;

/* y[r, c] (+)= sum over k of a[r, k] b[k, c], for SLAB rows and PANEL columns. The strides of a are constants. */
static inline __attribute__((always_inline)) void product(
    const float *a, const int64_t a_row, const int64_t a_step, const float *b, int64_t b_stride, int64_t depth, float *y,
    int64_t y_stride, const int adds) {
    vec left[SLAB], right[SLAB];
#pragma GCC unroll 16
    for (int r = 0; r < SLAB; r++) {
        left[r] = adds ? load(y + r * y_stride) : (vec){0};
        right[r] = adds ? load(y + r * y_stride + LANES) : (vec){0};
    }
    for (int64_t k = 0; k < depth; k++) {
        const vec b_left = load(b + k * b_stride), b_right = load(b + k * b_stride + LANES);
#pragma GCC unroll 16
        for (int r = 0; r < SLAB; r++) {
            const float each = a[r * a_row + k * a_step];
            left[r] += each * b_left;
            right[r] += each * b_right;
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < SLAB; r++) {
        *(vec_u *)(y + r * y_stride) = left[r];
        *(vec_u *)(y + r * y_stride + LANES) = right[r];
    }
}

/* Scores of a row, in place, into weights; only tokens [begin, stop) of the tile count. Returns by how much what was summed
 * before shrinks. */
static float weigh(float *score, int64_t begin, int64_t stop, float *highest, float *total) {
    if (begin >= stop) {
        memset(score, 0, TOKENS * sizeof(float));
        return 1.0f;
    }
    for (int64_t j = 0; j < begin; j++) score[j] = -INFINITY;
    for (int64_t j = stop; j < TOKENS; j++) score[j] = -INFINITY;
    vec high = load(score);
    for (int64_t j = LANES; j < TOKENS; j += LANES) high = larger_of(high, load(score + j));
    const float in_tile = largest_lane(high), peak = in_tile > *highest ? in_tile : *highest;
    const float shrink = peak == *highest ? 1.0f : expf(*highest - peak);
    vec summed = {0};
    for (int64_t j = 0; j < TOKENS; j += LANES) {
        const vec weights = exp_of(load(score + j) - peak);
        *(vec_u *)(score + j) = weights;
        summed += weights;
    }
    *highest = peak;
    *total = *total * shrink + sum(summed);
    return shrink;
}

static int64_t group_of(const Prefill *p) { return p->num_heads / p->num_kv_heads; }

/* The token of the step that a share's row belongs to. */
static int64_t token_of(const Prefill *p, const Share *share, int64_t row) {
    return p->starts[share->sequence] + (share->first_row + row) / group_of(p);
}

static const float *head_of(const Prefill *p, const Share *share, int64_t row) {
    const int64_t head = share->kv_head * group_of(p) + (share->first_row + row) % group_of(p);
    return p->query + token_of(p, share, row) * p->query_stride + head * p->head_dim;
}

static void begin_rows(const Task *task, const Share *share, Scratch *s) {
    const Prefill *p = task->prefill;
    const int64_t D = p->head_dim, slabs = (share->num_rows + SLAB - 1) / SLAB;
    memset(s->outputs, 0, slabs * SLAB * task->padded_dim * sizeof(float));
    memset(s->queries, 0, slabs * SLAB * D * sizeof(float));
    for (int64_t r = 0; r < slabs * SLAB; r++) s->highest[r] = -INFINITY, s->total[r] = 0;
    for (int64_t r = 0; r < share->num_rows; r++) {
        const float *head = head_of(p, share, r);
        float *to = s->queries + r / SLAB * SLAB * D + r % SLAB;
        for (int64_t d = 0; d < D; d++) to[d * SLAB] = head[d] * p->scale;
    }
}

static void end_rows(const Task *task, const Share *share, const Scratch *s) {
    const Prefill *p = task->prefill;
    const int64_t group = group_of(p);
    for (int64_t r = 0; r < share->num_rows; r++) {
        const int64_t head = share->kv_head * group + (share->first_row + r) % group;
        float *to = p->output + (token_of(p, share, r) * p->num_heads + head) * p->head_dim;
        for (int64_t d = 0; d < p->head_dim; d++) to[d] = s->outputs[r * task->padded_dim + d] / s->total[r];
    }
}

/* A tile's keys, transposed, and values; zeros beyond the sequence's end, where the cache may hold anything. */
static void read_tile(const Task *task, const Share *share, int64_t at, int64_t num_tokens, Scratch *s) {
    const Prefill *p = task->prefill;
    const int32_t *table = p->block_tables + share->sequence * p->max_blocks;
    for (int64_t j = 0; j < num_tokens; j++) {
        const int64_t slot = (int64_t)table[(at + j) / p->block_size] * p->block_size + (at + j) % p->block_size;
        const int64_t place = slot * p->kv_stride + share->kv_head * p->head_dim;
        const float *key = p->keys + place;
        for (int64_t d = 0; d < p->head_dim; d++) s->keys[d * TOKENS + j] = key[d];
        memcpy(s->values + j * task->padded_dim, p->values + place, p->head_dim * sizeof(float));
    }
    for (int64_t j = num_tokens; j < TOKENS; j++) {
        for (int64_t d = 0; d < p->head_dim; d++) s->keys[d * TOKENS + j] = 0;
        memset(s->values + j * task->padded_dim, 0, task->padded_dim * sizeof(float));
    }
}

/* One slab over one tile. */
static void attend_slab(const Task *task, const Share *share, int64_t slab, int64_t at, Scratch *s) {
    const Prefill *p = task->prefill;
    const int64_t D = p->head_dim, padded = task->padded_dim, first = slab * SLAB;
    float *output = s->outputs + first * padded;
    int64_t begin[SLAB], stop[SLAB];
    int is_seen = 0;
    for (int64_t r = 0; r < SLAB; r++) {
        begin[r] = stop[r] = 0;
        if (first + r >= share->num_rows) continue;
        const int64_t token = token_of(p, share, first + r);
        begin[r] = p->begins[token] > at ? p->begins[token] - at : 0;
        stop[r] = p->stops[token] - at < TOKENS ? p->stops[token] - at : TOKENS;
        is_seen |= begin[r] < stop[r];
    }
    if (!is_seen) return;
    for (int64_t j = 0; j < TOKENS; j += PANEL) product(s->queries + first * D, 1, SLAB, s->keys + j, TOKENS, D, s->scores + j, TOKENS, 0);
    for (int64_t r = 0; r < SLAB; r++) {
        const float shrink = weigh(s->scores + r * TOKENS, begin[r], stop[r], &s->highest[first + r], &s->total[first + r]);
        if (shrink != 1.0f)
            for (int64_t d = 0; d < padded; d++) output[r * padded + d] *= shrink;
    }
    for (int64_t d = 0; d < padded; d += PANEL) product(s->scores, TOKENS, 1, s->values + d, padded, TOKENS, output + d, padded, 1);
}

static void attend_share(const Task *task, const Share *share, Scratch *s) {
    const Prefill *p = task->prefill;
    const int64_t slabs = (share->num_rows + SLAB - 1) / SLAB;
    const int64_t first = token_of(p, share, 0), last = token_of(p, share, share->num_rows - 1);
    int64_t begin = p->begins[first], stop = p->stops[first];
    for (int64_t token = first; token <= last; token++) {
        begin = p->begins[token] < begin ? p->begins[token] : begin;
        stop = p->stops[token] > stop ? p->stops[token] : stop;
    }
    begin_rows(task, share, s);
    for (int64_t at = begin / TOKENS * TOKENS; at < stop; at += TOKENS) {
        read_tile(task, share, at, stop - at < TOKENS ? stop - at : TOKENS, s);
        for (int64_t slab = 0; slab < slabs; slab++) attend_slab(task, share, slab, at, s);
    }
    end_rows(task, share, s);
}

static int64_t shares_of(const Task *task, int64_t sequence) {
    const Prefill *p = task->prefill;
    const int64_t tokens = p->starts[sequence + 1] - p->starts[sequence], rows = tokens * group_of(p);
    return tokens < p->least_rows ? 0 : p->num_kv_heads * ((rows + task->share_rows - 1) / task->share_rows);
}

static Share share_at(const Task *task, int64_t number) {
    const Prefill *p = task->prefill;
    int64_t sequence = 0;
    while (number >= shares_of(task, sequence)) number -= shares_of(task, sequence++);
    const int64_t rows = (p->starts[sequence + 1] - p->starts[sequence]) * group_of(p);
    const int64_t first_row = number / p->num_kv_heads * task->share_rows, rest = rows - first_row;
    return (Share){sequence, number % p->num_kv_heads, first_row, rest < task->share_rows ? rest : task->share_rows};
}

static void prefill_shares(Pool *pool, int thread) {
    const Task *task = pool->task;
    const int64_t D = task->prefill->head_dim, rows = task->share_rows;
    float *next = task->scratch + thread * task->scratch_floats;
    Scratch s;
    struct { float **place; int64_t num_floats; } parts[] = {
        {&s.queries, rows * D}, {&s.outputs, rows * task->padded_dim}, {&s.highest, rows}, {&s.total, rows},
        {&s.keys, D * TOKENS}, {&s.values, TOKENS * task->padded_dim}, {&s.scores, SLAB * TOKENS}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *parts[i].place = next;
        next += (parts[i].num_floats + 15) / 16 * 16;
    }
    memset(s.values, 0, TOKENS * task->padded_dim * sizeof(float)); /* what pads a head stays zero */
    for (int64_t number; (number = atomic_fetch_add_explicit(&pool->taken[0], 1, memory_order_relaxed)) < task->num_shares;) {
        const Share share = share_at(task, number);
        attend_share(task, &share, &s);
    }
}

int foveal_prefill(Pool *pool, const Prefill *p) {
    const int64_t heads = p->starts[p->num_sequences] * p->num_heads, D = p->head_dim;
    int64_t rows = heads / ((int64_t)pool->num_threads * SHARES_EACH) / SLAB * SLAB;
    rows = rows < SLAB ? SLAB : rows > MAX_SHARE ? MAX_SHARE : rows;
    Task task = {.prefill = p, .share_rows = rows, .padded_dim = (D + PANEL - 1) / PANEL * PANEL};
    for (int64_t i = 0; i < p->num_sequences; i++) task.num_shares += shares_of(&task, i);
    task.scratch_floats = rows * (D + task.padded_dim + 2) + TOKENS * (D + task.padded_dim + SLAB) + 7 * 16;
    task.scratch_floats = (task.scratch_floats + 15) / 16 * 16;
    task.scratch = aligned_alloc(64, pool->num_threads * task.scratch_floats * sizeof(float));
    if (!task.scratch) return 1;
    const int failed = run(pool, prefill_shares, &task, 1);
    free(task.scratch);
    return failed;
}
