// Every verdict that there is, and some that there are not, out of several exits.
#include "stranger.h"

#define EXIT_IF(number, answer)                                                                    \
	asm volatile("if %[w] != " #number " goto +2; r0 = %[a]; exit;"                            \
		     :                                                                             \
		     : [w] "r"(which), [a] "i"(answer)                                             \
		     : "r0", "memory")

SEC(SECTION)
int verdicts(struct context *ctx)
{
	u64 which = selector(ctx);

	EXIT_IF(10, GO_ON);
	EXIT_IF(11, DROP);
	EXIT_IF(12, 1234567);
	if (which == 13)
		return 0x7fffffff;
	if (which == 14)
		return -2;
	return (int)which - 1;
}
