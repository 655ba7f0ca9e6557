/* Runs the native step and quantised products over made-up numbers of odd sizes, for the sanitizers: `drive NUM_THREADS`.
 *
 * Every buffer has exactly the size that it must have, so that a byte beyond is found.
 */
#include "blocks.h"
#include "gemm.h"
#include "pool.h"
#include "prefill.h"
#include "quantised.h"
#include "records.h"
#include "step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static float *numbers(int64_t count) {
    float *values = malloc(count * sizeof *values);
    for (int64_t i = 0; i < count; i++) values[i] = (float)((i * 37 + 11) % 101 - 50) / 64;
    return values;
}

static int64_t bytes_of(int64_t form, int64_t out, int64_t in) {
    if (form == INT8) return out * in;
    return out * row_bytes(&(Quantised){.in = in, .form = form});
}

static Matrix matrix(int64_t form, int64_t out, int64_t in, int has_bias) {
    const float *bias = has_bias ? numbers(out) : NULL;
    if (form == FLOAT32) {
        float *weight = numbers(out * in);
        for (int64_t i = 0; i < out * in; i++) weight[i] /= sqrtf((float)in);
        return (Matrix){weight, NULL, bias, out, in, FLOAT32, 0};
    }
    const int64_t num_bytes = bytes_of(form, out, in);
    uint8_t *weight = malloc(num_bytes);
    for (int64_t i = 0; i < num_bytes; i++) weight[i] = (uint8_t)(i * 37 % 101); /* as a float16, finite */
    const float scale = 0.001f;
    for (int64_t at = 0; has_own_scale(form) && at < num_bytes; at += block_bytes(form)) memcpy(weight + at, &scale, sizeof scale);
    return (Matrix){weight, form == INT8 ? numbers(out) : NULL, bias, out, in, form, 1000};
}

static double run_one(Pool *pool, int64_t form, int64_t T, int64_t W, int64_t H, int64_t K, int64_t D, int64_t M) {
    enum { LAYERS = 2, BLOCK = 4, BLOCKS = 160, MAX_BLOCKS = 5 };
    Layer layers[LAYERS];
    for (int i = 0; i < LAYERS; i++)
        layers[i] = (Layer){
            {numbers(W)}, {i ? numbers(D) : NULL}, {i ? numbers(D) : NULL}, {i ? numbers(W) : NULL},
            {numbers(W)}, {i ? numbers(W) : NULL},
            matrix(form, H * D, W, i), matrix(form, K * D, W, i), matrix(form, K * D, W, i), matrix(form, W, H * D, 0),
            matrix(form, M, W, 0), matrix(form, M, W, 0), matrix(form, W, M, 0), i};
    Decoder decoder = {layers, LAYERS, W, H, K, D, M, D / 2, BLOCK, BLOCKS, T % 3, 1e-6f, 0.1f, {numbers(W)}};
    int64_t kv_count = (int64_t)LAYERS * 2 * BLOCKS * BLOCK * K * D;
    float *kv = numbers(kv_count), *x = numbers(T * W), *cos = numbers(LAYERS * T * D / 4), *sin = numbers(LAYERS * T * D / 4);
    /* a prompt, where there are enough rows, and streams */
    const int64_t prompt = T > FEW_ROWS ? FEW_ROWS + 1 : 1, S = T - prompt + 1;
    int64_t *starts = malloc((S + 1) * sizeof *starts), *slots = malloc(T * sizeof *slots);
    int32_t *tables = malloc(S * MAX_BLOCKS * sizeof *tables), *sequences = malloc(T * sizeof *sequences);
    int32_t *begins = malloc(LAYERS * T * sizeof *begins), *stops = malloc(LAYERS * T * sizeof *stops);
    for (int64_t i = 0; i < S * MAX_BLOCKS; i++) tables[i] = (int32_t)(i * 7 % BLOCKS);
    for (int64_t i = 0; i <= S; i++) starts[i] = i ? prompt + i - 1 : 0;
    for (int64_t t = 0; t < T; t++) {
        const int64_t i = t < prompt ? 0 : t - prompt + 1, at = t < prompt ? t : t * 5 % (MAX_BLOCKS * BLOCK);
        sequences[t] = (int32_t)i;
        begins[t] = 0;
        begins[T + t] = at < 3 ? 0 : (int32_t)at - 2;
        stops[t] = stops[T + t] = (int32_t)at + 1;
        slots[t] = tables[i * MAX_BLOCKS + at / BLOCK] * BLOCK + at % BLOCK;
    }
    Step step = {x, kv, cos, sin, starts, tables, sequences, begins, stops, slots, T, S, MAX_BLOCKS};
    double total = foveal_step(pool, &decoder, &step) ? NAN : 0;
    for (int64_t i = 0; i < T * W; i++) total += x[i];
    return total;
}

static double multiply(Pool *pool, int64_t form, int64_t rows, int64_t out, int64_t in) {
    const Matrix m = matrix(form, out, in, rows % 2);
    float *y = malloc(rows * out * sizeof *y);
    double total = foveal_product(pool, &m, numbers(rows * in), rows, in, y, out) ? NAN : 0;
    for (int64_t i = 0; i < rows * out; i++) total += y[i];
    return total;
}

static double attend_rows(Pool *pool, int64_t H, int64_t K, int64_t D) {
    enum { SEQUENCES = 3, BLOCK = 4, MAX_BLOCKS = 40, BLOCKS = SEQUENCES * MAX_BLOCKS };
    const int64_t starts[SEQUENCES + 1] = {0, 1, 30, 97}, T = starts[SEQUENCES], kv_count = BLOCKS * BLOCK * K * D;
    int32_t *tables = malloc(BLOCKS * sizeof *tables), *begins = malloc(T * sizeof *begins), *stops = malloc(T * sizeof *stops);
    for (int b = 0; b < BLOCKS; b++) tables[b] = (b * 7) % BLOCKS;
    for (int64_t i = 0; i < SEQUENCES; i++)
        for (int64_t t = starts[i]; t < starts[i + 1]; t++) {
            stops[t] = (int32_t)(MAX_BLOCKS * BLOCK - 3 * i - (starts[i + 1] - t) + 1);
            begins[t] = i == 1 && stops[t] > 70 ? stops[t] - 70 : 0;
        }
    float *output = malloc(T * H * D * sizeof *output);
    const Prefill p = {numbers(T * H * D), numbers(kv_count), numbers(kv_count), output, starts, tables, begins, stops,
                       SEQUENCES, MAX_BLOCKS, BLOCK, H, K, D, H * D, K * D, 1, 0.1f};
    double total = foveal_prefill(pool, &p) ? NAN : 0;
    for (int64_t i = 0; i < T * H * D; i++) total += output[i];
    return total;
}

int main(int argc, char **argv) {
    Pool *pool = foveal_pool(argc > 1 ? atoi(argv[1]) : 1);
    for (int64_t T = 1; T <= 46; T += T < 22 ? 3 : 24) {
        double total = 0;
        for (int64_t form = INT8; form <= FLOAT32; form++) {
            if (form != INT8 && form != FLOAT32 && groups_of_block(form) > 1) {
                total += run_one(pool, form, T, 256, 4, 2, 64, 512);
                continue;
            }
            const int is_grouped = form != INT8 && form != FLOAT32;
            total += run_one(pool, form, T, is_grouped ? 64 : 36, 6, 2, 16, is_grouped ? 32 : 37);
            total += run_one(pool, form, T, is_grouped ? 32 : 16, is_grouped ? 2 : 5, 1, 64, is_grouped ? 96 : 8);
        }
        if (!isfinite(total)) return printf("%d rows: not finite\n", (int)T), 1;
    }
    for (int64_t rows = 1; rows <= 150; rows += rows < 14 ? 1 : 136) {
        double total = multiply(pool, INT8, rows, 37, 259) + multiply(pool, INT8, rows, 3, 1);
        for (int64_t form = Q4_0; form < FLOAT32; form++) total += multiply(pool, form, rows, 37, 288 * groups_of_block(form));
        if (!isfinite(total)) return printf("products of %d rows: not finite\n", (int)rows), 1;
    }
    if (!isfinite(attend_rows(pool, 6, 2, 16) + attend_rows(pool, 3, 3, 37))) return puts("attention: not finite"), 1;
    foveal_close(pool);
    puts("done");
    return 0;
}
