// A netfilter program: it drops UDP datagrams to port 53, of both families.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define NF_DROP 0
#define NF_ACCEPT 1

// As in the kernel; linux/bpf.h has neither.
struct sk_buff;
struct nf_hook_state;
struct bpf_nf_ctx {
	const struct nf_hook_state *state;
	struct sk_buff *skb;
};

extern int bpf_dynptr_from_skb(struct sk_buff *skb, u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, u32 offset, void *buffer,
			      u32 buffer__szk) __ksym;

SEC("netfilter")
int no_names(struct bpf_nf_ctx *ctx)
{
	struct bpf_dynptr packet;
	u8 buffer[24];
	u16 ports[2];
	u8 *ip;
	u16 *found;
	int v6;

	if (bpf_dynptr_from_skb(ctx->skb, 0, &packet))
		return NF_DROP;
	ip = bpf_dynptr_slice(&packet, 0, buffer, sizeof(buffer));
	if (!ip)
		return NF_ACCEPT;
	v6 = ip[0] >> 4 == 6;
	if ((v6 ? ip[6] : ip[9]) != 17)
		return NF_ACCEPT;
	found = bpf_dynptr_slice(&packet, v6 ? 40 : 20, ports, sizeof(ports));
	return found && found[1] == bpf_htons(53) ? NF_DROP : NF_ACCEPT;
}

char _license[] SEC("license") = "GPL";
