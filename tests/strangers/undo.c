// Another's programs at connect: they undo a denial of those before them or, with -DQUIET, look on.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static __always_inline int undo(void)
{
#ifndef QUIET
	bpf_set_retval(0);
#endif
	return 1;
}

SEC("cgroup/connect4")
int theirs4(struct bpf_sock_addr *ctx)
{
	return undo();
}

SEC("cgroup/connect6")
int theirs6(struct bpf_sock_addr *ctx)
{
	return undo();
}

char _license[] SEC("license") = "GPL";
