// Kernel functions on packets, and one that no kernel has, which the program asks for first.
#include "stranger.h"

#ifdef TC
extern int bpf_dynptr_from_skb(struct __sk_buff *skb, u64 flags, struct bpf_dynptr *ptr) __ksym;
#define dynptr_of bpf_dynptr_from_skb
#else
extern int bpf_dynptr_from_xdp(struct xdp_md *xdp, u64 flags, struct bpf_dynptr *ptr) __ksym;
#define dynptr_of bpf_dynptr_from_xdp
#endif
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, u32 offset, void *buffer,
			      u32 buffer__szk) __ksym;
#ifdef WEAK
extern int nke_no_kernel_has_this(int number) __ksym __weak;
#endif

COUNTER(seen);

SEC(SECTION)
int kfuncs(struct context *ctx)
{
	struct bpf_dynptr packet;
	u8 buffer[4];
	u8 *part;

#ifdef WEAK
	if (nke_no_kernel_has_this)
		return nke_no_kernel_has_this(1);
#endif
	if (dynptr_of(ctx, 0, &packet))
		return DROP;
	part = bpf_dynptr_slice(&packet, AT, buffer, sizeof(buffer));
	if (!part)
		return GO_ON;
	ADD(seen, 0, part[0]);
	return by_thirds(part[0]);
}
