// Maps of the kinds that hold data; what each does is written to `facts`.
#include "stranger.h"

#define MAP(name, kind, entries, keys, values, flags)                                              \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, entries);                                                      \
		__uint(map_flags, flags);                                                          \
		__type(key, keys);                                                                 \
		__type(value, values);                                                             \
	} name SEC(".maps")

struct prefix {
	u32 length;
	u32 address;
};

struct guarded {
	struct bpf_spin_lock lock;
	u64 value;
};

MAP(hash, BPF_MAP_TYPE_HASH, 64, u32, u64, 0);
MAP(sparse, BPF_MAP_TYPE_HASH, 64, u32, u64, BPF_F_NO_PREALLOC);
MAP(array, BPF_MAP_TYPE_ARRAY, 4, u32, u64, BPF_F_MMAPABLE);
MAP(percpu_hash, BPF_MAP_TYPE_PERCPU_HASH, 64, u32, u64, 0);
MAP(percpu_array, BPF_MAP_TYPE_PERCPU_ARRAY, 4, u32, u64, 0);
MAP(lru, BPF_MAP_TYPE_LRU_HASH, 64, u32, u64, 0);
MAP(lru_percpu, BPF_MAP_TYPE_LRU_PERCPU_HASH, 64, u32, u64, 0);
MAP(trie, BPF_MAP_TYPE_LPM_TRIE, 64, struct prefix, u64, BPF_F_NO_PREALLOC);
MAP(locked, BPF_MAP_TYPE_ARRAY, 2, u32, struct guarded, 0);

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__type(value, u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 4);
	__type(value, u64);
} pile SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 64);
	__type(value, u32);
} bloom SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32);
	__type(key, u32);
	__type(value, u64);
} facts SEC(".maps");

#define BUMP(map, key, fact)                                                                       \
	({                                                                                         \
		u64 one = 1, *found = bpf_map_lookup_elem(&map, &key);                             \
		if (found)                                                                         \
			*found += 1;                                                               \
		else                                                                               \
			bpf_map_update_elem(&map, &key, &one, BPF_ANY);                            \
		ADD(facts, fact, found ? *found : 1000);                                           \
	})

SEC(SECTION)
int maps(struct context *ctx)
{
	u32 number = selector(ctx), few = number & 3, zero = 0;
	struct prefix prefix = {.length = 30, .address = number << 24};
	struct guarded *guarded;
	u64 popped = 0;

	BUMP(hash, few, 0);
	BUMP(sparse, few, 1);
	BUMP(array, few, 2);
	BUMP(percpu_hash, few, 3);
	BUMP(percpu_array, few, 4);
	BUMP(lru, few, 5);
	BUMP(lru_percpu, few, 6);
	BUMP(trie, prefix, 7);
	guarded = bpf_map_lookup_elem(&locked, &zero);
	if (guarded) {
		bpf_spin_lock(&guarded->lock);
		guarded->value += number;
		bpf_spin_unlock(&guarded->lock);
	}
	popped = number;
	ADD(facts, 8, bpf_map_push_elem(&queue, &popped, BPF_EXIST));
	ADD(facts, 9, bpf_map_push_elem(&pile, &popped, BPF_EXIST));
	if (number & 1) {
		ADD(facts, 10, bpf_map_pop_elem(&queue, &popped) + popped);
		ADD(facts, 11, bpf_map_pop_elem(&pile, &popped) + popped);
	}
	ADD(facts, 12, bpf_map_peek_elem(&bloom, &few) == 0);
	bpf_map_push_elem(&bloom, &few, 0);
	ADD(facts, 13, bpf_ringbuf_output(&ring, &number, sizeof(number), 0) == 0);
	ADD(facts, 14, bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA));
	/* Nobody listens, so the answer is an error, and the same one. */
	ADD(facts, 15, bpf_perf_event_output(ctx, &events, 0, &number, sizeof(number)));
	return by_thirds(number);
}
