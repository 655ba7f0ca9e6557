/* Quantised matrices times many rows: y = x W^T + b.
 *
 * The rows are rounded to int16 once. Then each thread takes on columns of y: it widens their weights to int16, in panels that
 * stay in its first cache, and multiplies pairs of neighbours with one instruction into int32. The numbers are those of
 * quantised.h, whatever is shared out how.
 */
#include "gemm.h"

#include "blocks.h"
#include "pool.h"
#include "records.h"
#include "vectors.h"

#include <stdlib.h>

#define COLUMNS 32            /* of y that a thread takes on: whole vectors in every build */
#define DEPTH 256             /* inputs that are multiplied at a time: COLUMNS x DEPTH weights stay in the first cache */
#define ROWS 512              /* of x that meet a panel: their sums stay in the second cache */
#define ROWS_AT_ONCE 4096     /* of x that are rounded at a time */
#define WIDE 2                /* vectors of outputs in a tile, so that a core's registers hold its sums */
#if defined(__AVX512F__)
#define TILE 12               /* rows of a tile */
#else
#define TILE 6
#endif

_Static_assert(COLUMNS % (WIDE * LANES) == 0 && DEPTH % GROUP == 0, "no tile and no group is cut");

/* What a thread has for itself. */
typedef struct {
    int32_t sums[ROWS * COLUMNS];            /* of groups: float */
    int16_t panel[DEPTH * COLUMNS];          /* [pairs of inputs, columns, 2] */
    float scales[DEPTH / GROUP * COLUMNS];   /* [groups, columns] */
    float minima[DEPTH / 16 * COLUMNS];      /* [groups, one or two, columns] */
    int16_t unpacked[8 * DEPTH];             /* a group's numbers are neighbours */
} Own;

typedef struct {
    const Quantised *matrix;
    const float *x;
    float *y;
    int64_t num_rows, x_stride, y_stride;
    int64_t row_blocks, rows_of_block;
    int16_t *rounded;                        /* [depths, rows, DEPTH]: a panel's rows are neighbours */
    float *sums;                             /* [depths, rows, DEPTH / 16]: of what shares a minimum, where there are any */
    float *factors;                          /* [rows] */
    Own *own;                                /* [threads] */
} Task;

/* --- the rows, rounded ---------------------------------------------------------------------------------------------- */

/* The sums of what shares a minimum. */
static void sum_up(const int16_t *rounded, int64_t count, int minima, float *sums) {
    const int length = GROUP / minima;
    for (int64_t i = 0; i < count; i += length) *sums++ = sum_of_row(rounded + i, length);
}

static void round_rows(const Task *task, int64_t start, int64_t stop) {
    const Quantised *m = task->matrix;
    for (int64_t row = start; row < stop; row++) {
        const float *x = task->x + row * task->x_stride, most = largest(x, m->in), rounding = rounding_of(most, m->limit);
        task->factors[row] = factor_of(most, m->limit);
        for (int64_t at = 0; at < m->in; at += DEPTH) {
            const int64_t count = m->in - at < DEPTH ? m->in - at : DEPTH;
            int16_t *rounded = task->rounded + at * task->num_rows + row * DEPTH;
            round_row(x + at, count, rounding, rounded);
            if (count % 2) rounded[count] = 0;
            if (minima_of(m->form)) sum_up(rounded, count, minima_of(m->form), task->sums + (rounded - task->rounded) / 16);
        }
    }
}

/* --- the weights, widened ------------------------------------------------------------------------------------------- */

/* Groups of one output from input `at` on, and their scales and minima in column `o`. */
#define UNPACK(form_of)                                                                                                \
    for (int64_t g = 0; g < count / GROUP; g++) {                                                                      \
        const int64_t number = at / GROUP + g, in_block = number % groups_of_block(form_of);                           \
        const Group own = unpack_group(row + number / groups_of_block(form_of) * block_bytes(form_of), form_of,        \
            in_block, w + g * GROUP);                                                                                  \
        scales[g * COLUMNS] = has_own_scale(form_of) ? own.own_scale : from_half(own.scale) * (float)own.factor;       \
        for (int i = 0; i < minima_of(form_of); i++)                                                                   \
            minima[(g * minima_of(form_of) + i) * COLUMNS] = -(from_half(own.minimum) * (float)own.min_factor[i]);     \
    }

static void unpack_row(const Quantised *m, int64_t out, int64_t at, int64_t count, int16_t *w, float *scales, float *minima) {
    const uint8_t *row = (const uint8_t *)m->weight + out * row_bytes(m);
    WITH_FORM(m->form, UNPACK)
}

/* Inputs [start, stop) of 8 outputs into their places in a panel. A macro for both kinds of numbers. */
#define WIDEN_SOME(weights, start, stop)                                                                               \
    for (int o = 0; o < 8; o++)                                                                                        \
        for (int64_t j = start; j < stop; j++) panel[j / 2 * 2 * COLUMNS + o * 2 + j % 2] = weights[o] ? weights[o][j] : 0;

#if defined(__AVX2__)
INLINE __m256i two_rows_of_bytes(const int8_t *low, const int8_t *high) {
    const __m128i half = _mm_loadl_epi64((const __m128i *)low);
    return _mm256_cvtepi8_epi16(_mm_castpd_si128(_mm_loadh_pd(_mm_castsi128_pd(half), (const double *)high)));
}

INLINE __m256i two_rows_of_shorts(const int16_t *low, const int16_t *high) {
    return _mm256_loadu2_m128i((const __m128i *)high, (const __m128i *)low);
}

/* Pairs of inputs are transposed, 4 x 4 in each half of a vector: the halves hold outputs 0 to 3 and 4 to 7. */
INLINE void put_pairs(__m256i a, __m256i b, __m256i c, __m256i d, int16_t *panel) {
    const __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
    const __m256i AB = _mm256_unpackhi_epi32(a, b), CD = _mm256_unpackhi_epi32(c, d);
    __m256i *place = (__m256i *)panel;
    const int next = COLUMNS * 4 / sizeof *place;
    _mm256_storeu_si256(place, _mm256_unpacklo_epi64(ab, cd));
    _mm256_storeu_si256(place + next, _mm256_unpackhi_epi64(ab, cd));
    _mm256_storeu_si256(place + 2 * next, _mm256_unpacklo_epi64(AB, CD));
    _mm256_storeu_si256(place + 3 * next, _mm256_unpackhi_epi64(AB, CD));
}

#define WIDEN_EIGHT(weights, two_rows)                                                                                 \
    if (weights[7])                                                                                                    \
        for (; i + 8 <= count; i += 8)                                                                                 \
            put_pairs(two_rows(weights[0] + i, weights[4] + i), two_rows(weights[1] + i, weights[5] + i),              \
                two_rows(weights[2] + i, weights[6] + i), two_rows(weights[3] + i, weights[7] + i), panel + i * COLUMNS);
#else
#define WIDEN_EIGHT(weights, two_rows)
#endif

static void widen_bytes(const int8_t *const weights[8], int64_t count, int16_t *panel) {
    int64_t i = 0;
    WIDEN_EIGHT(weights, two_rows_of_bytes)
    WIDEN_SOME(weights, i, count)
}

static void widen_shorts(const int16_t *const weights[8], int64_t count, int16_t *panel) {
    int64_t i = 0;
    WIDEN_EIGHT(weights, two_rows_of_shorts)
    WIDEN_SOME(weights, i, count)
}

/* 8 outputs from `first` on; nothing where the matrix ends. */
static void fill_columns(const Quantised *m, int64_t first, int64_t column, int64_t at, int64_t count, Own *own) {
    int16_t *panel = own->panel + column * 2;
    const int64_t outs = m->out - first < 8 ? m->out - first : 8;
    const int8_t *bytes[8] = {0};
    const int16_t *shorts[8] = {0};
    for (int64_t o = 0; o < outs; o++) {
        bytes[o] = (const int8_t *)m->weight + (first + o) * m->in + at;
        shorts[o] = own->unpacked + o * DEPTH;
        if (m->form != INT8)
            unpack_row(m, first + o, at, count, own->unpacked + o * DEPTH, own->scales + column + o, own->minima + column + o);
    }
    if (m->form == INT8) widen_bytes(bytes, count, panel);
    else widen_shorts(shorts, count, panel);
}

/* COLUMNS outputs from `first` on, and `count` inputs from `at` on. */
static void fill_panel(const Quantised *m, int64_t first, int64_t at, int64_t count, Own *own) {
    if (count % 2) memset(own->panel + (count - 1) * COLUMNS, 0, 2 * COLUMNS * sizeof *own->panel);
    for (int64_t column = 0; column < COLUMNS; column += 8) fill_columns(m, first + column, column, at, count, own);
}

/* --- the sums ------------------------------------------------------------------------------------------------------- */

/* `rows` x WIDE vectors of outputs over `pairs` of inputs. Called with constant `rows`, so that sums stay in registers. */
static inline __attribute__((always_inline)) void tile_of(
    const int16_t *rounded, const int16_t *panel, int64_t pairs, const int rows, ivec acc[TILE][WIDE]) {
    for (int64_t i = 0; i < pairs; i++) {
        ivec weights[WIDE];
        for (int v = 0; v < WIDE; v++) weights[v] = *(const ivec_u *)(panel + i * 2 * COLUMNS + v * 2 * LANES);
        for (int r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, rounded + r * DEPTH + 2 * i, 4);
            const ivec both = (ivec){0} + pair;
            for (int v = 0; v < WIDE; v++) acc[r][v] = add_pairs(acc[r][v], (svec)weights[v], (svec)both);
        }
    }
}

static inline __attribute__((always_inline)) void add_tile(
    const int16_t *rounded, const int16_t *panel, int64_t pairs, const int rows, int32_t *sums) {
    ivec acc[TILE][WIDE];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < WIDE; v++) acc[r][v] = *(ivec_u *)(sums + r * COLUMNS + v * LANES);
    tile_of(rounded, panel, pairs, rows, acc);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < WIDE; v++) *(ivec_u *)(sums + r * COLUMNS + v * LANES) = acc[r][v];
}

/* sums: of the rows, where the weights have minima. */
static inline __attribute__((always_inline)) void add_groups(
    const int16_t *rounded, const int16_t *panel, const float *scales, const float *minima, const float *sums,
    const int num_minima, int64_t groups, const int rows, float *totals) {
    for (int64_t g = 0; g < groups; g++) {
        ivec acc[TILE][WIDE];
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < WIDE; v++) acc[r][v] = (ivec){0};
        tile_of(rounded + g * GROUP, panel + g * GROUP * COLUMNS, GROUP / 2, rows, acc);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < WIDE; v++) {
                vec_u *total = (vec_u *)(totals + r * COLUMNS + v * LANES);
                vec found = __builtin_convertvector(acc[r][v], vec) * load(scales + g * COLUMNS + v * LANES) + *total;
                for (int64_t i = g * num_minima; i < (g + 1) * num_minima; i++)
                    found = sums[r * (DEPTH / 16) + i] * load(minima + i * COLUMNS + v * LANES) + found;
                *total = found;
            }
    }
}

#define TILE_WITH(some)                                                                                                \
    case some:                                                                                                         \
        if (form == INT8) add_tile(rounded, panel, (count + 1) / 2, some, sums);                                       \
        else if (num_minima == 0) add_groups(rounded, panel, scales, minima, NULL, 0, count / GROUP, some, (float *)sums); \
        else add_groups(rounded, panel, scales, minima, row_sums, num_minima, count / GROUP, some, (float *)sums);     \
        break;

/* A panel's share of the sums of up to TILE rows. */
static void add_rows(
    const Own *own, const int16_t *rounded, const float *row_sums, int64_t count, int rows, int64_t form, int32_t *totals) {
    const int num_minima = minima_of(form);
    for (int64_t column = 0; column < COLUMNS; column += WIDE * LANES) {
        const int16_t *panel = own->panel + 2 * column;
        const float *scales = own->scales + column, *minima = own->minima + column;
        int32_t *sums = totals + column;
        switch (rows) {
            TILE_WITH(1) TILE_WITH(2) TILE_WITH(3) TILE_WITH(4) TILE_WITH(5) TILE_WITH(6)
#if TILE > 6
            TILE_WITH(7) TILE_WITH(8) TILE_WITH(9) TILE_WITH(10) TILE_WITH(11) TILE_WITH(12)
#endif
        }
    }
}

/* --- the outputs ---------------------------------------------------------------------------------------------------- */

static void finish_rows(const Task *task, const Own *own, int64_t first, int64_t start, int64_t stop) {
    const Quantised *m = task->matrix;
    const int64_t count = m->out - first < COLUMNS ? m->out - first : COLUMNS;
    float bias[COLUMNS] = {0};
    if (m->bias) memcpy(bias, m->bias + first, count * sizeof *bias);
    for (int64_t row = start; row < stop; row++) {
        const int32_t *sums = own->sums + (row - start) * COLUMNS;
        const float factor = task->factors[row];
        float *y = task->y + row * task->y_stride + first;
        if (m->form == INT8)
            for (int64_t o = 0; o < count; o++) y[o] = finish(sums[o], m->scale[first + o], factor, bias[o]);
        else
            for (int64_t o = 0; o < count; o++) y[o] = finish_groups(((const float *)sums)[o], factor, bias[o]);
    }
}

/* COLUMNS outputs of a block of rows. */
static void compute(const Task *task, Own *own, int64_t unit) {
    const Quantised *m = task->matrix;
    const int64_t columns = (m->out + COLUMNS - 1) / COLUMNS, first = unit % columns * COLUMNS;
    const int64_t start = unit / columns * task->rows_of_block;
    const int64_t stop = start + task->rows_of_block < task->num_rows ? start + task->rows_of_block : task->num_rows;
    if (start >= stop) return;
    memset(own->sums, 0, (stop - start) * COLUMNS * sizeof *own->sums);
    for (int64_t at = 0; at < m->in; at += DEPTH) {
        const int64_t count = m->in - at < DEPTH ? m->in - at : DEPTH;
        fill_panel(m, first, at, count, own);
        for (int64_t row = start; row < stop; row += TILE) {
            const int rows = stop - row < TILE ? (int)(stop - row) : TILE;
            const int64_t from = at * task->num_rows + row * DEPTH;
            add_rows(own, task->rounded + from, task->sums + from / 16, count, rows, m->form, own->sums + (row - start) * COLUMNS);
        }
    }
    finish_rows(task, own, first, start, stop);
}

static void product_share(Pool *pool, int thread) {
    const Task *task = pool->task;
    const int64_t units = (task->matrix->out + COLUMNS - 1) / COLUMNS * task->row_blocks;
    int64_t start, stop;
    while (take(pool, 0, task->num_rows, &start, &stop)) round_rows(task, start, stop);
    barrier(pool);
    for (int64_t unit; (unit = atomic_fetch_add_explicit(&pool->taken[1], 1, memory_order_relaxed)) < units;)
        compute(task, task->own + thread, unit);
}

/* Few columns are shared out among many threads by rows, too. */
static void divide_rows(Task *task, int num_threads) {
    const int64_t columns = (task->matrix->out + COLUMNS - 1) / COLUMNS, wanted = (4 * num_threads + columns - 1) / columns;
    const int64_t least = (task->num_rows + ROWS - 1) / ROWS, most = task->num_rows / 64;
    const int64_t blocks = wanted < most ? wanted : most;
    task->row_blocks = blocks > least ? blocks : least;
    task->rows_of_block = (task->num_rows + task->row_blocks - 1) / task->row_blocks;
    task->rows_of_block = (task->rows_of_block + TILE - 1) / TILE * TILE;
    if (task->rows_of_block > ROWS) task->rows_of_block = ROWS;
    task->row_blocks = (task->num_rows + task->rows_of_block - 1) / task->rows_of_block;
}

int foveal_product(Pool *pool, const Quantised *m, const float *x, int64_t num_rows, int64_t x_stride, float *y, int64_t y_stride) {
    if (num_rows <= ROWS_WITHOUT_PANELS || m->form == FLOAT32) return product_of_few(pool, m, x, num_rows, x_stride, y, y_stride);
    const int64_t depths = (m->in + DEPTH - 1) / DEPTH, at_once = num_rows < ROWS_AT_ONCE ? num_rows : ROWS_AT_ONCE;
    const int64_t own_bytes = ((int64_t)sizeof(Own) + 63) / 64 * 64 * pool->num_threads;
    const int64_t rounded_bytes = depths * at_once * DEPTH * (int64_t)sizeof(int16_t), factor_bytes = (at_once * 4 + 63) / 64 * 64;
    const int64_t sum_bytes = minima_of(m->form) ? rounded_bytes / 16 * 2 : 0;
    char *scratch = aligned_alloc(64, own_bytes + rounded_bytes + factor_bytes + sum_bytes);
    if (!scratch) return 1;
    Task task = {.matrix = m, .x_stride = x_stride, .y_stride = y_stride, .own = (Own *)scratch};
    task.rounded = (int16_t *)(scratch + own_bytes);
    task.factors = (float *)(scratch + own_bytes + rounded_bytes);
    task.sums = (float *)(scratch + own_bytes + rounded_bytes + factor_bytes);
    int failed = 0;
    for (int64_t row = 0; row < num_rows && !failed; row += at_once) {
        task.x = x + row * x_stride;
        task.y = y + row * y_stride;
        task.num_rows = num_rows - row < at_once ? num_rows - row : at_once;
        divide_rows(&task, pool->num_threads);
        failed = run(pool, product_share, &task, 2);
    }
    free(scratch);
    return failed;
}
