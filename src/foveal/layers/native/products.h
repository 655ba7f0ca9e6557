/* Matrices times a step's rows. */
#pragma once
#include "records.h"
#include "vectors.h"

#define UNROLL 4 /* outputs that are computed side by side: as many streams as a core prefetches well */
#define TILE_ROWS 4

/* y[t, o] = x[t] . w[o]. Called with constants, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void tile_of(const float *w, int64_t in, const float *x, int rows, int outs, float *y) {
    vec acc[TILE_ROWS][UNROLL];
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) acc[t][o] = (vec){0};
    int64_t i = 0;
    for (; i + LANES <= in; i += LANES)
        for (int o = 0; o < outs; o++) {
            vec weight = load(w + o * in + i);
            for (int t = 0; t < rows; t++) acc[t][o] += weight * load(x + t * in + i);
        }
    for (int t = 0; t < rows; t++)
        for (int o = 0; o < outs; o++) {
            float total = sum(acc[t][o]);
            for (int64_t j = i; j < in; j++) total += w[o * in + j] * x[t * in + j];
            y[t * UNROLL + o] = total;
        }
}

/* Up to TILE_ROWS rows and UNROLL outputs: y [TILE_ROWS, UNROLL]. Several rows take two outputs at a time, so that a core's 16
 * vector registers hold their sums. */
static void tile(const float *w, int64_t in, const float *x, int rows, int outs, float *y) {
    if (outs < UNROLL) {
        for (int t = 0; t < rows; t++)
            for (int o = 0; o < outs; o++) tile_of(w + o * in, in, x + t * in, 1, 1, y + t * UNROLL + o);
        return;
    }
    if (rows == 1) tile_of(w, in, x, 1, UNROLL, y);
    else if (rows == 2) tile_of(w, in, x, 2, UNROLL, y);
    else
        for (int o = 0; o < UNROLL; o += 2) {
            if (rows == 3) tile_of(w + o * in, in, x, 3, 2, y + o);
            else tile_of(w + o * in, in, x, 4, 2, y + o);
        }
}

/* y[t, o] = x[t] . w[o] + bias[o] for outputs [start, stop); x is [num_rows, in], rows of y lie `y_stride` apart. */
static void product(const Matrix *m, const float *x, int64_t num_rows, float *y, int64_t y_stride, int64_t start, int64_t stop) {
    float part[TILE_ROWS * UNROLL];
    for (int64_t o = start; o < stop; o += UNROLL) {
        const int outs = stop - o < UNROLL ? (int)(stop - o) : UNROLL;
        for (int64_t t = 0; t < num_rows; t += TILE_ROWS) {
            const int rows = num_rows - t < TILE_ROWS ? (int)(num_rows - t) : TILE_ROWS;
            tile(m->weight + o * m->in, m->in, x + t * m->in, rows, outs, part);
            for (int r = 0; r < rows; r++)
                for (int i = 0; i < outs; i++)
                    y[(t + r) * y_stride + o + i] = part[r * UNROLL + i] + (m->bias ? m->bias[o + i] : 0.0f);
        }
    }
}
