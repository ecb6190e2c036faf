// A stack used to its last byte in the main function (512 bytes), or to 400 bytes there and to
// 96 in a subprogram (-DBELOW). Written in assembly, for the compiler to add nothing.
#include "stranger.h"

#define PUT(at) asm volatile("*(u64 *)(r10 - " #at ") = %[v]" : : [v] "r"(number + at) : "memory");
#define GET(at)                                                                                    \
	asm volatile("%[v] = *(u64 *)(r10 - " #at ")" : [v] "=r"(value) : : "memory");             \
	sum = sum * 3 + value;

#define TO_96(DO) DO(8) DO(16) DO(24) DO(32) DO(40) DO(48) DO(56) DO(64) DO(72) DO(80) DO(88) DO(96)
#define TO_200(DO)                                                                                 \
	TO_96(DO) DO(104) DO(112) DO(120) DO(128) DO(136) DO(144) DO(152) DO(160) DO(168) DO(176)  \
	DO(184) DO(192) DO(200)
#define TO_400(DO)                                                                                 \
	TO_200(DO) DO(208) DO(216) DO(224) DO(232) DO(240) DO(248) DO(256) DO(264) DO(272) DO(280) \
	DO(288) DO(296) DO(304) DO(312) DO(320) DO(328) DO(336) DO(344) DO(352) DO(360) DO(368)    \
	DO(376) DO(384) DO(392) DO(400)
#define TO_512(DO)                                                                                 \
	TO_400(DO) DO(408) DO(416) DO(424) DO(432) DO(440) DO(448) DO(456) DO(464) DO(472) DO(480) \
	DO(488) DO(496) DO(504) DO(512)

#ifdef BELOW
static __noinline u64 below(u64 number)
{
	u64 sum = 0, value;

	TO_96(PUT)
	TO_96(GET)
	return sum;
}
#define ALL TO_400
#else
#define ALL TO_512
#endif

SEC(SECTION)
int stack(struct context *ctx)
{
	u64 number = selector(ctx), sum = 0, value;

	ALL(PUT)
#ifdef BELOW
	sum = below(number);
#endif
	ALL(GET)
	return sum % 7 ? by_thirds(sum) : DROP;
}
