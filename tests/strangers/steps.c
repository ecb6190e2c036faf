// Two programs for every hook that a packet meets: each writes down that it ran, and goes on.
// harness/steps.rs numbers the hooks, and reads what was written.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef __u32 u32;
typedef __u64 u64;

// A packet is known by its length: with the headers of UDP, or of TCP with its time stamps.
#define IS_IT(length, more)                                                                        \
	((length) == (more) + 20 + 8 + PAYLOAD || (length) == (more) + 20 + 32 + PAYLOAD)

// How many have run, and which.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128);
	__type(key, u32);
	__type(value, u64);
} steps SEC(".maps");

static __always_inline void note(u64 number)
{
	u32 at = 0;
	u64 *entry = bpf_map_lookup_elem(&steps, &at);

	if (!entry)
		return;
	at = __sync_fetch_and_add(entry, 1) + 1;
	entry = bpf_map_lookup_elem(&steps, &at);
	if (entry)
		*entry = number;
}

// As in the kernel; linux/bpf.h has neither.
struct sk_buff {
	unsigned int len;
} __attribute__((preserve_access_index));
struct bpf_nf_ctx {
	const void *state;
	struct sk_buff *skb;
};

#define STEP(section, number, context, is_it, verdict)                                             \
	SEC(section) int step_##number(struct context *ctx)                                        \
	{                                                                                          \
		if (is_it)                                                                         \
			note(number);                                                              \
		return verdict;                                                                    \
	}
#define XDP(number) STEP("xdp", number, xdp_md, IS_IT(ctx->data_end - ctx->data, 14), XDP_PASS)
#define TC(section, number) STEP(section, number, __sk_buff, IS_IT(ctx->len, 14), -1)
#define IP(number) STEP("netfilter", number, bpf_nf_ctx, IS_IT(ctx->skb->len, 0), 1)
#define DATA(section, number) STEP(section, number, __sk_buff, IS_IT(ctx->len, 0), 1)
#define LOOKUP(number) STEP("sk_lookup", number, bpf_sk_lookup, ctx->local_port == PORT, SK_PASS)
#define RECEIVED(number) STEP("sk_skb/stream_verdict", number, __sk_buff, ctx->len == PAYLOAD, SK_PASS)
#define SENT(number) STEP("sk_msg", number, sk_msg_md, ctx->size == PAYLOAD, SK_PASS)
#define SOCK(section, number) STEP(section, number, bpf_sock, 1, 1)
#define ADDRESS(section, number) STEP(section, number, bpf_sock_addr, 1, 1)

XDP(0)
XDP(1)
TC("tcx/ingress", 2)
TC("tcx/ingress", 3)
TC("tcx/egress", 4)
TC("tcx/egress", 5)
IP(6)
IP(7)
IP(8)
IP(9)
IP(10)
IP(11)
IP(12)
IP(13)
IP(14)
IP(15)
LOOKUP(16)
LOOKUP(17)
DATA("cgroup_skb/ingress", 18)
DATA("cgroup_skb/ingress", 19)
DATA("cgroup_skb/egress", 20)
DATA("cgroup_skb/egress", 21)
SOCK("cgroup/sock_create", 22)
SOCK("cgroup/sock_create", 23)
ADDRESS("cgroup/bind4", 24)
ADDRESS("cgroup/bind4", 25)
SOCK("cgroup/post_bind4", 26)
SOCK("cgroup/post_bind4", 27)
ADDRESS("cgroup/connect4", 28)
ADDRESS("cgroup/connect4", 29)
ADDRESS("cgroup/sendmsg4", 30)
ADDRESS("cgroup/sendmsg4", 31)
ADDRESS("cgroup/recvmsg4", 32)
ADDRESS("cgroup/recvmsg4", 33)
RECEIVED(34)
RECEIVED(35)
SENT(36)
SENT(37)

char _license[] SEC("license") = "GPL";
