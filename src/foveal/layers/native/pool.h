/* Threads that share a step's work out among them. They spin a little, then yield, and sleep between steps. */
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define MAX_THREADS 64
#define GRAIN 16           /* what is shared out is shared out in multiples of it: the lanes of the widest build */
#define SPINS 500          /* pauses before a thread lets others have its core: more hurts where it has no core of its own */
#define YIELDS 200         /* and so many turns of the scheduler before it sleeps between steps */

typedef struct Pool Pool;
typedef void Work(Pool *pool, int thread);

struct Pool {
    int num_threads;
    pthread_mutex_t turn;       /* of the callers */
    pthread_t threads[MAX_THREADS];
    Work *work;
    void *task;
    _Atomic int64_t generation; /* of the work that is there; negative: stop */
    _Atomic int arrived;        /* at the barrier */
    _Atomic unsigned phase;     /* of the barrier */
    _Atomic int64_t *taken;     /* how much of each product has been taken on, one counter a product */
    int64_t num_counters;
    pthread_mutex_t mutex;
    pthread_cond_t there_is_work;
    int num_asleep;
};

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline void barrier(Pool *pool) {
    if (pool->num_threads == 1) return;
    unsigned phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) == pool->num_threads - 1) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->phase, phase + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&pool->phase, memory_order_acquire) == phase; spins++) {
        if (spins < SPINS) pause_briefly();
        else sched_yield();
    }
}

/* NULL if there is no memory; fewer threads than asked for if the system gives no more. */
Pool *foveal_pool(int num_threads);
void foveal_close(Pool *pool);

/* All threads do `work`, this one too; callers in several threads take turns. Returns 0, or 1 if there is no memory. */
int run(Pool *pool, Work *work, void *task, int64_t num_counters);

/* The next stretch of [0, count) that nobody has taken on; false when all is. */
static inline int take(Pool *pool, int64_t counter, int64_t count, int64_t *start, int64_t *stop) {
    int64_t size = (count / (pool->num_threads * 6) + GRAIN - 1) / GRAIN * GRAIN;
    if (size < GRAIN) size = GRAIN;
    if (pool->num_threads == 1) size = (count + GRAIN - 1) / GRAIN * GRAIN;
    *start = atomic_fetch_add_explicit(&pool->taken[counter], size, memory_order_relaxed);
    *stop = *start + size < count ? *start + size : count;
    return *start < count;
}

/* The next one of `count` things that nobody has taken on; false when all are. */
static inline int take_one(Pool *pool, int64_t counter, int64_t count, int64_t *one) {
    *one = atomic_fetch_add_explicit(&pool->taken[counter], 1, memory_order_relaxed);
    return *one < count;
}
