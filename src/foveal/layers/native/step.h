/* The two ways of a step. Their numbers are the same. */
#pragma once
#include "pool.h"
#include "records.h"

#define FEW_ROWS 16 /* of a step are computed in one phase (step.c), more in many (many.c); of a sequence, attend one by one */

/* All layers and the last norm over a step's rows, in place in step->x. Returns 0, or 1 if there is no memory. */
int foveal_step(Pool *pool, const Decoder *d, const Step *s);
int step_of_many(Pool *pool, const Decoder *d, const Step *s);
