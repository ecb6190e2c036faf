// A body too long for a 16-bit jump: some eighty thousand instructions.
#include "stranger.h"

SEC(SECTION)
int body(struct context *ctx)
{
	u64 number = selector(ctx);

	asm volatile(".rept 40000; %[n] *= 3; %[n] += 1; .endr" : [n] "+r"(number));
	return by_thirds(number);
}
