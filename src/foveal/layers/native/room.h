/* Memory for what a call computes. */
#pragma once
#include <stdint.h>
#include <stdlib.h>

/* Room for several arrays in one piece, each on a cache line of its own; NULL if there is no memory. */
typedef struct { void **place; int64_t num_bytes; } Room;

static void *make_room(const Room *rooms, int num_rooms) {
    int64_t total = 64; /* something, where nothing is asked for */
    for (int i = 0; i < num_rooms; i++) total += (rooms[i].num_bytes + 63) / 64 * 64;
    char *all = aligned_alloc(64, total), *next = all;
    for (int i = 0; all && i < num_rooms; i++) {
        *rooms[i].place = next;
        next += (rooms[i].num_bytes + 63) / 64 * 64;
    }
    return all;
}
