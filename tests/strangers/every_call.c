// One program for every hook of a cgroup, of every type. Where there can be a denial, they deny,
// or answer what -DANSWER says. With -DLONG the first is too long for jumps to its end.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef ANSWER
#define ANSWER 0
#endif

#define PROGRAM(section, name, context, answer)                                                    \
	SEC(section) int name(struct context *ctx)                                                 \
	{                                                                                          \
		return answer;                                                                     \
	}

#ifdef LONG
SEC("cgroup_skb/ingress") int data_in(struct __sk_buff *ctx)
{
	asm volatile(".rept 33000; r0 = 0; .endr" : : : "r0");
	return ANSWER;
}
#else
PROGRAM("cgroup_skb/ingress", data_in, __sk_buff, ANSWER)
#endif
PROGRAM("cgroup_skb/egress", data_out, __sk_buff, ANSWER)
PROGRAM("cgroup/sock_create", create, bpf_sock, ANSWER)
PROGRAM("cgroup/sock_release", release, bpf_sock, 1)
PROGRAM("cgroup/post_bind4", post_bind4, bpf_sock, ANSWER)
PROGRAM("cgroup/post_bind6", post_bind6, bpf_sock, ANSWER)
PROGRAM("cgroup/bind4", bind4, bpf_sock_addr, ANSWER)
PROGRAM("cgroup/bind6", bind6, bpf_sock_addr, ANSWER)
PROGRAM("cgroup/connect4", connect4, bpf_sock_addr, ANSWER)
PROGRAM("cgroup/connect6", connect6, bpf_sock_addr, ANSWER)
PROGRAM("cgroup/connect_unix", connect_unix, bpf_sock_addr, ANSWER)
PROGRAM("cgroup/sendmsg4", sendmsg4, bpf_sock_addr, ANSWER)
PROGRAM("cgroup/sendmsg6", sendmsg6, bpf_sock_addr, ANSWER)
PROGRAM("cgroup/recvmsg4", recvmsg4, bpf_sock_addr, 1)
PROGRAM("cgroup/getpeername4", getpeername4, bpf_sock_addr, 1)
PROGRAM("cgroup/getsockname4", getsockname4, bpf_sock_addr, 1)
PROGRAM("cgroup/setsockopt", setsockopt, bpf_sockopt, ANSWER)
PROGRAM("cgroup/getsockopt", getsockopt, bpf_sockopt, ANSWER)
PROGRAM("sockops", events, bpf_sock_ops, 1)
PROGRAM("sk_msg", stream_out, sk_msg_md, SK_PASS)
PROGRAM("sk_skb", stream_in, __sk_buff, SK_PASS)
PROGRAM("sk_lookup", lookup, bpf_sk_lookup, SK_PASS)

char _license[] SEC("license") = "GPL";
