// A program that calls another program of its object as a function: its exits are then returns.
// libbpf will not load that, so for comparison -DREFERENCE makes the callee a subprogram.
#include "stranger.h"

COUNTER(seen);

#ifdef REFERENCE
static __noinline
#else
SEC(SECTION)
#endif
int callee(struct context *ctx)
{
	ADD(seen, 0, 1);
	return by_thirds(selector(ctx));
}

SEC(SECTION)
int caller(struct context *ctx)
{
	int answer = callee(ctx);

	ADD(seen, 1, 1);
	return answer == DROP ? GO_ON : DROP;
}
