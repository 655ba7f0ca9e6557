/* What a decoder and a step are to the native code; mirrored in library.py. */
#pragma once
#include "quantised.h"

enum { SILU, GELU, GELU_TANH };
enum { FLOAT32 = U4 + 1 }; /* a form of Matrix beside those of Quantised: [out, in] floats, without a scale */

typedef Quantised Matrix;

typedef struct {
    const float *weight;  /* NULL: there is no such norm */
} Norm;

typedef struct {
    Norm attention_norm, query_norm, key_norm, after_attention_norm, mlp_norm, after_mlp_norm;
    Matrix query, key, value, out, gate, up, down;
    int64_t window;       /* which of the step's rotations, and of its ranges */
} Layer;

typedef struct {
    const Layer *layers;
    int64_t num_layers, width, num_heads, num_kv_heads, head_dim, mlp_width, rotary_width;
    int64_t block_size, num_blocks;  /* of the KV cache [num_layers, 2, num_blocks, block_size, K, D] */
    int64_t activation;
    float eps, query_scale;
    Norm norm;            /* the last */
} Decoder;

typedef struct {
    float *x;             /* [T, W]: embeddings in, hidden states out */
    float *kv_cache;
    const float *cos, *sin; /* [windows, T, rotary_width / 2] */
    const int64_t *starts;       /* [sequences + 1]: where each one's rows start; the last: T */
    const int32_t *block_tables; /* [sequences, max_blocks] */
    const int32_t *sequences;    /* [T]: which a row is of */
    const int32_t *begins, *stops; /* [windows, T]: a row attends to tokens [begin, stop) of its sequence, at least one */
    const int64_t *slots;        /* [T]: where its key and value go */
    int64_t num_rows, num_sequences, max_blocks;
} Step;
