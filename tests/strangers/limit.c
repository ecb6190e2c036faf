// Drops what comes after the third packet of a UDP flow, which another extension counts. It defines
// that one's map, or with -DEXTERN only names it; -DMORE brings maps of its own, on both sides of it.
#include "stranger.h"
#include "flow.h"

#ifdef MORE
COUNTER(before);
#endif
#ifdef EXTERN
extern FLOWS_MAP SEC(".maps");
#else
FLOWS_MAP SEC(".maps");
#endif
#ifdef MORE
COUNTER(behind);
#endif

SEC("xdp")
int limit(struct xdp_md *ctx)
{
	// Whatever the key is.
	struct flow flow[4] = {};
	u64 *packets;

#ifdef MORE
	ADD(before, 0, 1);
#endif
	if (!flow_of((void *)(long)ctx->data, (void *)(long)ctx->data_end, flow))
		return XDP_PASS;
	packets = bpf_map_lookup_elem(&FLOWS, flow);
	if (!packets || *packets <= 3)
		return XDP_PASS;
#ifdef MORE
	ADD(behind, 0, 1);
#endif
	return XDP_DROP;
}
