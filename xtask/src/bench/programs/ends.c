// Where packets come from and where they end: the generator sends each packet to the interface whose
// index the packet itself holds, in the last four bytes of its sender's Ethernet address, so that all
// else of it can be as a receiver wants it; a gate counts what passes it, and a sink what ends in it.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#define COUNTER \
	struct { \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); \
		__uint(max_entries, 1); \
		__type(key, __u32); \
		__type(value, __u64); \
	} packets SEC(".maps"); \
\
	static __always_inline void count(void) \
	{ \
		__u32 key = 0; \
		__u64 *number = bpf_map_lookup_elem(&packets, &key); \
		if (number) \
			*number += 1; \
	}

#if defined(GENERATOR)
SEC("xdp")
int generator(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 *interface = data + 8;

	if ((void *)(interface + 1) > end)
		return XDP_ABORTED;
	return bpf_redirect(*interface, 0);
}
#elif defined(GATE)
COUNTER
SEC("xdp")
int gate(struct xdp_md *ctx)
{
	count();
	return XDP_PASS;
}
#elif defined(TC)
COUNTER
SEC("tc")
int sink(struct __sk_buff *skb)
{
	count();
	return TC_ACT_SHOT;
}
#else
COUNTER
SEC("xdp")
int sink(struct xdp_md *ctx)
{
	count();
	return XDP_DROP;
}
#endif

char _license[] SEC("license") = "GPL";
