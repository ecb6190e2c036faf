// A timer in a map's value, whose callback is a function pointer in the program.
#include "stranger.h"

struct timed {
	struct bpf_timer timer;
	u64 started;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, struct timed);
} timers SEC(".maps");

COUNTER(facts);

static int ring(void *map, u32 *key, struct timed *timed)
{
	timed->started += 1000000;
	return 0;
}

SEC(SECTION)
int timed(struct context *ctx)
{
	u32 number = selector(ctx), key = number & 1;
	struct timed *timed = bpf_map_lookup_elem(&timers, &key);

	if (!timed)
		return DROP;
	timed->started++;
	/* The first time it is made, then it exists; 1 is CLOCK_MONOTONIC. It never rings. */
	ADD(facts, 0, bpf_timer_init(&timed->timer, &timers, 1));
	ADD(facts, 1, bpf_timer_set_callback(&timed->timer, ring));
	ADD(facts, 2, bpf_timer_start(&timed->timer, 1000000000000ULL, 0));
	ADD(facts, 3, bpf_timer_cancel(&timed->timer));
	return by_thirds(number);
}
