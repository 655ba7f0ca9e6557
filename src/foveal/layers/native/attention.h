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

static inline __attribute__((always_inline)) vec load_cached(const void *p, int64_t i, int type) {
    return type == FLOAT32 ? load_float32((const float *)p + i) : load_bfloat16((const uint16_t *)p + i);
}

static void store_cached(void *p, int type, const float *values, int64_t count) {
    if (type == FLOAT32) memcpy(p, values, count * sizeof(float));
    else for (int64_t i = 0; i < count; i++) ((uint16_t *)p)[i] = as_bfloat16(values[i]);
}

/* Weights of a stretch's scores, in place, and what they add to the softmax's sum; what was summed before shrinks. */
static float weigh(float *score, int64_t num, float *highest, float *total) {
    float high = *highest;
    for (int64_t j = 0; j < num; j++) high = score[j] > high ? score[j] : high;
    const float shrink = expf(*highest - high);
    vec summed = {0};
    for (int64_t j = num; j % LANES; j++) score[j] = -INFINITY;
    for (int64_t j = 0; j < num; j += LANES) {
        vec weights = exp_of(load_float32(score + j) - high);
        *(vec_u *)(score + j) = weights;
        summed += weights;
    }
    *highest = high;
    *total = *total * shrink + sum(summed);
    return shrink;
}

/* Up to 4 query heads of one row over the tokens that it sees; `vectors` of LANES make a head. */
static inline __attribute__((always_inline)) void attend_heads(
    const Decoder *d, const int64_t *offsets, const char *keys, const char *values, int64_t begin, int64_t stop,
    const float *query, float *output, int heads, const int64_t vectors, const int type) {
    const int64_t width = vectors * LANES, item = type == FLOAT32 ? 4 : 2;
    float highest[4], total[4], score[4][STRETCH];
    memset(output, 0, heads * width * sizeof(float));
    for (int g = 0; g < heads; g++) highest[g] = -INFINITY, total[g] = 0;
    for (int64_t at = begin; at < stop; at += STRETCH) {
        const int64_t num = stop - at < STRETCH ? stop - at : STRETCH, *offset = offsets + at - begin;
        for (int64_t j = 0; j < num; j++) {
            const char *key = keys + offset[j] * item;
            vec dot[4] = {{0}, {0}, {0}, {0}};
            for (int64_t v = 0; v < vectors; v++) {
                vec loaded = load_cached(key, v * LANES, type);
                for (int g = 0; g < heads; g++) dot[g] += loaded * load_float32(query + g * width + v * LANES);
            }
            for (int g = 0; g < heads; g++) score[g][j] = sum(dot[g]) * d->query_scale;
        }
        float shrink[4];
        for (int g = 0; g < heads; g++) shrink[g] = weigh(score[g], num, &highest[g], &total[g]);
        for (int64_t v = 0; v < vectors; v++) {
            vec acc[4];
            for (int g = 0; g < heads; g++) acc[g] = load_float32(output + g * width + v * LANES) * shrink[g];
            for (int64_t j = 0; j < num; j++) {
                vec loaded = load_cached(values + offset[j] * item, v * LANES, type);
                for (int g = 0; g < heads; g++) acc[g] += loaded * score[g][j];
            }
            for (int g = 0; g < heads; g++) *(vec_u *)(output + g * width + v * LANES) = acc[g];
        }
    }
    for (int g = 0; g < heads; g++)
        for (int64_t v = 0; v < vectors; v++) *(vec_u *)(output + g * width + v * LANES) /= total[g];
}

#define HEADS(some, type_of, vectors_of)                                                                               \
    attend_heads(d, offsets, keys, values, begin, stop, query + g * width, output + g * width, some, vectors_of, type_of)
#define BY_COUNT(type_of, vectors_of)                                                                                  \
    switch (group - g < 4 ? group - g : 4) {                                                                           \
    case 1: HEADS(1, type_of, vectors_of); break;                                                                      \
    case 2: HEADS(2, type_of, vectors_of); break;                                                                      \
    case 3: HEADS(3, type_of, vectors_of); break;                                                                      \
    default: HEADS(4, type_of, vectors_of);                                                                            \
    }

/* One row's query heads of one key-value head. `offsets`: room for the tokens that it sees. */
static void attend(const Decoder *d, const Step *s, int64_t layer, int64_t row, int64_t kv_head, int64_t *offsets, const float *query, float *output) {
    const int64_t group = d->num_heads / d->num_kv_heads, width = d->head_dim, vectors = width / LANES;
    const int64_t item = d->kv_type == FLOAT32 ? 4 : 2, token_stride = d->num_kv_heads * width;
    const int64_t layer_stride = d->num_blocks * d->block_size * token_stride;
    const char *keys = (const char *)s->kv_cache + (2 * layer * layer_stride + kv_head * width) * item;
    const char *values = keys + layer_stride * item;
    const int32_t *table = s->block_tables + row * s->max_blocks;
    const int64_t stop = s->seq_lens[row], window = d->layers[layer].window;
    const int64_t begin = window && stop > window ? stop - window : 0;
    for (int64_t at = begin; at < stop; at++)
        offsets[at - begin] = ((int64_t)table[at / d->block_size] * d->block_size + at % d->block_size) * token_stride;
    for (int64_t g = 0; g < group; g += 4) {
        if (width == 64 && d->kv_type == FLOAT32) { BY_COUNT(FLOAT32, 64 / LANES) }
        else if (width == 64) { BY_COUNT(BFLOAT16, 64 / LANES) }
        else if (width == 128 && d->kv_type == FLOAT32) { BY_COUNT(FLOAT32, 128 / LANES) }
        else if (width == 128) { BY_COUNT(BFLOAT16, 128 / LANES) }
        else if (d->kv_type == FLOAT32) { BY_COUNT(FLOAT32, vectors) }
        else { BY_COUNT(BFLOAT16, vectors) }
    }
}

/* Norm and rotation of a row's heads of one key-value head; its key and value go into the cache. */
static void place(const Decoder *d, const Step *s, int64_t layer, int64_t row, int64_t kv_head, float *qkv) {
    const Layer *l = &d->layers[layer];
    const int64_t group = d->num_heads / d->num_kv_heads, width = d->head_dim, half = d->rotary_width / 2;
    const int64_t item = d->kv_type == FLOAT32 ? 4 : 2, token_stride = d->num_kv_heads * width;
    const float *cos = s->cos + (l->rope * s->num_rows + row) * half, *sin = s->sin + (l->rope * s->num_rows + row) * half;
    float *queries = qkv + kv_head * group * width;
    float *key = qkv + (d->num_heads + kv_head) * width, *value = key + d->num_kv_heads * width;
    for (int64_t g = 0; g < group; g++) {
        if (l->query_norm.weight) rms_norm(&l->query_norm, queries + g * width, width, d->eps, queries + g * width);
        rotate(queries + g * width, cos, sin, half);
    }
    if (l->key_norm.weight) rms_norm(&l->key_norm, key, width, d->eps, key);
    rotate(key, cos, sin, half);
    const int64_t place = s->slots[row] * token_stride + kv_head * width;
    char *keys = (char *)s->kv_cache + 2 * layer * d->num_blocks * d->block_size * token_stride * item;
    store_cached(keys + place * item, d->kv_type, key, width);
    store_cached(keys + (d->num_blocks * d->block_size * token_stride + place) * item, d->kv_type, value, width);
}
