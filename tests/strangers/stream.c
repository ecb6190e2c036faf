// Adds its number to the list in a message that begins with 'T'; with -DDROPS it drops those that
// begin with 'D'. All else goes on.
#include "stranger.h"

#ifndef IN_SECTION
#define IN_SECTION "sk_skb/stream_verdict"
#endif

#ifdef TAIL_CALLS
/* A tail call of its own, to nobody. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} nobody SEC(".maps");
#define TRY(context) bpf_tail_call(context, &nobody, 0)
#else
#define TRY(context)
#endif

#define ROOM 14

struct message {
	u8 kind;
	u8 count;
	u8 seen[ROOM];
};

static __always_inline int judge(void *data, void *end)
{
	struct message *message = data;

	if ((void *)(message + 1) > end)
		return SK_PASS;
#ifdef DROPS
	if (message->kind == 'D')
		return SK_DROP;
#endif
	u32 at = message->count;
	if (message->kind != 'T' || at >= ROOM)
		return SK_PASS;
	u8 *place = message->seen + at;
	asm volatile("" : "+r"(place));
	if ((void *)(place + 1) > end)
		return SK_PASS;
	*place = ID;
	message->count = at + 1;
	return SK_PASS;
}

SEC(IN_SECTION)
int stream_in(struct __sk_buff *skb)
{
	TRY(skb);
	// What was received lies in fragments.
	bpf_skb_pull_data(skb, sizeof(struct message));
	return judge((void *)(long)skb->data, (void *)(long)skb->data_end);
}

SEC("sk_msg")
int stream_out(struct sk_msg_md *msg)
{
	TRY(msg);
	bpf_msg_pull_data(msg, 0, sizeof(struct message), 0);
	return judge(msg->data, msg->data_end);
}
