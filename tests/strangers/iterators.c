// An open-coded iterator: kernel functions whose state lies on the stack.
#include "stranger.h"

struct bpf_iter_num;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

struct bpf_iter_num {
	u64 opaque[1];
} __attribute__((aligned(8)));

COUNTER(steps);

SEC(SECTION)
int iterators(struct context *ctx)
{
	u32 number = selector(ctx);
	struct bpf_iter_num it;
	u64 sum = 0;
	int *at;

	bpf_iter_num_new(&it, 0, number);
	while ((at = bpf_iter_num_next(&it)))
		sum += *at;
	bpf_iter_num_destroy(&it);
	ADD(steps, 0, sum);
	return by_thirds(sum);
}
