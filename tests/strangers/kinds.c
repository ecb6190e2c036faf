// Maps of the kinds that hold other kernel objects: maps, programs, sockets, devices, CPUs.
#include "stranger.h"

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, u64);
} inner_one SEC(".maps"), inner_two SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(u32));
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = {[0] = &inner_one, [2] = &inner_two},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, u32);
	__array(values, struct inner);
} outer_hash SEC(".maps");

#define HOLDER(name, kind)                                                                         \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, 4);                                                            \
		__uint(key_size, sizeof(u32));                                                     \
		__uint(value_size, sizeof(u32));                                                   \
	} name SEC(".maps")

HOLDER(sockets, BPF_MAP_TYPE_SOCKMAP);
HOLDER(socket_hash, BPF_MAP_TYPE_SOCKHASH);
HOLDER(groups, BPF_MAP_TYPE_CGROUP_ARRAY);
#ifdef TC
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} storage SEC(".maps");
#else
HOLDER(devices, BPF_MAP_TYPE_DEVMAP);
HOLDER(device_hash, BPF_MAP_TYPE_DEVMAP_HASH);
HOLDER(cpus, BPF_MAP_TYPE_CPUMAP);
HOLDER(xsks, BPF_MAP_TYPE_XSKMAP);
#endif

COUNTER(facts);

SEC(SECTION)
int kinds(struct context *ctx)
{
	u32 number = selector(ctx), which = number & 3, one = 1;
	void *inner = bpf_map_lookup_elem(&outer, &which);

	if (inner) {
		u64 *value = bpf_map_lookup_elem(inner, &one);
		if (value)
			*value += number;
		ADD(facts, 0, 1);
	}
	if (bpf_map_lookup_elem(&outer_hash, &which))
		ADD(facts, 1, 1);
#ifdef TC
	ADD(facts, 2, bpf_skb_under_cgroup(ctx, &groups, 0));
	if (ctx->sk) {
		struct bpf_sock *sk = bpf_sk_fullsock(ctx->sk);
		if (sk && bpf_sk_storage_get(&storage, sk, 0, BPF_SK_STORAGE_GET_F_CREATE))
			ADD(facts, 3, 1);
	}
#else
	ADD(facts, 2, bpf_redirect_map(&devices, which, XDP_TX));
	ADD(facts, 3, bpf_redirect_map(&device_hash, which, XDP_DROP));
	ADD(facts, 4, bpf_redirect_map(&cpus, which, XDP_PASS));
	if (bpf_map_lookup_elem(&xsks, &which))
		ADD(facts, 5, 1);
#endif
	return by_thirds(number);
}
