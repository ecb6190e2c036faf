// Global data of every kind: constants, initialised and zeroed variables, strings, sections of
// their own, and pointers between functions and data.
#include "stranger.h"

const volatile u32 limit = 200;
const volatile u32 table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
u64 total = 1000;
u32 history[16];
static volatile u64 hidden;
static u64 remembered = 7;
u32 own_data SEC(".data.own") = 42;
const volatile u32 own_rodata SEC(".rodata.own") = 77;

SEC(SECTION)
int data(struct context *ctx)
{
	static const char word[] = "stranger";
	u32 number = selector(ctx);

	total += table[number & 7];
	history[number & 15] += own_rodata;
	hidden += 1;
	remembered += hidden * 3;
	own_data += number;
	own_data += word[number & 7];
	return number > limit ? DROP : by_thirds(number);
}
