// An extension in versions whose maps are of many kinds, and hold another value in version 2:
// -DID=n is the version's number, and -DMANIFEST what it says of itself.
//   -DFEWER  the LRU has fewer entries
#include "stranger.h"

char manifest[] SEC(".nke") = MANIFEST;

#if ID == 1
struct value {
	u32 count;
};
struct pair {
	u32 one, other;
};
#else
struct value {
	u32 fresh;
	u64 count;
};
// Version 2 does not tell the others apart.
struct pair {
	u32 one;
};
#endif

#ifdef FEWER
#define LRU_ENTRIES 16
#else
#define LRU_ENTRIES 64
#endif

struct prefix {
	u32 length;
	u8 address[4];
};

#define MAP(name, kind, of, entries, flags)                                                        \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, entries);                                                      \
		__uint(map_flags, flags);                                                          \
		__type(key, of);                                                                   \
		__type(value, struct value);                                                       \
	} name SEC(".maps")

MAP(slots, BPF_MAP_TYPE_PERCPU_ARRAY, u32, 4, 0);
MAP(each, BPF_MAP_TYPE_PERCPU_HASH, u32, 64, 0);
MAP(recent, BPF_MAP_TYPE_LRU_HASH, u32, LRU_ENTRIES, 0);
MAP(recent_each, BPF_MAP_TYPE_LRU_PERCPU_HASH, u32, 64, 0);
MAP(routes, BPF_MAP_TYPE_LPM_TRIE, struct prefix, 64, BPF_F_NO_PREALLOC);
MAP(pairs, BPF_MAP_TYPE_HASH, struct pair, 64, 0);

SEC("xdp")
int migrate(struct xdp_md *ctx)
{
	return XDP_PASS;
}
