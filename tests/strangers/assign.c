// Gives connections to the ports 1111 and 1113 to the socket that is in the map.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} chosen SEC(".maps");

SEC("sk_lookup")
int choose(struct bpf_sk_lookup *ctx)
{
	__u32 first = 0;
	struct bpf_sock *sk;
	long failed;

	if (ctx->local_port != 1111 && ctx->local_port != 1113)
		return SK_PASS;
	sk = bpf_map_lookup_elem(&chosen, &first);
	if (!sk)
		return SK_PASS;
	failed = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return failed ? SK_DROP : SK_PASS;
}

char _license[] SEC("license") = "GPL";
