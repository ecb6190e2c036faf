// Counts the packets of each UDP flow into a map that other extensions use. The flags make other
// maps of the same name: -DENTRIES, -DVALUE (the type of the value), -DTYPE, -DKEY.
#include "stranger.h"
#include "flow.h"

FLOWS_MAP SEC(".maps");

SEC("xdp")
int flows(struct xdp_md *ctx)
{
	struct flow flow = {};
	struct count one = {.packets = 1};
	struct count *count;

	if (!flow_of((void *)(long)ctx->data, (void *)(long)ctx->data_end, &flow))
		return XDP_PASS;
	count = bpf_map_lookup_elem(&FLOWS, &flow);
	if (count)
		__sync_fetch_and_add(&count->packets, 1);
	else
		bpf_map_update_elem(&FLOWS, &flow, &one, BPF_NOEXIST);
	return XDP_PASS;
}
