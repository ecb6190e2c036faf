// Global functions, which the kernel verifies each by itself: on the context, on numbers, and
// on memory; one calls another.
#include "stranger.h"

COUNTER(calls);

__noinline int sum(const u32 *number)
{
	if (!number)
		return -1;
	ADD(calls, 0, *number);
	return *number + 1;
}

__noinline int double_of(int number)
{
	volatile int twice = number * 2;

	ADD(calls, 1, 1);
	return twice;
}

__noinline int inspect(struct context *ctx)
{
	u32 number = selector(ctx);

	if (number == 9)
		return 0;
	return double_of(number) + sum(&number);
}

SEC(SECTION)
int globals(struct context *ctx)
{
	return by_thirds(inspect(ctx));
}
