// For objects without BTF: a map of the oldest kind (-DMAP), or none.
#include "stranger.h"

#ifdef MAP
struct {
	u32 type;
	u32 key_size;
	u32 value_size;
	u32 max_entries;
	u32 map_flags;
} seen SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.key_size = sizeof(u32),
	.value_size = sizeof(u64),
	.max_entries = 2,
};
#endif

static __noinline int weigh(u32 number)
{
	if (number > 128)
		return number / 2;
	return number;
}

SEC(SECTION)
int plain(struct context *ctx)
{
	u32 number = selector(ctx);

#ifdef MAP
	ADD(seen, 1, number);
#endif
	return by_thirds(weigh(number));
}
