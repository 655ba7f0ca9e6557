/* Runs the native step over made-up decoders of odd sizes, for the sanitizers: `drive NUM_THREADS`.
 *
 * Every buffer has exactly the size that it must have, so that a byte beyond is found.
 */
#include "step.c"

#include <stdio.h>

static float *numbers(int64_t count) {
    float *values = malloc(count * sizeof *values);
    for (int64_t i = 0; i < count; i++) values[i] = (float)((i * 37 + 11) % 101 - 50) / 64;
    return values;
}

static Matrix matrix(int type, int64_t out, int64_t in, int has_bias) {
    static const int64_t item[] = {4, 2, 1};
    char *weight = malloc(out * in * item[type]);
    for (int64_t i = 0; i < out * in; i++) {
        float value = (float)((i * 29 + 7) % 97 - 48) / 97 / sqrtf((float)in);
        if (type == FLOAT32) ((float *)weight)[i] = value;
        else if (type == BFLOAT16) ((uint16_t *)weight)[i] = as_bfloat16(value);
        else ((int8_t *)weight)[i] = (int8_t)(i * 29 % 255 - 127);
    }
    return (Matrix){weight, type == INT8 ? numbers(out) : NULL, has_bias ? numbers(out) : NULL, out, in, type, 0};
}

static double run_one(Pool *pool, int type, int64_t T, int64_t W, int64_t H, int64_t K, int64_t D, int64_t M, int kv_type) {
    enum { LAYERS = 2, BLOCK = 4, BLOCKS = 40, MAX_BLOCKS = 5 };
    Layer layers[LAYERS];
    for (int i = 0; i < LAYERS; i++)
        layers[i] = (Layer){
            {numbers(W)}, {i ? numbers(D) : NULL}, {i ? numbers(D) : NULL}, {i ? numbers(W) : NULL}, {numbers(W)}, {i ? numbers(W) : NULL},
            matrix(type, H * D, W, i), matrix(type, K * D, W, i), matrix(type, K * D, W, i), matrix(type, W, H * D, 0),
            matrix(type, M, W, 0), matrix(type, M, W, 0), matrix(type, W, M, 0), i ? 3 : 0, 0};
    Decoder decoder = {layers, LAYERS, W, H, K, D, M, D / 2, BLOCK, BLOCKS, kv_type, (int32_t)(T % 3), 1e-6f, 0.1f, {numbers(W)}};
    int64_t kv_count = (int64_t)LAYERS * 2 * BLOCKS * BLOCK * K * D;
    float *kv = numbers(kv_count), *x = numbers(T * W), *cos = numbers(T * D / 4), *sin = numbers(T * D / 4);
    int32_t *tables = malloc(T * MAX_BLOCKS * sizeof *tables), *seq_lens = malloc(T * sizeof *seq_lens);
    int64_t *slots = malloc(T * sizeof *slots);
    void *cache = kv;
    if (kv_type == BFLOAT16) {
        cache = malloc(kv_count * 2);
        store_cached(cache, BFLOAT16, kv, kv_count);
    }
    for (int64_t t = 0; t < T; t++) {
        for (int b = 0; b < MAX_BLOCKS; b++) tables[t * MAX_BLOCKS + b] = (int32_t)((t * 7 + b * 3) % BLOCKS);
        seq_lens[t] = (int32_t)(1 + (t * 5) % (MAX_BLOCKS * BLOCK));
        slots[t] = tables[t * MAX_BLOCKS + (seq_lens[t] - 1) / BLOCK] * BLOCK + (seq_lens[t] - 1) % BLOCK;
    }
    Step step = {x, cache, cos, sin, tables, seq_lens, slots, T, MAX_BLOCKS};
    double total = foveal_step(pool, &decoder, &step) ? NAN : 0;
    for (int64_t i = 0; i < T * W; i++) total += x[i];
    float *y = numbers(T * M);
    if (foveal_product(pool, &layers[0].gate, x, T, y)) total = NAN;
    for (int64_t i = 0; i < T * M; i++) total += y[i];
    return total;
}

int main(int argc, char **argv) {
    Pool *pool = foveal_pool(argc > 1 ? atoi(argv[1]) : 1);
    for (int type = FLOAT32; type <= INT8; type++)
        for (int64_t T = 1; T <= 16; T += 3) {
            double total = run_one(pool, type, T, 36, 6, 2, 16, 37, T % 2 ? FLOAT32 : BFLOAT16) + run_one(pool, type, T, 16, 5, 1, 64, 8, FLOAT32);
            if (!isfinite(total)) return printf("type %d, %d rows: not finite\n", type, (int)T), 1;
        }
    foveal_close(pool);
    puts("done");
    return 0;
}
