// Programs with tail calls of their own, at hooks where the verifier wants to know every verdict
// beforehand: the arrays are empty, so each goes on and lets through. An array serves but one type.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef __u32 u32;

#define JUMPS(name)                                  \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY); \
		__uint(max_entries, 1);              \
		__uint(key_size, sizeof(u32));       \
		__uint(value_size, sizeof(u32));     \
	} name SEC(".maps")

JUMPS(from_received);
JUMPS(from_sent);
JUMPS(from_connecting);

SEC("cgroup_skb/ingress")
int received(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &from_received, 0);
	return 1;
}

SEC("cgroup_skb/egress")
int sent(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &from_sent, 0);
	return 1;
}

SEC("cgroup/connect4")
int connecting(struct bpf_sock_addr *call)
{
	bpf_tail_call(call, &from_connecting, 0);
	return 1;
}

char _license[] SEC("license") = "GPL";
