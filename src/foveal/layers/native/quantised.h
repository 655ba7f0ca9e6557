/* Matrices in fewer bits: how they lie in memory, how a row of activations is rounded, and how a sum becomes an output.
 *
 * A row is rounded to int16 by its own largest number, and integers are summed exactly. So an output depends on its own row
 * alone: not on its neighbours, the number of rows, the threads, or the kernel. All kernels use the functions of this file.
 */
#pragma once
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#define GROUP 32 /* weights of one output that share a scale, in the forms in blocks */

enum { INT8, Q4_0, Q8_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, F8, E2M1, NF4, U4 }; /* all but the first in blocks.h */

typedef struct {
    const void *weight; /* [out, in] int8_t, or blocks of 32 or 256; row after row */
    const float *scale; /* [out] of INT8; NULL for blocks, which have their own */
    const float *bias;  /* [out] or NULL */
    int64_t out, in, form;
    int64_t limit;      /* of a rounded activation, at most 32767: no sum of products leaves int32 */
} Quantised;

/* IEEE half precision, without its infinities. */
static inline float from_half(uint16_t half) {
#if defined(__F16C__)
    return _cvtsh_ss(half);
#else
    const uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13, sign = (uint32_t)(half & 0x8000) << 16;
    float value;
    memcpy(&value, &magnitude, 4);
    value *= 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    bits |= sign;
    memcpy(&value, &bits, 4);
    return value;
#endif
}

/* The largest magnitude in a row. Magnitudes are ordered as their bits are, and NaN is above infinity. */
static inline float largest(const float *x, int64_t in) {
    int32_t most = 0;
    for (int64_t i = 0; i < in; i++) {
        int32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float value;
    memcpy(&value, &most, 4);
    return value;
}

/* What a row is multiplied by before it is rounded: so that its largest number becomes `limit`. 0 for a row of nothing. */
static inline float rounding_of(float most, int64_t limit) {
    return most >= 1e-30f && most <= FLT_MAX ? (float)limit / most : 0.0f;
}

/* What a sum is multiplied by afterwards. A row that is not finite has no finite outputs. */
static inline float factor_of(float most, int64_t limit) {
    if (!(most <= FLT_MAX)) return NAN;
    return most >= 1e-30f ? most / (float)limit : 0.0f;
}

/* Some of a row's numbers, rounded; halves go to the even neighbour. */
static inline void round_row(const float *x, int64_t count, float rounding, int16_t *rounded) {
    if (rounding == 0.0f) memset(rounded, 0, count * sizeof *rounded);
    else
        for (int64_t i = 0; i < count; i++) rounded[i] = (int16_t)(int32_t)rintf(x[i] * rounding);
}

/* A row, rounded; returns the factor of its sums. */
static inline float quantise_row(const float *x, int64_t in, int64_t limit, int16_t *rounded) {
    const float most = largest(x, in);
    round_row(x, in, rounding_of(most, limit), rounded);
    return factor_of(most, limit);
}

/* An output of INT8. Without a bias it is 0. */
static inline float finish(int32_t sum, float scale, float factor, float bias) { return (float)sum * (scale * factor) + bias; }

/* Blocks: groups are added up in their order by add_group, from 0; then the output. */
static inline float add_group(float total, int32_t sum, float scale) { return (float)sum * scale + total; }
static inline float finish_groups(float total, float factor, float bias) { return total * factor + bias; }
