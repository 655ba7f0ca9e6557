/* Matrices times a step's rows.
 *
 * Weights of 8 or 4 bits multiply rows rounded to 16 bits. Their sums are exact, so that a row's numbers depend on nothing but
 * the row and the weights: not on the other rows, the threads or the CPU's vectors.
 */
#pragma once
#include <math.h>

#include "blocks.h"
#include "records.h"
#include "vectors.h"

#define UNROLL 4 /* outputs that are computed side by side: as many streams as a core prefetches well */
#define TILE_ROWS 4

/* A step's rows as the matrices want them: as floats, and rounded to a matrix's limit. */
typedef struct {
    const float *x;     /* [T, in] */
    int64_t num_rows, x_stride;
    int16_t *rounded;   /* [T, in] */
    float *factors;     /* [T], of sums */
    int64_t limit;      /* of `rounded`; 0: nothing is rounded yet */
} Rows;

static void round_for(const Matrix *m, Rows *rows) {
    if (m->form == FLOAT32 || m->limit == rows->limit) return;
    for (int64_t t = 0; t < rows->num_rows; t++)
        rows->factors[t] = quantise_row(rows->x + t * rows->x_stride, m->in, m->limit, rows->rounded + t * m->in);
    rows->limit = m->limit;
}

static inline float bias_of(const Matrix *m, int64_t o) { return m->bias ? m->bias[o] : 0; }

/* --- float32 --- */

/* y[t, o] = x[t] . w[o]. Called with constants, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void tile_of(
    const float *w, int64_t in, const float *x, int64_t x_stride, int rows, int outs, float *y) {
    vec acc[TILE_ROWS][UNROLL];
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) acc[t][o] = (vec){0};
    int64_t i = 0;
    for (; i + LANES <= in; i += LANES)
        for (int o = 0; o < outs; o++) {
            vec weight = load(w + o * in + i);
            for (int t = 0; t < rows; t++) acc[t][o] += weight * load(x + t * x_stride + i);
        }
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) {
            float total = sum(acc[t][o]);
            for (int64_t j = i; j < in; j++) total += w[o * in + j] * x[t * x_stride + j];
            y[t * UNROLL + o] = total;
        }
}

/* Up to TILE_ROWS rows and UNROLL outputs: y [TILE_ROWS, UNROLL]. Several rows take two outputs at a time, so that a core's 16
 * vector registers hold their sums. */
static void tile(const float *w, int64_t in, const float *x, int64_t x_stride, int rows, int outs, float *y) {
    if (outs < UNROLL) {
        for (int t = 0; t < rows; t++)
            for (int o = 0; o < outs; o++) tile_of(w + o * in, in, x + t * x_stride, x_stride, 1, 1, y + t * UNROLL + o);
        return;
    }
    if (rows == 1) tile_of(w, in, x, x_stride, 1, UNROLL, y);
    else if (rows == 2) tile_of(w, in, x, x_stride, 2, UNROLL, y);
    else
        for (int o = 0; o < UNROLL; o += 2) {
            if (rows == 3) tile_of(w + o * in, in, x, x_stride, 3, 2, y + o);
            else tile_of(w + o * in, in, x, x_stride, 4, 2, y + o);
        }
}

static void product_float32(const Matrix *m, const Rows *rows, float *y, int64_t y_stride, int64_t start, int64_t stop) {
    float part[TILE_ROWS * UNROLL];
    for (int64_t o = start; o < stop; o += UNROLL) {
        const int outs = stop - o < UNROLL ? (int)(stop - o) : UNROLL;
        for (int64_t t = 0; t < rows->num_rows; t += TILE_ROWS) {
            const int num = rows->num_rows - t < TILE_ROWS ? (int)(rows->num_rows - t) : TILE_ROWS;
            tile((const float *)m->weight + o * m->in, m->in, rows->x + t * rows->x_stride, rows->x_stride, num, outs, part);
            for (int r = 0; r < num; r++)
                for (int i = 0; i < outs; i++) y[(t + r) * y_stride + o + i] = part[r * UNROLL + i] + bias_of(m, o + i);
        }
    }
}

/* --- int8, a scale for each output --- */

#define OUTS_OF_TWO (LANES < 8 ? LANES / 2 : UNROLL)
#define BLOCK 16 /* outputs whose sums are finished together */

static __attribute__((noinline)) int32_t rest_of(const int8_t *w, const int16_t *x, int64_t start, int64_t stop) {
    int32_t total = 0;
    for (int64_t i = start; i < stop; i++) total += (int32_t)w[i] * x[i];
    return total;
}

/* totals[t, o] = x[t] . w[o]; rows of `totals` are BLOCK wide. rows * outs <= LANES; called with constants. */
static inline __attribute__((always_inline)) void int8_tile(
    const int8_t *w, int64_t in, const int16_t *x, const int rows, const int outs, int32_t *totals) {
    ivec acc[LANES];
    for (int i = 0; i < LANES; i++) acc[i] = (ivec){0};
    int64_t i = 0;
    for (; i + SHORTS <= in; i += SHORTS) {
        __builtin_prefetch(w + outs * (in + i)); /* what comes next */
        for (int o = 0; o < outs; o++) {
            svec weight = widened(w + o * in + i);
            for (int t = 0; t < rows; t++) acc[t * outs + o] = add_pairs(acc[t * outs + o], weight, *(const svec_u *)(x + t * in + i));
        }
    }
    int32_t found[LANES];
    *(ivec_u *)found = sums_of(acc);
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) totals[t * BLOCK + o] = found[t * outs + o];
    if (i < in)
        for (int t = 0; t < rows; t++)
            for (int o = 0; o < outs; o++) totals[t * BLOCK + o] += rest_of(w + o * in, x + t * in, i, in);
}

/* All rows from `t` on, `rows` at a time while there are so many; returns the first that is left. */
static inline __attribute__((always_inline)) int64_t int8_rows(
    const int8_t *w, int64_t in, const Rows *all, int64_t t, int num_outs, const int rows, const int outs, int32_t *totals) {
    for (; t + rows <= all->num_rows; t += rows)
        for (int o = 0; o < num_outs; o += outs)
            int8_tile(w + o * in, in, all->rounded + t * in, rows, outs, totals + t * BLOCK + o);
    return t;
}

static void finish_block(const Matrix *m, const Rows *rows, const int32_t *totals, float *y, int64_t y_stride, int64_t start, int num_outs) {
    for (int64_t t = 0; t < rows->num_rows; t++)
        for (int o = 0; o < num_outs; o++)
            y[t * y_stride + start + o] = finish(totals[t * BLOCK + o], m->scale[start + o], rows->factors[t], bias_of(m, start + o));
}

static void product_int8(const Matrix *m, const Rows *rows, float *y, int64_t y_stride, int64_t start, int64_t stop) {
    int32_t totals[rows->num_rows * BLOCK];
    for (int64_t at = start; at < stop; at += BLOCK) {
        const int8_t *w = (const int8_t *)m->weight + at * m->in;
        if (stop - at < BLOCK) {
            int8_rows(w, m->in, rows, 0, (int)(stop - at), 1, 1, totals);
            finish_block(m, rows, totals, y, y_stride, at, (int)(stop - at));
            continue;
        }
        int64_t t = int8_rows(w, m->in, rows, 0, BLOCK, 4, LANES / 4, totals);
        t = int8_rows(w, m->in, rows, t, BLOCK, 2, OUTS_OF_TWO, totals);
        int8_rows(w, m->in, rows, t, BLOCK, 1, UNROLL, totals);
        finish_block(m, rows, totals, y, y_stride, at, BLOCK);
    }
}

/* --- blocks --- */

typedef uint16_t halves __attribute__((vector_size(LANES * 2)));

static inline vec from_halves(halves h) {
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps((__m256i)h);
#elif defined(__AVX2__) && defined(__F16C__)
    return (vec)_mm256_cvtph_ps((__m128i)h);
#else
    vec v;
    for (int i = 0; i < LANES; i++) v[i] = from_half(h[i]);
    return v;
#endif
}

/* A group of LANES outputs, unpacked: w [LANES, GROUP]. */
typedef struct {
    int16_t w[LANES * GROUP];
    vec scales, minima[2];
} Unpacked;

static inline __attribute__((always_inline)) void unpack(
    const uint8_t *const rows_of[LANES], const int64_t form, int64_t at, int64_t g, Unpacked *group) {
    halves scales = {0}, minimums = {0};
    ivec factors = {0}, first = {0}, second = {0};
    vec own_scales = {0};
    for (int o = 0; o < LANES; o++) {
        const Group own = unpack_group(rows_of[o] + at, form, g, group->w + o * GROUP);
        scales[o] = own.scale;
        minimums[o] = own.minimum;
        factors[o] = own.factor;
        if (has_own_scale(form)) own_scales[o] = own.own_scale;
        first[o] = own.min_factor[0];
        second[o] = own.min_factor[1];
    }
    group->scales = has_own_scale(form) ? own_scales : from_halves(scales) * floats(factors);
    group->minima[0] = -(from_halves(minimums) * floats(first));
    group->minima[1] = -(from_halves(minimums) * floats(second));
}

/* LANES outputs of all rows over their inputs: totals [T]. Where there are fewer outputs, the last one is repeated. */
static inline __attribute__((always_inline)) void blocks_tile(
    const Matrix *m, const int64_t form, int64_t first, int64_t outs, const int16_t *x, int64_t num_rows, vec *totals) {
    const int64_t bytes = block_bytes(form), stride = row_bytes(m);
    const uint8_t *rows_of[LANES];
    Unpacked group;
    for (int o = 0; o < LANES; o++) rows_of[o] = (const uint8_t *)m->weight + (first + (o < outs ? o : outs - 1)) * stride;
    for (int64_t t = 0; t < num_rows; t++) totals[t] = (vec){0};
    for (int64_t at = 0; at < stride; at += bytes, x += groups_of_block(form) * GROUP) {
        const uint8_t *next = rows_of[0] + LANES * (stride + at);
        for (int64_t i = 0; i < LANES * bytes; i += 64) __builtin_prefetch(next + i);
        for (int64_t g = 0; g < groups_of_block(form); g++) {
            unpack(rows_of, form, at, g, &group);
            for (int64_t t = 0; t < num_rows; t++) {
                const int16_t *row = x + t * m->in + g * GROUP;
                ivec sums[LANES];
                for (int o = 0; o < LANES; o++) {
                    sums[o] = (ivec){0};
                    for (int i = 0; i < GROUP; i += SHORTS)
                        sums[o] = add_pairs(sums[o], *(const svec_u *)(group.w + o * GROUP + i), *(const svec_u *)(row + i));
                }
                totals[t] = floats(sums_of(sums)) * group.scales + totals[t]; /* add_group */
                for (int i = 0, count = GROUP / (minima_of(form) + !minima_of(form)); i < minima_of(form); i++)
                    totals[t] = sum_of_row(row + i * count, count) * group.minima[i] + totals[t];
            }
        }
    }
}

static void product_blocks(const Matrix *m, const Rows *rows, float *y, int64_t y_stride, int64_t start, int64_t stop) {
    vec totals[rows->num_rows];
    for (int64_t o = start; o < stop; o += LANES) {
        const int64_t outs = stop - o < LANES ? stop - o : LANES;
#define TILE_OF(form) blocks_tile(m, form, o, outs, rows->rounded, rows->num_rows, totals)
        WITH_FORM(m->form, TILE_OF)
#undef TILE_OF
        for (int64_t t = 0; t < rows->num_rows; t++)
            for (int64_t i = 0; i < outs; i++)
                y[t * y_stride + o + i] = finish_groups(totals[t][i], rows->factors[t], bias_of(m, o + i));
    }
}

/* --- any form --- */

/* y[t, o] = x[t] . w[o] + bias[o] for outputs [start, stop); rows of y lie `y_stride` apart. */
static void product(const Matrix *m, const Rows *rows, float *y, int64_t y_stride, int64_t start, int64_t stop) {
    if (m->form == FLOAT32) product_float32(m, rows, y, y_stride, start, stop);
    else if (m->form == INT8) product_int8(m, rows, y, y_stride, start, stop);
    else product_blocks(m, rows, y, y_stride, start, stop);
}
