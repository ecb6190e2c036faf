// Settings in a manifest: variables, an array's members behind a spin lock, and text. Drops UDP to one
// port, in Ethernet and IPv4 without options; counts what it reads of a number that is half of one value
// and half of another.
#include "stranger.h"
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#define ONE 0x1111111111111111
#define OTHER 0x2222222222222222

char _manifest[] SEC(".nke") = "[settings.drop-port]\n"
			       "type = 'u16'\n"
			       "default = 7\n"
			       "minimum = 1\n"
			       "maximum = 1024\n"
			       "description = 'The UDP port that is dropped'\n"
			       "[settings.pattern]\n"
			       "type = 'u64'\n"
			       "[settings.label]\n"
			       "type = 'string'\n"
			       "default = 'none'\n"
			       "[settings.allowed]\n"
			       "type = 'ipv4'\n"
			       "default = '192.0.2.1'\n"
			       "[settings.station]\n"
			       "type = 'mac'\n"
			       "map = 'config'\n"
			       "default = '02:00:00:00:00:09'\n"
			       "[settings.gateway]\n"
			       "type = 'ipv6'\n"
			       "map = 'config'\n"
			       "[settings.fixed]\n"
			       "type = 'u32'\n"
			       "default = 5\n";

volatile u16 drop_port = 9;
volatile u64 pattern = ONE;
volatile char label[16];
volatile __be32 allowed;
const volatile u32 fixed;
volatile u64 seen, torn;

struct config {
	struct bpf_spin_lock lock;
	u8 station[6];
	u8 gateway[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct config);
} config SEC(".maps");

SEC("xdp")
int settings(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	u64 now = pattern;

	__sync_fetch_and_add(&seen, 1);
	if (now != ONE && now != OTHER)
		__sync_fetch_and_add(&torn, 1);
	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	if (ip->saddr == allowed || label[0] == '!' || fixed == 0)
		return XDP_PASS;
	return udp->dest == bpf_htons(drop_port) ? XDP_DROP : XDP_PASS;
}
