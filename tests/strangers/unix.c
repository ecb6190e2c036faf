// Connections to any AF_UNIX socket are made to the abstract one of the name NAME instead; and what
// asks for an address, of a socket's own, of its peer or of a datagram's sender, is told that name.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef __u8 u8;
typedef __u32 u32;

// As in the kernel; linux/bpf.h has neither.
struct bpf_sock_addr_kern;
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;
extern int bpf_sock_addr_set_sun_path(struct bpf_sock_addr_kern *address, const u8 *sun_path,
				      u32 sun_path__sz) __ksym;

#define ELSEWHERE(name, always)                                                                    \
	SEC("cgroup/" #name) int on_##name(struct bpf_sock_addr *ctx)                              \
	{                                                                                          \
		struct bpf_sock_addr_kern *address = bpf_cast_to_kern_ctx(ctx);                    \
		u8 path[] = "\0" NAME;                                                             \
		return bpf_sock_addr_set_sun_path(address, path, sizeof(path) - 1) == 0 || always; \
	}

ELSEWHERE(connect_unix, 0)
// The kernel takes no other answer here.
ELSEWHERE(recvmsg_unix, 1)
ELSEWHERE(getpeername_unix, 1)
ELSEWHERE(getsockname_unix, 1)

char _license[] SEC("license") = "GPL";
