// Programs for all hooks of a cgroup, in one object, as tests/tests/socket wants them:
//   -DDENY      they deny what a socket of the mark 57005 does, sockets of the type SOCK_RAW and,
//               where the mark cannot be read, port 1111
//   -DERRNO=n   with this errno
//   -DTRAIL=n   they write this digit behind the port, or the option's value, of a call
//   neither     they look on.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;

#define MARK 57005
#define PORT 1111
#define SOCK_RAW 3
#define SOL_SOCKET 1
#define SO_PRIORITY 12
#define PRIVATE_LEVEL 20043

#ifdef DENY
#define LOOK_ON 0
#else
#define LOOK_ON 1
#endif

// The argument is whether it is to be denied.
static __always_inline int judge(int wrong)
{
	if (LOOK_ON || !wrong)
		return 1;
#ifdef ERRNO
	bpf_set_retval(-ERRNO);
#endif
	return 0;
}

static __always_inline int marked(struct bpf_sock *sk)
{
	return sk && sk->mark == MARK;
}

static __always_inline void port(struct bpf_sock_addr *ctx)
{
#ifdef TRAIL
	ctx->user_port = bpf_htons(bpf_ntohs(ctx->user_port) * 10 + TRAIL);
#endif
}

#define SOCKET(name, section, wrong)                                                               \
	SEC("cgroup/" section) int name(struct bpf_sock *ctx)                                      \
	{                                                                                          \
		return judge(wrong);                                                               \
	}

#define ADDRESS(name)                                                                              \
	SEC("cgroup/" #name) int on_##name(struct bpf_sock_addr *ctx)                              \
	{                                                                                          \
		port(ctx);                                                                         \
		return judge(marked(ctx->sk));                                                     \
	}

// These can only let go on.
#define ANSWER(name)                                                                               \
	SEC("cgroup/" #name) int on_##name(struct bpf_sock_addr *ctx)                              \
	{                                                                                          \
		port(ctx);                                                                         \
		return 1;                                                                          \
	}

#define UNIX(name)                                                                                 \
	SEC("cgroup/" #name) int on_##name(struct bpf_sock_addr *ctx)                              \
	{                                                                                          \
		return judge(marked(ctx->sk));                                                     \
	}

#define UNIX_ANSWER(name)                                                                          \
	SEC("cgroup/" #name) int on_##name(struct bpf_sock_addr *ctx)                              \
	{                                                                                          \
		return 1;                                                                          \
	}

SOCKET(on_create, "sock_create", ctx->type == SOCK_RAW)
SOCKET(on_release, "sock_release", ctx->mark == MARK)
SOCKET(on_post_bind4, "post_bind4", ctx->src_port == PORT)
SOCKET(on_post_bind6, "post_bind6", ctx->src_port == PORT)
ADDRESS(bind4)
ADDRESS(bind6)
ADDRESS(connect4)
ADDRESS(connect6)
ADDRESS(sendmsg4)
ADDRESS(sendmsg6)
UNIX(connect_unix)
UNIX(sendmsg_unix)

ANSWER(recvmsg4)
ANSWER(recvmsg6)
ANSWER(getpeername4)
ANSWER(getpeername6)
ANSWER(getsockname4)
ANSWER(getsockname6)
UNIX_ANSWER(recvmsg_unix)
UNIX_ANSWER(getpeername_unix)
UNIX_ANSWER(getsockname_unix)

#ifdef TRAIL
static __always_inline void option(struct bpf_sockopt *ctx)
{
	u32 *value = ctx->optval;

	if (ctx->level == SOL_SOCKET && ctx->optname == SO_PRIORITY &&
	    (void *)(value + 1) <= ctx->optval_end)
		*value = *value * 10 + TRAIL;
}
#endif

// An option of a level that the kernel does not know is taken here.
SEC("cgroup/setsockopt")
int on_setsockopt(struct bpf_sockopt *ctx)
{
#ifdef TRAIL
	option(ctx);
	if (ctx->level == PRIVATE_LEVEL)
		ctx->optlen = -1;
#endif
	return judge(marked(ctx->sk) && ctx->optname == SO_PRIORITY);
}

SEC("cgroup/getsockopt")
int on_getsockopt(struct bpf_sockopt *ctx)
{
#ifdef TRAIL
	u32 *value = ctx->optval;

	option(ctx);
	if (ctx->level == PRIVATE_LEVEL && (void *)(value + 1) <= ctx->optval_end) {
		*value = ctx->retval ? TRAIL : *value * 10 + TRAIL;
		ctx->optlen = sizeof(*value);
		// The verifier wants two writes, and clang would make one of them.
		asm volatile("" ::: "memory");
		ctx->retval = 0;
	}
#endif
	return judge(marked(ctx->sk) && ctx->optname == SO_PRIORITY);
}

// The first asks for all changes of state; the second, when it comes behind, takes that back.
SEC("sockops")
int on_event(struct bpf_sock_ops *ctx)
{
#ifdef TRAIL
	int flags = ctx->bpf_sock_ops_cb_flags;

	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		if (TRAIL == 1)
			bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
		else if (flags == BPF_SOCK_OPS_STATE_CB_FLAG)
			bpf_sock_ops_cb_flags_set(ctx, 0);
	}
#endif
	return 1;
}

static __always_inline int packet(struct __sk_buff *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	return !marked(sk);
}

SEC("cgroup_skb/ingress")
int on_data_in(struct __sk_buff *ctx)
{
	return LOOK_ON || packet(ctx);
}

SEC("cgroup_skb/egress")
int on_data_out(struct __sk_buff *ctx)
{
	return LOOK_ON || packet(ctx);
}

SEC("sk_lookup")
int on_lookup(struct bpf_sk_lookup *ctx)
{
	return LOOK_ON || ctx->local_port != PORT ? SK_PASS : SK_DROP;
}

char _license[] SEC("license") = "GPL";
