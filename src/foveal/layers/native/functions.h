/* Norms and activations of a step's rows. */
#pragma once
#include <math.h>

#include "records.h"
#include "vectors.h"

/* y may be x. */
static void rms_norm(const Norm *norm, const float *x, int64_t width, float eps, float *y) {
    vec lanes[4] = {{0}, {0}, {0}, {0}};
    int64_t i = 0;
    for (; i + 4 * LANES <= width; i += 4 * LANES)
        for (int j = 0; j < 4; j++) lanes[j] += load(x + i + j * LANES) * load(x + i + j * LANES);
    float squares = sum(lanes[0] + lanes[1] + (lanes[2] + lanes[3]));
    for (; i < width; i++) squares += x[i] * x[i];
    const float factor = 1.0f / sqrtf(squares / (float)width + eps);
    for (i = 0; i < width; i++) y[i] = x[i] * factor * norm->weight[i];
}

static inline vec activated(int64_t activation, vec x) {
    if (activation == GELU) {
        vec y;
        for (int i = 0; i < LANES; i++) y[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678f));
        return y;
    }
    /* silu(x) = x sigmoid(x), and 0.5 x (1 + tanh(u)) = x sigmoid(2u) */
    const vec u = activation == SILU ? x : 1.59576912f * (x + 0.044715f * x * x * x);
    const vec zero = {0}, one = zero + 1.0f, e = exp_of(chosen(u < 0, u, -u));
    return x * chosen(u < 0, e, one) / (one + e);
}

/* gated[i] = act(gated[i]) up[i] */
static void gate(int64_t activation, float *gated, const float *up, int64_t num) {
    for (int64_t i = 0; i < num; i += LANES) {
        const int64_t some = num - i < LANES ? num - i : LANES;
        float left[LANES] = {0}, right[LANES] = {0};
        memcpy(left, gated + i, some * sizeof(float));
        memcpy(right, up + i, some * sizeof(float));
        store(left, activated(activation, load(left)) * load(right));
        memcpy(gated + i, left, some * sizeof(float));
    }
}
