// What every way of running several programs runs here: a program that looks at each packet and lets
// almost all of them go on. Compiled for XDP, for traffic control (-DTC), netfilter (-DNETFILTER), a
// cgroup's packets (-DCGROUP="…") and its connections (-DCONNECT), and with another MARK for a program
// to replace it by. It knows nothing of nke.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef MARK
#define MARK 0x88b5 // an EtherType for local experiments
#endif

static __always_inline int marked(void *data, void *end)
{
	struct ethhdr *eth = data;

	return (void *)(eth + 1) <= end && eth->h_proto == bpf_htons(MARK);
}

#ifdef TC
SEC("tc")
int node(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return marked(data, end) ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}
#elif defined(NETFILTER)
// As in the kernel; linux/bpf.h has neither.
struct sk_buff {
	__be16 protocol;
} __attribute__((preserve_access_index));

struct bpf_nf_ctx {
	const struct nf_hook_state *state;
	struct sk_buff *skb;
} __attribute__((preserve_access_index));

SEC("netfilter")
int node(struct bpf_nf_ctx *ctx)
{
	return ctx->skb->protocol == bpf_htons(MARK) ? 0 : 1; // NF_DROP, NF_ACCEPT
}
#elif defined(CGROUP)
SEC(CGROUP)
int node(struct __sk_buff *skb)
{
	return skb->protocol != bpf_htons(MARK);
}
#elif defined(CONNECT)
SEC("cgroup/connect4")
int node(struct bpf_sock_addr *ctx)
{
	return ctx->user_port != bpf_htons(MARK);
}
#else
SEC("xdp")
int node(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return marked(data, end) ? XDP_DROP : XDP_PASS;
}
#endif

char _license[] SEC("license") = "GPL";
