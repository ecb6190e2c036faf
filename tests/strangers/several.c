// Several programs in one object, which share a map, a subprogram and a global function.
#include "stranger.h"

COUNTER(seen);

static __noinline int shared(u32 number)
{
	ADD(seen, 3, number);
	return number + 1;
}

__noinline int common(u32 number)
{
	ADD(seen, 4, 1);
	return number % 5;
}

SEC(SECTION)
int alpha(struct context *ctx)
{
	ADD(seen, 0, 1);
	return by_thirds(shared(selector(ctx)));
}

SEC(SECTION)
int beta(struct context *ctx)
{
	ADD(seen, 1, 1);
	return by_thirds(common(shared(selector(ctx))));
}

SEC(SECTION)
int gamma(struct context *ctx)
{
	ADD(seen, 2, 1);
	return GO_ON;
}
