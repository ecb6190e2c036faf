// Adds its number to the list in a trail frame, and goes on (or drops, with -DDROPS).
// harness/trail.rs says what a trail frame is.
#include "stranger.h"

// One object serves both hooks: -DXDP_SECTION and -DTC_SECTION name other sections for them.
#ifndef XDP_SECTION
#define XDP_SECTION "xdp"
#endif
#ifndef TC_SECTION
#define TC_SECTION "tc"
#endif

#define KIND 0x88b5
#define ROOM 41

struct trail {
	struct ethhdr header;
	u8 sequence[8];
	u8 count;
	u8 seen[ROOM];
} __attribute__((packed));

// Whether it was a trail frame.
static __always_inline int leave(void *data, void *end)
{
	struct trail *trail = data;

	if ((void *)(trail + 1) > end || trail->header.h_proto != bpf_htons(KIND))
		return 0;
	u32 at = trail->count;
	if (at >= ROOM)
		return 1;
	u8 *place = trail->seen + at;
	asm volatile("" : "+r"(place));
	if ((void *)(place + 1) > end)
		return 1;
	*place = ID;
	trail->count = at + 1;
	return 1;
}

#ifndef OTHER_PROGRAMS

SEC(XDP_SECTION)
int trail_xdp(struct xdp_md *ctx)
{
	leave((void *)(long)ctx->data, (void *)(long)ctx->data_end);
#ifdef DROPS
	return XDP_DROP;
#else
	return XDP_PASS;
#endif
}

SEC(TC_SECTION)
int trail_tc(struct __sk_buff *skb)
{
	leave((void *)(long)skb->data, (void *)(long)skb->data_end);
#ifdef DROPS
	return TC_ACT_SHOT;
#else
	return TC_ACT_UNSPEC;
#endif
}
#endif
