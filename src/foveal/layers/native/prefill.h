/* What attention of many rows is to the native code; mirrored in attention/native.py. */
#pragma once
#include "pool.h"

typedef struct {
    const float *query;         /* [T, H, D], rows `query_stride` apart */
    const float *keys, *values; /* by slot: [num_blocks * block_size, K, D], slots `kv_stride` apart */
    float *output;              /* [T, H, D] */
    const int64_t *starts;      /* [sequences + 1]: where each one's rows start; the last: T */
    const int32_t *block_tables; /* [sequences, max_blocks] */
    const int32_t *begins, *stops; /* [T]: a row attends to tokens [begin, stop) of its sequence, at least one */
    int64_t num_sequences, max_blocks, block_size, num_heads, num_kv_heads, head_dim, query_stride, kv_stride;
    int64_t least_rows;         /* sequences of fewer rows are left out */
    float scale;
} Prefill;

/* Returns 0, or 1 if there is no memory. */
int foveal_prefill(Pool *pool, const Prefill *p);
