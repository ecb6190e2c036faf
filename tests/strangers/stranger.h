/* What the strangers share. It knows the kernel's headers and libbpf's, and nothing of nke.
 *
 * Most are compiled for XDP and, with -DTC, for traffic control. They decide by a number that
 * the packet brings: the last byte of a trail frame's sequence number (harness/trail.rs). */
#pragma once
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#ifdef TC
#define context __sk_buff
#define GO_ON TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT
#ifndef SECTION
#define SECTION "tc"
#endif
#else
#define context xdp_md
#define GO_ON XDP_PASS
#define DROP XDP_DROP
#ifndef SECTION
#define SECTION "xdp"
#endif
#endif

#define AT 21

static __always_inline u32 selector(struct context *ctx)
{
	u8 *data = (void *)(long)ctx->data;
	u8 *end = (void *)(long)ctx->data_end;

	return data + AT + 1 > end ? 0 : data[AT];
}

/* Every third packet is dropped. */
static __always_inline int by_thirds(u32 number)
{
	return number % 3 ? GO_ON : DROP;
}

#define COUNTER(name)                                                                              \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, 8);                                                            \
		__type(key, u32);                                                                  \
		__type(value, u64);                                                                \
	} name SEC(".maps")

#define ADD(map, index, amount)                                                                    \
	({                                                                                         \
		u32 at_ = (index);                                                                 \
		u64 *value_ = bpf_map_lookup_elem(&map, &at_);                                     \
		if (value_)                                                                        \
			*value_ += (amount);                                                       \
	})

#ifndef LICENSE
#define LICENSE "GPL"
#endif
char _license[] SEC("license") = LICENSE;
