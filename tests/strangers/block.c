// Drops IPv4 and IPv6 UDP and TCP packets to one destination port, and counts all that it sees.
#include "stranger.h"
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/in.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, u64);
} seen SEC(".maps");

static __always_inline void count(u32 which)
{
	u64 *value = bpf_map_lookup_elem(&seen, &which);
	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline int blocked(void *data, void *end)
{
	struct ethhdr *eth = data;
	void *ports;
	u8 protocol;

	count(0);
	if ((void *)(eth + 1) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end || ip->ihl != 5)
			return 0;
		protocol = ip->protocol;
		ports = ip + 1;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end)
			return 0;
		protocol = ip->nexthdr;
		ports = ip + 1;
	} else {
		return 0;
	}
	if (protocol != IPPROTO_UDP && protocol != IPPROTO_TCP)
		return 0;
	if (ports + 4 > end || ((u16 *)ports)[1] != bpf_htons(PORT))
		return 0;
	count(1);
	return 1;
}

SEC("xdp")
int block_xdp(struct xdp_md *ctx)
{
	return blocked((void *)(long)ctx->data, (void *)(long)ctx->data_end) ? XDP_DROP : XDP_PASS;
}

SEC("tc")
int block_tc(struct __sk_buff *skb)
{
	return blocked((void *)(long)skb->data, (void *)(long)skb->data_end) ? TC_ACT_SHOT
									      : TC_ACT_UNSPEC;
}

