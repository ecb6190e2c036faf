// Reads the packet without looking how long it is, which the verifier refuses.
#include "stranger.h"

SEC(SECTION)
int refused(struct context *ctx)
{
	u8 *data = (void *)(long)ctx->data;

	return data[100] ? GO_ON : DROP;
}
