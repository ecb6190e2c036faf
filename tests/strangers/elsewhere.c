// Connections to port 99 of anywhere are made to port 7 of 10.1.0.1 or fd01::1 instead,
// and the peer's name is still the one that was asked for.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

struct name {
	u32 address[4];
	u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, struct name);
} asked SEC(".maps");

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct name name = {.address = {ctx->user_ip4}, .port = ctx->user_port};

	if (ctx->user_port != bpf_htons(99))
		return 1;
	bpf_map_update_elem(&asked, &cookie, &name, BPF_ANY);
	ctx->user_ip4 = bpf_htonl(0x0a010001);
	ctx->user_port = bpf_htons(7);
	return 1;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct name *name = bpf_map_lookup_elem(&asked, &cookie);

	if (name) {
		ctx->user_ip4 = name->address[0];
		ctx->user_port = name->port;
	}
	return 1;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct name name = {.port = ctx->user_port};

	if (ctx->user_port != bpf_htons(99))
		return 1;
	name.address[0] = ctx->user_ip6[0];
	name.address[1] = ctx->user_ip6[1];
	name.address[2] = ctx->user_ip6[2];
	name.address[3] = ctx->user_ip6[3];
	bpf_map_update_elem(&asked, &cookie, &name, BPF_ANY);
	ctx->user_ip6[0] = bpf_htonl(0xfd010000);
	ctx->user_ip6[1] = 0;
	ctx->user_ip6[2] = 0;
	ctx->user_ip6[3] = bpf_htonl(1);
	ctx->user_port = bpf_htons(7);
	return 1;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	u64 cookie = bpf_get_socket_cookie(ctx);
	struct name *name = bpf_map_lookup_elem(&asked, &cookie);

	if (name) {
		ctx->user_ip6[0] = name->address[0];
		ctx->user_ip6[1] = name->address[1];
		ctx->user_ip6[2] = name->address[2];
		ctx->user_ip6[3] = name->address[3];
		ctx->user_port = name->port;
	}
	return 1;
}

char _license[] SEC("license") = "GPL";
