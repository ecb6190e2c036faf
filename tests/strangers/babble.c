// Writes to a ring buffer that has the name of aya-log's, and what it writes is nothing of the kind.
#include "stranger.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} AYA_LOGS SEC(".maps");

SEC(SECTION)
int babble(struct context *ctx)
{
	u64 words[3] = {0x626c6162, ~0ull, 0x7f7f7f7f7f7f7f7f};

	bpf_ringbuf_output(&AYA_LOGS, words, sizeof(words), 0);
	return GO_ON;
}
