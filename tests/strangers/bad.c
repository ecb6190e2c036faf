// What a loader must refuse: one mistake for each -D, or none.
#include "stranger.h"

#ifdef MANIFEST
char manifest[] SEC(".nke") = MANIFEST;
#endif

#ifdef ABSENT
struct net_device___absent {
	int no_kernel_has_this;
} __attribute__((preserve_access_index));
#endif

#ifdef UNDEFINED
extern int nke_no_kernel_has_this(int number) __ksym;
#endif

#ifdef NO_PROGRAM
int number = 7;
#else
SEC(SECTION)
int bad(struct context *ctx)
{
#ifdef UNSAFE
	// Without a look at where the packet ends.
	return *(u8 *)(long)ctx->data ? GO_ON : DROP;
#elif defined(ABSENT)
	struct net_device___absent *device = (void *)(long)ctx->data;

	if ((void *)(device + 1) > (void *)(long)ctx->data_end)
		return GO_ON;
	return device->no_kernel_has_this ? GO_ON : DROP;
#elif defined(UNDEFINED)
	return nke_no_kernel_has_this(1);
#else
	return GO_ON;
#endif
}
#endif
