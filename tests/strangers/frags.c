// An XDP program for packets of several fragments: sums bytes from all over the packet.
#include "stranger.h"

COUNTER(seen);

SEC("xdp.frags")
int frags(struct xdp_md *ctx)
{
	u64 length = bpf_xdp_get_buff_len(ctx);
	u8 last;

	ADD(seen, 0, length);
	if (!length || bpf_xdp_load_bytes(ctx, length - 1, &last, 1))
		return XDP_ABORTED;
	ADD(seen, 1, last);
	return by_thirds(selector(ctx));
}
