/* Threads that share a step's work out among them. They spin a little, then yield, and sleep between steps. */
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 64
#define GRAIN 4            /* what is shared out is shared out in multiples of it */
#define SPINS 500          /* pauses before a thread lets others have its core: more hurts where it has no core of its own */
#define YIELDS 200         /* and so many turns of the scheduler before it sleeps between steps */

typedef struct Pool Pool;
typedef void Work(Pool *pool, int thread);

struct Pool {
    int num_threads;
    pthread_t threads[MAX_THREADS];
    Work *work;
    void *task;
    _Atomic int64_t generation; /* of the work that is there; negative: stop */
    _Atomic int arrived, phase; /* of the barrier */
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

static void barrier(Pool *pool) {
    if (pool->num_threads == 1) return;
    int phase = atomic_load_explicit(&pool->phase, memory_order_relaxed);
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

static int64_t wait_for_work(Pool *pool, int64_t done) {
    for (int spins = 0; spins < SPINS + YIELDS; spins++) {
        int64_t generation = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (generation != done) return generation;
        if (spins < SPINS) pause_briefly();
        else sched_yield();
    }
    pthread_mutex_lock(&pool->mutex);
    pool->num_asleep++;
    while (atomic_load(&pool->generation) == done) pthread_cond_wait(&pool->there_is_work, &pool->mutex);
    pool->num_asleep--;
    pthread_mutex_unlock(&pool->mutex);
    return atomic_load(&pool->generation);
}

typedef struct { Pool *pool; int thread; } Start;

static void *live(void *argument) {
    Start start = *(Start *)argument;
    free(argument);
    int64_t done = 0;
    while ((done = wait_for_work(start.pool, done)) > 0) {
        start.pool->work(start.pool, start.thread);
        barrier(start.pool);
    }
    return NULL;
}

/* All threads do `work`, this one too. Returns 0, or 1 if there is no memory. */
static int run(Pool *pool, Work *work, void *task, int64_t num_counters) {
    if (num_counters > pool->num_counters) {
        _Atomic int64_t *taken = realloc((void *)pool->taken, num_counters * sizeof *taken);
        if (!taken) return 1;
        pool->taken = taken;
        pool->num_counters = num_counters;
    }
    memset((void *)pool->taken, 0, num_counters * sizeof *pool->taken);
    pool->work = work;
    pool->task = task;
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    if (pool->num_asleep) pthread_cond_broadcast(&pool->there_is_work);
    pthread_mutex_unlock(&pool->mutex);
    work(pool, 0);
    barrier(pool);
    return 0;
}

/* NULL if there is no memory; fewer threads than asked for if the system gives no more. */
Pool *foveal_pool(int num_threads) {
    Pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->num_threads = num_threads < 1 ? 1 : num_threads > MAX_THREADS ? MAX_THREADS : num_threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->there_is_work, NULL);
    for (int thread = 1; thread < pool->num_threads; thread++) {
        Start *start = malloc(sizeof *start);
        if (start) *start = (Start){pool, thread};
        if (!start || pthread_create(&pool->threads[thread], NULL, live, start)) {
            free(start);
            pool->num_threads = thread;
        }
    }
    return pool;
}

void foveal_close(Pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->generation, -1);
    pthread_cond_broadcast(&pool->there_is_work);
    pthread_mutex_unlock(&pool->mutex);
    for (int thread = 1; thread < pool->num_threads; thread++) pthread_join(pool->threads[thread], NULL);
    free((void *)pool->taken);
    free(pool);
}

/* The next stretch of [0, count) that nobody has taken on; false when all is. */
static int take(Pool *pool, int64_t counter, int64_t count, int64_t *start, int64_t *stop) {
    int64_t size = (count / (pool->num_threads * 6) + GRAIN - 1) / GRAIN * GRAIN;
    if (size < GRAIN) size = GRAIN;
    if (pool->num_threads == 1) size = (count + GRAIN - 1) / GRAIN * GRAIN;
    *start = atomic_fetch_add_explicit(&pool->taken[counter], size, memory_order_relaxed);
    *stop = *start + size < count ? *start + size : count;
    return *start < count;
}
