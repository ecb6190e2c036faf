// Values that libbpf fills in: the kernel's version and configuration, and a variable of the
// kernel's own by its type.
#include "stranger.h"

extern u32 LINUX_KERNEL_VERSION __kconfig;
extern _Bool CONFIG_BPF_SYSCALL __kconfig;
extern u64 CONFIG_NOT_OF_ANY_KERNEL __kconfig __weak;
extern u32 CONFIG_HZ __kconfig __weak;

COUNTER(facts);

SEC(SECTION)
int externs(struct context *ctx)
{
	u32 number = selector(ctx);

	ADD(facts, 0, LINUX_KERNEL_VERSION);
	ADD(facts, 1, CONFIG_BPF_SYSCALL);
	ADD(facts, 2, CONFIG_NOT_OF_ANY_KERNEL);
	ADD(facts, 3, CONFIG_HZ);
	return by_thirds(number);
}
