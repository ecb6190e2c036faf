// Has routines that write down when it is their turn, in a map that one extension has and others use:
// first how many turns there were, and then for each WHO has it, times ten, and the event.
#include "stranger.h"

#ifndef WHO
#define WHO 1
#endif

COUNTER(turns);

struct event {
	u32 event;
};

static __always_inline void note(struct event *context)
{
	u32 first = 0, at;
	u64 turn = WHO * 10 + context->event;
	u64 *count = bpf_map_lookup_elem(&turns, &first);

	if (!count)
		return;
	*count += 1;
	at = *count;
	bpf_map_update_elem(&turns, &at, &turn, BPF_ANY);
}

SEC("syscall")
int start(struct event *context)
{
	note(context);
	return 0;
}

SEC("syscall")
int finish(struct event *context)
{
	note(context);
	return 0;
}

SEC("xdp")
int turns_xdp(struct xdp_md *ctx)
{
	return XDP_PASS;
}
