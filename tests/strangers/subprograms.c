// Static subprograms three deep, with several exits of their own, and one called twice.
#include "stranger.h"

COUNTER(calls);

static __noinline int third(u32 number)
{
	ADD(calls, 2, 1);
	if (number == 5)
		return 500;
	if (number > 100)
		return number - 100;
	return number * 2;
}

static __noinline int second(struct context *ctx, u32 number)
{
	ADD(calls, 1, third(number));
	if (number & 1)
		return third(number + 1);
	return ctx->ingress_ifindex ? 3 : 4;
}

static __noinline int first(struct context *ctx)
{
	ADD(calls, 0, 1);
	return second(ctx, selector(ctx));
}

SEC(SECTION)
int subprograms(struct context *ctx)
{
	return by_thirds(first(ctx));
}
