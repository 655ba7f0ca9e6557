/* Attention of a step's rows over the paged cache, and what is done to queries and keys before it.
 *
 * A row's context is cut into stretches, by its length alone. Threads take stretches of any row and key-value head, so that
 * all are busy whatever there is; what they found is merged in order, so that it does not matter who found it.
 */
#pragma once
#include "functions.h"
#include "records.h"
#include "vectors.h"

#define TILE 64          /* cached tokens that are looked at together */
#define MAX_STRETCHES 16 /* of a row's context */

/* What a stretch came to for a row's query heads of one key-value head: [group, D], unweighted, and for each head its
 * softmax's greatest score and sum. */
typedef struct {
    float *output, *highest, *total;
} Part;

/* One of the stretches that a row's context is cut into, of one key-value head. */
typedef struct {
    int64_t row, kv_head, begin, stop; /* empty: stop <= begin */
} Stretch;

static Stretch stretch_of(const Step *s, const Layer *l, int64_t row, int64_t kv_head, int64_t at) {
    const int64_t begin = s->begins[l->window * s->num_rows + row], stop = s->stops[l->window * s->num_rows + row];
    const int64_t tiles = (stop - begin + TILE - 1) / TILE, size = (tiles + MAX_STRETCHES - 1) / MAX_STRETCHES * TILE;
    const int64_t end = begin + (at + 1) * size;
    return (Stretch){row, kv_head, begin + at * size, end < stop ? end : stop};
}

static void rotate(float *head, const float *cos, const float *sin, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        float left = head[i], right = head[i + half];
        head[i] = left * cos[i] - right * sin[i];
        head[i + half] = right * cos[i] + left * sin[i];
    }
}

/* Weights of a tile's scores, in place, and what they add to the softmax's sum; what was summed before shrinks. */
static float weigh(float *score, int64_t num, float *highest, float *total) {
    float high = *highest;
    for (int64_t j = 0; j < num; j++) high = score[j] > high ? score[j] : high;
    const float shrink = expf(*highest - high);
    vec summed = {0};
    for (int64_t j = num; j % LANES; j++) score[j] = -INFINITY;
    for (int64_t j = 0; j < num; j += LANES) {
        vec weights = exp_of(load(score + j) - high);
        store(score + j, weights);
        summed += weights;
    }
    *highest = high;
    *total = *total * shrink + sum(summed);
    return shrink;
}

/* Up to 4 query heads of one row over the tokens of a tile; `vectors` of LANES make a head. next: of the tile after it. */
static inline __attribute__((always_inline)) void attend_tile(
    float query_scale, const int64_t *offset, const int64_t *next, int64_t num, const float *keys, const float *values, const float *query,
    float *output, float *highest, float *total, const int heads, const int64_t vectors) {
    const int64_t width = vectors * LANES;
    float score[4][TILE];
    for (int64_t j = 0; j < num; j++)
        for (int64_t i = 0; i < width; i += 16) __builtin_prefetch(values + offset[j] + i);
    for (int64_t j = 0; j < num; j += LANES) /* behind the last token it is repeated; `weigh` sees none of that */
        for (int g = 0; g < heads; g++) {
            vec dot[LANES];
            for (int i = 0; i < LANES; i++) dot[i] = (vec){0};
            for (int64_t v = 0; v < vectors; v++) {
                const vec part = load(query + g * width + v * LANES);
                for (int i = 0; i < LANES; i++) dot[i] += part * load(keys + offset[j + i] + v * LANES);
            }
            store(score[g] + j, float_sums_of(dot) * query_scale);
        }
    float shrink[4];
    for (int g = 0; g < heads; g++) shrink[g] = weigh(score[g], num, highest + g, total + g);
    for (int64_t v = 0; v < vectors; v++) {
        vec acc[4];
        for (int g = 0; g < heads; g++) acc[g] = load(output + g * width + v * LANES) * shrink[g];
        for (int64_t j = 0; j < num; j++) {
            vec loaded = load(values + offset[j] + v * LANES);
            __builtin_prefetch(keys + next[j] + v * LANES);
            for (int g = 0; g < heads; g++) acc[g] += loaded * score[g][j];
        }
        for (int g = 0; g < heads; g++) store(output + g * width + v * LANES, acc[g]);
    }
}

#define HEADS(some, vectors_of)                                                                                        \
    attend_tile(d->query_scale, offsets, next, num, keys, values, query + g * width, part.output + g * width,                \
                part.highest + g, part.total + g, some, vectors_of)
#define BY_COUNT(vectors_of)                                                                                           \
    switch (group - g < 4 ? group - g : 4) {                                                                           \
    case 1: HEADS(1, vectors_of); break;                                                                               \
    case 2: HEADS(2, vectors_of); break;                                                                               \
    case 3: HEADS(3, vectors_of); break;                                                                               \
    default: HEADS(4, vectors_of);                                                                                     \
    }

/* Where a tile's tokens lie in the cache, from token `at` on; behind the stretch's last one, where that one lies. */
static void find(const Decoder *d, const int32_t *table, int64_t at, int64_t stop, int64_t token_stride, int64_t offsets[TILE]) {
    for (int64_t j = 0; j < TILE; j++) {
        const int64_t token = at + j < stop ? at + j : stop - 1;
        offsets[j] = (table[token / d->block_size] * d->block_size + token % d->block_size) * token_stride;
    }
}

/* One row's query heads of one key-value head over a stretch. query: [group, D]. */
static void attend(const Decoder *d, const Step *s, int64_t layer, Stretch stretch, const float *query, Part part) {
    const int64_t group = d->num_heads / d->num_kv_heads, width = d->head_dim, vectors = width / LANES;
    const int64_t token_stride = d->num_kv_heads * width, layer_stride = d->num_blocks * d->block_size * token_stride;
    const float *keys = s->kv_cache + 2 * layer * layer_stride + stretch.kv_head * width, *values = keys + layer_stride;
    const int32_t *table = s->block_tables + s->sequences[stretch.row] * s->max_blocks;
    int64_t tiles[2][TILE], *offsets = tiles[0], *next = tiles[1];
    for (int64_t g = 0; g < group; g++) part.highest[g] = -INFINITY, part.total[g] = 0;
    if (stretch.stop <= stretch.begin) return;
    memset(part.output, 0, group * width * sizeof(float));
    find(d, table, stretch.begin, stretch.stop, token_stride, offsets);
    for (int64_t at = stretch.begin; at < stretch.stop; at += TILE) {
        const int64_t num = stretch.stop - at < TILE ? stretch.stop - at : TILE;
        find(d, table, at + TILE, stretch.stop, token_stride, next);
        for (int64_t g = 0; g < group; g += 4) {
            if (width == 64) { BY_COUNT(64 / LANES) }
            else if (width == 128) { BY_COUNT(128 / LANES) }
            else { BY_COUNT(vectors) }
        }
        int64_t *done = offsets;
        offsets = next, next = done;
    }
}

/* What the stretches of one query head came to, together. part: the first stretch's; the others follow, each `apart`. */
static void merge(Part part, int64_t num, int64_t head, int64_t group, int64_t width, float *output) {
    float highest = -INFINITY, total = 0;
    for (int64_t i = 0; i < num; i++) highest = fmaxf(highest, part.highest[i * group + head]);
    memset(output, 0, width * sizeof(float));
    for (int64_t i = 0; i < num; i++) {
        const float weight = expf(part.highest[i * group + head] - highest), *found = part.output + (i * group + head) * width;
        if (weight == 0) continue; /* an empty stretch, too */
        total += weight * part.total[i * group + head];
        for (int64_t j = 0; j < width; j++) output[j] += weight * found[j];
    }
    for (int64_t j = 0; j < width; j++) output[j] /= total;
}

/* Norm and rotation of a row's heads of one key-value head; its key and value go into the cache. */
static void place(const Decoder *d, const Step *s, int64_t layer, int64_t row, int64_t kv_head, float *qkv) {
    const Layer *l = &d->layers[layer];
    const int64_t group = d->num_heads / d->num_kv_heads, width = d->head_dim, half = d->rotary_width / 2;
    const int64_t token_stride = d->num_kv_heads * width, layer_stride = d->num_blocks * d->block_size * token_stride;
    const float *cos = s->cos + (l->window * s->num_rows + row) * half, *sin = s->sin + (l->window * s->num_rows + row) * half;
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
