// A bounded loop, a callback of bpf_loop, and one over the elements of a map.
#include "stranger.h"

COUNTER(steps);

struct walk {
	u64 sum;
	u32 limit;
};

struct bpf_map;

static int step(u32 index, void *data)
{
	struct walk *walk = data;

	walk->sum += index;
	return index >= walk->limit;
}

static long add(struct bpf_map *map, u32 *key, u64 *value, struct walk *walk)
{
	walk->sum += *value + *key;
	return 0;
}

SEC(SECTION)
int loops(struct context *ctx)
{
	u32 number = selector(ctx);
	struct walk walk = {.sum = 0, .limit = number};
	u32 bounded = 0;

	for (u32 i = 0; i < 100; i++) {
		if (i > number)
			break;
		bounded += i * number;
	}
	bpf_loop(1000, step, &walk, 0);
	ADD(steps, 0, bounded);
	ADD(steps, 1, walk.sum);
	bpf_for_each_map_elem(&steps, add, &walk, 0);
	ADD(steps, 2, walk.sum);
	return by_thirds(walk.sum);
}
