// Has routines: they note what they are run for, and answer what the test wants.
#include "stranger.h"

// How often each event came, and at VETO what `finish` answers, as a negative errno.
#define VETO 7
COUNTER(events);

#ifndef ANSWER
#define ANSWER 0
#endif

struct event {
	u32 event;
};

static __always_inline void note(struct event *context)
{
	ADD(events, context->event & 3, 1);
}

SEC("syscall")
int start(struct event *context)
{
	note(context);
	return ANSWER;
}

SEC("syscall")
int finish(struct event *context)
{
	u32 at = VETO;

	note(context);
	u64 *veto = bpf_map_lookup_elem(&events, &at);
	return veto ? -(int)*veto : 0;
}

SEC("xdp")
int routine_xdp(struct xdp_md *ctx)
{
	ADD(events, 6, 1);
	return XDP_PASS;
}
