/* Matrices times a step's rows.
 *
 * What multiplies int8 weights is rounded to 13 bits a row first, so that products of integers do what products of floats
 * would, at twice the speed, with an error that is a thousandth of the weights' own. 127 * 4095 * 2^12 fits an int32, so
 * that `in` may be 2^12 for each of at least eight lanes: no decoder has more than 32768.
 */
#pragma once
#include <math.h>

#include "records.h"
#include "vectors.h"

#define UNROLL 4 /* outputs that are computed side by side: as many streams as a core prefetches well */

#define ACTIVATION_MAX 4095

typedef struct {         /* what a product takes, T rows */
    const float *x;      /* [T, width] */
    int16_t *rounded;    /* [T, width]: x / scale */
    float *scale;        /* [T] */
    int64_t width;
} Rows;

/* y[t, o] for some rows and outputs: `LOAD` turns LANES weights into floats. */
#define DEFINE_TILE(NAME, TYPE, LOAD, SCALAR)                                                                          \
    static inline __attribute__((always_inline)) void NAME(                                                            \
        const TYPE *w, int64_t in, const float *x, int rows, int outs, float *y /* [rows, UNROLL] */) {                \
        vec acc[4][UNROLL];                                                                                            \
        for (int t = 0; t < rows; t++)                                                                                 \
            for (int o = 0; o < outs; o++) acc[t][o] = (vec){0};                                                       \
        int64_t i = 0;                                                                                                 \
        for (; i + LANES <= in; i += LANES)                                                                            \
            for (int o = 0; o < outs; o++) {                                                                           \
                vec weight = LOAD(w + o * in + i);                                                                     \
                for (int t = 0; t < rows; t++) acc[t][o] += weight * load_float32(x + t * in + i);                     \
            }                                                                                                          \
        for (int t = 0; t < rows; t++)                                                                                 \
            for (int o = 0; o < outs; o++) {                                                                           \
                float total = sum(acc[t][o]);                                                                          \
                for (int64_t j = i; j < in; j++) total += SCALAR(w[o * in + j]) * x[t * in + j];                       \
                y[t * UNROLL + o] = total;                                                                             \
            }                                                                                                          \
    }
#define IDENTITY(value) (value)
DEFINE_TILE(tile_float32, float, load_float32, IDENTITY)
DEFINE_TILE(tile_bfloat16, uint16_t, load_bfloat16, as_float)

static inline __attribute__((always_inline)) void tile_int8(
    const int8_t *w, int64_t in, const int16_t *x, int rows, int outs, float *y /* [rows, UNROLL] */) {
    int64_t i = 0;
    int32_t totals[4][UNROLL] = {{0}};
#if defined(__AVX512BW__)
    __m512i acc[4][UNROLL];
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) acc[t][o] = _mm512_setzero_si512();
    for (; i + 32 <= in; i += 32)
        for (int o = 0; o < outs; o++) {
            __m512i weight = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)(w + o * in + i)));
            for (int t = 0; t < rows; t++) {
                __m512i row = _mm512_loadu_si512(x + t * in + i);
#if defined(__AVX512VNNI__)
                acc[t][o] = _mm512_dpwssd_epi32(acc[t][o], weight, row);
#else
                acc[t][o] = _mm512_add_epi32(acc[t][o], _mm512_madd_epi16(weight, row));
#endif
            }
        }
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) totals[t][o] = _mm512_reduce_add_epi32(acc[t][o]);
#elif defined(__AVX2__)
    __m256i acc[4][UNROLL];
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) acc[t][o] = _mm256_setzero_si256();
    for (; i + 16 <= in; i += 16)
        for (int o = 0; o < outs; o++) {
            __m256i weight = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(w + o * in + i)));
            for (int t = 0; t < rows; t++) {
                __m256i row = _mm256_loadu_si256((const void *)(x + t * in + i));
                acc[t][o] = _mm256_add_epi32(acc[t][o], _mm256_madd_epi16(weight, row));
            }
        }
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) {
            __m128i four = _mm_add_epi32(_mm256_castsi256_si128(acc[t][o]), _mm256_extracti128_si256(acc[t][o], 1));
            __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
            totals[t][o] = _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
        }
#endif
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) {
            for (int64_t j = i; j < in; j++) totals[t][o] += (int32_t)w[o * in + j] * x[t * in + j];
            y[t * UNROLL + o] = (float)totals[t][o];
        }
}

#define TILE(NAME, TYPE, X)                                                                                            \
    const TYPE *w = (const TYPE *)m->weight + o * in;                                                                  \
    if (outs == UNROLL && rows == 4) NAME(w, in, X, 4, UNROLL, y);                                                     \
    else if (outs == UNROLL && rows == 3) NAME(w, in, X, 3, UNROLL, y);                                                \
    else if (outs == UNROLL && rows == 2) NAME(w, in, X, 2, UNROLL, y);                                                \
    else if (outs == UNROLL && rows == 1) NAME(w, in, X, 1, UNROLL, y);                                                \
    else                                                                                                               \
        for (int t = 0; t < rows; t++)                                                                                 \
            for (int i = 0; i < outs; i++) NAME(w + i * in, in, X + t * in, 1, 1, y + t * UNROLL + i);

/* Products of up to 4 rows from `row` on with up to UNROLL outputs from `o` on, without scales and biases. */
static void tile(const Matrix *m, const Rows *rows_in, int64_t row, int rows, int64_t o, int outs, float *y) {
    const int64_t in = m->in;
    const float *x = rows_in->x + row * in;
    if (m->type == FLOAT32) { TILE(tile_float32, float, x) }
    else if (m->type == BFLOAT16) { TILE(tile_bfloat16, uint16_t, x) }
    else { const int16_t *rounded = rows_in->rounded + row * in; TILE(tile_int8, int8_t, rounded) }
}

/* Make the rows ready for a product with `m`. */
static void round_rows(const Matrix *m, const Rows *rows, int64_t num_rows) {
    if (m->type != INT8) return;
    for (int64_t t = 0; t < num_rows; t++) {
        const float *x = rows->x + t * rows->width;
        float most = 0;
        for (int64_t i = 0; i < rows->width; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        const float factor = most > 0 ? ACTIVATION_MAX / most : 0;
        for (int64_t i = 0; i < rows->width; i++) rows->rounded[t * rows->width + i] = (int16_t)lrintf(x[i] * factor);
        rows->scale[t] = most / ACTIVATION_MAX;
    }
}

/* y[t, o] = x[t] . w[o] * scale[o] + bias[o] for outputs [start, stop); y has rows of `y_stride`. */
static void product(const Matrix *m, const Rows *rows, int64_t num_rows, float *y, int64_t y_stride, int64_t start, int64_t stop) {
    float part[4 * UNROLL];
    for (int64_t o = start; o < stop; o += UNROLL) {
        const int outs = stop - o < UNROLL ? (int)(stop - o) : UNROLL;
        for (int64_t t = 0; t < num_rows; t += 4) {
            const int some = num_rows - t < 4 ? (int)(num_rows - t) : 4;
            tile(m, rows, t, some, o, outs, part);
            for (int r = 0; r < some; r++)
                for (int i = 0; i < outs; i++) {
                    const float scale = m->type == INT8 ? m->scale[o + i] * rows->scale[t + r] : 1.0f;
                    y[(t + r) * y_stride + o + i] = part[r * UNROLL + i] * scale + (m->bias ? m->bias[o + i] : 0.0f);
                }
        }
    }
}
