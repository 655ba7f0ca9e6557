/* Attention of a step's rows over the paged cache, and what is done to queries and keys before it. */
#pragma once
#include <math.h>
#include <string.h>

#include "records.h"
#include "vectors.h"

static void rms_norm(const Norm *norm, const float *x, int64_t width, float eps, float *y) {
    double squares = 0;
    for (int64_t i = 0; i < width; i++) squares += (double)x[i] * x[i];
    float factor = 1.0f / sqrtf((float)(squares / width) + eps);
    for (int64_t i = 0; i < width; i++) y[i] = x[i] * factor * norm->weight[i];
}

static inline float activate(int activation, float x) {
    if (activation == SILU) return x / (1.0f + expf(-x));
    if (activation == GELU) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

static void rotate(float *head, const float *cos, const float *sin, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        float left = head[i], right = head[i + half];
        head[i] = left * cos[i] - right * sin[i];
        head[i + half] = right * cos[i] + left * sin[i];
    }
}

#define STRETCH 64    /* cached tokens that are looked at together */

/* Weights of a stretch's scores, in place, and what they add to the softmax's sum; what was summed before shrinks. */
static float weigh(float *score, int64_t num, float *highest, float *total) {
    float high = *highest;
    for (int64_t j = 0; j < num; j++) high = score[j] > high ? score[j] : high;
    const float shrink = expf(*highest - high);
    vec summed = {0};
    for (int64_t j = num; j % LANES; j++) score[j] = -INFINITY;
    for (int64_t j = 0; j < num; j += LANES) {
        vec weights = exp_of(load(score + j) - high);
        *(vec_u *)(score + j) = weights;
        summed += weights;
    }
    *highest = high;
    *total = *total * shrink + sum(summed);
    return shrink;
}

/* Up to 4 query heads of one row over the tokens that it attends to; `vectors` of LANES make a head. */
static inline __attribute__((always_inline)) void attend_heads(
    const Decoder *d, const int64_t *offsets, const float *keys, const float *values, int64_t begin, int64_t stop,
    const float *query, float *output, int heads, const int64_t vectors) {
    const int64_t width = vectors * LANES;
    float highest[4], total[4], score[4][STRETCH];
    memset(output, 0, heads * width * sizeof(float));
    for (int g = 0; g < heads; g++) highest[g] = -INFINITY, total[g] = 0;
    for (int64_t at = begin; at < stop; at += STRETCH) {
        const int64_t num = stop - at < STRETCH ? stop - at : STRETCH, *offset = offsets + at - begin;
        for (int64_t j = 0; j < num; j++) {
            const float *key = keys + offset[j];
            vec dot[4] = {{0}, {0}, {0}, {0}};
            for (int64_t v = 0; v < vectors; v++) {
                vec loaded = load(key + v * LANES);
                for (int g = 0; g < heads; g++) dot[g] += loaded * load(query + g * width + v * LANES);
            }
            for (int g = 0; g < heads; g++) score[g][j] = sum(dot[g]) * d->query_scale;
        }
        float shrink[4];
        for (int g = 0; g < heads; g++) shrink[g] = weigh(score[g], num, &highest[g], &total[g]);
        for (int64_t v = 0; v < vectors; v++) {
            vec acc[4];
            for (int g = 0; g < heads; g++) acc[g] = load(output + g * width + v * LANES) * shrink[g];
            for (int64_t j = 0; j < num; j++) {
                vec loaded = load(values + offset[j] + v * LANES);
                for (int g = 0; g < heads; g++) acc[g] += loaded * score[g][j];
            }
            for (int g = 0; g < heads; g++) *(vec_u *)(output + g * width + v * LANES) = acc[g];
        }
    }
    for (int g = 0; g < heads; g++)
        for (int64_t v = 0; v < vectors; v++) *(vec_u *)(output + g * width + v * LANES) /= total[g];
}

#define HEADS(some, vectors_of)                                                                                        \
    attend_heads(d, offsets, keys, values, begin, stop, query + g * width, output + g * width, some, vectors_of)
#define BY_COUNT(vectors_of)                                                                                           \
    switch (group - g < 4 ? group - g : 4) {                                                                           \
    case 1: HEADS(1, vectors_of); break;                                                                               \
    case 2: HEADS(2, vectors_of); break;                                                                               \
    case 3: HEADS(3, vectors_of); break;                                                                               \
    default: HEADS(4, vectors_of);                                                                                     \
    }

/* One row's query heads of one key-value head. `offsets`: room for the tokens that it attends to. */
static void attend(const Decoder *d, const Step *s, int64_t layer, int64_t row, int64_t kv_head, int64_t *offsets, const float *query, float *output) {
    const int64_t group = d->num_heads / d->num_kv_heads, width = d->head_dim, vectors = width / LANES;
    const int64_t token_stride = d->num_kv_heads * width, layer_stride = d->num_blocks * d->block_size * token_stride;
    const float *keys = s->kv_cache + 2 * layer * layer_stride + kv_head * width, *values = keys + layer_stride;
    const int32_t *table = s->block_tables + row * s->max_blocks;
    const int64_t stop = s->seq_lens[row], window = d->layers[layer].window;
    const int64_t begin = window && stop > window ? stop - window : 0;
    for (int64_t at = begin; at < stop; at++)
        offsets[at - begin] = ((int64_t)table[at / d->block_size] * d->block_size + at % d->block_size) * token_stride;
    for (int64_t g = 0; g < group; g += 4) {
        if (width == 64) { BY_COUNT(64 / LANES) }
        else if (width == 128) { BY_COUNT(128 / LANES) }
        else { BY_COUNT(vectors) }
    }
}

/* Norm and rotation of a row's heads of one key-value head; its key and value go into the cache. */
static void place(const Decoder *d, const Step *s, int64_t layer, int64_t row, int64_t kv_head, float *qkv) {
    const Layer *l = &d->layers[layer];
    const int64_t group = d->num_heads / d->num_kv_heads, width = d->head_dim, half = d->rotary_width / 2;
    const int64_t token_stride = d->num_kv_heads * width, layer_stride = d->num_blocks * d->block_size * token_stride;
    const float *cos = s->cos + (l->rope * s->num_rows + row) * half, *sin = s->sin + (l->rope * s->num_rows + row) * half;
    float *queries = qkv + kv_head * group * width;
    float *key = qkv + (d->num_heads + kv_head) * width, *value = key + d->num_kv_heads * width;
    for (int64_t g = 0; g < group; g++) {
        if (l->query_norm.weight) rms_norm(&l->query_norm, queries + g * width, width, d->eps, queries + g * width);
        rotate(queries + g * width, cos, sin, half);
    }
    if (l->key_norm.weight) rms_norm(&l->key_norm, key, width, d->eps, key);
    rotate(key, cos, sin, half);
    float *place_of_key = s->kv_cache + 2 * layer * layer_stride + s->slots[row] * token_stride + kv_head * width;
    memcpy(place_of_key, key, width * sizeof(float));
    memcpy(place_of_key + layer_stride, value, width * sizeof(float));
}
