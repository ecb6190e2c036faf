// CO-RE: offsets, sizes, existence and enum values of the running kernel, through definitions
// of the object's own that are wrong on purpose.
#include "stranger.h"
#include <bpf/bpf_core_read.h>

struct net_device {
	int ifindex;
	unsigned int mtu;
	char no_kernel_has_this;
} __attribute__((preserve_access_index));

struct sk_buff___other {
	unsigned int len;
	unsigned char *data;
} __attribute__((preserve_access_index));

struct no_such_struct {
	int member;
} __attribute__((preserve_access_index));

enum bpf_map_type___other {
	BPF_MAP_TYPE_ARRAY___other = 99,
	BPF_MAP_TYPE_NONE___other = 98,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, u32);
	__type(value, u64);
} facts SEC(".maps");

SEC(SECTION)
int core(struct context *ctx)
{
	struct net_device *device = 0;
	struct sk_buff___other *skb = 0;
	u32 number = selector(ctx);

	ADD(facts, 0, bpf_core_field_exists(device->no_kernel_has_this));
	ADD(facts, 1, bpf_core_field_exists(device->mtu));
	ADD(facts, 2, __builtin_preserve_field_info(device->ifindex, BPF_FIELD_BYTE_OFFSET));
	ADD(facts, 3, __builtin_preserve_field_info(skb->data, BPF_FIELD_BYTE_OFFSET));
	ADD(facts, 4, bpf_core_field_size(device->mtu));
	ADD(facts, 5, bpf_core_type_exists(struct no_such_struct));
	ADD(facts, 6, bpf_core_type_size(struct net_device));
	ADD(facts, 7, bpf_core_enum_value_exists(enum bpf_map_type___other,
						 BPF_MAP_TYPE_NONE___other));
	ADD(facts, 8, bpf_core_enum_value(enum bpf_map_type___other, BPF_MAP_TYPE_ARRAY___other));
	ADD(facts, 9, number);
	return by_thirds(number);
}
