// A program that counts in a map of the type STORAGE, one value for each cgroup or socket.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef __u64 u64;

#ifdef SOCKET
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} store SEC(".maps");
#define VALUE(sk) bpf_sk_storage_get(&store, sk, 0, BPF_SK_STORAGE_GET_F_CREATE)
#else
struct {
	__uint(type, STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, u64);
} store SEC(".maps");
#define VALUE(sk) bpf_get_local_storage(&store, 0)
#endif

// Of what is made, each begins with one, and may connect twice more.
SEC("cgroup/sock_create")
int on_create(struct bpf_sock *ctx)
{
	u64 *value = VALUE(ctx);

	if (value)
		*value = 1;
	return 1;
}

SEC("cgroup/connect4")
int on_connect(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	u64 *value = sk ? VALUE(sk) : 0;

	return value && (*value)++ < 3;
}

char _license[] SEC("license") = "GPL";
