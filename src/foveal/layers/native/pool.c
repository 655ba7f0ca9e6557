/* The life of a pool's threads, and how work reaches them. */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

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

int run(Pool *pool, Work *work, void *task, int64_t num_counters) {
    pthread_mutex_lock(&pool->turn);
    if (num_counters > pool->num_counters) {
        _Atomic int64_t *taken = realloc((void *)pool->taken, num_counters * sizeof *taken);
        if (!taken) {
            pthread_mutex_unlock(&pool->turn);
            return 1;
        }
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
    pthread_mutex_unlock(&pool->turn);
    return 0;
}

Pool *foveal_pool(int num_threads) {
    Pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->num_threads = num_threads < 1 ? 1 : num_threads > MAX_THREADS ? MAX_THREADS : num_threads;
    pthread_mutex_init(&pool->turn, NULL);
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

/* Of which source the library was built: a hash of it, that the caller compares with the source that it lies beside. */
const char *foveal_source(void) { return FOVEAL_SOURCE; }
