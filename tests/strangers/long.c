// A body too long for a 16-bit jump: some forty thousand instructions.
#include "stranger.h"

#define ONE(n) number = number * 3 + (n); asm volatile("" : "+r"(number));
#define TEN(n) ONE(n) ONE(n + 1) ONE(n + 2) ONE(n + 3) ONE(n + 4) ONE(n + 5) ONE(n + 6) ONE(n + 7) \
	ONE(n + 8) ONE(n + 9)
#define HUNDRED(n) TEN(n) TEN(n + 10) TEN(n + 20) TEN(n + 30) TEN(n + 40) TEN(n + 50) TEN(n + 60) \
	TEN(n + 70) TEN(n + 80) TEN(n + 90)
#define THOUSAND(n) HUNDRED(n) HUNDRED(n + 1) HUNDRED(n + 2) HUNDRED(n + 3) HUNDRED(n + 4)         \
	HUNDRED(n + 5) HUNDRED(n + 6) HUNDRED(n + 7) HUNDRED(n + 8) HUNDRED(n + 9)

SEC(SECTION)
int body(struct context *ctx)
{
	u64 number = selector(ctx);

	THOUSAND(1) THOUSAND(2) THOUSAND(3) THOUSAND(4) THOUSAND(5) THOUSAND(6) THOUSAND(7)
	THOUSAND(8) THOUSAND(9) THOUSAND(10) THOUSAND(11) THOUSAND(12) THOUSAND(13) THOUSAND(14)
	THOUSAND(15) THOUSAND(16) THOUSAND(17) THOUSAND(18) THOUSAND(19) THOUSAND(20)
	return by_thirds(number);
}
