// A program that tail-calls its siblings, through an array that the object itself fills, and
// one that stays empty.
#include "stranger.h"

COUNTER(seen);

int target_one(struct context *ctx);
int target_two(struct context *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(u32));
#ifdef FILLED
	__array(values, int(void *));
} jumps SEC(".maps") = {
	.values = {[1] = (void *)&target_one, [2] = (void *)&target_two},
};
#else
	__uint(value_size, sizeof(u32));
} jumps SEC(".maps");
#endif

#ifdef FILLED
SEC(SECTION)
int target_one(struct context *ctx)
{
	ADD(seen, 1, 1);
	return by_thirds(selector(ctx) / 4);
}

SEC(SECTION)
int target_two(struct context *ctx)
{
	ADD(seen, 2, 1);
	bpf_tail_call(ctx, &jumps, 1);
	return DROP;
}
#endif

SEC(SECTION)
int tailcalls(struct context *ctx)
{
	u32 number = selector(ctx);

	ADD(seen, 0, 1);
	bpf_tail_call(ctx, &jumps, number & 3);
	ADD(seen, 3, 1);
	return by_thirds(number);
}
