// Asks for existing sockets, by an iterator over OVER: counts them in the map's first value, and keeps the
// id of the cgroup that it is run for in the second. With -DBAD no verifier takes it.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

extern const void nke_target__cgroup __ksym;

struct iteration {
	void *meta;
	void *socket;
};

SEC("cgroup/sock_release")
int looks_on(struct bpf_sock *ctx)
{
	return 1;
}

SEC("iter/" OVER)
int over(struct iteration *ctx)
{
	__u32 first = 0, second = 1;
	__u64 *count = bpf_map_lookup_elem(&seen, &first);
	__u64 *cgroup = bpf_map_lookup_elem(&seen, &second);

#ifdef BAD
	return ((__u64 *)ctx)[100];
#endif
	if (!ctx->socket || !count || !cgroup)
		return 0;
	*count += 1;
	*cgroup = (__u64)&nke_target__cgroup;
	return 0;
}

char NKE[] SEC(".nke") = "existing = true\n";
char _license[] SEC("license") = "GPL";
