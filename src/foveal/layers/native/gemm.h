/* Products alone, of any number of rows. */
#pragma once
#include "pool.h"
#include "quantised.h"

#define ROWS_WITHOUT_PANELS 40 /* are multiplied by weights as they lie (products.h); more by weights in panels (gemm.c) */

/* y[t] = x[t] W^T + b for rows `stride` numbers apart. Returns 0, or 1 if there is no memory. */
int foveal_product(Pool *pool, const Quantised *m, const float *x, int64_t num_rows, int64_t x_stride, float *y, int64_t y_stride);
/* The same, for few rows or float32. */
int product_of_few(Pool *pool, const Quantised *m, const float *x, int64_t num_rows, int64_t x_stride, float *y, int64_t y_stride);
