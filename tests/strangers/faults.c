// An object with a fault for each stage of `nke check`; with -DENTRY, only a SYSCALL program.
// With -DNAMELESS, code without a function as well.
#include "stranger.h"

#ifdef MANIFEST
char manifest[] SEC(".nke") = MANIFEST;
#endif

SEC("syscall")
int start(void *ctx)
{
	return 0;
}

#ifndef ENTRY
extern int nke_no_kernel_has_this(int number) __ksym;

SEC("xdp")
int careless(struct xdp_md *ctx)
{
	// Without a look at where the packet ends.
	return *(u8 *)(long)ctx->data ? XDP_PASS : XDP_DROP;
}

SEC("tc")
int lacking(struct __sk_buff *ctx)
{
	return nke_no_kernel_has_this(1);
}

SEC("tcx/egress")
int sound(struct __sk_buff *ctx)
{
	return TC_ACT_UNSPEC;
}

SEC("nonsense")
int odd(void *ctx)
{
	return 0;
}

SEC("more/nonsense")
int odder(void *ctx)
{
	return 0;
}

SEC("kprobe/x")
int idle(void *ctx)
{
	return 0;
}
#endif

#ifdef NAMELESS
// Code that no symbol leads to.
asm(".section sockops,\"ax\",@progbits\n\tr0 = 1\n\texit\n\t.text\n");
#endif
