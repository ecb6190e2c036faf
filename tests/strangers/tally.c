// Has the map that the bundled counter counts in, or with -DEXTERN uses it; with -DLIMIT it drops UDP
// once that many packets of it have been counted.
#include "stranger.h"
#include <linux/ip.h>
#include <linux/in.h>

struct count {
	u64 packets;
	u64 bytes;
};

#ifdef EXTERN
extern
#endif
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 257);
	__type(key, u32);
	__type(value, struct count);
} COUNTS SEC(".maps");

#ifndef LIMIT
#define LIMIT ~0ULL
#endif

static u64 total;

static long add(u32 cpu, void *unused)
{
	u32 udp = IPPROTO_UDP;
	struct count *count = bpf_map_lookup_percpu_elem(&COUNTS, &udp, cpu);

	if (!count)
		return 1;
	total += count->packets;
	return 0;
}

SEC("xdp")
int tally(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	total = 0;
	bpf_loop(1024, add, 0, 0);
	return total > LIMIT ? XDP_DROP : XDP_PASS;
}
