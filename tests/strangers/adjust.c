// Moves the packet's head and tail about, so that every pointer into it dies, and changes bytes.
#include "stranger.h"

SEC(SECTION)
int adjust(struct context *ctx)
{
	u32 number = selector(ctx);
#ifdef TC
	if (number & 1 && bpf_skb_change_tail(ctx, ctx->len + 16, 0))
		return DROP;
	if (number & 2)
		bpf_skb_store_bytes(ctx, 20, &number, 1, 0);
#else
	if (number & 1 && bpf_xdp_adjust_head(ctx, -16))
		return DROP;
	if (number & 2 && bpf_xdp_adjust_tail(ctx, -8))
		return DROP;
	/* Room for metadata, and back: a test run shows it as part of the packet. */
	if (number & 4 && (bpf_xdp_adjust_meta(ctx, -16) || bpf_xdp_adjust_meta(ctx, 16)))
		return DROP;
#endif
	return by_thirds(number);
}
