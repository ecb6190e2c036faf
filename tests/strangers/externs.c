// Values that libbpf fills in: the kernel's version and configuration, of every type that they can
// have. What is ruled out by them need not even be valid.
#include "stranger.h"

extern u32 LINUX_KERNEL_VERSION __kconfig;
extern _Bool LINUX_HAS_BPF_COOKIE __kconfig __weak;
extern _Bool CONFIG_BPF_SYSCALL __kconfig;
extern enum libbpf_tristate CONFIG_VETH __kconfig __weak;
extern char CONFIG_INET __kconfig __weak;
extern char CONFIG_DEFAULT_TCP_CONG[3] __kconfig __weak;
extern const char CONFIG_DEFAULT_HOSTNAME[13] __kconfig __weak;
extern short CONFIG_NR_CPUS __kconfig __weak;
extern u32 CONFIG_HZ __kconfig __weak;
extern u64 CONFIG_ILLEGAL_POINTER_VALUE __kconfig __weak;
extern u64 CONFIG_NOT_OF_ANY_KERNEL __kconfig __weak;

COUNTER(facts);

static __noinline int texts(u32 number)
{
	u64 text = (u64)CONFIG_DEFAULT_TCP_CONG[0] << 8 | CONFIG_DEFAULT_HOSTNAME[1];

	ADD(facts, 5, text + number);
	return by_thirds(number);
}

SEC(SECTION)
int externs(struct context *ctx)
{
	u32 number = selector(ctx);

	if (CONFIG_NOT_OF_ANY_KERNEL)
		((long (*)(void))12345)();
	ADD(facts, 0, LINUX_KERNEL_VERSION);
	ADD(facts, 1, CONFIG_BPF_SYSCALL + 2 * LINUX_HAS_BPF_COOKIE);
	ADD(facts, 2, CONFIG_VETH + 16 * CONFIG_INET);
	ADD(facts, 3, CONFIG_HZ + CONFIG_NR_CPUS);
	ADD(facts, 4, CONFIG_ILLEGAL_POINTER_VALUE);
	return texts(number);
}
