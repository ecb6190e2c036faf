// One program that calls NODES others, each of them what node.c is, as a dispatcher does that has
// them all at hand. Each looks for a mark of its own, so that no two can become one.

#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

static __always_inline int judge(struct xdp_md *ctx, unsigned short mark)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	return (void *)(eth + 1) <= end && eth->h_proto == bpf_htons(mark) ? XDP_DROP : XDP_PASS;
}

#define NODE(n) \
	static __noinline int node_##n(struct xdp_md *ctx) { return judge(ctx, 0x88b5 + n); }
#define CALL(n) \
	if (n < NODES && (verdict = node_##n(ctx)) != XDP_PASS) \
		return verdict;
#define ALL(DO) \
	DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) \
	DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) \
	DO(16) DO(17) DO(18) DO(19) DO(20) DO(21) DO(22) DO(23) \
	DO(24) DO(25) DO(26) DO(27) DO(28) DO(29) DO(30) DO(31)

ALL(NODE)

SEC("xdp")
int dispatcher(struct xdp_md *ctx)
{
	int verdict;

	ALL(CALL)
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
