// An extension in versions, as tests/tests/upgrade wants them: -DID=n is the version's number, and
// -DMANIFEST what it says of itself.
//   -DMEMBERS=2  the values of `flows` have other members, and wider ones
//   -DMEMBERS=3  ... narrower ones
//   -DENTRIES=n  `flows` has so many entries
//   -DREFUSED    the verifier refuses its program for interface/out
//   -DONLY_XDP   it serves interface/xdp alone
#define OTHER_PROGRAMS
#include "trail.c"

#ifdef MANIFEST
char manifest[] SEC(".nke") = MANIFEST;
#endif
#ifndef ENTRIES
#define ENTRIES 256
#endif

#if !defined(MEMBERS)
struct flow {
	u64 packets;
	u32 last;
	u16 pair[2];
};
#elif MEMBERS == 2
struct flow {
	u32 fresh;
	u64 last;
	u64 packets;
	u16 pair[3];
};
#else
struct flow {
	u64 packets;
	u16 last;
	u16 pair[2];
};
#endif

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, u32);
	__type(value, struct flow);
} flows SEC(".maps");

// How many packets each version has seen.
COUNTER(seen);
// ... at one attachment, and at all of one target, where the manifest says so.
COUNTER(mine);
COUNTER(ours);

u64 total;
const volatile u32 version = ID;

static __always_inline void note(u32 number)
{
	u32 at = ID & 7, first = 0;
	struct flow fresh = {.packets = 1, .last = number, .pair = {1, 2}};
	struct flow *flow = bpf_map_lookup_elem(&flows, &number);
	u64 *count;

	if (flow)
		__sync_fetch_and_add(&flow->packets, 1);
	else
		bpf_map_update_elem(&flows, &number, &fresh, BPF_ANY);
	count = bpf_map_lookup_elem(&seen, &at);
	if (count)
		__sync_fetch_and_add(count, 1);
	count = bpf_map_lookup_elem(&mine, &first);
	if (count)
		__sync_fetch_and_add(count, 1);
	count = bpf_map_lookup_elem(&ours, &first);
	if (count)
		__sync_fetch_and_add(count, 1);
	__sync_fetch_and_add(&total, 1);
	if (version != ID)
		__sync_fetch_and_add(&total, 1000000);
}

SEC("xdp")
int version_xdp(struct xdp_md *ctx)
{
	if (leave((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		note(1);
	return XDP_PASS;
}

#ifndef ONLY_XDP
SEC("tcx/ingress")
int version_in(struct __sk_buff *skb)
{
	if (leave((void *)(long)skb->data, (void *)(long)skb->data_end))
		note(2);
	return TC_ACT_UNSPEC;
}

SEC("tcx/egress")
int version_out(struct __sk_buff *skb)
{
#ifdef REFUSED
	return *(volatile int *)(long)skb->mark;
#else
	if (leave((void *)(long)skb->data, (void *)(long)skb->data_end))
		note(3);
	return TC_ACT_UNSPEC;
#endif
}

SEC("netfilter")
int version_ip(void *ctx)
{
	note(4);
	return 1;
}

SEC("cgroup_skb/ingress")
int version_socket(struct __sk_buff *skb)
{
	note(5);
	return 1;
}
#endif
