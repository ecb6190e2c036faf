/* A UDP flow over IPv4, and the map of flows that one extension has and others use. */
#pragma once
#include <linux/ip.h>
#include <linux/in.h>

struct flow {
	u32 source;
	u32 destination;
	u16 source_port;
	u16 destination_port;
};

/* The same size, and another meaning. */
struct reversed {
	u32 destination;
	u32 source;
	u16 destination_port;
	u16 source_port;
};

struct count {
	u64 packets;
	u64 bytes;
};

#ifndef TYPE
#define TYPE BPF_MAP_TYPE_HASH
#endif
#ifndef ENTRIES
#define ENTRIES 1024
#endif
#ifndef KEY
#define KEY struct flow
#endif
#ifndef VALUE
#define VALUE struct count
#endif

#define FLOWS_MAP                                                                                  \
	struct {                                                                                   \
		__uint(type, TYPE);                                                                \
		__uint(max_entries, ENTRIES);                                                      \
		__type(key, KEY);                                                                  \
		__type(value, VALUE);                                                              \
	} FLOWS

static __always_inline int flow_of(void *data, void *end, struct flow *flow)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	u16 *ports = (void *)(ip + 1);

	if ((void *)(ports + 2) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	if (ip->ihl != 5 || ip->protocol != IPPROTO_UDP)
		return 0;
	flow->source = ip->saddr;
	flow->destination = ip->daddr;
	flow->source_port = ports[0];
	flow->destination_port = ports[1];
	return 1;
}
