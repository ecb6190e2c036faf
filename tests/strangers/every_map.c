// A map of each kind that a user can look at, with keys and values of many types, and variables. Drops
// UDP to the port that a variable says, in Ethernet and IPv4 without options.
#include "stranger.h"
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/udp.h>

enum state { OPEN, SHUT = 7 };

struct flow {
	__be32 source;
	__be16 ports[2];
};

struct about {
	enum state state;
	char name[8];
	u32 low : 3, high : 5;
	union {
		u32 number;
		u8 bytes[4];
	};
	int *pointer;
	struct in6_addr address;
};

struct locked {
	struct bpf_spin_lock lock;
	u64 pair[2];
};

struct prefix {
	u32 length;
	__be32 address;
};

#define MAP(kind, entries, k, v)                                                                   \
	__uint(type, BPF_MAP_TYPE_##kind);                                                         \
	__uint(max_entries, entries);                                                              \
	__type(key, k);                                                                            \
	__type(value, v)

struct { MAP(HASH, 100000, struct flow, struct about); } flows SEC(".maps");
struct { MAP(LRU_HASH, 64, u32, u64); } recent SEC(".maps");
struct { MAP(ARRAY, 4, u32, u64); } list SEC(".maps");
struct { MAP(ARRAY, 1, u32, struct locked); } pairs SEC(".maps");
struct { MAP(PERCPU_ARRAY, 2, u32, u32); } each SEC(".maps");
struct { MAP(PERCPU_HASH, 8, u32, u64); } each_hash SEC(".maps");
struct {
	MAP(LPM_TRIE, 64, struct prefix, u32);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} nets SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__type(value, u32);
} line SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} sockets SEC(".maps");
struct inner {
	MAP(ARRAY, 1, u32, u32);
} inner SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [1] = &inner } };

volatile u16 drop_port = 9;
volatile _Bool enabled = 1;
volatile int below = -3;
volatile enum state state = SHUT;
volatile char label[16] = "first";
volatile u64 seen;
const volatile u32 limit = 5;
volatile u64 pair[2];

SEC("xdp")
int every_map(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	__sync_fetch_and_add(&seen, 1);
	if (below == 100 || state == 100 || label[0] == 100 || limit == 100 || pair[1] == 100)
		return XDP_ABORTED;
	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	return enabled && udp->dest == bpf_htons(drop_port) ? XDP_DROP : XDP_PASS;
}
