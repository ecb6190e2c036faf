// Packets in turn: each run of the program writes the next one over its packet, and sends it to the
// interface whose index the packet holds, or has the program judge it that is in the map.
//
// Packets lie in pages, as an array's values are written one by one.

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define SIZE 64
#define PAGE 1024

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[PAGE][SIZE / 8]);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32[2]);
} cursor SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

static __always_inline int turn(struct xdp_md *ctx)
{
	__u64 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 key = 0, number, index;
	__u64 (*page)[SIZE / 8];
	__u32 *at = bpf_map_lookup_elem(&cursor, &key);

	if (!at || data + SIZE / 8 > end)
		return -1;
	number = at[0]++ & at[1];
	index = number / PAGE;
	page = bpf_map_lookup_elem(&packets, &index);
	if (!page)
		return -1;
#pragma unroll
	for (int i = 0; i < SIZE / 8; i++)
		data[i] = page[number % PAGE][i];
	return 0;
}

SEC("xdp")
int rotate(struct xdp_md *ctx)
{
	if (turn(ctx))
		return XDP_ABORTED;
#ifdef SENDER
	__u32 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 3 > end)
		return XDP_ABORTED;
	return bpf_redirect(data[2], 0);
#else
	bpf_tail_call(ctx, &next, 0);
	return XDP_ABORTED;
#endif
}

char _license[] SEC("license") = "GPL";
